//! JoinGroup (key 11), versions 0 to 9: a member of a classic group enters a rebalance, and hears who leads it.
//!
//! v1 rebalance timeout (KIP-62) · v2 throttle time · v3 throttles after answering · v4 MEMBER_ID_REQUIRED (KIP-394) ·
//! v5 static members (KIP-345) · v6 flexible · v7 protocol type in the answer, null name where there is none (KIP-559) ·
//! v8 reasons (KIP-800) · v9 assignment skipped (KIP-814). MEMBER_ID_REQUIRED is for version 4 and later and for members
//! without instance id only: others join again for ever. From version 7 on Java checks that the answer repeats its
//! protocol type. Deviation from Kafka's schema: a member's instance id defaults to `None`.

use bytes::Bytes;
use bytestring::ByteString;

use crate::error_code::ErrorCode;
use crate::group::Generation;

exchange!(JoinGroup: JoinGroupRequest => JoinGroupResponse);

message! {
    /// Enters a group, or a rebalance of it.
    pub struct JoinGroupRequest {
        /// The group.
        group_id: ByteString,
        /// After how long without a heartbeat the member counts as gone, in milliseconds.
        session_timeout_ms: i32,
        /// How long a rebalance waits for the member to join again, in milliseconds; -1, which version 0 means, for the
        /// session timeout.
        rebalance_timeout_ms: i32 [1.. ; ignorable] = -1,
        /// The member's id; empty for a member that has none yet.
        member_id: ByteString,
        /// The name under which a static member comes back (KIP-345); `None` for a dynamic one.
        group_instance_id: Option<ByteString> [5..],
        /// What kind of group it should be: `consumer`, or `connect` among others.
        protocol_type: ByteString,
        /// The protocols the member could follow, its favourite first; for consumers these are assignors.
        protocols: Vec<JoinGroupRequestProtocol>,
        /// Why the member joins, for logs (KIP-800).
        reason: Option<ByteString> [8.. ; ignorable],
    }
}

message! {
    /// A protocol that a member could follow.
    pub struct JoinGroupRequestProtocol {
        /// Its name.
        name: ByteString,
        /// What the leader has to know of the member; for consumers [`crate::consumer_protocol`], to the group opaque.
        metadata: Bytes,
    }
}

message! {
    /// Tells a member of its generation.
    pub struct JoinGroupResponse {
        /// How long the request was held back by a quota, in milliseconds.
        throttle_time_ms: i32 [2.. ; ignorable],
        /// Why the member is not in: COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR,
        /// INCONSISTENT_GROUP_PROTOCOL, INVALID_GROUP_ID, UNKNOWN_MEMBER_ID, INVALID_SESSION_TIMEOUT, REBALANCE_IN_PROGRESS,
        /// GROUP_AUTHORIZATION_FAILED, MEMBER_ID_REQUIRED (from version 4 on), GROUP_MAX_SIZE_REACHED, FENCED_INSTANCE_ID.
        error_code: ErrorCode,
        /// The generation; -1 for none.
        generation_id: Generation = Generation::NONE,
        /// The group's kind, as the member named it; `None` with an error.
        protocol_type: Option<ByteString> [7.. ; ignorable],
        /// The protocol of the generation; with an error `None`, before version 7 empty.
        protocol_name: Option<ByteString> [.., null 7..] = Some(ByteString::new()),
        /// The id of the member that assigns; empty with an error.
        leader: ByteString,
        /// Whether the leader must leave the assignment as it is (KIP-814).
        skip_assignment: bool [9..],
        /// The member's id; with MEMBER_ID_REQUIRED the one to join again with.
        member_id: ByteString,
        /// All members, for the leader; empty for all others.
        members: Vec<JoinGroupResponseMember>,
    }
}

message! {
    /// A member, for the leader.
    pub struct JoinGroupResponseMember {
        /// Its id.
        member_id: ByteString,
        /// Its instance id; `None` for a dynamic member.
        group_instance_id: Option<ByteString> [5.. ; ignorable],
        /// What it sent with the protocol that was chosen.
        metadata: Bytes,
    }
}
