//! Room for records, taken before an offset is assigned: a full disk refuses appends, it never breaks one.
//!
//! The writer measures the free space after each group and at least once a second; appends take their bytes from what it
//! found, less the reserve. What was taken and not yet written is remembered across measurements.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::disk::Space;

/// The share of the filesystem that the reserve never exceeds, so that small disks can be used at all.
const RESERVE_DIVISOR: u64 = 20;

/// A batch also costs index entries and rounding to blocks.
const OVERHEAD_BYTES: u64 = 64;

/// How much may still be appended to a data folder.
#[derive(Debug)]
pub struct SpaceBudget {
    reserve_bytes_max: u64,
    /// Free space as measured, less the reserve, plus what is allocated ahead and not yet used.
    measured_bytes: AtomicU64,
    /// Taken for appends since the folder was opened.
    taken_bytes: AtomicU64,
    /// Written since the folder was opened.
    written_bytes: AtomicU64,
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
            written_bytes: AtomicU64::new(0),
            has_refused: AtomicBool::new(false),
        };
        budget.measured(space, 0);
        budget
    }

    /// Takes room for an append of so many bytes.
    ///
    /// # Errors
    /// When the room is not there; nothing is taken then.
    pub fn take(&self, bytes: u64) -> Result<(), NoRoom> {
        let needed_bytes = bytes + OVERHEAD_BYTES;
        let pending = self.pending_bytes();
        if pending + needed_bytes > self.measured_bytes.load(Ordering::Relaxed) {
            self.has_refused.store(true, Ordering::Relaxed);
            return Err(NoRoom { needed_bytes });
        }
        self.taken_bytes.fetch_add(needed_bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Returns whether an append was refused since the last measurement.
    #[must_use]
    pub fn has_refused(&self) -> bool {
        self.has_refused.load(Ordering::Relaxed)
    }

    /// Returns bytes taken and not yet written.
    #[must_use]
    pub fn pending_bytes(&self) -> u64 {
        let written = self.written_bytes.load(Ordering::Relaxed);
        self.taken_bytes
            .load(Ordering::Relaxed)
            .saturating_sub(written)
    }

    /// Notes that batches for which room was taken were written or given up.
    pub fn settled(&self, bytes: u64, batches: u64) {
        let settled = bytes + batches * OVERHEAD_BYTES;
        self.written_bytes.fetch_add(settled, Ordering::Relaxed);
    }

    /// Notes what the filesystem has free, and how much of open segments is allocated and unused.
    pub(super) fn measured(&self, space: Space, allocated_ahead_bytes: u64) {
        let reserve = self
            .reserve_bytes_max
            .min(space.total_bytes / RESERVE_DIVISOR);
        let usable = space.free_bytes.saturating_sub(reserve) + allocated_ahead_bytes;
        self.measured_bytes.store(usable, Ordering::Relaxed);
        self.has_refused.store(false, Ordering::Relaxed);
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
        budget.measured(space(20_000), 0);
        assert!(budget.take(6_000).is_err());
        assert!(budget.has_refused());
        budget.settled(6_000, 1);
        budget.measured(space(20_000), 0);
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
}
