//! Whole frames of the link: a length, a kind, and the fields of that kind.
//!
//! ```text
//! ┌────────────┬─────────┬──────────────────────────────────────────┐
//! │ length i32 │ kind u8 │ fields in declared order, tagged fields   │   as Kafka's flexible versions encode them
//! └────────────┴─────────┴──────────────────────────────────────────┘
//!   of what follows
//! ```
//! Kinds: 1 Hello, 2 Welcome, 3 Refused, 10 LaneOpen, 11 LaneClose, 12 Request, 13 Answer, 14 Continue, 15 Cancel,
//! 16 Finish, 20 Append, 21 Appended, 22 Credit, 30 Call, 31 Reply, 32 Push, 40 Ping, 41 Pong. An unknown kind closes
//! the link: what a peer may send is agreed on by format version and features.

use bytes::Bytes;

use super::append::{Append, Appended, Credit, SubBatch};
use super::call::{Call, Ping, Pong, Push, Reply};
use super::handshake::{Hello, Refused, Welcome};
use super::lane::{Answer, Cancel, Continue, Finish, LaneClose, LaneOpen, Request};
use crate::frame::LENGTH_PREFIX_BYTES;
use crate::primitive::wire::Wire;
use crate::primitive::{DecodeError, Decoder, EncodeError, Encoder, Format};

/// The layout of all frames as yet; a newer one declares fields with the version they begin in.
const FORMAT: Format = Format {
    version: 1,
    flexible: true,
};

/// Why bytes are not a frame of the link. The link must be closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The kind is not one of those drawn above.
    #[error("a link frame of kind {kind} is not known")]
    UnknownKind {
        /// The kind found.
        kind: u8,
    },
    /// The fields are not those of the kind.
    #[error("a link frame {name} cannot be read: {source}")]
    Fields {
        /// The kind's name.
        name: &'static str,
        /// What is wrong.
        source: DecodeError,
    },
    /// There is not even a kind.
    #[error("a link frame is empty")]
    Empty,
}

/// What a sub-batch takes without its records, if its fields are of common sizes.
const SUB_BATCH_BYTES: usize = 72;

/// What an outcome without words takes.
const OUTCOME_BYTES: usize = 72;

macro_rules! frames {
    ($($(#[$doc:meta])* $kind:ident = $code:literal;)*) => {
        /// A frame of the link.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Frame {
            $($(#[$doc])* $kind($kind),)*
        }

        impl Frame {
            /// The number and name of each kind.
            pub const KINDS: &[(u8, &str)] = &[$(($code, stringify!($kind))),*];

            /// Returns the name of the frame's kind.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$kind(_) => stringify!($kind),)*
                }
            }

            /// Returns the frame as slices to write, length included; records are not copied.
            ///
            /// # Errors
            /// When a text or list is longer than can be encoded.
            pub fn encode(&self) -> Result<Vec<Bytes>, EncodeError> {
                let mut encoder = Encoder::with_capacity(self.bytes_expected());
                encoder.put(&[0; LENGTH_PREFIX_BYTES]);
                match self {
                    $(Self::$kind(fields) => {
                        encoder.put(&[$code]);
                        fields.encode_value(&mut encoder, FORMAT)?;
                    })*
                }
                encoder.set_length_prefix()?;
                Ok(encoder.into_segments())
            }

            /// Reads a frame from the bytes after the length; records are slices of them.
            ///
            /// # Errors
            /// When the bytes are no frame, or more than one.
            pub fn decode(bytes: Bytes) -> Result<Self, FrameError> {
                let Some(&kind) = bytes.first() else {
                    return Err(FrameError::Empty);
                };
                let mut decoder = Decoder::new(bytes.slice(1..));
                match kind {
                    $($code => fields(&mut decoder)
                        .map(Self::$kind)
                        .map_err(|source| FrameError::Fields { name: stringify!($kind), source }),)*
                    kind => Err(FrameError::UnknownKind { kind }),
                }
            }
        }

        $(
            impl From<$kind> for Frame {
                fn from(fields: $kind) -> Self {
                    Self::$kind(fields)
                }
            }
        )*

        #[cfg(test)]
        impl Frame {
            /// Returns a frame of each kind with fields as chosen.
            pub(crate) fn samples(choices: &[u8]) -> Vec<Self> {
                use crate::message::sample::{Choices, Sample};
                vec![$(Self::$kind($kind::sample(&mut Choices(choices), FORMAT))),*]
            }
        }
    };
}

impl Frame {
    /// Returns about how many bytes the frame has besides records that are not copied.
    fn bytes_expected(&self) -> usize {
        match self {
            Self::Append(append) => {
                let copied = |part: &SubBatch| part.records.bytes_copied() + SUB_BATCH_BYTES;
                append.sub_batches.iter().map(copied).sum::<usize>() + SUB_BATCH_BYTES
            }
            Self::Appended(appended) => (appended.outcomes.len() + 1) * OUTCOME_BYTES,
            _ => 0,
        }
    }
}

frames! {
    /// Begins a link.
    Hello = 1;
    /// Takes a link.
    Welcome = 2;
    /// Refuses a link.
    Refused = 3;
    /// Opens a lane.
    LaneOpen = 10;
    /// Closes a lane.
    LaneClose = 11;
    /// Asks for an answer.
    Request = 12;
    /// Answers a request.
    Answer = 13;
    /// Goes on with a body.
    Continue = 14;
    /// Wants no answer any more.
    Cancel = 15;
    /// Wants an answer at once.
    Finish = 16;
    /// Appends records.
    Append = 20;
    /// Says what became of records.
    Appended = 21;
    /// Grants append bytes.
    Credit = 22;
    /// Calls the other node.
    Call = 30;
    /// Answers a call.
    Reply = 31;
    /// Tells what was subscribed to.
    Push = 32;
    /// Asks for a sign of life.
    Ping = 40;
    /// Gives one.
    Pong = 41;
}

fn fields<T: Wire>(decoder: &mut Decoder) -> Result<T, DecodeError> {
    let fields = T::decode_value(decoder, FORMAT)?;
    decoder.finish()?;
    Ok(fields)
}

#[cfg(test)]
mod tests;
