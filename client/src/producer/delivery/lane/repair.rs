//! What a lane does about batches that fail for good: give them up, and go on under a new epoch.

use std::sync::Arc;

use keylane_protocol::offset::{ProducerEpoch, Sequence};

use super::super::{Effects, Identity, Settled, Shared};
use super::{Lane, Phase};
use crate::producer::batch::restamp;
use crate::producer::error::DeliveryFailure;

impl Lane {
    /// Gives up what is older than the delivery time-out.
    pub(in crate::producer::delivery) fn expire(&mut self, shared: &mut Shared<'_>) {
        let mut index = 0;
        while let Some(sent) = self.unresolved.get_mut(index) {
            if sent.deadline > shared.now || sent.is_given_up {
                index += 1;
                continue;
            }
            let cause = DeliveryFailure::TimedOut {
                after: shared.settings.delivery_timeout,
                last: sent.last_failure.take().map(Arc::new),
            };
            if !sent.is_under_way {
                let is_in_doubt = sent.is_in_doubt;
                self.give_up(index, cause, is_in_doubt, shared.effects);
                continue;
            }
            // The answer is still awaited: only it tells whether the sequence was filled.
            sent.is_given_up = true;
            let (serial, outcome) = (sent.serial, Arc::clone(&sent.outcome));
            shared.effects.settled.push(Settled {
                serial,
                outcome,
                result: Err(self.error(cause, true)),
            });
            index += 1;
        }
        self.repair_if_drained(shared);
    }

    /// Goes on once nothing is under way: under a new epoch if a sequence can no longer be filled.
    pub(in crate::producer::delivery) fn repair_if_drained(&mut self, shared: &mut Shared<'_>) {
        if self.unresolved.iter().any(|sent| sent.is_under_way) {
            return;
        }
        self.sending_to = None;
        if self.is_broken {
            self.give_up_what_is_in_doubt(shared.effects);
            let Some(identity) = next_identity(self.identity, shared.identity) else {
                shared.effects.needs_identity = true;
                return;
            };
            self.begin_epoch(identity);
        }
        if self.unresolved.is_empty() {
            self.phase = Phase::Steady;
            self.not_before = None;
        } else {
            self.phase = Phase::Resending;
        }
    }

    /// What may be written must not be written again under another epoch, where the broker cannot recognise it.
    fn give_up_what_is_in_doubt(&mut self, effects: &mut Effects) {
        while let Some(index) = self.unresolved.iter().position(|sent| sent.is_in_doubt) {
            let last = self.unresolved[index].last_failure.take();
            let cause = last.unwrap_or(DeliveryFailure::Dropped);
            self.give_up(index, cause, true, effects);
        }
    }

    fn begin_epoch(&mut self, identity: Identity) {
        tracing::info!(
            topic = &*self.topic,
            partition = %self.partition,
            epoch = %identity.epoch,
            "producer goes on under a new epoch"
        );
        self.identity = Some(identity);
        self.is_broken = false;
        self.next_sequence = Sequence(0);
        for sent in &mut self.unresolved {
            let bytes = std::mem::take(&mut sent.bytes);
            sent.bytes = restamp(bytes, identity, self.next_sequence);
            self.next_sequence = self.next_sequence.plus(sent.record_count);
        }
    }

    pub(in crate::producer::delivery) fn abandon(&mut self, effects: &mut Effects) {
        while let Some(sent) = self.unresolved.front() {
            let is_in_doubt = sent.is_in_doubt || sent.is_under_way;
            self.give_up(0, DeliveryFailure::Dropped, is_in_doubt, effects);
        }
    }
}

/// Returns an identity newer than a lane's: the producer's if another lane was here before, else its next epoch.
fn next_identity(lane: Option<Identity>, producer: &mut Option<Identity>) -> Option<Identity> {
    let newest = (*producer)?;
    if lane != Some(newest) {
        return Some(newest);
    }
    let epoch = ProducerEpoch(newest.epoch.0.checked_add(1)?);
    let next = Identity { epoch, ..newest };
    *producer = Some(next);
    Some(next)
}
