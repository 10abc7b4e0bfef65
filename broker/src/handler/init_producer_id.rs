//! InitProducerId and InitRoutedProducer: ids for idempotent producers (KIP-98). Transactions do not exist yet, and are
//! refused.
//!
//! As in Kafka, a producer without transactional id always gets a new id, even if it names one it has: to raise the
//! epoch of an id on somebody's word would let anybody fence anybody. Ids are unique in the cluster because the broker's
//! epoch, which no other registration gets, is part of them; they stay below 2^62, where those of routed producers begin.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::ProducerId;
use keylane_protocol::message::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use keylane_protocol::message::init_routed_producer::{
    InitRoutedProducerRequest, InitRoutedProducerResponse,
};
use keylane_protocol::offset::{BrokerEpoch, ProducerEpoch};
use keylane_protocol::routed::{DELIVERY_TIMEOUTS_PER_EXPIRY, PRODUCER_ID_MIN};
use tracing::debug;

use crate::limits::Limits;

/// The ids of one registration of the broker.
#[derive(Debug, Default)]
pub(crate) struct ProducerIds {
    /// The registration's epoch, at least 1 and below 2^30; none before it.
    epoch: OnceLock<i64>,
    given: AtomicU32,
}

impl ProducerIds {
    const EPOCH_END: i64 = 1 << 30;

    /// Begins to give the ids of a registration.
    pub(crate) fn begin(&self, epoch: BrokerEpoch) {
        // After a billion registrations there are no ids left, and none are given.
        if (1..Self::EPOCH_END).contains(&epoch.0) {
            let _ = self.epoch.set(epoch.0);
        }
    }

    /// Returns an id that nobody else has; `None` after four billion.
    fn next(&self) -> Option<ProducerId> {
        let epoch = self.epoch.get()?;
        let next = |given: u32| given.checked_add(1);
        let number = self
            .given
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .ok()?;
        Some(ProducerId(epoch << 32 | i64::from(number)))
    }
}

/// Returns the answer.
pub(crate) fn answer(request: &InitProducerIdRequest, ids: &ProducerIds) -> InitProducerIdResponse {
    let refused = |error_code| InitProducerIdResponse {
        error_code,
        ..InitProducerIdResponse::default()
    };
    if let Some(transactional_id) = &request.transactional_id {
        debug!(%transactional_id, "a client asks for transactions, which do not exist yet");
        // The one code that every client takes as final: there is no message in this answer.
        return refused(ErrorCode::TransactionalIdAuthorizationFailed);
    }
    let has_id = request.producer_id != ProducerId::NONE;
    let has_epoch = request.producer_epoch != ProducerEpoch::NONE;
    if has_id != has_epoch {
        return refused(ErrorCode::InvalidRequest);
    }
    match ids.next() {
        Some(producer_id) => InitProducerIdResponse {
            producer_id,
            producer_epoch: ProducerEpoch(0),
            ..InitProducerIdResponse::default()
        },
        None => refused(ErrorCode::CoordinatorNotAvailable),
    }
}

