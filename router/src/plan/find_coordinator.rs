//! FindCoordinator: names the router that coordinates everything for this client, although nothing is coordinated yet.
//!
//! Succeeds for the same reason as a broker's: librdkafka compresses with lz4 only where version 0 is offered, and
//! clients take a refusal here for a passing one and wait for ever. Whoever goes on to join a group finds at once that
//! JoinGroup is not offered, and whoever wants transactions is refused by InitProducerId.

use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::message::find_coordinator::FindCoordinatorResponse;

use crate::advertise::Advertised;

/// Returns the answer, for any group or transactional id.
#[must_use]
pub fn answer(advertised: &Advertised) -> FindCoordinatorResponse {
    let coordinator = advertised.leader();
    FindCoordinatorResponse {
        error_code: ErrorCode::None,
        error_message: None,
        node_id: coordinator.id,
        host: coordinator.host(),
        port: coordinator.port(),
        ..FindCoordinatorResponse::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::metadata::tests::advertised_three;

    #[test]
    fn the_coordinator_is_the_router_that_leads_for_this_client() {
        let (_, advertised) = advertised_three("a");
        let answer = answer(&advertised);
        assert_eq!(answer.error_code, ErrorCode::None);
        let told = (answer.node_id, answer.host, answer.port);
        let leader = advertised.leader();
        assert_eq!(told, (leader.id, leader.host(), leader.port()));
    }
}
