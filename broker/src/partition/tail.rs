//! Recent record batches of a shard's partitions, for readers at the tail: first in, first out, bounded in bytes.
//!
//! A core. A partition's batches in here are always a run that ends with its last append; a read that begins before
//! the run belongs to the log. Memory is counted by what a slice keeps alive, not by its length.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use keylane_protocol::offset::Offset;

/// A batch as it lies in the log: its stamped beginning and the rest.
#[derive(Clone, Debug)]
pub struct TailBatch {
    /// The offset of its first record.
    pub base_offset: Offset,
    /// The offset after its last record.
    pub end_offset: Offset,
    /// The first bytes, stamped with offset and leader epoch.
    pub head: Bytes,
    /// The bytes that follow.
    pub rest: Bytes,
}

impl TailBatch {
    /// Returns how many bytes the batch has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.head.len() + self.rest.len()
    }

    /// Returns false: a batch is never empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a read found.
#[derive(Clone, Debug, Default)]
pub struct TailRead {
    /// The slices, in order; two per batch.
    pub slices: Vec<Bytes>,
    /// Their bytes.
    pub bytes: usize,
    /// Whether the limit left out batches that follow.
    pub is_cut: bool,
}

impl TailRead {
    /// Keeps the first whole batches that fit the limit.
    #[must_use]
    pub fn within(mut self, limit: ReadLimit) -> Self {
        let mut kept = 0;
        let mut bytes = 0;
        for batch in self.slices.chunks(2) {
            let size: usize = batch.iter().map(Bytes::len).sum();
            if bytes + size > limit.bytes_max && !(kept == 0 && limit.at_least_one) {
                self.is_cut = true;
                break;
            }
            bytes += size;
            kept += batch.len();
        }
        self.slices.truncate(kept);
        Self { bytes, ..self }
    }
}

/// The recent batches of many partitions `P`.
#[derive(Debug)]
pub struct Tail<P> {
    bytes_max: usize,
    bytes: usize,
    /// Which partition's oldest batch goes next, and what it counts.
    order: VecDeque<(P, usize)>,
    batches: BTreeMap<P, VecDeque<TailBatch>>,
}

