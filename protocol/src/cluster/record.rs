//! The records of the metadata log.
//!
//! ```text
//! records   format i8 (0) · count u32 · per record: kind i16 · length u32 · body
//! body      the record's fields as a flexible message: additions are tagged fields that older readers skip
//! ```
//! A kind that is not known is an error, never skipped: what it changes would be missing from the image.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use bytestring::ByteString;

use crate::identifiers::{BrokerId, ClusterId, FolderId, PartitionIndex, StartId, TopicId};
use crate::limits::DECODE_ALLOCATION_FACTOR;
use crate::offset::{BrokerEpoch, LeaderEpoch, PartitionEpoch};
use crate::primitive::wire::Wire;
use crate::primitive::{DecodeError, Decoder, EncodeError, Encoder, Format};

/// The format written and the highest one read.
const FORMAT: i8 = 0;

/// Every body is a flexible message of version 0.
const BODY: Format = Format {
    version: 0,
    flexible: true,
};

/// What the smallest record takes: kind, length, a number and the count of tagged fields.
const RECORD_BYTES_MIN: usize = 2 + 4 + 4 + 1;

/// A list of the smallest records stays within what decoding may allocate.
const _: () = assert!(size_of::<MetadataRecord>() <= DECODE_ALLOCATION_FACTOR * RECORD_BYTES_MIN);

/// Why bytes are not records of the metadata log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordsError {
    /// A later version wrote them.
    #[error(
        "metadata of format {format} was written by a later version, this one reads up to {FORMAT}"
    )]
    NewerFormat {
        /// The format found.
        format: i8,
    },
    /// A later version wrote one of them.
    #[error("a metadata record of the unknown kind {kind} was written by a later version")]
    UnknownKind {
        /// The kind found.
        kind: i16,
    },
    /// The bytes end too early, or go on behind the last record.
    #[error("metadata records of {length} bytes do not end where their lengths say")]
    Length {
        /// All bytes.
        length: usize,
    },
    /// A body is not what its kind says.
    #[error("a metadata record of kind {kind} cannot be read: {source}")]
    Body {
        /// The record's kind.
        kind: i16,
        /// What is wrong with it.
        source: DecodeError,
    },
}

