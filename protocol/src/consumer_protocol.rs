//! What consumers of a classic group say to one another; to the group's coordinator it is opaque bytes.
//!
//! ```text
//! version i16, fields of that version (never flexible), [fields of later versions]
//! ```
//! JoinGroup carries subscriptions to the leader as metadata, SyncGroup carries assignments back. Versions 0 to 3 are
//! known, and a later one is read as the last known: it may only add fields behind (`ConsumerProtocol` of the Java
//! client). So bytes left over are no error. No bytes at all, which a member without assignment is sent, do not decode.

use std::ops::RangeInclusive;

use bytes::Bytes;
use bytestring::ByteString;

use crate::group::Generation;
use crate::identifiers::PartitionIndex;
use crate::primitive::wire::Wire;
use crate::primitive::{DecodeError, Decoder, EncodeError, Encoder, Format};

/// The protocol type under which consumers join a group.
pub const PROTOCOL_TYPE: &str = "consumer";

/// The versions that are known.
pub const VERSIONS: RangeInclusive<i16> = 0..=3;

message! {
    /// What a consumer wants to read, and what it has.
    ///
    /// v1 owned partitions (KIP-429) · v2 generation (KIP-792) · v3 rack (KIP-881).
    pub struct ConsumerProtocolSubscription {
        /// The names of the topics.
        topics: Vec<ByteString>,
        /// What the member's assignor adds; `None` for nothing.
        user_data: Option<Bytes>,
        /// The partitions the member has and would keep.
        owned_partitions: Vec<TopicPartitions> [1.. ; ignorable],
        /// The generation in which it was given them; -1 for none.
        generation_id: Generation [2.. ; ignorable] = Generation::NONE,
        /// The member's rack; `None` for none.
        rack_id: Option<ByteString> [3.. ; ignorable],
    }
}

message! {
    /// What a consumer should read.
    ///
    /// Has the same fields in every version.
    pub struct ConsumerProtocolAssignment {
        /// The partitions.
        assigned_partitions: Vec<TopicPartitions>,
        /// What the leader's assignor adds; `None` for nothing.
        user_data: Option<Bytes>,
    }
}

message! {
    /// Partitions of one topic.
    pub struct TopicPartitions {
        /// The topic's name.
        topic: ByteString,
        /// The partitions.
        partitions: Vec<PartitionIndex>,
    }
}

macro_rules! versioned {
    ($name:ident) => {
        impl $name {
            /// Returns what the bytes say, and the version it was read in: at most the last one known.
            ///
            /// Texts and user data are slices of the bytes, and keep them.
            ///
            /// # Errors
            /// When the bytes end early, are malformed, or their version is negative.
            pub fn decode(bytes: &Bytes) -> Result<(i16, Self), DecodeError> {
                let mut decoder = Decoder::new(bytes.clone());
                let format = read_format(&mut decoder, stringify!($name))?;
                let value = Self::decode_value(&mut decoder, format)?;
                Ok((format.version, value))
            }

            /// Returns the bytes; what the version lacks is left out.
            ///
            /// # Errors
            /// When the version is not known, or a text or list is too long for its length.
            pub fn encode(&self, version: i16) -> Result<Bytes, EncodeError> {
                let format = known_format(version).ok_or(EncodeError::UnsupportedVersion {
                    api: stringify!($name),
                    version,
                })?;
                let mut encoder = Encoder::new();
                version.encode_value(&mut encoder, format)?;
                self.encode_value(&mut encoder, format)?;
                Ok(Bytes::from(encoder.into_segments().concat()))
            }
        }
    };
}

versioned!(ConsumerProtocolSubscription);
versioned!(ConsumerProtocolAssignment);

/// Reads a version and returns what to read the rest as.
fn read_format(decoder: &mut Decoder, name: &'static str) -> Result<Format, DecodeError> {
    let version = decoder.read_i16()?;
    let known = version.min(*VERSIONS.end());
    known_format(known).ok_or(DecodeError::UnsupportedVersion { api: name, version })
}

fn known_format(version: i16) -> Option<Format> {
    VERSIONS.contains(&version).then_some(Format {
        version,
        flexible: false,
    })
}

#[cfg(test)]
mod tests;
