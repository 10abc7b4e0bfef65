//! OffsetFetch (key 9), versions 1 to 9: where groups go on reading.
//!
//! v2 null asks for all topics, an error of the whole answer · v3 throttle time · v4 throttles after answering · v5 leader
//! epochs (KIP-320) · v6 flexible · v7 stable offsets only (KIP-447) · v8 several groups (KIP-709) · v9 member epochs (KIP-848).
//! Up to version 7 the one group is `group_id` and `topics`, its answer `topics` and `error_code`; from version 8 on both
//! have `groups`. A group that does not exist is no error: its partitions have offset -1. Deviation from Kafka's schema: an
//! offset defaults to -1, so that none is told by mistake.

use bytestring::ByteString;

use crate::error_code::ErrorCode;
use crate::group::MemberEpoch;
use crate::identifiers::PartitionIndex;
use crate::offset::{LeaderEpoch, Offset};

exchange!(OffsetFetch: OffsetFetchRequest => OffsetFetchResponse);

/// Answers for a partition without a committed offset.
pub const OFFSET_NONE: Offset = Offset(-1);

message! {
    /// Asks for committed offsets.
    pub struct OffsetFetchRequest {
        /// The group.
        group_id: ByteString [..=7],
        /// The topics; `None` asks for all that the group has offsets of.
        topics: Option<Vec<OffsetFetchRequestTopic>> [..=7, null 2..=7] = Some(Vec::new()),
        /// The groups.
        groups: Vec<OffsetFetchRequestGroup> [8..],
        /// Whether an offset that a transaction is about to replace is to be answered with UNSTABLE_OFFSET_COMMIT (KIP-447).
        require_stable: bool [7..],
    }
}

message! {
    /// What is asked of one group.
    pub struct OffsetFetchRequestGroup {
        /// The group.
        group_id: ByteString,
        /// The member that asks, to be fenced in a group of KIP-848; `None` for no member.
        member_id: Option<ByteString> [9.. ; ignorable],
        /// Its epoch; -1 for no member.
        member_epoch: MemberEpoch [9.. ; ignorable] = MemberEpoch::NONE,
        /// The topics; `None` asks for all that the group has offsets of.
        topics: Option<Vec<OffsetFetchRequestTopic>> = Some(Vec::new()),
    }
}

message! {
    /// What is asked of one topic.
    pub struct OffsetFetchRequestTopic {
        /// The topic's name.
        name: ByteString,
        /// Its partitions.
        partition_indexes: Vec<PartitionIndex>,
    }
}

message! {
    /// Tells committed offsets.
    pub struct OffsetFetchResponse {
        /// How long the request was held back by a quota, in milliseconds.
        throttle_time_ms: i32 [3.. ; ignorable],
        /// The topics.
        topics: Vec<OffsetFetchResponseTopic> [..=7],
        /// What is wrong with the group: see [`OffsetFetchResponseGroup`]. Version 1 says it of every partition.
        error_code: ErrorCode [2..=7 ; ignorable],
        /// The groups.
        groups: Vec<OffsetFetchResponseGroup> [8..],
    }
}

message! {
    /// The offsets of one group.
    pub struct OffsetFetchResponseGroup {
        /// The group.
        group_id: ByteString,
        /// The topics.
        topics: Vec<OffsetFetchResponseTopic>,
        /// Why there are no offsets: COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR,
        /// INVALID_GROUP_ID, GROUP_AUTHORIZATION_FAILED, UNKNOWN_MEMBER_ID and STALE_MEMBER_EPOCH (from version 9 on).
        error_code: ErrorCode,
    }
}

message! {
    /// The offsets of one topic.
    pub struct OffsetFetchResponseTopic {
        /// The topic's name.
        name: ByteString,
        /// Its partitions.
        partitions: Vec<OffsetFetchResponsePartition>,
    }
}

message! {
    /// The offset of one partition.
    pub struct OffsetFetchResponsePartition {
        /// The partition.
        partition_index: PartitionIndex,
        /// The offset of the next record to read; [`OFFSET_NONE`] if none is committed.
        committed_offset: Offset = OFFSET_NONE,
        /// The leader epoch of the last record read; -1 for unknown.
        committed_leader_epoch: LeaderEpoch [5.. ; ignorable] = LeaderEpoch::NONE,
        /// What the client left beside the offset; empty if there is none.
        metadata: Option<ByteString> = Some(ByteString::new()),
        /// Why there is no offset: UNKNOWN_TOPIC_OR_PARTITION, TOPIC_AUTHORIZATION_FAILED, UNSTABLE_OFFSET_COMMIT (from
        /// version 7 on).
        error_code: ErrorCode,
    }
}
