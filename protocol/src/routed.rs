//! Routed batches: whose ids number them, which partition each record belongs to, and how a batch is split.
//!
//! A routed producer numbers its batches of a topic 0, 1, 2, … What a number stands for never changes: any router, at any
//! time, splits its batch alike, to the byte. So a batch that is sent again lands where it did first, also when the topic
//! has more partitions by then. The rules by which brokers tell a batch from its repetition stand in
//! `docs/routed-idempotence.md`.

mod split;

pub use split::{SplitBatch, SplitError, split};

use crate::identifiers::{PartitionIndex, ProducerId};
use crate::offset::Sequence;
use crate::partitioner::partition_for_key;

/// The first id of routed producers.
pub const PRODUCER_ID_MIN: ProducerId = ProducerId(1 << 62);

/// Numbers reach from the floor to less than this beyond it.
pub const NUMBERS_MAX: i32 = 1_024;

/// The most bytes of batches from the floor on, acknowledged ones above it included.
pub const WINDOW_BYTES_MAX: usize = 32 * 1024 * 1024;

/// How many delivery time-outs fit into the time after which a producer is forgotten.
pub const DELIVERY_TIMEOUTS_PER_EXPIRY: i64 = 4;

/// Tells whether a producer's batches are routed.
#[must_use]
pub fn is_routed(producer_id: ProducerId) -> bool {
    producer_id >= PRODUCER_ID_MIN
}

/// Returns the partition of a record with this key. Those without one all go to the same, which number and producer
/// choose.
///
/// # Panics
/// When `partition_count` is not positive.
#[must_use]
pub fn partition_of(
    key: Option<&[u8]>,
    producer_id: ProducerId,
    number: Sequence,
    partition_count: i32,
) -> PartitionIndex {
    match key {
        Some(key) => partition_for_key(key, partition_count),
        None => partition_without_key(producer_id, number, partition_count),
    }
}

/// Returns the partition of the records of a batch that have no key.
///
/// # Panics
/// When `partition_count` is not positive.
#[must_use]
pub fn partition_without_key(
    producer_id: ProducerId,
    number: Sequence,
    partition_count: i32,
) -> PartitionIndex {
    let mut name = [0; 12];
    name[..8].copy_from_slice(&producer_id.0.to_be_bytes());
    name[8..].copy_from_slice(&number.0.to_be_bytes());
    partition_for_key(&name, partition_count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_with_a_key_go_where_every_client_puts_them() {
        for key in [&b""[..], b"a", b"orders"] {
            let routed = partition_of(Some(key), PRODUCER_ID_MIN, Sequence(3), 7);
            assert_eq!(routed, partition_for_key(key, 7));
        }
    }

    #[test]
    fn records_without_a_key_stay_together_and_batches_spread() {
        let of =
            |number| partition_of(None, ProducerId(PRODUCER_ID_MIN.0 + 5), Sequence(number), 8);
        assert_eq!(of(3), of(3));
        let used: std::collections::BTreeSet<_> = (0..100).map(of).collect();
        assert_eq!(used.len(), 8);
    }
}
