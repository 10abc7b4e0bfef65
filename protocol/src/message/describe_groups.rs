//! DescribeGroups (key 15), versions 0 to 6: state and members of classic groups.
//!
//! v1 throttle time · v2 throttles after answering · v3 authorized operations (KIP-430) · v4 static members (KIP-345) · v5
//! flexible · v6 GROUP_ID_NOT_FOUND, error messages (KIP-1043). Up to version 5 a group that does not exist is answered
//! without an error, in the state `Dead`. Deviation from Kafka's schema: error messages are ignorable.

use bytes::Bytes;
use bytestring::ByteString;

use crate::error_code::ErrorCode;
use crate::message::AUTHORIZED_OPERATIONS_NOT_ASKED;

exchange!(DescribeGroups: DescribeGroupsRequest => DescribeGroupsResponse);

message! {
    /// Asks about groups.
    pub struct DescribeGroupsRequest {
        /// The groups.
        groups: Vec<ByteString>,
        /// Whether to tell what the principal may do with the groups.
        include_authorized_operations: bool [3..],
    }
}

message! {
    /// Describes groups.
    pub struct DescribeGroupsResponse {
        /// How long the request was held back by a quota, in milliseconds.
        throttle_time_ms: i32 [1.. ; ignorable],
        /// The groups.
        groups: Vec<DescribedGroup>,
    }
}

message! {
    /// A group.
    pub struct DescribedGroup {
        /// Why it is not described: COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR,
        /// INVALID_GROUP_ID, GROUP_AUTHORIZATION_FAILED, GROUP_ID_NOT_FOUND (from version 6 on).
        error_code: ErrorCode,
        /// The same for people.
        error_message: Option<ByteString> [6.. ; ignorable],
        /// The group's id.
        group_id: ByteString,
        /// `Empty`, `PreparingRebalance`, `CompletingRebalance`, `Stable` or `Dead`; empty with an error.
        group_state: ByteString,
        /// Its kind, `consumer` for consumers; empty if it never had members.
        protocol_type: ByteString,
        /// The protocol of its generation; empty unless the group is stable.
        protocol_data: ByteString,
        /// Its members.
        members: Vec<DescribedGroupMember>,
        /// What the principal may do with the group, one bit per operation.
        authorized_operations: i32 [3..] = AUTHORIZED_OPERATIONS_NOT_ASKED,
    }
}

message! {
    /// A member.
    pub struct DescribedGroupMember {
        /// Its id.
        member_id: ByteString,
        /// Its instance id; `None` for a dynamic member.
        group_instance_id: Option<ByteString> [4.. ; ignorable],
        /// The client id it last joined with.
        client_id: ByteString,
        /// Where it last joined from, in Kafka's form `/192.0.2.1`.
        client_host: ByteString,
        /// What it sent with the group's protocol; empty unless the group is stable.
        member_metadata: Bytes,
        /// Its part of the assignment; empty unless the group is stable.
        member_assignment: Bytes,
    }
}
