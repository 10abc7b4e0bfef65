//! OffsetForLeaderEpoch (key 23), versions 2 to 4: where a leader epoch ends, so that a client finds out that records it
//! has read were replaced by others (KIP-101, KIP-320).
//!
//! v2 the epoch that the client takes for the current one, throttle time · v3 replica id · v4 flexible.

use bytestring::ByteString;

use crate::error_code::ErrorCode;
use crate::identifiers::{BrokerId, PartitionIndex};
use crate::offset::{LeaderEpoch, Offset};

exchange!(OffsetForLeaderEpoch: OffsetForLeaderEpochRequest => OffsetForLeaderEpochResponse);

/// The replica id of a request that does not say who asks.
pub const REPLICA_ID_UNKNOWN: BrokerId = BrokerId(-2);

message! {
    /// Asks where leader epochs end.
    pub struct OffsetForLeaderEpochRequest {
        /// The follower that asks; negative for a client, which alone a client-facing listener serves.
        replica_id: BrokerId [3.. ; ignorable] = REPLICA_ID_UNKNOWN,
        /// The topics.
        topics: Vec<OffsetForLeaderTopic>,
    }
}

message! {
    /// What is asked of one topic.
    pub struct OffsetForLeaderTopic {
        /// The topic's name.
        topic: ByteString,
        /// Its partitions.
        partitions: Vec<OffsetForLeaderPartition>,
    }
}

message! {
    /// What is asked of one partition.
    pub struct OffsetForLeaderPartition {
        /// The partition.
        partition: PartitionIndex,
        /// The leader epoch the client knows, to be fenced by; -1 for unknown.
        current_leader_epoch: LeaderEpoch = LeaderEpoch::NONE,
        /// The epoch whose end is asked for.
        leader_epoch: LeaderEpoch,
    }
}

message! {
    /// Tells where leader epochs end.
    pub struct OffsetForLeaderEpochResponse {
        /// How long the request was held back by a quota, in milliseconds.
        throttle_time_ms: i32,
        /// The topics.
        topics: Vec<OffsetForLeaderTopicResult>,
    }
}

message! {
    /// What was found in one topic.
    pub struct OffsetForLeaderTopicResult {
        /// The topic's name.
        topic: ByteString,
        /// Its partitions.
        partitions: Vec<EpochEndOffset>,
    }
}

message! {
    /// Where an epoch ends in one partition.
    pub struct EpochEndOffset {
        /// Why nothing could be found, if so.
        error_code: ErrorCode,
        /// The partition.
        partition: PartitionIndex,
        /// The largest epoch with records that is not above the one asked for; -1 if that one is not known here.
        leader_epoch: LeaderEpoch = LeaderEpoch::NONE,
        /// The offset after the last record of that epoch; -1 if it is not known here.
        end_offset: Offset = Offset(-1),
    }
}
