//! RoutedProduce (key 20000, ours), version 0: writes records of a topic whose partitions the router finds.
//!
//! The records are one uncompressed batch of magic 2, whose header carries the producer's id, its epoch, and as base
//! sequence the batch's *number*: a producer counts its batches of a topic 0, 1, 2, … What a number stands for never
//! changes: its records, their order, and the partition count it is split with ([`crate::routed`]).

use bytes::Bytes;
use bytestring::ByteString;

use crate::error_code::ErrorCode;
use crate::identifiers::{PartitionIndex, TopicId};
use crate::offset::{Offset, Sequence};

exchange!(RoutedProduce: RoutedProduceRequest => RoutedProduceResponse);

message! {
    /// Writes a batch.
    pub struct RoutedProduceRequest {
        /// The topic.
        topic_id: TopicId,
        /// How many partitions the batch is split over, fixed when its number was first sent.
        partition_count: i32,
        /// Everything below this number has been answered or given up.
        floor: Sequence,
        /// Whether a session begins: the batch's number is the floor, and what was sent before is sent again.
        is_first: bool,
        /// How long to wait for the outcome, in milliseconds.
        timeout_ms: i32,
        /// The batch; null is refused.
        records: Option<Bytes> = Some(Bytes::new()),
    }
}

message! {
    /// Tells where a batch was written, or why not.
    pub struct RoutedProduceResponse {
        /// How long the request was held back by a quota, in milliseconds.
        throttle_time_ms: i32,
        /// Why nothing of the batch was written, if it was refused as a whole.
        error_code: ErrorCode,
        /// The error for people.
        error_message: Option<ByteString>,
        /// How many partitions the topic has now, for batches that have no number yet; -1 if that is not known.
        partition_count: i32 = -1,
        /// The partitions that records of the batch belong to; empty if it was refused as a whole.
        partitions: Vec<RoutedProducePartition>,
    }
}

message! {
    /// What became of the records of one partition.
    pub struct RoutedProducePartition {
        /// The partition.
        partition: PartitionIndex,
        /// Why the records were not written, if they were not.
        error_code: ErrorCode,
        /// The error for people.
        error_message: Option<ByteString>,
        /// The offset of the first of them, which the others follow without a gap; -1 if there is none.
        base_offset: Offset = Offset(-1),
        /// The partition's first offset; -1 if it is not known.
        log_start_offset: Offset = Offset(-1),
    }
}
