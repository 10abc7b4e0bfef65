//! What the null broker remembers of partitions: ends, and where the batches lie that its file still holds.

use std::collections::{BTreeMap, VecDeque};

/// A batch in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct StoredBatch {
    pub(super) base_offset: i64,
    pub(super) end_offset: i64,
    pub(super) position: u64,
    pub(super) length: usize,
}

/// A partition.
#[derive(Debug, Default)]
pub(super) struct Partition {
    /// The offset of the next record.
    pub(super) end: i64,
    batches: VecDeque<StoredBatch>,
}

/// All partitions, by topic.
#[derive(Debug, Default)]
pub(super) struct Partitions {
    topics: BTreeMap<Box<[u8]>, Vec<Partition>>,
}

/// The most topics; one run of the bench uses one.
const TOPICS_MAX: usize = 64;

/// The most batches remembered of a partition: older ones can no longer be fetched.
const BATCHES_MAX: usize = 1 << 20;

impl Partition {
    /// Takes the place of a number of records and returns the offset of the first.
    pub(super) fn append(&mut self, records: i64) -> i64 {
        let base = self.end;
        self.end += records;
        base
    }

    pub(super) fn remember(&mut self, batch: StoredBatch) {
        if self.batches.len() == BATCHES_MAX {
            self.batches.pop_front();
        }
        self.batches.push_back(batch);
    }

    /// Returns the batches from the one that holds `offset` on, up to `bytes_max` bytes but at least one.
    pub(super) fn batches_from(&self, offset: i64, bytes_max: usize) -> Vec<StoredBatch> {
        let first = self
            .batches
            .partition_point(|batch| batch.end_offset <= offset);
        let mut bytes = 0;
        let fits = |batch: &&StoredBatch| {
            let is_first = bytes == 0;
            bytes += batch.length;
            is_first || bytes <= bytes_max
        };
        self.batches
            .range(first..)
            .take_while(fits)
            .copied()
            .collect()
    }
}

impl Partitions {
    /// Returns a partition, made when it is first asked for; `None` beyond the number each topic has.
    pub(super) fn get(&mut self, topic: &[u8], index: i32, count: i32) -> Option<&mut Partition> {
        if !(0..count).contains(&index) {
            return None;
        }
        if !self.topics.contains_key(topic) {
            if self.topics.len() == TOPICS_MAX {
                return None;
            }
            let partitions = (0..count).map(|_| Partition::default()).collect();
            self.topics.insert(topic.into(), partitions);
        }
        self.topics
            .get_mut(topic)?
            .get_mut(usize::try_from(index).ok()?)
    }
}