/// Returns the answer to a routed producer, which is forgotten `expiry` after its last batch.
pub(crate) fn answer_routed(
    request: &InitRoutedProducerRequest,
    ids: &ProducerIds,
    expiry: Duration,
) -> InitRoutedProducerResponse {
    let refused = |error_code, words: String| InitRoutedProducerResponse {
        error_code,
        error_message: Some(words.into()),
        ..InitRoutedProducerResponse::default()
    };
    if expiry < Limits::ROUTED_EXPIRY_MIN {
        let words = format!(
            "producers are forgotten {} ms after their last batch (--producer-expiry), and routed ones must be remembered \
             for a day or longer: only plain producers are served",
            expiry.as_millis()
        );
        return refused(ErrorCode::PolicyViolation, words);
    }
    let expiry_ms = i64::try_from(expiry.as_millis()).unwrap_or(i64::MAX);
    let timeout_ms_max = expiry_ms / DELIVERY_TIMEOUTS_PER_EXPIRY;
    if !(0..=timeout_ms_max).contains(&request.delivery_timeout_ms) {
        let words = format!(
            "a delivery time-out of {} ms is not between 0 and {timeout_ms_max} ms: producers are forgotten {expiry_ms} ms \
             after their last batch, and nothing of them may arrive later",
            request.delivery_timeout_ms
        );
        return refused(ErrorCode::InvalidRequest, words);
    }
    match ids.next() {
        Some(plain) => InitRoutedProducerResponse {
            producer_id: ProducerId(PRODUCER_ID_MIN.0 | plain.0),
            producer_epoch: ProducerEpoch(0),
            expiry_ms,
            ..InitRoutedProducerResponse::default()
        },
        None => refused(
            ErrorCode::CoordinatorNotAvailable,
            "this broker has not joined its cluster yet".to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use keylane_protocol::routed::is_routed;

    use super::*;

    fn ask(ids: &ProducerIds, id: i64, epoch: i16) -> InitProducerIdResponse {
        let request = InitProducerIdRequest {
            transactional_id: None,
            producer_id: ProducerId(id),
            producer_epoch: ProducerEpoch(epoch),
            ..InitProducerIdRequest::default()
        };
        answer(&request, ids)
    }

    fn ids(epoch: i64) -> ProducerIds {
        let ids = ProducerIds::default();
        ids.begin(BrokerEpoch(epoch));
        ids
    }

    #[test]
    fn without_a_registration_there_are_no_ids() {
        let code = ask(&ProducerIds::default(), -1, -1).error_code;
        assert!(!code.is_none());
    }

    #[test]
    fn ids_differ_within_and_across_registrations() {
        let mut seen = BTreeSet::new();
        for epoch in 1..4 {
            let ids = ids(epoch);
            for _ in 0..100 {
                let answer = ask(&ids, -1, -1);
                assert_eq!(answer.error_code, ErrorCode::None);
                assert_eq!(answer.producer_epoch, ProducerEpoch(0));
                assert!(seen.insert(answer.producer_id) && answer.producer_id.0 < 1 << 62);
            }
        }
    }

    #[test]
    fn routed_ids_differ_from_all_others_and_say_how_long_they_are_remembered() {
        let ids = ids(7);
        let asked = |delivery_timeout_ms| {
            let request = InitRoutedProducerRequest {
                delivery_timeout_ms,
            };
            answer_routed(&request, &ids, Duration::from_secs(86_400))
        };
        let (one, other) = (asked(120_000), asked(21_600_000));
        assert_eq!(one.error_code, ErrorCode::None);
        assert_eq!(one.expiry_ms, 86_400_000);
        assert!(is_routed(one.producer_id) && is_routed(other.producer_id));
        assert_ne!(one.producer_id, other.producer_id);
        assert!(!is_routed(ask(&ids, -1, -1).producer_id));
        for too_long in [21_600_001, -1] {
            assert_eq!(asked(too_long).error_code, ErrorCode::InvalidRequest);
        }
    }

    #[test]
    fn routed_ids_are_not_given_where_producers_are_forgotten_within_a_day() {
        let request = InitRoutedProducerRequest {
            delivery_timeout_ms: 1,
        };
        let asked = |expiry| answer_routed(&request, &ids(7), expiry);
        let refused = asked(Limits::ROUTED_EXPIRY_MIN - Duration::from_millis(1));
        assert_eq!(refused.error_code, ErrorCode::PolicyViolation);
        let words = refused.error_message.expect("words");
        assert!(words.contains("86399999 ms"), "{words}");
        assert_eq!(asked(Limits::ROUTED_EXPIRY_MIN).error_code, ErrorCode::None);
    }

    #[test]
    fn naming_an_id_gives_a_new_one_and_half_a_name_is_refused() {
        let ids = ids(1);
        let first = ask(&ids, -1, -1).producer_id;
        let second = ask(&ids, first.0, 0);
        assert_ne!(second.producer_id, first);
        assert_eq!(ask(&ids, first.0, -1).error_code, ErrorCode::InvalidRequest);
        assert_eq!(ask(&ids, -1, 0).error_code, ErrorCode::InvalidRequest);
    }

    #[test]
    fn transactions_are_refused_for_good() {
        let request = InitProducerIdRequest {
            transactional_id: Some("t".into()),
            ..InitProducerIdRequest::default()
        };
        let code = answer(&request, &ids(1)).error_code;
        assert!(!code.is_none() && !code.is_retriable());
    }
}
