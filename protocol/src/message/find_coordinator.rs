//! FindCoordinator (key 10), versions 0 to 6: asks which broker coordinates a consumer group or a transaction.
//!
//! v1 kinds of keys, messages and throttling · v2 throttles after answering · v3 flexible · v4 several keys (KIP-699) · v5
//! TRANSACTION_ABORTABLE (KIP-890) · v6 share groups (KIP-932). Up to version 3 the one key is `key`, and the answer itself
//! names the coordinator; from version 4 on they are `coordinator_keys` and `coordinators`. Offered are versions 0 to 2
//! only: until there are groups, every request is refused by what follows it. They are offered all the same, for librdkafka
//! compresses with lz4 only where version 0 is offered, and without an answer waits in silence.

use bytestring::ByteString;

use crate::error_code::ErrorCode;
use crate::identifiers::BrokerId;

exchange!(FindCoordinator: FindCoordinatorRequest => FindCoordinatorResponse);

/// The keys are ids of groups.
pub const KEY_TYPE_GROUP: i8 = 0;

/// The keys are transactional ids.
pub const KEY_TYPE_TRANSACTION: i8 = 1;

/// The keys are partitions of share groups, `group:topic id:partition`; asked by brokers only (KIP-932).
pub const KEY_TYPE_SHARE: i8 = 2;

message! {
    /// Asks for coordinators.
    pub struct FindCoordinatorRequest {
        /// The key.
        key: ByteString [..=3],
        /// What the keys are: [`KEY_TYPE_GROUP`], [`KEY_TYPE_TRANSACTION`] or from version 6 on [`KEY_TYPE_SHARE`].
        key_type: i8 [1..],
        /// The keys.
        coordinator_keys: Vec<ByteString> [4..],
    }
}

message! {
    /// Names coordinators.
    pub struct FindCoordinatorResponse {
        /// How long the request was held back by a quota, in milliseconds.
        throttle_time_ms: i32 [1.. ; ignorable],
        /// Why there is no coordinator: see [`Coordinator`].
        error_code: ErrorCode [..=3],
        /// The same in words.
        error_message: Option<ByteString> [1..=3, null 1..=3 ; ignorable] = Some(ByteString::new()),
        /// The coordinator's id; -1 for none.
        node_id: BrokerId [..=3],
        /// Its host name or address.
        host: ByteString [..=3],
        /// Its port.
        port: i32 [..=3],
        /// The coordinators, one for each key.
        coordinators: Vec<Coordinator> [4..],
    }
}

message! {
    /// The coordinator of one key.
    pub struct Coordinator {
        /// The key.
        key: ByteString,
        /// The coordinator's id; -1 for none.
        node_id: BrokerId = BrokerId::NONE,
        /// Its host name or address.
        host: ByteString,
        /// Its port; -1 for none.
        port: i32 = -1,
        /// Why there is no coordinator: COORDINATOR_NOT_AVAILABLE, INVALID_REQUEST for a kind of key that is not known,
        /// GROUP_AUTHORIZATION_FAILED, TRANSACTIONAL_ID_AUTHORIZATION_FAILED, TRANSACTION_ABORTABLE (from version 5 on).
        error_code: ErrorCode,
        /// The same in words; `None` without an error.
        error_message: Option<ByteString> = Some(ByteString::new()),
    }
}
