//! Appends of many lanes in one frame, each checked, refused and answered by itself.
//!
//! ```text
//! Append    [ lane │ correlation │ time left │ acks │ topic id │ partition │ leader epoch │ length │ records,
//!             floor, previous ] …                                        these two of routed batches only
//! Appended  [ lane │ correlation │ topic id │ partition │ error │ base offset │ time │ log start │ words, leader ] …
//! Credit    append bytes that may be sent besides
//! ```
//! A frame holds at most 1 MiB. A sub-batch above that has a frame of its own with its first chunk, and Continue
//! frames for the rest. Every sub-batch costs its records and a constant of the credit ([`cost`]).

use bytestring::ByteString;

use super::limits::SUB_BATCH_COST_BYTES;
use super::{Body, Correlation, Lane};
use crate::error_code::ErrorCode;
use crate::identifiers::{BrokerId, PartitionIndex, TopicId};
use crate::offset::{LeaderEpoch, Offset, Sequence};

message! {
    /// Sub-batches, of any lanes.
    pub struct Append {
        /// In the order in which they are to be enqueued.
        sub_batches: Vec<SubBatch>,
    }
}

message! {
    /// Records of one lane for one partition.
    pub struct SubBatch {
        /// Whose records these are.
        lane: Lane,
        /// What the outcome will refer to.
        correlation: Correlation,
        /// How long the outcome is waited for; the sub-batch has expired afterwards.
        time_left_ms: u32,
        /// When the outcome is known: 0 never, 1 when the leader has it, -1 when all in-sync replicas have.
        acks: i16,
        /// The topic.
        topic_id: TopicId,
        /// The partition.
        partition: PartitionIndex,
        /// The epoch of the leader the dialer took the broker for; an older one than the partition's is refused.
        leader_epoch: LeaderEpoch = LeaderEpoch::NONE,
        /// The length of all records.
        records_length: u32,
        /// The records, or their first chunk.
        records: Body,
    }
    tagged {
        /// Below which number the producer waits for nothing any more; -1 if the batch is not routed.
        0: floor: Sequence [..] = Sequence::NONE,
        /// The last number of the producer's session that touched the partition and is not below the floor; -1 for none.
        1: previous: Sequence [..] = Sequence::NONE,
    }
}

message! {
    /// Outcomes of sub-batches, of any lanes.
    pub struct Appended {
        /// In no particular order.
        outcomes: Vec<Outcome>,
    }
}

message! {
    /// What became of a sub-batch.
    pub struct Outcome {
        /// Whose records they are.
        lane: Lane,
        /// Which sub-batch.
        correlation: Correlation,
        /// The topic.
        topic_id: TopicId,
        /// The partition.
        partition: PartitionIndex,
        /// Why the records were not appended; 0 if they were.
        error_code: ErrorCode,
        /// The offset of the first record; -1 if there is none.
        base_offset: Offset = Offset(-1),
        /// The time the broker gave the records, in milliseconds since 1970; -1 if they keep theirs.
        log_append_time_ms: i64 = -1,
        /// The first offset of the partition; -1 if it is not known.
        log_start_offset: Offset = Offset(-1),
    }
    tagged {
        /// The error for people.
        0: words: Option<ByteString> [..],
        /// The leader the broker knows, if that is another; -1 if it does not.
        1: leader_id: BrokerId [..] = BrokerId::NONE,
        /// The epoch of that leader.
        2: leader_epoch: LeaderEpoch [..] = LeaderEpoch::NONE,
    }
}

message! {
    /// The broker grants more append bytes.
    pub struct Credit {
        /// How many besides what was granted before.
        bytes: u32,
    }
}

/// Returns what a sub-batch costs of the credit.
#[must_use]
pub fn cost(records_length: usize) -> usize {
    records_length.saturating_add(SUB_BATCH_COST_BYTES)
}
