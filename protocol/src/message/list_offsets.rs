//! ListOffsets (key 2), versions 1 to 7: finds offsets by time or by place.
//!
//! v1 one offset per partition (KIP-79) · v2 isolation level, throttle time (KIP-98) · v3 throttles after answering ·
//! v4 leader epochs (KIP-320) · v5 OFFSET_NOT_AVAILABLE · v6 flexible · v7 greatest timestamp (KIP-734).
//! A negative timestamp that the version does not know is answered with UNSUPPORTED_VERSION, never taken as a time.

use bytestring::ByteString;

use crate::error_code::ErrorCode;
use crate::identifiers::{BrokerId, PartitionIndex};
use crate::offset::{LeaderEpoch, Offset};

exchange!(ListOffsets: ListOffsetsRequest => ListOffsetsResponse);

/// Asks for the end: the high watermark, or the last stable offset for consumers of committed records.
pub const LATEST_TIMESTAMP: i64 = -1;

/// Asks for the first offset.
pub const EARLIEST_TIMESTAMP: i64 = -2;

/// Asks for the record with the greatest timestamp, from version 7 on (KIP-734).
pub const MAX_TIMESTAMP: i64 = -3;

message! {
    /// Asks for offsets of partitions.
    pub struct ListOffsetsRequest {
        /// The follower that asks; -1 for a client, which alone a client-facing listener serves.
        replica_id: BrokerId,
        /// As in Fetch: `fetch::READ_UNCOMMITTED` or `fetch::READ_COMMITTED`.
        isolation_level: i8 [2..],
        /// The topics.
        topics: Vec<ListOffsetsTopic>,
    }
}

message! {
    /// What to find in one topic.
    pub struct ListOffsetsTopic {
        /// The topic's name.
        name: ByteString,
        /// Its partitions.
        partitions: Vec<ListOffsetsPartition>,
    }
}

message! {
    /// What to find in one partition.
    pub struct ListOffsetsPartition {
        /// The partition.
        partition_index: PartitionIndex,
        /// The leader epoch the client knows, to be fenced by; -1 for unknown.
        current_leader_epoch: LeaderEpoch [4.. ; ignorable] = LeaderEpoch::NONE,
        /// Find the first record at or after this time, in milliseconds since 1970, or one of the constants above.
        timestamp: i64,
    }
}

message! {
    /// Names offsets.
    pub struct ListOffsetsResponse {
        /// How long the request was held back by a quota, in milliseconds.
        throttle_time_ms: i32 [2.. ; ignorable],
        /// The topics.
        topics: Vec<ListOffsetsTopicResponse>,
    }
}

message! {
    /// What was found in one topic.
    pub struct ListOffsetsTopicResponse {
        /// The topic's name.
        name: ByteString,
        /// Its partitions.
        partitions: Vec<ListOffsetsPartitionResponse>,
    }
}

message! {
    /// What was found in one partition.
    pub struct ListOffsetsPartitionResponse {
        /// The partition.
        partition_index: PartitionIndex,
        /// Why nothing could be found, if so.
        error_code: ErrorCode,
        /// The record's time in milliseconds since 1970; -1 if none was found or the place was asked for.
        timestamp: i64 = -1,
        /// The offset; -1 if no record is that late.
        offset: Offset = Offset(-1),
        /// The epoch of the record; -1 for unknown.
        leader_epoch: LeaderEpoch [4..] = LeaderEpoch::NONE,
    }
}
