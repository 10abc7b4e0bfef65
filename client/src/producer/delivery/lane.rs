//! One partition of one producer: its sequences, what is under way, what has to be sent again.
//!
//! ```text
//! steady ──failure──► draining ──nothing under way──► resending ──everything answered──► steady
//!                        └─ is_broken: a new epoch first, see `repair_if_drained`
//! ```
//! `unresolved` is in the order of the sequences and holds at most five batches, since the broker remembers as many.

mod repair;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use keylane_protocol::compression::Compression;
use keylane_protocol::identifiers::{BrokerId, PartitionIndex};
use keylane_protocol::offset::{Offset, Sequence};
use std::time::Instant;

use super::verdict::{Answer, Verdict};
use super::{DeliverySettings, Effects, Identity, Settled, Shared};
use crate::backoff::pause;
use crate::producer::accumulator::BatchSerial;
use crate::producer::batch::SealedBatch;
use crate::producer::error::{DeliveryError, DeliveryFailure};
use crate::producer::receipt::BatchOutcome;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Steady,
    Draining,
    Resending,
}

#[derive(Debug)]
pub(super) struct Lane {
    topic: Arc<str>,
    partition: PartitionIndex,
    /// Who leads the partition, as far as is known.
    pub(super) leader: Option<BrokerId>,
    /// To whom batches are under way.
    sending_to: Option<BrokerId>,
    identity: Option<Identity>,
    next_sequence: Sequence,
    phase: Phase,
    /// A sequence can no longer be filled.
    is_broken: bool,
    unresolved: VecDeque<Sent>,
    failures: u32,
    not_before: Option<Instant>,
}

/// A batch that has its sequence.
#[derive(Debug)]
struct Sent {
    serial: BatchSerial,
    outcome: Arc<BatchOutcome>,
    bytes: Bytes,
    record_count: i32,
    reserved_bytes: usize,
    deadline: Instant,
    is_under_way: bool,
    /// An attempt may have written it.
    is_in_doubt: bool,
    /// Its outcome was given up; only the answer is still awaited.
    is_given_up: bool,
    last_failure: Option<DeliveryFailure>,
}

impl Lane {
    pub(super) fn new(
        topic: Arc<str>,
        partition: PartitionIndex,
        identity: Option<Identity>,
    ) -> Self {
        Self {
            topic,
            partition,
            leader: None,
            sending_to: None,
            identity,
            next_sequence: Sequence(0),
            phase: Phase::Steady,
            is_broken: false,
            unresolved: VecDeque::new(),
            failures: 0,
            not_before: None,
        }
    }

    pub(super) fn name(&self) -> (&Arc<str>, PartitionIndex) {
        (&self.topic, self.partition)
    }

    /// Returns whom to send to: never two brokers at once.
    pub(super) fn broker(&self) -> Option<BrokerId> {
        self.sending_to.or(self.leader)
    }

    pub(super) fn has_unresolved(&self) -> bool {
        !self.unresolved.is_empty()
    }

    /// Returns whether a batch may be sent: one to send again if there is any, else a new one. A partition whose leader
    /// moves waits until nothing of it is under way to the old one.
    pub(super) fn may_send(&self, now: Instant, settings: DeliverySettings) -> bool {
        let is_pausing = self.not_before.is_some_and(|until| until > now);
        let is_moving = self.sending_to.is_some() && self.sending_to != self.leader;
        if is_pausing || is_moving || self.is_broken {
            return false;
        }
        match self.phase {
            Phase::Steady => self.unresolved.len() < settings.in_flight_max,
            Phase::Draining => false,
            Phase::Resending => self.first_to_resend().is_some(),
        }
    }

    pub(super) fn first_to_resend(&self) -> Option<&Bytes> {
        let mut waiting = self.unresolved.iter().filter(|sent| !sent.is_under_way);
        waiting.next().map(|sent| &sent.bytes)
    }

    pub(super) fn next_resend(&self) -> Option<Instant> {
        self.not_before.filter(|_| self.phase == Phase::Resending)
    }

