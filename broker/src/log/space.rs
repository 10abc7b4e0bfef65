//! Room for records, taken before an offset is assigned: a full disk refuses appends, it never breaks one.
//!
//! The writer measures the free space after each group, and when it is asked to after a refusal; appends take their
//! bytes from what it found, less the reserve. What was taken and not yet written counts against each measurement. Bytes
//! reserved ahead in a segment are no room: only the partition that reserved them can use them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::disk::Space;

/// The share of the filesystem that the reserve never exceeds, so that small disks can be used at all.
const RESERVE_DIVISOR: u64 = 20;

/// A batch also costs index entries and rounding to blocks.
const OVERHEAD_BYTES: u64 = 64;

/// The share of the room that one group of the writer may reserve ahead.
const AHEAD_DIVISOR: u64 = 4;

/// How much may still be appended to a data folder.
#[derive(Debug)]
pub struct SpaceBudget {
    reserve_bytes_max: u64,
    /// Free space as measured, less the reserve.
    measured_bytes: AtomicU64,
    /// Taken since the folder was opened, modulo 2^64.
    taken_bytes: AtomicU64,
    /// Written or given up since then, modulo 2^64; raised only after a measurement that knows of it.
    settled_bytes: AtomicU64,
    has_refused: AtomicBool,
}

/// There is no room for an append; it may be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the data folder's filesystem has no room for {needed_bytes} bytes beyond its reserve")]
pub struct NoRoom {
    /// Bytes that were needed.
    pub needed_bytes: u64,
}

impl SpaceBudget {
    /// Returns a budget that keeps at most `reserve_bytes_max` bytes free, and at most 5 % of the filesystem.
    #[must_use]
    pub fn new(reserve_bytes_max: u64, space: Space) -> Self {
        let budget = Self {
            reserve_bytes_max,
            measured_bytes: AtomicU64::new(0),
            taken_bytes: AtomicU64::new(0),
            settled_bytes: AtomicU64::new(0),
            has_refused: AtomicBool::new(false),
        };
        budget.measured(space);
        budget
    }

    /// Takes room for an append of so many bytes.
    ///
    /// # Errors
    /// When the room is not there; nothing is taken then.
    pub fn take(&self, bytes: u64) -> Result<(), NoRoom> {
        let needed_bytes = bytes + OVERHEAD_BYTES;
        match self.take_of_room(|room| (needed_bytes <= room).then_some(needed_bytes)) {
            Some(_) => Ok(()),
            None => {
                self.has_refused.store(true, Ordering::Relaxed);
                Err(NoRoom { needed_bytes })
            }
        }
    }

    /// Takes a share of the room, to reserve segments ahead with; returns its bytes, which are settled with the group.
    pub(super) fn take_ahead(&self) -> u64 {
        self.take_of_room(|room| Some(room / AHEAD_DIVISOR))
            .unwrap_or(0)
    }

    /// Takes what `choose` makes of the room, in one step beside all others who take.
    fn take_of_room(&self, choose: impl Fn(u64) -> Option<u64>) -> Option<u64> {
        let mut taken = self.taken_bytes.load(Ordering::Relaxed);
        loop {
            // Read before the measurement: a settled byte is known to any measurement that is read after it.
            let settled = self.settled_bytes.load(Ordering::Acquire);
            let pending = difference(taken, settled);
            let measured = self.measured_bytes.load(Ordering::Relaxed);
            let chosen = choose(measured.saturating_sub(pending))?;
            match self.taken_bytes.compare_exchange_weak(
                taken,
                taken.wrapping_add(chosen),
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Some(chosen),
                Err(now) => taken = now,
            }
        }
    }

    /// Returns whether an append was refused since the last measurement.
    #[must_use]
    pub fn has_refused(&self) -> bool {
        self.has_refused.load(Ordering::Relaxed)
    }

    /// Returns how many bytes appends may still take.
    #[must_use]
    pub fn room_bytes(&self) -> u64 {
        let pending = self.pending_bytes();
        let measured = self.measured_bytes.load(Ordering::Relaxed);
        measured.saturating_sub(pending)
    }

