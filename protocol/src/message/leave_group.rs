//! LeaveGroup (key 13), versions 0 to 5: members of a classic group leave it, or an administrator removes them.
//!
//! v1 throttle time · v2 throttles after answering · v3 several members, static ones by instance id (KIP-345) · v4 flexible ·
//! v5 reasons (KIP-800). Up to version 2 the one member is `member_id`, and what is wrong with it is the answer's own
//! error; from version 3 on they are `members`, each with its error. Deviation from Kafka's schema: in the answer the
//! instance id of a member defaults to `None`.

use bytestring::ByteString;

use crate::error_code::ErrorCode;

exchange!(LeaveGroup: LeaveGroupRequest => LeaveGroupResponse);

message! {
    /// Takes members out of a group.
    pub struct LeaveGroupRequest {
        /// The group.
        group_id: ByteString,
        /// The id of the member that leaves.
        member_id: ByteString [..=2],
        /// The members that leave.
        members: Vec<MemberIdentity> [3..],
    }
}

message! {
    /// A member that leaves.
    pub struct MemberIdentity {
        /// Its id; empty removes a static member by its instance id alone, whoever holds that.
        member_id: ByteString,
        /// Its instance id; `None` for a dynamic member.
        group_instance_id: Option<ByteString>,
        /// Why it leaves, for logs (KIP-800).
        reason: Option<ByteString> [5.. ; ignorable],
    }
}

message! {
    /// Tells who has left.
    pub struct LeaveGroupResponse {
        /// How long the request was held back by a quota, in milliseconds.
        throttle_time_ms: i32 [1.. ; ignorable],
        /// What is wrong with the whole request: COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR,
        /// INVALID_GROUP_ID, GROUP_AUTHORIZATION_FAILED; up to version 2 also what could be wrong with a member.
        error_code: ErrorCode,
        /// The members.
        members: Vec<MemberResponse> [3..],
    }
}

message! {
    /// What became of one member.
    pub struct MemberResponse {
        /// Its id, as in the request.
        member_id: ByteString,
        /// Its instance id, as in the request.
        group_instance_id: Option<ByteString>,
        /// Why it has not left: UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID.
        error_code: ErrorCode,
    }
}
