//! What nodes say to each other: calls of the quorum and the controller, and the metadata a broker pushes.
//!
//! ```text
//! Call  { correlation │ kind │ version │ time left │ length │ chunk } … ─▶    ◀─ Reply { correlation │ length │ chunk } …
//! Push  { stream │ kind │ length │ chunk } …                  in order within the stream, begun and ended by calls
//! Ping  { token } ─▶  ◀─ Pong { token }                       either way; a dead peer is noticed
//! ```
//! Each call is a flow of its own: a snapshot under way holds up no heartbeat. Kinds are given out above the link.

use bytestring::ByteString;

use super::{Body, Correlation};
use crate::error_code::ErrorCode;

message! {
    /// A call from node to node, or its first chunk.
    pub struct Call {
        /// What the reply will refer to.
        correlation: Correlation,
        /// What is called.
        kind: u16,
        /// The version the body has.
        version: i16,
        /// How long the reply is waited for.
        time_left_ms: u32,
        /// The length of the whole body.
        body_length: u32,
        /// The body's first bytes, all of them if it is short.
        chunk: Body,
    }
}

message! {
    /// The reply to a call, or its first chunk.
    pub struct Reply {
        /// Which call it answers.
        correlation: Correlation,
        /// The length of the whole body.
        body_length: u32,
        /// The body's first bytes, all of them if it is short.
        chunk: Body,
    }
    tagged {
        /// Why there is no body; 0 if there is one. `UnsupportedVersion`: the kind or its version is not known.
        0: error_code: ErrorCode [..] = ErrorCode::None,
        /// The error for people.
        1: words: Option<ByteString> [..],
    }
}

message! {
    /// The next item of a stream, or its first chunk.
    pub struct Push {
        /// The stream, numbered by who asked for it.
        stream: u32,
        /// What the body is.
        kind: u16,
        /// The length of the whole body.
        body_length: u32,
        /// The body's first bytes, all of them if it is short.
        chunk: Body,
    }
}

message! {
    /// Asks whether the peer lives.
    pub struct Ping {
        /// What the Pong repeats.
        token: u64,
    }
}

message! {
    /// Says that it lives.
    pub struct Pong {
        /// The Ping's token.
        token: u64,
    }
}