    /// Gives a new batch its sequence and sends it.
    pub(super) fn send(
        &mut self,
        batch: SealedBatch,
        broker: BrokerId,
        compression: Compression,
    ) -> (BatchSerial, Bytes) {
        let sequence = self.next_sequence;
        let record_count = batch.record_count();
        let serial = batch.serial();
        let sent = Sent {
            serial,
            outcome: batch.outcome(),
            record_count,
            reserved_bytes: batch.reserved_bytes(),
            deadline: batch.deadline(),
            bytes: batch.finish(compression, self.identity, sequence),
            is_under_way: true,
            is_in_doubt: false,
            is_given_up: false,
            last_failure: None,
        };
        let bytes = sent.bytes.clone();
        if self.identity.is_some() {
            self.next_sequence = sequence.plus(record_count);
        }
        self.unresolved.push_back(sent);
        self.sending_to = Some(broker);
        (serial, bytes)
    }

    /// Sends the first waiting batch again, as it was.
    pub(super) fn resend(&mut self, broker: BrokerId) -> Option<(BatchSerial, Bytes)> {
        let sent = self.unresolved.iter_mut().find(|sent| !sent.is_under_way)?;
        sent.is_under_way = true;
        self.sending_to = Some(broker);
        Some((sent.serial, sent.bytes.clone()))
    }

    pub(super) fn on_answer(
        &mut self,
        serial: BatchSerial,
        answer: Answer,
        shared: &mut Shared<'_>,
    ) {
        let position = self
            .unresolved
            .iter()
            .position(|sent| sent.serial == serial);
        let Some(index) = position else { return };
        self.unresolved[index].is_under_way = false;
        match answer.verdict(self.identity.is_some()) {
            Verdict::Written(offset) => {
                self.failures = 0;
                self.remove(index, shared.effects, |_| Ok(offset));
            }
            Verdict::Again {
                cause,
                is_in_doubt,
                is_metadata_stale,
            } => {
                shared.effects.is_metadata_stale |= is_metadata_stale;
                self.unresolved[index].is_in_doubt |= is_in_doubt;
                self.try_again(index, cause, shared);
            }
            Verdict::OutOfSequence(cause) => {
                // Behind a batch that failed this is what must happen. At the head it means that the broker has
                // forgotten, or lost, what it acknowledged.
                self.is_broken |= index == 0;
                self.try_again(index, cause, shared);
            }
            Verdict::Final { cause, is_in_doubt } => {
                let is_in_doubt = is_in_doubt || self.unresolved[index].is_in_doubt;
                self.give_up(index, cause, is_in_doubt, shared.effects);
            }
        }
        self.repair_if_drained(shared);
    }

    fn try_again(&mut self, index: usize, cause: DeliveryFailure, shared: &mut Shared<'_>) {
        let sent = &mut self.unresolved[index];
        if sent.is_given_up || !shared.settings.resends {
            let is_in_doubt = sent.is_in_doubt;
            self.give_up(index, cause, is_in_doubt, shared.effects);
            return;
        }
        sent.last_failure = Some(cause);
        if self.phase != Phase::Draining {
            self.phase = Phase::Draining;
            self.not_before = Some(shared.now + pause(self.failures, shared.generator));
            self.failures = self.failures.saturating_add(1);
        }
    }

    /// Removes a batch that is not written, or not known to be. Its sequence will never be filled.
    fn give_up(
        &mut self,
        index: usize,
        cause: DeliveryFailure,
        is_in_doubt: bool,
        effects: &mut Effects,
    ) {
        self.is_broken |= self.identity.is_some();
        self.remove(index, effects, |lane| Err(lane.error(cause, is_in_doubt)));
    }

    fn error(&self, cause: DeliveryFailure, is_in_doubt: bool) -> DeliveryError {
        let topic = Arc::clone(&self.topic);
        let partition = Some(self.partition);
        if is_in_doubt {
            DeliveryError::OutcomeUnknown {
                topic,
                partition,
                cause,
            }
        } else {
            DeliveryError::NotWritten {
                topic,
                partition,
                cause,
            }
        }
    }

    fn remove(
        &mut self,
        index: usize,
        effects: &mut Effects,
        result: impl FnOnce(&Self) -> Result<Option<Offset>, DeliveryError>,
    ) {
        let Some(sent) = self.unresolved.remove(index) else {
            return;
        };
        effects.released_bytes += sent.reserved_bytes;
        if !sent.is_given_up {
            effects.settled.push(Settled {
                serial: sent.serial,
                outcome: sent.outcome,
                result: result(self),
            });
        }
    }
}
