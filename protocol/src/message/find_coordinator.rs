//! FindCoordinator (key 10), versions 0 to 2: asks which broker coordinates a consumer group or a transaction.
//!
//! v1 kinds of keys, messages and throttling · v2 throttles after answering. Later versions (flexible, batched) are not
//! declared: until there are groups, every request is refused. It is offered all the same, for librdkafka compresses
//! with lz4 only where version 0 is offered, and without an answer waits in silence.

use bytestring::ByteString;

use crate::error_code::ErrorCode;
use crate::identifiers::BrokerId;

exchange!(FindCoordinator: FindCoordinatorRequest => FindCoordinatorResponse);

message! {
    /// Asks for a coordinator.
    pub struct FindCoordinatorRequest {
        /// The group's id, or the transactional id.
        key: ByteString,
        /// What the key is: 0 a group, 1 a transactional id.
        key_type: i8 [1..],
    }
}

message! {
    /// Names a coordinator.
    pub struct FindCoordinatorResponse {
        /// How long the request was held back by a quota, in milliseconds.
        throttle_time_ms: i32 [1.. ; ignorable],
        /// Why there is no coordinator, if so.
        error_code: ErrorCode,
        /// The same in words.
        error_message: Option<ByteString> [1.., null 1.. ; ignorable] = Some(ByteString::new()),
        /// The coordinator's id; -1 for none.
        node_id: BrokerId,
        /// Its host name or address.
        host: ByteString,
        /// Its port.
        port: i32,
    }
}
