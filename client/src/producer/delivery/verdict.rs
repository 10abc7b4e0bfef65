//! What an answer says about a batch: written, try again, out of sequence, refused for good.
//!
//! The one place that weighs Kafka's error codes for producing, and whether each leaves the outcome open.

use std::sync::Arc;

use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::offset::Offset;

use crate::connection::ConnectionError;
use crate::producer::error::DeliveryFailure;

/// What is heard of a batch that was sent.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// It is written, from this offset on if the broker tells.
    Written(Option<Offset>),
    /// The broker answers with an error.
    Refused {
        code: ErrorCode,
        message: Option<Arc<str>>,
    },
    /// There is no answer: the batch may have been written.
    Lost(ConnectionError),
    /// The request never left.
    NotSent(ConnectionError),
}

/// What follows from an answer.
#[derive(Debug)]
pub(super) enum Verdict {
    Written(Option<Offset>),
    /// Another attempt may succeed.
    Again {
        cause: DeliveryFailure,
        /// Whether this attempt may have written the batch.
        is_in_doubt: bool,
        is_metadata_stale: bool,
    },
    /// The broker's count of sequences differs from ours; nothing was written.
    OutOfSequence(DeliveryFailure),
    /// No attempt will succeed.
    Final {
        cause: DeliveryFailure,
        is_in_doubt: bool,
    },
}

impl Answer {
    pub(super) fn verdict(self, is_idempotent: bool) -> Verdict {
        match self {
            Self::Written(offset) => Verdict::Written(offset),
            Self::Lost(error) => Verdict::Again {
                cause: error.into(),
                is_in_doubt: true,
                is_metadata_stale: true,
            },
            Self::NotSent(error) => {
                let is_retriable = error.is_retriable();
                let cause = DeliveryFailure::from(error);
                if is_retriable {
                    Verdict::Again {
                        cause,
                        is_in_doubt: false,
                        is_metadata_stale: true,
                    }
                } else {
                    Verdict::Final {
                        cause,
                        is_in_doubt: false,
                    }
                }
            }
            Self::Refused { code, message } => refused(code, message, is_idempotent),
        }
    }
}

fn refused(code: ErrorCode, message: Option<Arc<str>>, is_idempotent: bool) -> Verdict {
    let cause = DeliveryFailure::Refused { code, message };
    match code {
        ErrorCode::None => Verdict::Written(None),
        // Written before, and so long ago that the broker no longer knows where.
        ErrorCode::DuplicateSequenceNumber => Verdict::Written(None),
        ErrorCode::OutOfOrderSequenceNumber
        | ErrorCode::UnknownProducerId
        | ErrorCode::InvalidProducerEpoch
        | ErrorCode::InvalidProducerIdMapping
            if is_idempotent =>
        {
            Verdict::OutOfSequence(cause)
        }
        // An idempotent batch can be sent again without harm, whatever it was that the broker did not expect.
        ErrorCode::UnknownServerError if is_idempotent => again(cause, code),
        code if code.is_retriable() => again(cause, code),
        code => Verdict::Final {
            cause,
            is_in_doubt: !is_clean(code),
        },
    }
}

fn again(cause: DeliveryFailure, code: ErrorCode) -> Verdict {
    Verdict::Again {
        cause,
        is_in_doubt: !is_clean(code),
        is_metadata_stale: matches!(
            code,
            ErrorCode::NotLeaderOrFollower
                | ErrorCode::LeaderNotAvailable
                | ErrorCode::UnknownTopicOrPartition
                | ErrorCode::UnknownTopicId
                | ErrorCode::FencedLeaderEpoch
                | ErrorCode::UnknownLeaderEpoch
                | ErrorCode::KafkaStorageError
                | ErrorCode::ReplicaNotAvailable
        ),
    }
}

/// Returns whether a code is only given before anything is written.
///
/// NOT_LEADER_OR_FOLLOWER is not among them: a leader that steps down while a batch waits for its replicas answers so.
pub(crate) fn is_clean(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::CorruptMessage
            | ErrorCode::MessageTooLarge
            | ErrorCode::RecordListTooLarge
            | ErrorCode::InvalidTopicException
            | ErrorCode::NotEnoughReplicas
            | ErrorCode::InvalidRequiredAcks
            | ErrorCode::InvalidTimestamp
            | ErrorCode::TopicAuthorizationFailed
            | ErrorCode::ClusterAuthorizationFailed
            | ErrorCode::TransactionalIdAuthorizationFailed
            | ErrorCode::UnsupportedForMessageFormat
            | ErrorCode::UnsupportedCompressionType
            | ErrorCode::UnsupportedVersion
            | ErrorCode::InvalidRequest
            | ErrorCode::PolicyViolation
            | ErrorCode::InvalidRecord
            | ErrorCode::ThrottlingQuotaExceeded
            | ErrorCode::OutOfOrderSequenceNumber
            | ErrorCode::UnknownProducerId
            | ErrorCode::InvalidProducerEpoch
            | ErrorCode::InvalidProducerIdMapping
    )
}
