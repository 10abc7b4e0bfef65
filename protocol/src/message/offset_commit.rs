//! OffsetCommit (key 8), versions 2 to 9: stores where a group goes on reading.
//!
//! v2 retention time · v3 throttle time · v4 throttles after answering · v5 no retention time any more (KIP-211) · v6 leader
//! epochs (KIP-320) · v7 static members (KIP-345) · v8 flexible · v9 groups of KIP-848, GROUP_ID_NOT_FOUND and
//! STALE_MEMBER_EPOCH. A request without generation and member (-1, empty) comes from a client that is no member: it is
//! taken by a group without members, and makes one that does not exist.

use bytestring::ByteString;

use crate::error_code::ErrorCode;
use crate::identifiers::PartitionIndex;
use crate::offset::{LeaderEpoch, Offset};

exchange!(OffsetCommit: OffsetCommitRequest => OffsetCommitResponse);

message! {
    /// Stores offsets of a group.
    pub struct OffsetCommitRequest {
        /// The group.
        group_id: ByteString,
        /// The member's generation in a classic group, its member epoch in one of KIP-848; -1 for neither.
        generation_id_or_member_epoch: i32 = -1,
        /// The member's id; empty for none.
        member_id: ByteString,
        /// The member's instance id (KIP-345); `None` for a dynamic member.
        group_instance_id: Option<ByteString> [7..],
        /// How long to keep the offsets, in milliseconds; -1 for as long as the broker is configured to.
        retention_time_ms: i64 [..=4 ; ignorable] = -1,
        /// The topics.
        topics: Vec<OffsetCommitRequestTopic>,
    }
}

message! {
    /// Offsets of one topic.
    pub struct OffsetCommitRequestTopic {
        /// The topic's name.
        name: ByteString,
        /// Its partitions.
        partitions: Vec<OffsetCommitRequestPartition>,
    }
}

message! {
    /// The offset of one partition.
    pub struct OffsetCommitRequestPartition {
        /// The partition.
        partition_index: PartitionIndex,
        /// The offset of the next record to read.
        committed_offset: Offset,
        /// The leader epoch of the last record read; -1 for unknown.
        committed_leader_epoch: LeaderEpoch [6.. ; ignorable] = LeaderEpoch::NONE,
        /// What the client wants to find beside the offset; `None` and empty are stored alike.
        committed_metadata: Option<ByteString> = Some(ByteString::new()),
    }
}

message! {
    /// Tells which offsets are stored.
    pub struct OffsetCommitResponse {
        /// How long the request was held back by a quota, in milliseconds.
        throttle_time_ms: i32 [3.. ; ignorable],
        /// The topics.
        topics: Vec<OffsetCommitResponseTopic>,
    }
}

message! {
    /// What became of one topic's offsets.
    pub struct OffsetCommitResponseTopic {
        /// The topic's name.
        name: ByteString,
        /// Its partitions.
        partitions: Vec<OffsetCommitResponsePartition>,
    }
}

message! {
    /// What became of one partition's offset.
    pub struct OffsetCommitResponsePartition {
        /// The partition.
        partition_index: PartitionIndex,
        /// Why it is not stored. Of the partition: UNKNOWN_TOPIC_OR_PARTITION, OFFSET_METADATA_TOO_LARGE,
        /// TOPIC_AUTHORIZATION_FAILED. Of the whole request, repeated for every partition: COORDINATOR_LOAD_IN_PROGRESS,
        /// COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR, ILLEGAL_GENERATION, INVALID_GROUP_ID, UNKNOWN_MEMBER_ID,
        /// REBALANCE_IN_PROGRESS, INVALID_COMMIT_OFFSET_SIZE, GROUP_AUTHORIZATION_FAILED, FENCED_INSTANCE_ID (from version
        /// 7 on), GROUP_ID_NOT_FOUND and STALE_MEMBER_EPOCH (from version 9 on).
        error_code: ErrorCode,
    }
}
