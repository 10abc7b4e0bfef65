//! DeleteGroups (key 42), versions 0 to 2: deletes groups without members, with their offsets (KIP-229).
//!
//! v1 throttles after answering · v2 flexible.

use bytestring::ByteString;

use crate::error_code::ErrorCode;

exchange!(DeleteGroups: DeleteGroupsRequest => DeleteGroupsResponse);

message! {
    /// Deletes groups.
    pub struct DeleteGroupsRequest {
        /// The groups.
        groups_names: Vec<ByteString>,
    }
}

message! {
    /// Tells which groups were deleted.
    pub struct DeleteGroupsResponse {
        /// How long the request was held back by a quota, in milliseconds.
        throttle_time_ms: i32,
        /// The groups.
        results: Vec<DeletableGroupResult>,
    }
}

message! {
    /// What became of one group.
    pub struct DeletableGroupResult {
        /// The group.
        group_id: ByteString,
        /// Why it was not deleted: COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR,
        /// INVALID_GROUP_ID, GROUP_AUTHORIZATION_FAILED, NON_EMPTY_GROUP, GROUP_ID_NOT_FOUND.
        error_code: ErrorCode,
    }
}
