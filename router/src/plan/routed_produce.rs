//! RoutedProduce: the batch is split here, over as many partitions as the request says, never as this router knows.
//!
//! First what the batch alone decides: whether it is sound and can be split, and whether its number may come. From then on
//! the number has touched its partitions, whatever becomes of it. Then what the topic decides, before any part is sent;
//! for that the cluster's image must have the topic with so many partitions, or it is looked up, once. What is sent then
//! goes the way of a Produce, part by part.

use bytes::Bytes;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::PartitionIndex;
use keylane_protocol::message::routed_produce::RoutedProduceRequest;
use keylane_protocol::record_batch::{RecordBatch, RecordBatchError, RecordBatchHeader};
use keylane_protocol::routed::{SplitBatch, SplitError, split};

use super::Place;
use super::produce::{HeldSubBatch, Refusal, RoutedOrder};
use crate::limits::{ROUTED_GROWTH_FREE, ROUTED_PART_BYTES, ROUTED_SMALL_BYTES};
use crate::lookups::Missing;
use crate::merge::produce::ProduceMerge;
use crate::routed::sessions::{Numbered, OutOfStep, SessionKey, Sessions};
use crate::routing::{MESSAGE_BYTES_MAX, Routing, TopicKey};

const NO_RECORDS: Refusal = Refusal::new(ErrorCode::InvalidRecord, "a record batch is missing");

/// Why a batch of many small parts is not split for now. Its number is not taken, so that the next is a hole.
pub const NO_ROOM: Refusal = Refusal::new(
    ErrorCode::ThrottlingQuotaExceeded,
    "this router has no memory left for what the batch would be split into",
);

const UNKNOWN_TOPIC: Refusal = Refusal::new(
    ErrorCode::UnknownTopicId,
    "there is no topic with this id; if it was deleted and created again, it has another",
);

/// What a RoutedProduce becomes.
#[derive(Debug)]
pub struct RoutedProducePlan {
    /// What the topic has yet to decide.
    pub unchecked: Unchecked,
    /// The parts, in ascending order of partitions. None may be sent before the check.
    pub held: Vec<HeldSubBatch>,
    /// The answer.
    pub merge: ProduceMerge,
}

/// A batch that has been split, and has not been held against its topic.
#[derive(Clone, Copy, Debug)]
pub struct Unchecked {
    /// Whose session it belongs to.
    pub key: SessionKey,
    /// Which of that producer's on the connection.
    pub session: u64,
    /// How many partitions it was split over.
    partition_count: i32,
}

/// What a topic says of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked {
    /// It is to be sent.
    Passed {
        /// How many partitions the topic has.
        partition_count: i32,
    },
    /// Nothing of it is to be sent, and the session goes on.
    Refused(Refusal),
    /// The image has no such topic, or fewer partitions.
    Missing,
}

/// Returns what a batch may be split into, in bytes, if that is much more than the batch: small records, each for another
/// partition. 0 if it is not.
#[must_use]
pub fn parts_bytes(request: &RoutedProduceRequest) -> usize {
    let Some(records) = &request.records else {
        return 0;
    };
    let Ok(header) = RecordBatchHeader::read(records) else {
        return 0;
    };
    let parts = header.record_count.min(request.partition_count);
    let parts = usize::try_from(parts).unwrap_or(0);
    // More records than bytes are refused before anything is split.
    let bytes = parts.min(records.len()) * ROUTED_PART_BYTES;
    match bytes > ROUTED_GROWTH_FREE * (records.len() + ROUTED_SMALL_BYTES) {
        true => bytes,
        false => 0,
    }
}

/// Splits a batch and takes its number.
///
/// # Errors
/// When nothing of it may be sent. Its session has ended, if it is known whose it is.
pub fn plan(
    request: RoutedProduceRequest,
    sessions: &mut Sessions,
) -> Result<RoutedProducePlan, Refusal> {
    let records = request.records.filter(|records| !records.is_empty());
    let records = records.ok_or(NO_RECORDS)?;
    // What no header can be read of has no number: the next one is a hole.
    let header = RecordBatchHeader::read(&records).map_err(|error| unsound(&error))?;
    let key = SessionKey {
        producer_id: header.producer_id,
        topic_id: request.topic_id,
    };
    let split = match check_and_split(records, request.partition_count) {
        Ok(split) => split,
        Err(refusal) => {
            sessions.end(key);
            return Err(refusal);
        }
    };
    let numbered = Numbered {
        key,
        epoch: header.producer_epoch,
        number: header.base_sequence,
        floor: request.floor,
        is_first: request.is_first,
    };
    let partitions = split.iter().map(|part| part.partition);
    let merge = ProduceMerge::routed(partitions.clone());
    let touched = sessions.on_split(&numbered, partitions);
    let touched = touched.map_err(|error| out_of_step(&error))?;
    let parts = split.into_iter().zip(touched.previous).enumerate();
    let held = parts.map(|(partition, (part, previous))| HeldSubBatch {
        place: Place {
            topic: 0,
            partition,
        },
        topic: TopicKey::Id(key.topic_id),
        partition: part.partition,
        acks: -1,
        order: Some(RoutedOrder {
            producer_id: key.producer_id,
            floor: request.floor,
            previous,
        }),
        records: part.batch,
    });
    Ok(RoutedProducePlan {
        unchecked: Unchecked {
            key,
            session: touched.session,
            partition_count: request.partition_count,
        },
        held: held.collect(),
        merge,
    })
}

