//! FindCoordinator: this broker coordinates everything, although there are no groups and transactions to coordinate yet.
//!
//! It is offered because librdkafka compresses with lz4 only where version 0 of it is offered, and waits in silence for
//! a group where it is not. It succeeds because clients take a refusal here for a passing one: librdkafka repeats it for
//! ever for transactions, and reports it to consumers that only assign partitions. Whoever goes on to join a group finds
//! that JoinGroup is not offered, and whoever asks for a transactional producer is refused by InitProducerId: at once.

use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::message::find_coordinator::FindCoordinatorResponse;

use super::cluster::Identity;

/// Returns the answer, for any group or transactional id.
pub(crate) fn answer(identity: &Identity) -> FindCoordinatorResponse {
    FindCoordinatorResponse {
        error_code: ErrorCode::None,
        error_message: None,
        node_id: identity.broker_id,
        host: identity.host.clone(),
        port: i32::from(identity.port),
        ..FindCoordinatorResponse::default()
    }
}