    /// Returns bytes taken and not yet settled.
    #[must_use]
    pub fn pending_bytes(&self) -> u64 {
        let settled = self.settled_bytes.load(Ordering::Relaxed);
        difference(self.taken_bytes.load(Ordering::Relaxed), settled)
    }

    /// Notes that batches for which room was taken were written or given up. What was written must have been measured
    /// before, or it would be counted neither as pending nor as used.
    pub fn settled(&self, bytes: u64, batches: u64) {
        self.settle(bytes + batches * OVERHEAD_BYTES);
    }

    /// Gives back what [`Self::take_ahead`] took, after a measurement that knows of what was reserved with it.
    pub(super) fn settle(&self, bytes: u64) {
        self.settled_bytes.fetch_add(bytes, Ordering::Release);
    }

    /// Notes what the filesystem has free.
    pub(super) fn measured(&self, space: Space) {
        let reserve = self
            .reserve_bytes_max
            .min(space.total_bytes / RESERVE_DIVISOR);
        let usable = space.free_bytes.saturating_sub(reserve);
        self.measured_bytes.store(usable, Ordering::Relaxed);
        self.has_refused.store(false, Ordering::Relaxed);
    }
}

/// Returns what was taken and is not settled; what is settled may have been read later, and then exceed it.
fn difference(taken: u64, settled: u64) -> u64 {
    let difference = taken.wrapping_sub(settled);
    if difference > u64::MAX / 2 {
        0
    } else {
        difference
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(free_bytes: u64) -> Space {
        Space {
            free_bytes,
            total_bytes: 1_000_000,
        }
    }

    #[test]
    fn what_is_taken_and_not_written_counts_against_each_measurement() {
        let budget = SpaceBudget::new(10_000, space(20_000));
        budget.take(6_000).expect("room for 10,000");
        budget.measured(space(20_000));
        assert!(budget.take(6_000).is_err());
        assert!(budget.has_refused());
        budget.measured(space(20_000));
        budget.settled(6_000, 1);
        assert!(!budget.has_refused());
        budget.take(6_000).expect("the first was written elsewhere");
    }

    #[test]
    fn the_reserve_is_at_most_a_twentieth_of_the_disk() {
        let budget = SpaceBudget::new(u64::MAX, space(60_000));
        budget
            .take(9_000)
            .expect("50,000 are reserved, 10,000 are free");
        assert!(budget.take(2_000).is_err());
    }

    #[test]
    fn what_the_writer_reserves_ahead_is_no_room_for_others() {
        let budget = SpaceBudget::new(0, space(10_000));
        let ahead = budget.take_ahead();
        assert_eq!(ahead, 2_500);
        assert!(budget.take(8_000).is_err());
        budget.measured(space(10_000 - ahead));
        budget.settle(ahead);
        assert!(budget.take(8_000).is_err());
        budget.take(7_000).expect("7,500 are left");
    }

    #[test]
    fn a_disk_without_end_is_never_used_up() {
        let budget = SpaceBudget::new(
            0,
            Space {
                free_bytes: u64::MAX / 4,
                total_bytes: u64::MAX / 4,
            },
        );
        for _ in 0..100 {
            let ahead = budget.take_ahead();
            budget.take(1000).expect("room");
            budget.settled(1000, 1);
            budget.settle(ahead);
        }
        assert_eq!(budget.pending_bytes(), 0);
    }

    #[test]
    fn shards_that_take_at_once_never_take_more_than_there_is() {
        let budget = SpaceBudget::new(0, space(1_000_000));
        let taken: u64 = std::thread::scope(|scope| {
            let shards: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| (0..5_000).filter(|_| budget.take(136).is_ok()).count() as u64)
                })
                .collect();
            shards
                .into_iter()
                .map(|shard| shard.join().expect("no panic"))
                .sum()
        });
        assert_eq!(taken, 5_000, "each takes 200 bytes of 1,000,000");
    }
}
