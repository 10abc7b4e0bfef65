//! InitProducerId and InitRoutedProducer: any broker gives an id. What every broker would refuse of the former is refused
//! here; what a routed producer asks for is held against the broker's configuration.

use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::ProducerId;
use keylane_protocol::message::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use keylane_protocol::message::init_routed_producer::InitRoutedProducerResponse;
use keylane_protocol::offset::ProducerEpoch;

/// What becomes of an InitProducerId.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InitProducerIdPlan {
    /// It goes as it is to any broker, whose answer is the client's.
    AnyBroker,
    /// It is answered here.
    Answered(InitProducerIdResponse),
}

/// Decides where a request goes.
#[must_use]
pub fn plan(request: &InitProducerIdRequest) -> InitProducerIdPlan {
    if request.transactional_id.is_some() {
        // The one code that every client takes as final: there is no message in this answer.
        return refused(ErrorCode::TransactionalIdAuthorizationFailed);
    }
    let has_id = request.producer_id != ProducerId::NONE;
    let has_epoch = request.producer_epoch != ProducerEpoch::NONE;
    if has_id != has_epoch {
        return refused(ErrorCode::InvalidRequest);
    }
    InitProducerIdPlan::AnyBroker
}

/// Returns the answer when no broker can be asked or none has answered: an id more or less is no harm.
///
/// Java's client repeats the request for this code without asking for a coordinator first.
#[must_use]
pub fn unanswered() -> InitProducerIdResponse {
    failed(ErrorCode::CoordinatorLoadInProgress)
}

/// Returns the same for a routed producer.
#[must_use]
pub fn unanswered_routed() -> InitRoutedProducerResponse {
    InitRoutedProducerResponse {
        error_code: ErrorCode::CoordinatorLoadInProgress,
        error_message: Some("no broker has given an id in time".into()),
        ..InitRoutedProducerResponse::default()
    }
}

fn refused(error_code: ErrorCode) -> InitProducerIdPlan {
    InitProducerIdPlan::Answered(failed(error_code))
}

fn failed(error_code: ErrorCode) -> InitProducerIdResponse {
    InitProducerIdResponse {
        error_code,
        ..InitProducerIdResponse::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(id: i64, epoch: i16) -> InitProducerIdRequest {
        InitProducerIdRequest {
            transactional_id: None,
            producer_id: ProducerId(id),
            producer_epoch: ProducerEpoch(epoch),
            ..InitProducerIdRequest::default()
        }
    }

    #[test]
    fn idempotent_producers_go_to_any_broker() {
        assert_eq!(plan(&request(-1, -1)), InitProducerIdPlan::AnyBroker);
        assert_eq!(plan(&request(7, 0)), InitProducerIdPlan::AnyBroker);
    }

    #[test]
    fn transactions_are_refused_for_good_and_half_a_name_too() {
        let transactional = InitProducerIdRequest {
            transactional_id: Some("t".into()),
            ..request(-1, -1)
        };
        for request in [transactional, request(7, -1), request(-1, 0)] {
            let InitProducerIdPlan::Answered(answer) = plan(&request) else {
                panic!("{request:?} went on");
            };
            let code = answer.error_code;
            assert!(!code.is_none() && !code.is_retriable(), "{code}");
            assert_eq!(answer.producer_id, ProducerId::NONE);
        }
    }

    #[test]
    fn without_an_answer_the_client_tries_again() {
        assert!(unanswered().error_code.is_retriable());
        let routed = unanswered_routed();
        assert!(routed.error_code.is_retriable());
        assert_eq!(routed.producer_id, ProducerId::NONE);
    }
}
