//! The numbered batches of one topic, from the floor on: what was acknowledged of each, and which may be forgotten.
//!
//! ```text
//!  given up or answered │ f  open   f+1 acknowledged   f+2 open   f+3 refused for good │ next number
//!                    floor ────────────── kept, in order, without a hole ──────────────
//! ```
//! A batch stays until the floor has passed it, since a session begins at the floor and leaves nothing out.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use keylane_protocol::identifiers::PartitionIndex;
use keylane_protocol::offset::{Offset, Sequence};
use keylane_protocol::routed::{NUMBERS_MAX, WINDOW_BYTES_MAX};

use super::RoutedEffects;
use super::spread::Touched;
use crate::producer::accumulator::BatchSerial;
use crate::producer::error::{DeliveryError, DeliveryFailure};
use crate::producer::receipt::{BatchOutcome, BatchResult};

/// A batch whose content has its number.
#[derive(Debug)]
pub(super) struct Numbered {
    pub(super) serial: BatchSerial,
    pub(super) outcome: Arc<BatchOutcome>,
    pub(super) bytes: Bytes,
    /// What the batch is split with, whatever the topic has by the time it is sent again.
    pub(super) partition_count: i32,
    pub(super) parts: Vec<Part>,
    pub(super) reserved_bytes: usize,
    pub(super) deadline: Instant,
    /// How many attempts may have written something.
    pub(super) attempts: u32,
    pub(super) is_settled: bool,
    pub(super) last_failure: Option<DeliveryFailure>,
}

/// The records of a batch that belong to one partition.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) partition: PartitionIndex,
    pub(super) record_count: u32,
    /// Where they are, once that is acknowledged; nothing takes that back.
    pub(super) written: Option<Option<Offset>>,
}

/// Why a batch is settled that is not acknowledged whole.
pub(super) struct Unwritten<'a> {
    pub(super) topic: &'a Arc<str>,
    pub(super) cause: &'a DeliveryFailure,
    /// Says of a partition without acknowledgement whether its records may be written all the same.
    pub(super) is_in_doubt: &'a dyn Fn(PartitionIndex) -> bool,
}

/// The batches of a topic from the floor on.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// Everything below has been answered, or given up.
    floor: i32,
    /// The first has the floor as its number, and is not settled.
    batches: VecDeque<Numbered>,
    span_bytes: usize,
    /// Numbers refused for good that the floor has not passed.
    refused: BTreeSet<i32>,
}

impl Part {
    pub(super) fn new(touched: Touched) -> Self {
        Self {
            partition: touched.partition,
            record_count: touched.record_count,
            written: None,
        }
    }
}

impl Window {
    pub(super) fn floor(&self) -> Sequence {
        Sequence(self.floor)
    }

    /// Returns the number that no batch has yet.
    pub(super) fn next_number(&self) -> Sequence {
        let count = i32::try_from(self.batches.len()).expect("at most NUMBERS_MAX are kept");
        Sequence(self.floor + count)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.batches.len()
    }

    /// Returns whether a batch of this size may get the next number.
    pub(super) fn has_room(&self, size_bytes: usize) -> bool {
        let numbers_max = usize::try_from(NUMBERS_MAX).unwrap_or(usize::MAX);
        self.batches.len() < numbers_max && self.span_bytes + size_bytes <= WINDOW_BYTES_MAX
    }

    /// Returns whether a new session may send this number: none goes beyond one that was refused for good.
    pub(super) fn may_send(&self, number: Sequence) -> bool {
        self.refused.first().is_none_or(|&first| number.0 < first)
    }

    /// Keeps a batch under the next number.
    pub(super) fn push(&mut self, batch: Numbered) {
        self.span_bytes += batch.bytes.len();
        self.batches.push_back(batch);
    }

    pub(super) fn get_mut(&mut self, number: Sequence) -> Option<&mut Numbered> {
        let index = usize::try_from(number.0.checked_sub(self.floor)?).ok()?;
        self.batches.get_mut(index)
    }

