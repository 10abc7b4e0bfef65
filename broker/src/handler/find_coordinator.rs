//! FindCoordinator: refused until there are groups, in words and for good.
//!
//! It is offered although it is refused: librdkafka compresses with lz4 only where version 0 of it is offered, and a
//! librdkafka consumer that subscribes waits in silence where it is not. The refusal must not be retriable, for clients
//! would ask for ever. UNSUPPORTED_VERSION ends Java, librdkafka and kafka-python at once.

use bytestring::ByteString;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::BrokerId;
use keylane_protocol::message::find_coordinator::{
    FindCoordinatorRequest, FindCoordinatorResponse,
};

const TRANSACTIONAL_ID: i8 = 1;

/// Returns the answer.
pub(crate) fn answer(request: &FindCoordinatorRequest) -> FindCoordinatorResponse {
    let text = if request.key_type == TRANSACTIONAL_ID {
        "transactions are not served yet"
    } else {
        "consumer groups are not served yet: assign partitions instead of subscribing"
    };
    FindCoordinatorResponse {
        error_code: ErrorCode::UnsupportedVersion,
        error_message: Some(ByteString::from_static(text)),
        node_id: BrokerId::NONE,
        port: -1,
        ..FindCoordinatorResponse::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_refused_for_good_and_in_words() {
        let answer = answer(&FindCoordinatorRequest::default());
        assert!(!answer.error_code.is_none() && !answer.error_code.is_retriable());
        assert!(
            answer
                .error_message
                .is_some_and(|text| text.contains("groups"))
        );
    }
}