impl Unchecked {
    /// Returns what is looked up if the image does not have it.
    #[must_use]
    pub fn missing(&self) -> Missing {
        let last = PartitionIndex(self.partition_count - 1);
        (TopicKey::Id(self.key.topic_id), last)
    }

    /// Holds the parts against the topic, as the image knows it.
    #[must_use]
    pub fn check(&self, parts: &[HeldSubBatch], routing: &Routing) -> Checked {
        let topic = routing.image().topic(self.key.topic_id);
        let topic = topic.filter(|topic| topic.partition_count() >= self.partition_count);
        let Some(topic) = topic else {
            return Checked::Missing;
        };
        for part in parts {
            let (partition, length) = (part.partition, part.records.len());
            let max = routing.message_bytes_max(topic, partition);
            if let Some(max) = max.filter(|max| length > *max) {
                let text = format!(
                    "the records for partition {partition} make a batch of {length} bytes, and {MESSAGE_BYTES_MAX} of {} \
                     is {max}; nothing of the request was written",
                    topic.name,
                );
                return Checked::Refused(Refusal {
                    code: ErrorCode::MessageTooLarge,
                    text: text.into(),
                });
            }
        }
        Checked::Passed {
            partition_count: topic.partition_count(),
        }
    }

    /// Returns why a batch is refused whose topic, or partitions, a controller does not know either, or which were not
    /// heard of in time. Its session ends: what it has touched may not exist.
    #[must_use]
    pub fn refused_as_unknown(&self, routing: &Routing) -> Refusal {
        let Some(topic) = routing.image().topic(self.key.topic_id) else {
            return UNKNOWN_TOPIC;
        };
        let (count, has) = (self.partition_count, topic.partition_count());
        Refusal {
            code: ErrorCode::InvalidRequest,
            text: format!("{} has {has} partitions, not {count}", topic.name).into(),
        }
    }
}

fn check_and_split(records: Bytes, partition_count: i32) -> Result<Vec<SplitBatch>, Refusal> {
    let batch = RecordBatch::check(records).map_err(|error| unsound(&error))?;
    split(&batch, partition_count).map_err(|error| {
        let code = match error {
            SplitError::NoPartitions { .. } => ErrorCode::InvalidRequest,
            SplitError::NotRouted { .. } => ErrorCode::InvalidProducerIdMapping,
            SplitError::Compressed { .. } => ErrorCode::UnsupportedCompressionType,
            SplitError::LogAppendTime => ErrorCode::InvalidTimestamp,
            _ => ErrorCode::InvalidRecord,
        };
        let text = error.to_string().into();
        Refusal { code, text }
    })
}

fn unsound(error: &RecordBatchError) -> Refusal {
    let code = match error {
        RecordBatchError::CorruptChecksum { .. } => ErrorCode::CorruptMessage,
        RecordBatchError::UnsupportedMagic { .. } => ErrorCode::UnsupportedForMessageFormat,
        RecordBatchError::UnknownCompression { .. } => ErrorCode::UnsupportedCompressionType,
        _ => ErrorCode::InvalidRecord,
    };
    let text = error.to_string().into();
    Refusal { code, text }
}

fn out_of_step(error: &OutOfStep) -> Refusal {
    let code = match error {
        OutOfStep::NotAtFloor { .. } | OutOfStep::Hole { .. } => {
            ErrorCode::OutOfOrderSequenceNumber
        }
        OutOfStep::Negative { .. }
        | OutOfStep::BelowFloor { .. }
        | OutOfStep::AboveWindow { .. }
        | OutOfStep::FloorFell { .. }
        | OutOfStep::EpochChanged { .. } => ErrorCode::InvalidRequest,
        // The client tries again, from its floor.
        OutOfStep::TooMuchTouched => ErrorCode::ThrottlingQuotaExceeded,
    };
    let text = error.to_string().into();
    Refusal { code, text }
}

#[cfg(test)]
mod tests;