macro_rules! records {
    ($($(#[$doc:meta])* $kind:literal => $name:ident $(in $kept:ty)?,)*) => {
        /// One change of the cluster's metadata.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum MetadataRecord {
            $($(#[$doc])* $name(records!(@kept $name $(, $kept)?)),)*
        }

        $(impl From<$name> for MetadataRecord {
            fn from(record: $name) -> Self {
                Self::$name(record.into())
            }
        })*

        impl MetadataRecord {
            fn kind(&self) -> i16 {
                match self {
                    $(Self::$name(_) => $kind,)*
                }
            }

            fn encode_body(&self, encoder: &mut Encoder) -> Result<(), EncodeError> {
                match self {
                    $(Self::$name(record) => record.encode_value(encoder, BODY),)*
                }
            }

            fn decode_body(kind: i16, body: Bytes) -> Result<Self, RecordsError> {
                let invalid = |source| RecordsError::Body { kind, source };
                let mut decoder = Decoder::new(body);
                let record = match kind {
                    $($kind => $name::decode_value(&mut decoder, BODY).map(Self::from),)*
                    kind => return Err(RecordsError::UnknownKind { kind }),
                };
                let record = record.map_err(invalid)?;
                decoder.finish().map_err(invalid)?;
                Ok(record)
            }
        }

        #[cfg(test)]
        impl crate::message::sample::Sample for MetadataRecord {
            fn sample(choices: &mut crate::message::sample::Choices<'_>, _: Format) -> Self {
                let samples: &[fn(&mut crate::message::sample::Choices<'_>) -> Self] = &[
                    $(|choices| Self::from($name::sample(choices, BODY)),)*
                ];
                let choice = usize::from(u8::try_from(i8::sample(choices, BODY).unsigned_abs()).unwrap_or(0));
                samples[choice % samples.len()](choices)
            }
        }
    };

    (@kept $name:ident) => { $name };
    (@kept $name:ident, $kept:ty) => { $kept };
}

records! {
    /// The first record of all.
    1 => ClusterFounded,
    /// A process of a broker has begun; it is fenced until it has caught up.
    2 => BrokerRegistered in Box<BrokerRegistered>,
    /// A broker is fenced or no longer so.
    3 => BrokerFenceChanged,
    /// A router has begun, or lives at another address.
    4 => RouterRegistered,
    /// A router has been silent for too long, or has ended.
    5 => RouterRemoved,
    /// A topic exists; its partitions and configs follow.
    6 => TopicCreated,
    /// A partition is new, or something about it is.
    7 => PartitionChanged,
    /// A topic exists no longer.
    8 => TopicDeleted,
    /// A config of a topic is set or back at its default.
    9 => TopicConfigured,
    /// Epochs below these are used up.
    10 => EpochsUsed,
}

message! {
    /// A cluster has begun.
    pub struct ClusterFounded {
        /// Its id, never zero.
        cluster_id: ClusterId,
    }
}

message! {
    /// A process of a broker has begun, which ends the process before it.
    pub struct BrokerRegistered {
        /// The broker.
        broker_id: BrokerId,
        /// The registration; higher than every one before it, of any broker or router.
        broker_epoch: BrokerEpoch,
        /// Its data folder.
        folder_id: FolderId,
        /// How often the folder has been opened.
        incarnation: i32,
        /// The operating system's id of its own start, so that a restart of the machine can be told.
        boot_id: ByteString,
        /// Where clients reach it.
        host: ByteString,
        /// The port there.
        port: i32,
        /// Where brokers and routers reach it.
        internal_host: ByteString,
        /// The port there.
        internal_port: i32,
        /// What fails together with it; `None` if nothing is known.
        rack: Option<ByteString>,
    }
    tagged {
        /// The process's start; zero from a version that drew none.
        0: start: StartId [0..],
    }
}

message! {
    /// Whether a broker takes part has changed.
    pub struct BrokerFenceChanged {
        /// The broker.
        broker_id: BrokerId,
        /// Its registration.
        broker_epoch: BrokerEpoch,
        /// Whether it is fenced: it leads nothing and clients are not sent to it.
        is_fenced: bool,
    }
}

message! {
    /// A router is there.
    pub struct RouterRegistered {
        /// Its id, which follows from its address.
        router_id: BrokerId,
        /// The registration.
        router_epoch: BrokerEpoch,
        /// Where clients reach it.
        host: ByteString,
        /// The port there.
        port: i32,
    }
}

message! {
    /// A router is gone.
    pub struct RouterRemoved {
        /// The router.
        router_id: BrokerId,
    }
}

message! {
    /// A topic has been created.
    pub struct TopicCreated {
        /// Its id, never zero.
        topic_id: TopicId,
        /// Its name, which no other topic has.
        name: ByteString,
    }
}

message! {
    /// A partition as it is from now on.
    pub struct PartitionChanged {
        /// The topic.
        topic_id: TopicId,
        /// The partition: one of the topic's, or the next one.
        partition: PartitionIndex,
        /// Who keeps its records, the preferred leader first.
        replicas: Vec<BrokerId>,
        /// Which of them have every record that was acknowledged.
        in_sync: Vec<BrokerId>,
        /// Who leads it, one of those in sync; -1 for nobody.
        leader: BrokerId = BrokerId::NONE,
        /// The epoch of the leadership; never lower than before.
        leader_epoch: LeaderEpoch,
        /// How often this entry has changed; higher each time.
        partition_epoch: PartitionEpoch,
    }
    tagged {
        /// Who may still be elected although not in sync (KIP-966).
        0: eligible: Vec<BrokerId> [0..],
        /// Who else was in sync when the set was last large enough (KIP-966).
        1: last_known: Vec<BrokerId> [0..],
    }
}

message! {
    /// A topic has been deleted, with its partitions and configs.
    pub struct TopicDeleted {
        /// The topic.
        topic_id: TopicId,
    }
}

message! {
    /// A config of a topic has been set.
    pub struct TopicConfigured {
        /// The topic.
        topic_id: TopicId,
        /// Kafka's key.
        key: ByteString,
        /// The value; `None` means the default again.
        value: Option<ByteString>,
    }
}

message! {
    /// Epochs that a snapshot would forget, because what they belonged to is gone.
    pub struct EpochsUsed {
        /// Partitions created from now on start in this epoch or a later one.
        leader_epoch_floor: LeaderEpoch,
        /// Registrations from now on have a higher epoch than this.
        broker_epoch: BrokerEpoch,
    }
}

/// Returns the records as bytes.
///
/// # Errors
/// When one of them has a text longer than 32,767 bytes, or there are more than a u32 can count.
pub fn encode_records(records: &[MetadataRecord]) -> Result<Bytes, EncodeError> {
    let too_long = |length| EncodeError::TooLong { length };
    let mut bytes = BytesMut::new();
    bytes.put_i8(FORMAT);
    bytes.put_u32(u32::try_from(records.len()).map_err(|_| too_long(records.len()))?);
    for record in records {
        let mut encoder = Encoder::new();
        record.encode_body(&mut encoder)?;
        let length = encoder.len();
        bytes.put_i16(record.kind());
        bytes.put_u32(u32::try_from(length).map_err(|_| too_long(length))?);
        for segment in encoder.into_segments() {
            bytes.put_slice(&segment);
        }
    }
    Ok(bytes.freeze())
}

/// Returns the records in bytes.
///
/// # Errors
/// When the bytes are not exactly that, or a later version wrote them.
pub fn decode_records(bytes: &Bytes) -> Result<Vec<MetadataRecord>, RecordsError> {
    let cut = |_| RecordsError::Length {
        length: bytes.len(),
    };
    let mut rest = bytes.clone();
    let format = rest.try_get_i8().map_err(cut)?;
    if format != FORMAT {
        return Err(RecordsError::NewerFormat { format });
    }
    let count = rest.try_get_u32().map_err(cut)?;
    let fitting = rest.len() / RECORD_BYTES_MIN;
    let mut records = Vec::with_capacity(fitting.min(usize::try_from(count).unwrap_or(fitting)));
    for _ in 0..count {
        let kind = rest.try_get_i16().map_err(cut)?;
        let length = rest.try_get_u32().map_err(cut)?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > rest.len() {
            return Err(RecordsError::Length {
                length: bytes.len(),
            });
        }
        records.push(MetadataRecord::decode_body(kind, rest.split_to(length))?);
    }
    if rest.is_empty() {
        Ok(records)
    } else {
        Err(RecordsError::Length {
            length: bytes.len(),
        })
    }
}
