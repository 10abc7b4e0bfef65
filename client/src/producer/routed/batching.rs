//! The records of one topic before they have a number: one open batch, full ones before it.
//!
//! A batch is due when it has lingered or reached the target size. While it cannot be sent it goes on growing, up to
//! 1 MiB: what waits for answers becomes fewer and larger batches, and its split leaves less dust. It is given up with its
//! first record, so it takes no more when that has used up a quarter of its time: every record has the rest.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use keylane_protocol::record_batch::NewRecord;

use super::spread::{HASH_BYTES, hash_of};
use super::{RoutedAppended, RoutedSettings};
use crate::limits::{BATCH_BYTES_FIRST, ROUTED_BATCH_BYTES_FIRST, ROUTED_BATCH_BYTES_MAX};
use crate::producer::accumulator::BatchSerial;
use crate::producer::batch::{OpenBatch, SealedBatch};
use crate::producer::receipt::BatchOutcome;

const KIBIBYTE: usize = 1024;

/// The least target size.
const TARGET_BYTES_MIN: usize = 64 * KIBIBYTE;

/// What a sub-batch should hold on average.
const TARGET_BYTES_PER_PARTITION: usize = 4 * KIBIBYTE;

/// Returns the size at which a batch is sent without lingering, so that splitting does not leave dust.
fn target_bytes(partition_count: i32) -> usize {
    let partitions = usize::try_from(partition_count).unwrap_or(0);
    let wanted = TARGET_BYTES_PER_PARTITION.saturating_mul(partitions);
    wanted.clamp(TARGET_BYTES_MIN, ROUTED_BATCH_BYTES_MAX)
}

fn target_of(settings: &RoutedSettings, partition_count: i32) -> usize {
    let chosen = settings.batch_size_bytes;
    chosen.unwrap_or_else(|| target_bytes(partition_count).min(settings.batch_bytes_max))
}

/// Returns when a batch that is given up then takes no more.
fn closes_at(deadline: Instant, settings: &RoutedSettings) -> Instant {
    let rest = settings.delivery_timeout * 3 / 4;
    deadline.checked_sub(rest).unwrap_or(deadline)
}

/// A batch and the hashes of its records' keys.
#[derive(Debug)]
pub(super) struct Hashed<B> {
    pub(super) batch: B,
    pub(super) hashes: Vec<u32>,
}

/// The batches of a topic that have no number.
#[derive(Debug)]
pub(super) struct Batching {
    open: Option<Hashed<OpenBatch>>,
    sealed: VecDeque<Hashed<SealedBatch>>,
    next_capacity: usize,
    record_count_last: usize,
}

/// What opening a batch takes.
pub(super) struct Opening<'a> {
    pub(super) settings: &'a RoutedSettings,
    pub(super) partition_count: i32,
    pub(super) next_serial: &'a mut BatchSerial,
    pub(super) unsettled: &'a mut BTreeMap<BatchSerial, Arc<BatchOutcome>>,
}

impl Batching {
    pub(super) fn new() -> Self {
        Self {
            open: None,
            sealed: VecDeque::new(),
            next_capacity: ROUTED_BATCH_BYTES_FIRST,
            record_count_last: 0,
        }
    }