impl<P: Copy + Ord> Tail<P> {
    /// Returns an empty ring that keeps at most `bytes_max` bytes; 0 keeps nothing.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            bytes: 0,
            order: VecDeque::new(),
            batches: BTreeMap::new(),
        }
    }

    /// Adds the next batch of a partition, which counts `cost` bytes, and drops the oldest of all to make room.
    pub fn push(&mut self, partition: P, batch: TailBatch, cost: usize) {
        let run = self.batches.entry(partition).or_default();
        if let Some(last) = run.back() {
            assert_eq!(last.end_offset, batch.base_offset, "a run has no gap");
        }
        run.push_back(batch);
        self.order.push_back((partition, cost));
        self.bytes += cost;
        while self.bytes > self.bytes_max {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some((partition, cost)) = self.order.pop_front() else {
            return;
        };
        self.bytes -= cost;
        if let Some(run) = self.batches.get_mut(&partition) {
            run.pop_front();
            if run.is_empty() {
                self.batches.remove(&partition);
            }
        }
    }

    /// Drops the batches of a partition that goes away.
    pub fn forget(&mut self, partition: P) {
        self.batches.remove(&partition);
        let bytes = &mut self.bytes;
        self.order.retain(|(other, cost)| {
            let stays = *other != partition;
            if !stays {
                *bytes -= cost;
            }
            stays
        });
    }

    /// Reads whole batches from the one that holds `from` to the last that ends at or before `end`, at most
    /// `bytes_max`, but at least one if `at_least_one`. Returns `None` if the batch that holds `from` is not in here.
    #[must_use]
    pub fn read(
        &self,
        partition: P,
        from: Offset,
        end: Offset,
        limit: ReadLimit,
    ) -> Option<TailRead> {
        let run = self.batches.get(&partition)?;
        let start = run.partition_point(|batch| batch.end_offset <= from);
        if run.get(start)?.base_offset > from {
            return None;
        }
        let mut read = TailRead::default();
        for batch in run
            .range(start..)
            .take_while(|batch| batch.end_offset <= end)
        {
            let is_first = read.bytes == 0;
            if read.bytes + batch.len() > limit.bytes_max && !(is_first && limit.at_least_one) {
                read.is_cut = true;
                break;
            }
            read.bytes += batch.len();
            read.slices.push(batch.head.clone());
            read.slices.push(batch.rest.clone());
        }
        Some(read)
    }

    /// Returns how many bytes are kept.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// How much a read may return.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimit {
    /// The most bytes.
    pub bytes_max: usize,
    /// Whether the first batch is returned even if it is larger: else a reader would never get past it (KIP-74).
    pub at_least_one: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: ReadLimit = ReadLimit {
        bytes_max: 1_000,
        at_least_one: false,
    };

    fn batch(base: i64, count: i64, bytes: usize) -> TailBatch {
        TailBatch {
            base_offset: Offset(base),
            end_offset: Offset(base + count),
            head: Bytes::from_static(&[0; 16]),
            rest: vec![7; bytes - 16].into(),
        }
    }

    fn filled() -> Tail<u32> {
        let mut tail = Tail::new(300);
        for base in [0, 10, 20, 30] {
            tail.push(1, batch(base, 10, 100), 100);
        }
        tail
    }

    #[test]
    fn the_oldest_batch_of_all_makes_room() {
        let mut tail = filled();
        assert!(tail.read(1, Offset(9), Offset(40), LIMIT).is_none());
        assert_eq!(read(&tail, 10, 40, LIMIT), 300);
        tail.push(2, batch(0, 1, 100), 250);
        assert_eq!(tail.bytes(), 250);
        assert!(tail.read(1, Offset(30), Offset(40), LIMIT).is_none());
    }

    fn read(tail: &Tail<u32>, from: i64, end: i64, limit: ReadLimit) -> usize {
        let read = tail
            .read(1, Offset(from), Offset(end), limit)
            .expect("within the run");
        assert_eq!(
            read.slices.iter().map(Bytes::len).sum::<usize>(),
            read.bytes
        );
        read.bytes
    }

    #[test]
    fn a_read_returns_whole_batches_below_the_end() {
        let tail = filled();
        assert_eq!(read(&tail, 15, 40, LIMIT), 300, "the batch that holds 15");
        assert_eq!(read(&tail, 20, 39, LIMIT), 100, "the last ends above 39");
        assert_eq!(read(&tail, 20, 20, LIMIT), 0);
        assert!(tail.read(1, Offset(40), Offset(40), LIMIT).is_none());
    }

    #[test]
    fn a_read_is_limited_but_may_begin_with_one_large_batch() {
        let tail = filled();
        let limit = |bytes_max, at_least_one| ReadLimit {
            bytes_max,
            at_least_one,
        };
        assert_eq!(read(&tail, 10, 40, limit(250, false)), 200);
        assert_eq!(read(&tail, 10, 40, limit(50, false)), 0);
        assert_eq!(read(&tail, 10, 40, limit(50, true)), 100);
    }

    #[test]
    fn a_read_says_whether_its_limit_left_something_out() {
        let limit = |bytes_max| ReadLimit {
            bytes_max,
            at_least_one: true,
        };
        let read = |bytes_max| filled().read(1, Offset(10), Offset(39), limit(bytes_max));
        let whole = read(200).expect("within the run");
        assert!(!whole.is_cut, "the last batch is above the end");
        assert!(read(199).expect("within the run").is_cut);
        assert!(!whole.clone().within(limit(200)).is_cut);
        assert!(whole.within(limit(50)).is_cut);
    }

    #[test]
    fn a_read_can_be_cut_to_fewer_whole_batches() {
        let read = |limit| {
            let read = filled().read(1, Offset(10), Offset(40), LIMIT);
            read.expect("within the run").within(limit).slices.len()
        };
        let limit = |bytes_max, at_least_one| ReadLimit {
            bytes_max,
            at_least_one,
        };
        assert_eq!(
            read(limit(250, false)),
            4,
            "two slices of each of two batches"
        );
        assert_eq!(read(limit(50, false)), 0);
        assert_eq!(read(limit(50, true)), 2);
    }

    #[test]
    fn a_forgotten_partition_frees_its_bytes() {
        let mut tail = filled();
        tail.push(2, batch(0, 1, 100), 100);
        tail.forget(1);
        assert_eq!(tail.bytes(), 100);
        tail.forget(2);
        assert_eq!(tail.bytes(), 0);
    }

    #[test]
    fn a_ring_of_no_bytes_keeps_nothing() {
        let mut tail = Tail::new(0);
        tail.push(1, batch(0, 1, 100), 100);
        assert_eq!(tail.bytes(), 0);
        tail.push(1, batch(5, 1, 100), 100);
        assert!(tail.read(1, Offset(5), Offset(6), LIMIT).is_none());
    }
}
