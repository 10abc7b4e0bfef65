//! From key to partition, the way Kafka's Java client does it: `(murmur2(key) & 0x7fffffff) % partitions`.
//!
//! This places data for ever: it must never change, and no other hash may stand in for it.

use crate::identifiers::PartitionIndex;

const SEED: u32 = 0x9747_b28c;
const MULTIPLIER: u32 = 0x5bd1_e995;
const SHIFT: u32 = 24;

/// Returns the 32-bit MurmurHash2 of the key, as Kafka's `Utils.murmur2` computes it.
#[must_use]
pub fn murmur2(key: &[u8]) -> i32 {
    // Java's length is an `int`; keys are far shorter than 2^32.
    #[allow(clippy::cast_possible_truncation)]
    let mut hash = SEED ^ key.len() as u32;
    let mut words = key.chunks_exact(4);
    for word in &mut words {
        let mut mixed =
            u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(MULTIPLIER);
        mixed = (mixed ^ mixed >> SHIFT).wrapping_mul(MULTIPLIER);
        hash = hash.wrapping_mul(MULTIPLIER) ^ mixed;
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (index, &byte) in rest.iter().enumerate() {
            hash ^= u32::from(byte) << (8 * index);
        }
        hash = hash.wrapping_mul(MULTIPLIER);
    }
    hash = (hash ^ hash >> 13).wrapping_mul(MULTIPLIER);
    (hash ^ hash >> 15).cast_signed()
}

/// Returns the partition of a topic with `partition_count` partitions that holds the key.
///
/// # Panics
/// When `partition_count` is not positive.
#[must_use]
pub fn partition_for_key(key: &[u8], partition_count: i32) -> PartitionIndex {
    assert!(partition_count > 0, "a topic has at least one partition");
    PartitionIndex((murmur2(key) & i32::MAX) % partition_count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_java_client() {
        // From Kafka's UtilsTest.
        let known: [(&str, i32); 7] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            (
                "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            ("abc", 479_470_107),
            ("", 275_646_681),
        ];
        for (key, hash) in known {
            assert_eq!(murmur2(key.as_bytes()), hash, "{key:?}");
        }
    }
}
