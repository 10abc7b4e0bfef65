//! What a client's lane carries: requests and answers in Kafka's encoding, opaque to the link.
//!
//! ```text
//! LaneOpen { lane, who and whence }      once, before anything else of the lane
//! Request { …, body length, chunk } Continue { …, at, chunk } …        bodies above 64 KiB follow in chunks
//! Cancel { flow, correlation }, Finish { lane, correlation }           overtake what waits
//! LaneClose { lane }                     nothing of the lane follows
//! ```
//! The dialer's requests and sub-batches of one lane arrive in their order; answers come in any order.

use bytestring::ByteString;

use super::{Body, Correlation, Lane};
use crate::error_code::ErrorCode;
use crate::primitive::wire::Wire;
use crate::primitive::{DecodeError, Decoder, EncodeError, Encoder, Format};

message! {
    /// Opens a lane and says once what holds for all of its requests.
    pub struct LaneOpen {
        /// The lane; above all lanes opened before.
        lane: Lane,
        /// In whose name the lane acts.
        principal: ByteString,
        /// How the client calls itself; `None` if it does not.
        client_id: Option<ByteString>,
        /// The client's address.
        client_host: ByteString,
        /// The listener the client dialled.
        listener: ByteString,
    }
}

message! {
    /// The client is gone: what the lane has not got enqueued is to be dropped, except appends without acknowledgement.
    pub struct LaneClose {
        /// The lane.
        lane: Lane,
    }
}

message! {
    /// A request, or its first chunk.
    pub struct Request {
        /// Whose request it is.
        lane: Lane,
        /// What the answer will refer to.
        correlation: Correlation,
        /// How long the answer is waited for; the request has expired afterwards.
        time_left_ms: u32,
        /// Kafka's number of the API.
        api_key: i16,
        /// The version the body has, and the answer's will have.
        api_version: i16,
        /// The length of the whole body.
        body_length: u32,
        /// The body's first bytes, all of them if it is short; no header goes before it.
        chunk: Body,
    }
    tagged {
        /// How far the metadata is by which it was sent here: whoever knows less waits a while before it answers.
        0: metadata_index: i64 [..],
    }
}

message! {
    /// The answer to a request, or its first chunk.
    pub struct Answer {
        /// Whose answer it is.
        lane: Lane,
        /// Which request it answers.
        correlation: Correlation,
        /// The length of the whole body.
        body_length: u32,
        /// The body's first bytes, all of them if it is short.
        chunk: Body,
    }
    tagged {
        /// Why there is no body; 0 if there is one. Errors that Kafka knows an answer for are in the body.
        0: error_code: ErrorCode [..] = ErrorCode::None,
        /// The error for people.
        1: words: Option<ByteString> [..],
    }
}

message! {
    /// The next chunk of a body.
    pub struct Continue {
        /// What the body belongs to.
        flow: Flow,
        /// How many of the body's bytes came before.
        at: u32,
        /// The bytes.
        chunk: Body,
    }
}

message! {
    /// From the dialer: the answer is not wanted any more, none need come. From either side: the rest of a body under
    /// way will not come.
    pub struct Cancel {
        /// What the request or body belongs to.
        flow: Flow,
        /// Which one; 0 for a push.
        correlation: Correlation,
    }
}

message! {
    /// A parked Fetch is to be answered at once with what there is.
    pub struct Finish {
        /// Whose request it is.
        lane: Lane,
        /// Which request.
        correlation: Correlation,
    }
}

/// What is sent in one piece after the other: within a flow order is kept, between flows chunks alternate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flow {
    /// Everything of a lane.
    Lane(Lane),
    /// One call, or the reply to it.
    Call(Correlation),
    /// One stream of pushes.
    Push(u32),
}

impl Default for Flow {
    fn default() -> Self {
        Self::Lane(Lane(0))
    }
}

/// One byte (0 lane, 1 call, 2 push) and a number of eight.
impl Wire for Flow {
    fn size_min(_: Format) -> usize {
        9
    }

    fn encode_value(&self, encoder: &mut Encoder, _: Format) -> Result<(), EncodeError> {
        let (kind, number) = match *self {
            Self::Lane(lane) => (0, lane.0),
            Self::Call(correlation) => (1, correlation.0),
            Self::Push(stream) => (2, u64::from(stream)),
        };
        encoder.put(&[kind]);
        encoder.put(&number.to_be_bytes());
        Ok(())
    }

    fn decode_value(decoder: &mut Decoder, _: Format) -> Result<Self, DecodeError> {
        let [kind] = decoder.read_array()?;
        let number = u64::from_be_bytes(decoder.read_array()?);
        match (kind, u32::try_from(number)) {
            (0, _) => Ok(Self::Lane(Lane(number))),
            (1, _) => Ok(Self::Call(Correlation(number))),
            (2, Ok(stream)) => Ok(Self::Push(stream)),
            _ => Err(decoder.unknown_value()),
        }
    }
}
