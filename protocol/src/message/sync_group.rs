//! SyncGroup (key 14), versions 0 to 5: the leader of a classic group hands in the assignment, every member receives its part.
//!
//! v1 throttle time · v2 throttles after answering · v3 static members (KIP-345) · v4 flexible · v5 protocol type and name
//! (KIP-559), which the coordinator checks in the request and Java in the answer. A coordinator that is still loading
//! answers REBALANCE_IN_PROGRESS: the rebalance is lost, and members must join again.

use bytes::Bytes;
use bytestring::ByteString;

use crate::error_code::ErrorCode;
use crate::group::Generation;

exchange!(SyncGroup: SyncGroupRequest => SyncGroupResponse);

message! {
    /// Asks for the member's part of the assignment.
    pub struct SyncGroupRequest {
        /// The group.
        group_id: ByteString,
        /// The generation the member has joined.
        generation_id: Generation,
        /// The member's id.
        member_id: ByteString,
        /// The member's instance id (KIP-345); `None` for a dynamic member.
        group_instance_id: Option<ByteString> [3..],
        /// The group's kind, as the answer to JoinGroup has it; `None` is not checked.
        protocol_type: Option<ByteString> [5.. ; ignorable],
        /// The generation's protocol, as the answer to JoinGroup has it; `None` is not checked.
        protocol_name: Option<ByteString> [5.. ; ignorable],
        /// The assignment, from the leader; empty from all others.
        assignments: Vec<SyncGroupRequestAssignment>,
    }
}

message! {
    /// The part of a member.
    pub struct SyncGroupRequestAssignment {
        /// The member's id.
        member_id: ByteString,
        /// Its part; for consumers [`crate::consumer_protocol`], to the group opaque.
        assignment: Bytes,
    }
}

message! {
    /// Brings a member its part of the assignment.
    pub struct SyncGroupResponse {
        /// How long the request was held back by a quota, in milliseconds.
        throttle_time_ms: i32 [1.. ; ignorable],
        /// Why there is no assignment: COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR, ILLEGAL_GENERATION,
        /// INCONSISTENT_GROUP_PROTOCOL, INVALID_GROUP_ID, UNKNOWN_MEMBER_ID, REBALANCE_IN_PROGRESS,
        /// GROUP_AUTHORIZATION_FAILED, FENCED_INSTANCE_ID.
        error_code: ErrorCode,
        /// The group's kind; `None` with an error.
        protocol_type: Option<ByteString> [5.. ; ignorable],
        /// The generation's protocol; `None` with an error.
        protocol_name: Option<ByteString> [5.. ; ignorable],
        /// What the leader handed in for the member; empty with an error, or if it handed in nothing.
        assignment: Bytes,
    }
}
