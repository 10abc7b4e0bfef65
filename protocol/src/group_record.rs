//! The records of the topic `__consumer_offsets`, in Kafka's published format, so that Kafka's tools read them.
//!
//! ```text
//! key     version i16 · fields            (never flexible; the version says what the record is about)
//! value   version i16 · fields            null is a tombstone: what the key names exists no longer
//! ```
//! What the fields are stands in `declarations`. A key of an unknown version belongs to a later version of groups: it is
//! passed over, as Kafka does. A value of an unknown version under a known key is an error, since nothing may be missing.

mod declarations;
#[cfg(test)]
mod tests;

pub use declarations::*;

use bytes::{BufMut, Bytes, BytesMut};

use crate::identifiers::TopicId;
use crate::primitive::wire::Wire;
use crate::primitive::{DecodeError, Decoder, EncodeError, Encoder, Format};

/// Why a record cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupRecordError {
    /// The key is not what its version says.
    #[error("the key of a group's record cannot be read: {source}")]
    Key {
        /// What is wrong with it.
        source: DecodeError,
    },
    /// The value is not what its version says.
    #[error("the value under a key of version {key_version} cannot be read: {source}")]
    Value {
        /// What the record is about.
        key_version: i16,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// A later version wrote the value.
    #[error("the value under a key of version {key_version} has the unknown version {version}")]
    UnknownValueVersion {
        /// What the record is about.
        key_version: i16,
        /// The version found.
        version: i16,
    },
}

