//! OffsetDelete (key 47), version 0: deletes committed offsets of topics that a group does not read (KIP-496).
//!
//! Not flexible.

use bytestring::ByteString;

use crate::error_code::ErrorCode;
use crate::identifiers::PartitionIndex;

exchange!(OffsetDelete: OffsetDeleteRequest => OffsetDeleteResponse);

message! {
    /// Deletes offsets of a group.
    pub struct OffsetDeleteRequest {
        /// The group.
        group_id: ByteString,
        /// The topics.
        topics: Vec<OffsetDeleteRequestTopic>,
    }
}

message! {
    /// What to delete of one topic.
    pub struct OffsetDeleteRequestTopic {
        /// The topic's name.
        name: ByteString,
        /// Its partitions.
        partitions: Vec<OffsetDeleteRequestPartition>,
    }
}

message! {
    /// The partition whose offset to delete.
    pub struct OffsetDeleteRequestPartition {
        /// The partition.
        partition_index: PartitionIndex,
    }
}

message! {
    /// Tells which offsets were deleted.
    pub struct OffsetDeleteResponse {
        /// What is wrong with the group: COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR,
        /// INVALID_GROUP_ID, GROUP_AUTHORIZATION_FAILED, NON_EMPTY_GROUP (of a group that is not one of consumers),
        /// GROUP_ID_NOT_FOUND. If anything, then there are no topics.
        error_code: ErrorCode,
        /// How long the request was held back by a quota, in milliseconds.
        throttle_time_ms: i32,
        /// The topics.
        topics: Vec<OffsetDeleteResponseTopic>,
    }
}

message! {
    /// What became of one topic's offsets.
    pub struct OffsetDeleteResponseTopic {
        /// The topic's name.
        name: ByteString,
        /// Its partitions.
        partitions: Vec<OffsetDeleteResponsePartition>,
    }
}

message! {
    /// What became of one partition's offset.
    pub struct OffsetDeleteResponsePartition {
        /// The partition.
        partition_index: PartitionIndex,
        /// Why it was not deleted: UNKNOWN_TOPIC_OR_PARTITION, TOPIC_AUTHORIZATION_FAILED, GROUP_SUBSCRIBED_TO_TOPIC.
        error_code: ErrorCode,
    }
}
