//! ListGroups (key 16), versions 0 to 5: the groups that a broker coordinates; a client asks every broker.
//!
//! v1 throttle time · v2 throttles after answering · v3 flexible · v4 states (KIP-518) · v5 types (KIP-848). Names of states
//! and types are compared without regard to case. Before version 5 groups of every
//! type are listed, and the type is dropped.

use bytestring::ByteString;

use crate::error_code::ErrorCode;

exchange!(ListGroups: ListGroupsRequest => ListGroupsResponse);

message! {
    /// Asks for groups.
    pub struct ListGroupsRequest {
        /// The states of the groups to list; empty for all.
        states_filter: Vec<ByteString> [4..],
        /// The types of the groups to list, `classic` or `consumer` among others; empty for all.
        types_filter: Vec<ByteString> [5..],
    }
}

message! {
    /// Lists groups.
    pub struct ListGroupsResponse {
        /// How long the request was held back by a quota, in milliseconds.
        throttle_time_ms: i32 [1.. ; ignorable],
        /// What is wrong: COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR.
        error_code: ErrorCode,
        /// The groups.
        groups: Vec<ListedGroup>,
    }
}

message! {
    /// A group.
    pub struct ListedGroup {
        /// Its id.
        group_id: ByteString,
        /// Its kind, `consumer` for consumers; empty if it never had members.
        protocol_type: ByteString,
        /// Its state, such as `Stable`.
        group_state: ByteString [4.. ; ignorable],
        /// Its type, such as `classic`.
        group_type: ByteString [5.. ; ignorable],
    }
}
