//! What an error says about a routed batch: try again in another session, or refused for good.
//!
//! The one place that weighs codes of RoutedProduce. Most errors leave the batch to the next session; what is refused for
//! good is what no repetition of the same bytes can change.

use std::sync::Arc;

use bytestring::ByteString;
use keylane_protocol::error_code::ErrorCode;

use crate::producer::delivery::is_clean;
use crate::producer::error::DeliveryFailure;

/// What keeps a batch from being written for now, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Setback {
    /// One partition cannot take it: its leader is away, or will not say.
    Away,
    /// The leader of one partition has missed what comes before: a session from the floor brings it.
    Behind,
    /// It failed as a whole, and its session with it.
    Whole,
}

/// What follows from an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Weight {
    /// No repetition will succeed.
    pub(super) is_final: bool,
    /// What it is otherwise, if it is said of one partition.
    pub(super) setback: Setback,
    /// The code is only given before anything of this attempt is written.
    pub(super) is_clean: bool,
    /// The topic may be another one by now.
    pub(super) doubts_topic: bool,
    /// Id and epoch are of no use any more.
    pub(super) is_fenced: bool,
}

/// Returns what follows from an error.
pub(super) fn weigh(code: ErrorCode) -> Weight {
    let may_pass = matches!(
        code,
        // A hole, or a batch behind one that failed: a session that begins at the floor fills it.
        ErrorCode::OutOfOrderSequenceNumber
            // The router finds fault with the session, or knows fewer partitions than another one.
            | ErrorCode::InvalidRequest
            // A numbered batch can be sent again without harm, whatever it was that nobody expected.
            | ErrorCode::UnknownServerError
            | ErrorCode::UnknownProducerId
    );
    Weight {
        is_final: !may_pass && !code.is_retriable(),
        setback: match code {
            ErrorCode::OutOfOrderSequenceNumber => Setback::Behind,
            _ => Setback::Away,
        },
        is_clean: is_clean(code) || code == ErrorCode::UnknownTopicId,
        doubts_topic: matches!(
            code,
            ErrorCode::UnknownTopicId | ErrorCode::UnknownTopicOrPartition
        ),
        is_fenced: matches!(
            code,
            ErrorCode::InvalidProducerEpoch | ErrorCode::InvalidProducerIdMapping
        ),
    }
}

/// Returns the failure that a code and its text are.
pub(super) fn failure(code: ErrorCode, message: Option<&ByteString>) -> DeliveryFailure {
    let message = message.filter(|message| !message.is_empty());
    DeliveryFailure::Refused {
        code,
        message: message.map(|message| Arc::from(&**message)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_session_from_the_floor_can_mend_is_not_final() {
        let passing = [
            ErrorCode::OutOfOrderSequenceNumber,
            ErrorCode::InvalidRequest,
            ErrorCode::CorruptMessage,
            ErrorCode::NotLeaderOrFollower,
            ErrorCode::RequestTimedOut,
            ErrorCode::UnknownTopicId,
            ErrorCode::UnknownServerError,
        ];
        for code in passing {
            assert!(!weigh(code).is_final, "{code}");
        }
    }

    #[test]
    fn what_the_same_bytes_cannot_mend_is_final() {
        let lasting = [
            ErrorCode::MessageTooLarge,
            ErrorCode::InvalidRecord,
            ErrorCode::UnsupportedCompressionType,
            ErrorCode::DuplicateSequenceNumber,
            ErrorCode::InvalidProducerEpoch,
            ErrorCode::Other(9999),
        ];
        for code in lasting {
            assert!(weigh(code).is_final, "{code}");
        }
    }
}
