//! InitProducerId: ids for idempotent producers (KIP-98). Transactions do not exist yet, and are refused.
//!
//! As in Kafka, a producer without transactional id always gets a new id, even if it names one it has: to raise the
//! epoch of an id on somebody's word would let anybody fence anybody. Ids are unique in the cluster because the broker's
//! epoch, which no other registration gets, is part of them; they stay below 2^62, where those of routed producers begin.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::ProducerId;
use keylane_protocol::message::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use keylane_protocol::offset::{BrokerEpoch, ProducerEpoch};
use tracing::debug;

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
