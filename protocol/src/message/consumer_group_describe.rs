//! ConsumerGroupDescribe (key 69), versions 0 to 1: state, epochs and members of groups of KIP-848.
//!
//! v1 kinds of members (KIP-1099). Flexible from version 0 on. A group that does not exist, or is a classic one, is
//! answered with GROUP_ID_NOT_FOUND; clients then ask with DescribeGroups.

use bytestring::ByteString;

use crate::error_code::ErrorCode;
use crate::group::{GroupEpoch, MemberEpoch};
use crate::identifiers::{PartitionIndex, TopicId};
use crate::message::AUTHORIZED_OPERATIONS_NOT_ASKED;

exchange!(ConsumerGroupDescribe: ConsumerGroupDescribeRequest => ConsumerGroupDescribeResponse);

/// The kind of a member is not told.
pub const MEMBER_TYPE_UNKNOWN: i8 = -1;

/// The member speaks the classic protocol, and has joined a group of KIP-848 all the same.
pub const MEMBER_TYPE_CLASSIC: i8 = 0;

/// The member speaks the protocol of KIP-848.
pub const MEMBER_TYPE_CONSUMER: i8 = 1;

message! {
    /// Asks about groups.
    pub struct ConsumerGroupDescribeRequest {
        /// The groups.
        group_ids: Vec<ByteString>,
        /// Whether to tell what the principal may do with the groups.
        include_authorized_operations: bool,
    }
}

message! {
    /// Describes groups.
    pub struct ConsumerGroupDescribeResponse {
        /// How long the request was held back by a quota, in milliseconds.
        throttle_time_ms: i32,
        /// The groups.
        groups: Vec<DescribedGroup>,
    }
}

message! {
    /// A group.
    pub struct DescribedGroup {
        /// Why it is not described: COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR,
        /// INVALID_GROUP_ID, TOPIC_AUTHORIZATION_FAILED, GROUP_AUTHORIZATION_FAILED, INVALID_REQUEST, GROUP_ID_NOT_FOUND.
        error_code: ErrorCode,
        /// The same for people.
        error_message: Option<ByteString>,
        /// The group's id.
        group_id: ByteString,
        /// `Empty`, `Assigning`, `Reconciling`, `Stable` or `Dead`; empty with an error.
        group_state: ByteString,
        /// The group's epoch.
        group_epoch: GroupEpoch,
        /// The group epoch that the target assignment was made for.
        assignment_epoch: GroupEpoch,
        /// The assignor in use.
        assignor_name: ByteString,
        /// The members.
        members: Vec<Member>,
        /// What the principal may do with the group, one bit per operation.
        authorized_operations: i32 = AUTHORIZED_OPERATIONS_NOT_ASKED,
    }
}

message! {
    /// A member.
    pub struct Member {
        /// Its id.
        member_id: ByteString,
        /// Its instance id; `None` for a dynamic member.
        instance_id: Option<ByteString>,
        /// Its rack, if it has told one.
        rack_id: Option<ByteString>,
        /// Its epoch.
        member_epoch: MemberEpoch,
        /// The client id it last came with.
        client_id: ByteString,
        /// Where it last came from, in Kafka's form `/192.0.2.1`.
        client_host: ByteString,
        /// The names of the topics it wants to read.
        subscribed_topic_names: Vec<ByteString>,
        /// The expression of topics it wants to read, if it has one.
        subscribed_topic_regex: Option<ByteString>,
        /// The partitions it has.
        assignment: Assignment,
        /// The partitions it should have.
        target_assignment: Assignment,
        /// [`MEMBER_TYPE_UNKNOWN`], [`MEMBER_TYPE_CLASSIC`] or [`MEMBER_TYPE_CONSUMER`] (KIP-1099).
        member_type: i8 [1.. ; ignorable] = MEMBER_TYPE_UNKNOWN,
    }
}

message! {
    /// The partitions of a member.
    pub struct Assignment {
        /// The topics.
        topic_partitions: Vec<TopicPartitions>,
    }
}

message! {
    /// Partitions of one topic.
    pub struct TopicPartitions {
        /// The topic's id.
        topic_id: TopicId,
        /// The topic's name.
        topic_name: ByteString,
        /// The partitions.
        partitions: Vec<PartitionIndex>,
    }
}
