//! What is counted of one partition: by the shard that owns it, and by those who read from it; looked at by anybody.
//!
//! Plain numbers: they go with the partition, and cost it nothing but an addition.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use keylane_protocol::offset::{LeaderEpoch, Offset};

use crate::log::Log;

/// The numbers of a partition.
#[derive(Debug, Default)]
pub struct PartitionCounters {
    appended_bytes: AtomicU64,
    appended_records: AtomicU64,
    fetched_bytes: AtomicU64,
    fetched_records: AtomicU64,
    log_start_offset: AtomicI64,
    high_watermark: AtomicI64,
    log_end_offset: AtomicI64,
    log_bytes: AtomicU64,
    leader_epoch: AtomicI64,
}

/// The numbers of a partition at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartitionNumbers {
    /// Bytes of batches appended since this process serves the partition.
    pub appended_bytes: u64,
    /// Records in them.
    pub appended_records: u64,
    /// Bytes of batches in answers to Fetch since this process serves the partition.
    pub fetched_bytes: u64,
    /// Records in them.
    pub fetched_records: u64,
    /// The first offset.
    pub log_start_offset: i64,
    /// How far consumers may read.
    pub high_watermark: i64,
    /// The offset after the last record, durable or not.
    pub log_end_offset: i64,
    /// Bytes of the log, without what is reserved ahead.
    pub log_bytes: u64,
    /// The epoch in which this broker leads; -1 if it does not.
    pub leader_epoch: i64,
}

impl PartitionCounters {
    /// Begins with a log as it was found, all of which is durable.
    pub(super) fn begin(&self, log: &Log, leader_epoch: Option<LeaderEpoch>) {
        self.log_start_offset
            .store(log.start_offset().0, Ordering::Relaxed);
        self.log_end_offset
            .store(log.end_offset().0, Ordering::Relaxed);
        self.log_bytes.store(log.size_bytes(), Ordering::Relaxed);
        self.reach(log.end_offset());
        self.lead(leader_epoch);
    }

    pub(super) fn lead(&self, leader_epoch: Option<LeaderEpoch>) {
        let epoch = leader_epoch.unwrap_or(LeaderEpoch::NONE);
        self.leader_epoch
            .store(i64::from(epoch.0), Ordering::Relaxed);
    }

    /// Counts a batch that has its place.
    pub(super) fn appended(&self, size_bytes: u64, records: u64, end_offset: Offset) {
        add_alone(&self.appended_bytes, size_bytes);
        add_alone(&self.appended_records, records);
        add_alone(&self.log_bytes, size_bytes);
        self.log_end_offset.store(end_offset.0, Ordering::Relaxed);
    }

    pub(super) fn reach(&self, high_watermark: Offset) {
        self.high_watermark
            .store(high_watermark.0, Ordering::Relaxed);
    }

    /// Counts what an answer to a Fetch holds.
    pub fn fetched(&self, size_bytes: u64, records: u64) {
        // Readers of a partition are on several threads.
        self.fetched_bytes.fetch_add(size_bytes, Ordering::Relaxed);
        self.fetched_records.fetch_add(records, Ordering::Relaxed);
    }

    /// Returns the numbers now, each by itself.
    #[must_use]
    pub fn numbers(&self) -> PartitionNumbers {
        let unsigned = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let signed = |number: &AtomicI64| number.load(Ordering::Relaxed);
        PartitionNumbers {
            appended_bytes: unsigned(&self.appended_bytes),
            appended_records: unsigned(&self.appended_records),
            fetched_bytes: unsigned(&self.fetched_bytes),
            fetched_records: unsigned(&self.fetched_records),
            log_start_offset: signed(&self.log_start_offset),
            high_watermark: signed(&self.high_watermark),
            log_end_offset: signed(&self.log_end_offset),
            log_bytes: unsigned(&self.log_bytes),
            leader_epoch: signed(&self.leader_epoch),
        }
    }
}

/// Adds to a number that nobody else changes: only the owning shard does.
fn add_alone(number: &AtomicU64, more: u64) {
    let before = number.load(Ordering::Relaxed);
    number.store(before.wrapping_add(more), Ordering::Relaxed);
}
