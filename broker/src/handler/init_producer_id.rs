//! InitProducerId: ids for idempotent producers (KIP-98). Transactions do not exist yet, and are refused.
//!
//! As in Kafka, a producer without transactional id always gets a new id, even if it names one it has: to raise the
//! epoch of an id on somebody's word would let anybody fence anybody. Ids are unique across restarts because the number
//! of starts of the data folder is part of them; they stay below 2^62, where the ids of routed producers begin.

use std::sync::atomic::{AtomicU32, Ordering};

use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::ProducerId;
use keylane_protocol::message::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use keylane_protocol::offset::ProducerEpoch;
use tracing::debug;

/// The ids of one start of the broker.
#[derive(Debug)]
pub(crate) struct ProducerIds {
    /// How often the data folder has been started, at least 1 and below 2^30.
    incarnation: i32,
    given: AtomicU32,
}

impl ProducerIds {
    const INCARNATION_END: i32 = 1 << 30;

    pub(crate) fn new(incarnation: i32) -> Self {
        assert!((1..Self::INCARNATION_END).contains(&incarnation));
        Self {
            incarnation,
            given: AtomicU32::new(0),
        }
    }

    /// Returns an id that nobody else has; `None` after four billion.
    fn next(&self) -> Option<ProducerId> {
        let next = |given: u32| given.checked_add(1);
        let number = self
            .given
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .ok()?;
        Some(ProducerId(
            i64::from(self.incarnation) << 32 | i64::from(number),
        ))
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

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

    #[test]
    fn ids_differ_within_and_across_starts() {
        let mut seen = BTreeSet::new();
        for incarnation in 1..4 {
            let ids = ProducerIds::new(incarnation);
            for _ in 0..100 {
                let answer = ask(&ids, -1, -1);
                assert_eq!(answer.error_code, ErrorCode::None);
                assert_eq!(answer.producer_epoch, ProducerEpoch(0));
                assert!(seen.insert(answer.producer_id) && answer.producer_id.0 < 1 << 62);
            }
        }
    }

    #[test]
    fn naming_an_id_gives_a_new_one_and_half_a_name_is_refused() {
        let ids = ProducerIds::new(1);
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
        let code = answer(&request, &ProducerIds::new(1)).error_code;
        assert!(!code.is_none() && !code.is_retriable());
    }
}