    /// Settles a batch if everything of it is acknowledged, and says whether it is.
    pub(super) fn settle_if_written(
        &mut self,
        number: Sequence,
        effects: &mut RoutedEffects,
    ) -> bool {
        let Some(batch) = self.get_mut(number) else {
            return false;
        };
        if batch.is_settled || batch.parts.iter().any(|part| part.written.is_none()) {
            return false;
        }
        let parts = batch.parts.iter();
        let parts = parts.map(|part| (part.partition, Ok(part.written.flatten())));
        let parts: Vec<(PartitionIndex, BatchResult)> = parts.collect();
        effects.settle(batch.serial, &batch.outcome, parts, None);
        batch.is_settled = true;
        self.advance(effects);
        true
    }

    /// Tells those who wait for a batch which parts of it are written, though others are not.
    pub(super) fn tell_written(&mut self, number: Sequence, effects: &mut RoutedEffects) {
        let Some(batch) = self.get_mut(number).filter(|batch| !batch.is_settled) else {
            return;
        };
        let written = |part: &Part| part.written.map(|offset| (part.partition, offset));
        let parts = batch.parts.iter().filter_map(written).collect();
        effects.tell_written(&batch.outcome, parts);
    }

    /// Settles a batch that is refused for good; it is not sent again.
    pub(super) fn refuse(
        &mut self,
        number: Sequence,
        why: &Unwritten<'_>,
        effects: &mut RoutedEffects,
    ) {
        if self.settle_unwritten(number, why, effects) {
            self.refused.insert(number.0);
            self.advance(effects);
        }
    }

    /// Gives up the oldest batch.
    pub(super) fn give_up_first(&mut self, why: &Unwritten<'_>, effects: &mut RoutedEffects) {
        self.settle_unwritten(self.floor(), why, effects);
        self.advance(effects);
    }

    /// Returns the oldest batch, which is not settled.
    pub(super) fn first(&self) -> Option<&Numbered> {
        self.batches.front()
    }

    /// Starts at 0 again, for another epoch.
    ///
    /// # Panics
    /// When a batch is left: it would lose its number.
    pub(super) fn restart(&mut self) {
        assert!(self.batches.is_empty(), "an epoch ends when all is drained");
        *self = Self::default();
    }

    fn settle_unwritten(
        &mut self,
        number: Sequence,
        why: &Unwritten<'_>,
        effects: &mut RoutedEffects,
    ) -> bool {
        let Some(batch) = self.get_mut(number) else {
            return false;
        };
        if batch.is_settled {
            return false;
        }
        let mut failed = (0, None);
        let mut parts = Vec::with_capacity(batch.parts.len());
        for part in &batch.parts {
            let result = part.written.ok_or_else(|| why.error(part.partition));
            if let Err(error) = &result {
                failed.0 += part.record_count;
                failed.1.get_or_insert_with(|| error.clone());
            }
            parts.push((part.partition, result));
        }
        let failed = failed.1.map(|error| (failed.0, error));
        effects.settle(batch.serial, &batch.outcome, parts, failed);
        batch.is_settled = true;
        true
    }

    /// Moves the floor past what is settled.
    fn advance(&mut self, effects: &mut RoutedEffects) {
        while self.batches.front().is_some_and(|first| first.is_settled) {
            let Some(first) = self.batches.pop_front() else {
                break;
            };
            self.span_bytes -= first.bytes.len();
            effects.released_bytes += first.reserved_bytes;
            self.refused.remove(&self.floor);
            self.floor += 1;
        }
    }
}

impl Unwritten<'_> {
    fn error(&self, partition: PartitionIndex) -> DeliveryError {
        let topic = Arc::clone(self.topic);
        let cause = self.cause.clone();
        if (self.is_in_doubt)(partition) {
            DeliveryError::OutcomeUnknown {
                topic,
                partition: Some(partition),
                cause,
            }
        } else {
            DeliveryError::NotWritten {
                topic,
                partition: Some(partition),
                cause,
            }
        }
    }
}