    /// Places a record of this size into the open batch, opening one if need be.
    pub(super) fn append(
        &mut self,
        (record, size): (&NewRecord<'_>, usize),
        mut opening: Opening<'_>,
        now: &dyn Fn() -> Instant,
        reserve: &mut dyn FnMut(usize) -> bool,
    ) -> RoutedAppended {
        let settings = opening.settings;
        let size_max = settings
            .batch_size_bytes
            .unwrap_or(settings.batch_bytes_max);
        let target = target_of(settings, opening.partition_count);
        let mut opened = None;
        loop {
            let Some(open) = &mut self.open else {
                let capacity = self.next_capacity.min(size_max);
                let capacity = capacity.max(OpenBatch::capacity_for(size + HASH_BYTES));
                if !reserve(capacity) {
                    return RoutedAppended::NeedsMemory(capacity);
                }
                opened = Some(self.open(capacity, &mut opening, now()));
                continue;
            };
            let size_with_hashes = size + HASH_BYTES * (open.hashes.len() + 1);
            let batch = &mut open.batch;
            if batch.has_room(size_with_hashes)
                || batch.grow(size_with_hashes, size_max, &mut *reserve)
            {
                open.hashes.push(hash_of(record.key));
                let receipt = batch.append(record);
                return RoutedAppended::Placed {
                    receipt,
                    opened,
                    is_due: settings.linger.is_zero()
                        || batch.len() >= target
                        || !self.sealed.is_empty(),
                };
            }
            self.seal();
        }
    }

    /// Opens a batch and returns when it is due.
    fn open(&mut self, capacity: usize, opening: &mut Opening<'_>, now: Instant) -> Instant {
        let serial = *opening.next_serial;
        opening.next_serial.0 += 1;
        let settings = opening.settings;
        let times = (now + settings.linger, now + settings.delivery_timeout);
        let outcome = Arc::new(BatchOutcome::routed());
        opening.unsettled.insert(serial, Arc::clone(&outcome));
        self.open = Some(Hashed {
            batch: OpenBatch::new(serial, outcome, capacity, times),
            hashes: Vec::with_capacity(self.record_count_last),
        });
        times.0
    }

    /// Closes the open batch if it has grown too old to take more.
    pub(super) fn seal_if_old(&mut self, settings: &RoutedSettings, now: Instant) {
        if self.closes_at(settings).is_some_and(|at| at <= now) {
            self.seal();
        }
    }

    /// Returns when the open batch takes no more.
    pub(super) fn closes_at(&self, settings: &RoutedSettings) -> Option<Instant> {
        let open = self.open.as_ref()?;
        Some(closes_at(open.batch.deadline(), settings))
    }

    /// Closes the open batch.
    fn seal(&mut self) {
        let Some(open) = self.open.take() else { return };
        let length = open.batch.len();
        self.next_capacity = if open.batch.is_cut_by_size() {
            ROUTED_BATCH_BYTES_MAX
        } else if length > ROUTED_BATCH_BYTES_FIRST / 2 {
            length.max(BATCH_BYTES_FIRST)
        } else {
            ROUTED_BATCH_BYTES_FIRST
        };
        self.record_count_last = open.hashes.len();
        self.sealed.push_back(Hashed {
            batch: open.batch.seal(),
            hashes: open.hashes,
        });
    }

    /// Returns the size of the batch that is due, if one is; `takes_all` when nothing lingers.
    pub(super) fn due_len(
        &self,
        opening: (&RoutedSettings, i32),
        now: Instant,
        takes_all: bool,
    ) -> Option<usize> {
        if let Some(first) = self.sealed.front() {
            return Some(first.batch.len());
        }
        let open = &self.open.as_ref()?.batch;
        let (settings, partition_count) = opening;
        let is_full = open.len() >= target_of(settings, partition_count);
        let is_due = takes_all || is_full || open.is_due() <= now;
        is_due.then(|| open.len())
    }

    /// Takes the first batch, closing it if it is still open.
    pub(super) fn take(&mut self) -> Option<Hashed<SealedBatch>> {
        if self.sealed.is_empty() {
            self.seal();
        }
        self.sealed.pop_front()
    }

    /// Takes the first batch if its time-out has passed.
    pub(super) fn take_expired(&mut self, now: Instant) -> Option<Hashed<SealedBatch>> {
        self.first_deadline().filter(|&deadline| deadline <= now)?;
        self.take()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_none() && self.sealed.is_empty()
    }

    /// Returns when the first batch expires.
    pub(super) fn first_deadline(&self) -> Option<Instant> {
        let sealed = self.sealed.front().map(|first| first.batch.deadline());
        sealed.or_else(|| self.open.as_ref().map(|open| open.batch.deadline()))
    }

    /// Returns when the open batch is due by its age.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.open.as_ref().map(|open| open.batch.is_due())
    }

    /// Makes what there is due.
    pub(super) fn seal_all(&mut self) {
        self.seal();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_grows_with_the_partitions_within_bounds() {
        let expected = [
            (1, 64),
            (16, 64),
            (32, 128),
            (200, 800),
            (1000, 1024),
            (-5, 64),
        ];
        for (partitions, kibibytes) in expected {
            assert_eq!(
                target_bytes(partitions),
                kibibytes * KIBIBYTE,
                "{partitions}"
            );
        }
    }
}
