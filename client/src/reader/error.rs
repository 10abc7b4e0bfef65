//! What can go wrong with a reader: making it, and reading a partition.

use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::PartitionIndex;
use keylane_protocol::offset::Offset;

use crate::metadata::MetadataError;
use crate::offsets::ListOffsetsError;

/// Why no reader could be made, or it could not be moved.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BuildReaderError {
    /// Settings make no sense; all faults are listed.
    #[error("the reader's settings cannot be used: {}", faults.join("; "))]
    Settings {
        /// One sentence per fault.
        faults: Vec<String>,
    },
    /// The topic or the cluster is not there.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The offset to start at could not be found.
    #[error(transparent)]
    Offsets(#[from] ListOffsetsError),
    /// The reader does not read this partition.
    #[error("the reader does not read {topic}-{partition}")]
    NotRead {
        /// The topic's name.
        topic: String,
        /// The partition.
        partition: PartitionIndex,
    },
}

impl BuildReaderError {
    /// Returns whether another attempt may succeed without anything being changed first.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Settings { .. } | Self::NotRead { .. } => false,
            Self::Metadata(error) => error.is_retriable(),
            Self::Offsets(error) => error.is_retriable(),
        }
    }
}

/// Why a partition can be read no further. Other partitions are; this one goes on after a `seek`.
///
/// What passes by itself (a leader that moves or is away) is never an error: the reader waits and warns in the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The offset is not there: deleted already, or not written yet.
    #[error("{topic}-{partition} has no offset {offset}: it holds {first} up to {end}")]
    OffsetOutOfRange {
        /// The topic's name.
        topic: String,
        /// The partition.
        partition: PartitionIndex,
        /// The offset asked for.
        offset: Offset,
        /// The first offset that is there; -1 if the broker does not tell.
        first: Offset,
        /// The high watermark; -1 if the broker does not tell.
        end: Offset,
    },
    /// What the broker sent is damaged.
    #[error("{topic}-{partition} is damaged at offset {offset}: {reason}")]
    Corrupt {
        /// The topic's name.
        topic: String,
        /// The partition.
        partition: PartitionIndex,
        /// The first offset that cannot be read.
        offset: Offset,
        /// What is wrong.
        reason: String,
    },
    /// The topic was deleted.
    #[error("there is no topic {topic:?} any more")]
    UnknownTopic {
        /// The topic's name.
        topic: String,
        /// The partition.
        partition: PartitionIndex,
    },
    /// The topic was deleted and another of that name created: offsets mean something else now.
    #[error("topic {topic:?} was deleted and created anew")]
    TopicRecreated {
        /// The topic's name.
        topic: String,
        /// The partition.
        partition: PartitionIndex,
    },
    /// The broker refuses for good.
    #[error("{topic}-{partition} cannot be read: {code}")]
    Refused {
        /// The topic's name.
        topic: String,
        /// The partition.
        partition: PartitionIndex,
        /// What the broker says.
        code: ErrorCode,
    },
}

impl ReadError {
    /// Returns the topic and partition that can be read no further.
    #[must_use]
    pub fn place(&self) -> (&str, PartitionIndex) {
        match self {
            Self::OffsetOutOfRange {
                topic, partition, ..
            }
            | Self::Corrupt {
                topic, partition, ..
            }
            | Self::UnknownTopic { topic, partition }
            | Self::TopicRecreated { topic, partition }
            | Self::Refused {
                topic, partition, ..
            } => (topic, *partition),
        }
    }
}
