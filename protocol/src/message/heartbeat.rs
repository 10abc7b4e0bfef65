//! Heartbeat (key 12), versions 0 to 4: a member of a classic group says that it is alive, and hears of rebalances.
//!
//! v1 throttle time · v2 throttles after answering · v3 static members (KIP-345) · v4 flexible. A coordinator that is still
//! loading answers without an error, so that nobody joins again for its sake.

use bytestring::ByteString;

use crate::error_code::ErrorCode;
use crate::group::Generation;

exchange!(Heartbeat: HeartbeatRequest => HeartbeatResponse);

message! {
    /// Says that a member is alive.
    pub struct HeartbeatRequest {
        /// The group.
        group_id: ByteString,
        /// The generation the member is in.
        generation_id: Generation,
        /// The member's id.
        member_id: ByteString,
        /// The member's instance id (KIP-345); `None` for a dynamic member.
        group_instance_id: Option<ByteString> [3..],
    }
}

message! {
    /// Tells a member whether it still belongs.
    pub struct HeartbeatResponse {
        /// How long the request was held back by a quota, in milliseconds.
        throttle_time_ms: i32 [1.. ; ignorable],
        /// What the member has to do: nothing, join again (REBALANCE_IN_PROGRESS, ILLEGAL_GENERATION, UNKNOWN_MEMBER_ID),
        /// look for the coordinator (COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR), or give up (FENCED_INSTANCE_ID,
        /// INVALID_GROUP_ID, GROUP_AUTHORIZATION_FAILED).
        error_code: ErrorCode,
    }
}
