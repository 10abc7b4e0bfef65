//! The sender's side of the accumulator: what is due, what has expired, what is settled.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use std::time::Instant;

use super::{Accumulator, BatchSerial, Lane, LaneId, Unsettled};
use crate::producer::batch::{OpenBatch, SealedBatch};
use crate::producer::error::DeliveryError;
use crate::producer::receipt::BatchOutcome;

impl Accumulator {
    /// Returns the lanes whose first batch is due, in the order of their ids.
    pub(crate) fn due(&self, now: Instant) -> BTreeSet<LaneId> {
        let due = |&&(is_due, _): &&(Instant, LaneId)| is_due <= now;
        let lingering = self.lingering.iter().take_while(due);
        let lingering = lingering.map(|&(_, id)| id);
        self.sealed.iter().copied().chain(lingering).collect()
    }

    /// Returns the lanes that hold any record.
    pub(crate) fn holding(&self) -> BTreeSet<LaneId> {
        let lingering = self.lingering.iter().map(|&(_, id)| id);
        self.sealed.iter().copied().chain(lingering).collect()
    }

    /// Returns how large the batch is that [`Self::take`] would yield.
    pub(crate) fn first_len(&self, id: LaneId) -> usize {
        let lane = &self.lanes[id.0];
        let sealed = lane.sealed.front().map(SealedBatch::len);
        sealed
            .or_else(|| lane.open.as_ref().map(OpenBatch::len))
            .unwrap_or(0)
    }

    /// Takes the first batch of a lane, closing it if it is still open.
    pub(crate) fn take(&mut self, id: LaneId) -> Option<SealedBatch> {
        if self.lanes[id.0].sealed.is_empty() {
            self.seal(id);
        }
        let lane = &mut self.lanes[id.0];
        let batch = lane.sealed.pop_front();
        if lane.sealed.is_empty() {
            self.sealed.remove(&id);
        }
        batch
    }

    /// Takes the batches whose delivery time-out has passed before they were ever sent.
    pub(crate) fn take_expired(&mut self, now: Instant) -> Vec<(LaneId, SealedBatch)> {
        let mut expired = Vec::new();
        if self.next_expiry().is_none_or(|first| first > now) {
            return expired;
        }
        for id in self.holding() {
            let is_old = |lane: &Lane| {
                let sealed = lane.sealed.front().map(SealedBatch::deadline);
                let first = sealed.or_else(|| lane.open.as_ref().map(OpenBatch::deadline));
                first.is_some_and(|deadline| deadline <= now)
            };
            while is_old(&self.lanes[id.0]) {
                let Some(batch) = self.take(id) else { break };
                expired.push((id, batch));
            }
        }
        expired
    }

    /// Returns when the next open batch becomes due after `now`.
    pub(crate) fn next_due(&self, now: Instant) -> Option<Instant> {
        let after = (Bound::Excluded((now, LaneId(usize::MAX))), Bound::Unbounded);
        let mut later = self.lingering.range(after);
        later.next().map(|&(is_due, _)| is_due)
    }

    /// Returns when the oldest batch that is not settled expires.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        let (_, first) = self.unsettled.first_key_value()?;
        Some(first.deadline)
    }

    /// Forgets a batch that was settled, and remembers its failure for the next flush.
    pub(crate) fn settled(&mut self, serial: BatchSerial, failure: Option<&DeliveryError>) {
        let Some(unsettled) = self.unsettled.remove(&serial) else {
            return;
        };
        if let Some(failure) = failure {
            let failed = self.failed.get_or_insert_with(|| (0, failure.clone()));
            failed.0 += u64::from(unsettled.record_count);
        }
    }

    /// Returns what became of records that failed since this was called last: their number and the first failure.
    pub(crate) fn take_failed(&mut self) -> Option<(u64, DeliveryError)> {
        self.failed.take()
    }

    /// Returns the outcomes of all batches that are not settled.
    pub(crate) fn outcomes(&self) -> Vec<Arc<BatchOutcome>> {
        let outcome = |unsettled: &Unsettled| Arc::clone(&unsettled.outcome);
        self.unsettled.values().map(outcome).collect()
    }

    /// Returns how many records of closed batches are not settled.
    pub(crate) fn unsettled_records(&self) -> u64 {
        let count = |unsettled: &Unsettled| u64::from(unsettled.record_count);
        self.unsettled.values().map(count).sum()
    }

    /// Takes no record from now on.
    pub(crate) fn close(&mut self) {
        self.is_closed = true;
    }
}