macro_rules! group_records {
    ($(
        $(#[$doc:meta])*
        $key_version:literal $(or $older_key_version:literal)? =>
            $name:ident($key:ident, $value:ident $(in $kept:ident)?) [..=$last:literal, flexible $flexible:literal..],
    )*) => {
        /// A record about groups; without value it is a tombstone.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum GroupRecord {
            $($(#[$doc])* $name($key, Option<group_records!(@kept $value $(, $kept)?)>),)*
        }

        impl GroupRecord {
            /// Returns the version of the key that is written, which says what the record is about.
            #[must_use]
            pub fn key_version(&self) -> i16 {
                match self {
                    $(Self::$name(..) => $key_version,)*
                }
            }

            /// Returns the key's bytes.
            ///
            /// # Errors
            /// When a text is longer than 32,767 bytes.
            pub fn key_bytes(&self) -> Result<Bytes, EncodeError> {
                let version = self.key_version();
                match self {
                    $(Self::$name(key, _) => encode(key, Format { version, flexible: false }),)*
                }
            }

            /// Returns the value's bytes; `None` for a tombstone.
            ///
            /// # Errors
            /// When a text is longer than 32,767 bytes.
            pub fn value_bytes(&self) -> Result<Option<Bytes>, EncodeError> {
                let version = self.value_version();
                match self {
                    $(Self::$name(_, Some(value)) => {
                        let value: &$value = value;
                        let flexible = version >= $flexible;
                        encode(value, Format { version, flexible }).map(Some)
                    })*
                    _ => Ok(None),
                }
            }

            /// Returns the record that key and value make; `None` if the key is of a version that is not known.
            ///
            /// # Errors
            /// When the bytes are not what their versions say, or a later version wrote the value.
            pub fn decode(
                key: &Bytes,
                value: Option<&Bytes>,
            ) -> Result<Option<Self>, GroupRecordError> {
                let invalid = |source| GroupRecordError::Key { source };
                let mut decoder = Decoder::new(key.clone());
                let version = decoder.read_i16().map_err(invalid)?;
                let format = Format { version, flexible: false };
                let record = match version {
                    $($key_version $(| $older_key_version)? => {
                        let key = decode(&mut decoder, format).map_err(invalid)?;
                        let value = value.map(|value| decode_value(value, version, [$last, $flexible]));
                        Self::$name(key, value.transpose()?$(.map(|value: $value| $kept::from(value)))?)
                    })*
                    _ => return Ok(None),
                };
                Ok(Some(record))
            }
        }

        #[cfg(test)]
        pub(crate) const KINDS: &[tests::Kind] = &[$(tests::Kind {
            name: stringify!($name),
            key_version: $key_version,
            last: $last,
            sample: |choices, version| {
                use crate::message::sample::Sample;
                let key = $key::sample(choices, Format { version: $key_version, flexible: false });
                let format = Format { version, flexible: version >= $flexible };
                let value = $value::sample(choices, format);
                let bytes = encode(&value, format).expect("what was sampled can be encoded");
                (GroupRecord::$name(key, Some(value.into())), bytes)
            },
        },)*];
    };

    (@kept $value:ident) => { $value };
    (@kept $value:ident, $kept:ident) => { $kept<$value> };
}

group_records! {
    /// How far a group has read a partition.
    1 or 0 => OffsetCommit(OffsetCommitKey, OffsetCommitValue) [..=4, flexible 4..],
    /// A group of the classic protocol.
    2 => GroupMetadata(GroupKey, GroupMetadataValue) [..=4, flexible 4..],
    /// A group of the consumer protocol (KIP-848): its epoch.
    3 => ConsumerGroupMetadata(GroupKey, ConsumerGroupMetadataValue) [..=0, flexible 0..],
    /// The partitions that the assignment of a consumer group was made for.
    4 => ConsumerGroupPartitionMetadata(GroupKey, ConsumerGroupPartitionMetadataValue) [..=0, flexible 0..],
    /// A member of a consumer group.
    5 => ConsumerGroupMemberMetadata(MemberKey, ConsumerGroupMemberMetadataValue in Box) [..=0, flexible 0..],
    /// The epoch that the assignment of a consumer group was made for.
    6 => ConsumerGroupTargetAssignmentMetadata(GroupKey, ConsumerGroupTargetAssignmentMetadataValue)
        [..=0, flexible 0..],
    /// What a member is to have.
    7 => ConsumerGroupTargetAssignmentMember(MemberKey, ConsumerGroupTargetAssignmentMemberValue)
        [..=0, flexible 0..],
    /// What a member has.
    8 => ConsumerGroupCurrentMemberAssignment(MemberKey, ConsumerGroupCurrentMemberAssignmentValue)
        [..=0, flexible 0..],
}

impl GroupRecord {
    /// Returns whether the record removes what its key names.
    #[must_use]
    pub fn is_tombstone(&self) -> bool {
        matches!(
            self,
            Self::OffsetCommit(_, None)
                | Self::GroupMetadata(_, None)
                | Self::ConsumerGroupMetadata(_, None)
                | Self::ConsumerGroupPartitionMetadata(_, None)
                | Self::ConsumerGroupMemberMetadata(_, None)
                | Self::ConsumerGroupTargetAssignmentMetadata(_, None)
                | Self::ConsumerGroupTargetAssignmentMember(_, None)
                | Self::ConsumerGroupCurrentMemberAssignment(_, None)
        )
    }

    /// Returns the version in which the value is written: as Kafka, the last one that is not flexible, unless it lacks
    /// something that is set.
    fn value_version(&self) -> i16 {
        match self {
            Self::OffsetCommit(_, Some(value)) if value.expire_timestamp != -1 => 1,
            Self::OffsetCommit(_, Some(value)) if value.topic_id != TopicId::ZERO => 4,
            Self::OffsetCommit(..) | Self::GroupMetadata(..) => 3,
            _ => 0,
        }
    }
}

fn encode(fields: &impl Wire, format: Format) -> Result<Bytes, EncodeError> {
    let mut encoder = Encoder::new();
    fields.encode_value(&mut encoder, format)?;
    let mut bytes = BytesMut::with_capacity(2 + encoder.len());
    bytes.put_i16(format.version);
    for segment in encoder.into_segments() {
        bytes.put_slice(&segment);
    }
    Ok(bytes.freeze())
}

fn decode<T: Wire>(decoder: &mut Decoder, format: Format) -> Result<T, DecodeError> {
    let fields = T::decode_value(decoder, format)?;
    decoder.finish()?;
    Ok(fields)
}

fn decode_value<T: Wire>(
    value: &Bytes,
    key_version: i16,
    [last, flexible]: [i16; 2],
) -> Result<T, GroupRecordError> {
    let invalid = |source| GroupRecordError::Value {
        key_version,
        source,
    };
    let mut decoder = Decoder::new(value.clone());
    let version = decoder.read_i16().map_err(invalid)?;
    if !(0..=last).contains(&version) {
        return Err(GroupRecordError::UnknownValueVersion {
            key_version,
            version,
        });
    }
    let format = Format {
        version,
        flexible: version >= flexible,
    };
    decode(&mut decoder, format).map_err(invalid)
}
