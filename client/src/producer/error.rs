//! What can go wrong with a producer: making it, handing it a record, and delivering the record.

use std::sync::Arc;
use std::time::Duration;

use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::{PartitionIndex, TopicId};

use crate::address::BrokerAddress;
use crate::connection::ConnectionError;
use crate::metadata::MetadataError;

/// Why no producer could be made.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BuildProducerError {
    /// Settings make no sense; all faults are listed.
    #[error("the producer's settings cannot be used: {}", faults.join("; "))]
    Settings {
        /// One sentence per fault.
        faults: Vec<String>,
    },
    /// The cluster gave no producer id.
    #[error("no producer id was given: {code}{}", detail(.message))]
    Refused {
        /// What the broker says.
        code: ErrorCode,
        /// The same for people, if the broker tells.
        message: Option<Arc<str>>,
    },
    /// A routed producer was asked for, where nobody routes.
    #[error(
        "{address} routes no batches: dial a router for a routed producer, or let the path be chosen (Path::Automatic)"
    )]
    NotARouter {
        /// Who was asked.
        address: BrokerAddress,
    },
    /// No broker could be asked.
    #[error(transparent)]
    Cluster(#[from] MetadataError),
}

impl BuildProducerError {
    /// Returns whether another attempt may succeed without anything being changed first.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Settings { .. } | Self::NotARouter { .. } => false,
            Self::Refused { code, .. } => code.is_retriable(),
            Self::Cluster(error) => error.is_retriable(),
        }
    }
}

/// Why a record was not taken. It is certain that it will not be written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SendError {
    /// The producer was closed.
    #[error("the producer is closed")]
    Closed,
    /// The record can never be sent with these settings.
    #[error("the record needs {size_bytes} bytes, but at most {size_bytes_max} are allowed")]
    TooLarge {
        /// The most bytes the record could take.
        size_bytes: usize,
        /// The producer's `max_record_bytes`.
        size_bytes_max: usize,
    },
    /// The topic has no such partition.
    #[error("topic {topic:?} has {count} partitions, so none with index {partition}")]
    UnknownPartition {
        /// The topic's name.
        topic: String,
        /// The partition asked for.
        partition: PartitionIndex,
        /// How many there are.
        count: usize,
    },
    /// The record names its partition, and the routed producer was given no second id for such records.
    #[error("a record that names its partition cannot be sent: {0}")]
    NoProducerId(Arc<BuildProducerError>),
    /// The topic or the cluster is not there.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
}

impl SendError {
    /// Returns whether another attempt may succeed without anything being changed first.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Closed | Self::TooLarge { .. } | Self::UnknownPartition { .. } => false,
            Self::NoProducerId(error) => error.is_retriable(),
            Self::Metadata(error) => error.is_retriable(),
        }
    }
}

/// Why a record that was taken is not known to be written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The record is not in the partition and never will be.
    #[error("the record was not written to {topic}{}: {cause}", dashed(.partition))]
    NotWritten {
        /// The topic's name.
        topic: Arc<str>,
        /// The partition; `None` for a routed record whose batch never had a number, which decides on the partition.
        partition: Option<PartitionIndex>,
        /// Why.
        cause: DeliveryFailure,
    },
    /// The record may or may not be in the partition. If it is, it is there once and in its place.
    #[error("it is not known whether the record was written to {topic}{}: {cause}", dashed(.partition))]
    OutcomeUnknown {
        /// The topic's name.
        topic: Arc<str>,
        /// The partition.
        partition: Option<PartitionIndex>,
        /// Why.
        cause: DeliveryFailure,
    },
}

/// What a delivery failed of.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DeliveryFailure {
    /// The broker refuses the batch.
    #[error("{code}{}", detail(.message))]
    Refused {
        /// What the broker says.
        code: ErrorCode,
        /// The same for people, if the broker tells.
        message: Option<Arc<str>>,
    },
    /// The connection failed.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The delivery time-out passed.
    #[error("it was not acknowledged within {after:?}{}", last_failure(.last))]
    TimedOut {
        /// The producer's `delivery_timeout`.
        after: Duration,
        /// What the last attempt failed of, if there was one.
        last: Option<Arc<DeliveryFailure>>,
    },
    /// The topic was deleted, and perhaps created anew, before. A record sent again goes to the topic that has the name
    /// then.
    #[error("the topic with id {id} is gone: it was deleted, or deleted and created anew")]
    TopicGone {
        /// Which topic the record was sent to.
        id: TopicId,
    },
    /// The producer was dropped before.
    #[error("the producer was dropped before it was acknowledged")]
    Dropped,
}

impl DeliveryError {
    /// Returns whether the record may have been written.
    #[must_use]
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self, Self::OutcomeUnknown { .. })
    }

    /// Returns whether sending the record again may succeed and cannot write it twice.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::NotWritten { cause, .. } => cause.is_retriable(),
            Self::OutcomeUnknown { .. } => false,
        }
    }

    /// Returns whether sending the record again, unchanged, cannot succeed.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        !self.is_outcome_unknown() && !self.is_retriable()
    }

    /// Returns what the delivery failed of.
    #[must_use]
    pub fn cause(&self) -> &DeliveryFailure {
        match self {
            Self::NotWritten { cause, .. } | Self::OutcomeUnknown { cause, .. } => cause,
        }
    }
}

impl DeliveryFailure {
    fn is_retriable(&self) -> bool {
        match self {
            Self::Refused { code, .. } => code.is_retriable(),
            Self::Connection(error) => error.is_retriable(),
            Self::TimedOut { .. } | Self::TopicGone { .. } => true,
            Self::Dropped => false,
        }
    }
}

/// Some records that were sent since the last `flush` are not known to be written.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{records} records are not known to be written; the first: {first}")]
pub struct FlushError {
    /// How many.
    pub records: u64,
    /// What became of the first of them.
    pub first: DeliveryError,
}

fn dashed(partition: &Option<PartitionIndex>) -> String {
    partition.map_or_else(String::new, |partition| format!("-{partition}"))
}

fn detail(message: &Option<Arc<str>>) -> String {
    let text = message.as_ref();
    text.map_or_else(String::new, |message| format!(": {message}"))
}

fn last_failure(last: &Option<Arc<DeliveryFailure>>) -> String {
    let text = last.as_ref();
    text.map_or_else(String::new, |last| format!("; last: {last}"))
}
