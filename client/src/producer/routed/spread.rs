//! Where the records of a numbered batch belong: the client's side of the split that every router makes alike.
//!
//! Only a hash per record is kept; number and partition count make partitions of them. The rank of a record among those
//! of its partition, which makes its offset, is counted for all records at once when the first of them is asked for.

use std::sync::OnceLock;

use keylane_protocol::identifiers::{PartitionIndex, ProducerId};
use keylane_protocol::offset::Sequence;
use keylane_protocol::partitioner::murmur2;
use keylane_protocol::routed::partition_without_key;

/// Stands for a record without a key; no hash is as large.
const WITHOUT_KEY: u32 = u32::MAX;

/// The bytes of memory that a record takes here.
pub(super) const HASH_BYTES: usize = size_of::<u32>();

/// What is kept of a record's key until the batch has its number.
pub(super) fn hash_of(key: Option<&[u8]>) -> u32 {
    key.map_or(WITHOUT_KEY, |key| {
        murmur2(key).cast_unsigned() & i32::MAX.cast_unsigned()
    })
}

/// A partition that records of a batch belong to, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Touched {
    pub(super) partition: PartitionIndex,
    pub(super) record_count: u32,
}

/// The records of a batch over the partitions of its topic.
#[derive(Debug)]
pub(crate) struct Spread {
    hashes: Vec<u32>,
    /// Not negative.
    partition_count: u32,
    without_key: PartitionIndex,
    ranks: OnceLock<Vec<u32>>,
}

impl Spread {
    /// Returns how the records with these hashes are split under a number.
    ///
    /// # Panics
    /// When `partition_count` is not positive.
    pub(super) fn new(
        hashes: Vec<u32>,
        producer_id: ProducerId,
        number: Sequence,
        partition_count: i32,
    ) -> Self {
        Self {
            hashes,
            without_key: partition_without_key(producer_id, number, partition_count),
            partition_count: partition_count.unsigned_abs(),
            ranks: OnceLock::new(),
        }
    }

    /// Returns the partition of a record, by its index in the batch.
    pub(crate) fn partition(&self, index: u32) -> PartitionIndex {
        let hash = usize::try_from(index).ok();
        let hash = hash.and_then(|index| self.hashes.get(index));
        hash.map_or(self.without_key, |&hash| self.partition_of(hash))
    }

    /// Returns how many records before this one belong to the same partition.
    pub(crate) fn rank(&self, index: u32) -> u32 {
        // Most batches of small producers hold one record.
        if index == 0 {
            return 0;
        }
        let ranks = self.ranks.get_or_init(|| self.count_ranks());
        let rank = usize::try_from(index).ok();
        rank.and_then(|index| ranks.get(index).copied())
            .unwrap_or(0)
    }

    /// Returns the partitions that records belong to, in ascending order.
    pub(super) fn touched(&self) -> Vec<Touched> {
        let mut partitions: Vec<PartitionIndex> = self
            .hashes
            .iter()
            .map(|&hash| self.partition_of(hash))
            .collect();
        partitions.sort_unstable();
        let mut touched: Vec<Touched> = Vec::new();
        for partition in partitions {
            match touched.last_mut() {
                Some(last) if last.partition == partition => last.record_count += 1,
                _ => touched.push(Touched {
                    partition,
                    record_count: 1,
                }),
            }
        }
        touched
    }

    fn count_ranks(&self) -> Vec<u32> {
        let touched = self.touched();
        let mut counts = vec![0; touched.len()];
        let rank = |&hash: &u32| {
            let partition = self.partition_of(hash);
            let place = touched.binary_search_by_key(&partition, |touched| touched.partition);
            let count: &mut u32 = &mut counts[place.expect("every record's partition is touched")];
            *count += 1;
            *count - 1
        };
        self.hashes.iter().map(rank).collect()
    }

    fn partition_of(&self, hash: u32) -> PartitionIndex {
        if hash == WITHOUT_KEY {
            return self.without_key;
        }
        PartitionIndex((hash % self.partition_count).cast_signed())
    }
}

#[cfg(test)]
mod tests {
    use keylane_protocol::routed::{PRODUCER_ID_MIN, partition_of};

    use super::*;

    const ID: ProducerId = ProducerId(PRODUCER_ID_MIN.0 + 9);

    #[test]
    fn records_belong_where_every_router_puts_them() {
        let keys: Vec<Option<String>> = (0..200)
            .map(|index| (index % 5 != 0).then(|| format!("key-{index}")))
            .collect();
        let key = |key: &Option<String>| key.as_ref().map(|key| key.as_bytes().to_vec());
        for partition_count in [1, 2, 7, 1000] {
            let hashes = keys.iter().map(|k| hash_of(key(k).as_deref())).collect();
            let spread = Spread::new(hashes, ID, Sequence(4), partition_count);
            let mut seen: Vec<PartitionIndex> = Vec::new();
            for (index, k) in (0..).zip(&keys) {
                let expected = partition_of(key(k).as_deref(), ID, Sequence(4), partition_count);
                assert_eq!(spread.partition(index), expected);
                let rank = seen.iter().filter(|&&one| one == expected).count();
                assert_eq!(spread.rank(index) as usize, rank, "record {index}");
                seen.push(expected);
            }
            let touched = spread.touched();
            assert!(touched.is_sorted_by(|one, other| one.partition < other.partition));
            let total: u32 = touched.iter().map(|touched| touched.record_count).sum();
            assert_eq!(total as usize, keys.len());
        }
    }

    #[test]
    fn an_index_beyond_the_batch_is_survived() {
        let spread = Spread::new(vec![hash_of(Some(b"a"))], ID, Sequence(0), 3);
        assert_eq!(spread.rank(7), 0);
        assert!(spread.partition(7).0 < 3);
    }
}
