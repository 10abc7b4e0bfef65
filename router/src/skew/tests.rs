//! What a runtime sees: real batches with skewed keys, bounds, and bytes that are none.

use bytes::Bytes;
use keylane_protocol::compression::Compression;
use keylane_protocol::partitioner::partition_for_key;
use keylane_protocol::record_batch::{BatchProducer, NewRecord, RecordBatchBuilder};

use super::topic::CLIENTS_MAX;
use super::*;

const TOPIC: TopicId = TopicId([1; 16]);
const PARTITIONS: i32 = 16;

/// Returns ranks that are drawn as often as Zipf's law has it: rank r in proportion to 1 / (r + 1) ^ exponent.
pub(super) fn zipf(ranks: u64, exponent: f64, seed: u64) -> impl Iterator<Item = u64> {
    #[allow(clippy::cast_precision_loss)]
    let weights = (0..ranks).map(|rank| 1.0 / ((rank + 1) as f64).powf(exponent));
    let mut sums: Vec<f64> = Vec::new();
    for weight in weights {
        sums.push(sums.last().unwrap_or(&0.0) + weight);
    }
    let mut gaps = Gaps::new(seed);
    std::iter::repeat_with(move || {
        #[allow(clippy::cast_precision_loss)]
        let drawn = gaps.next(1 << 30) as f64 / (1_u64 << 31) as f64;
        let place = sums.partition_point(|sum| *sum < drawn * sums[sums.len() - 1]);
        place as u64
    })
}

fn batch(keys: &[Option<Vec<u8>>], compression: Compression) -> Bytes {
    let mut builder = RecordBatchBuilder::with_capacity(1024);
    for key in keys {
        builder.append(&NewRecord {
            timestamp: 7,
            key: key.as_deref(),
            value: Some(&[5; 100]),
            headers: &[],
        });
    }
    let batch = builder.finish(compression, BatchProducer::NONE);
    batch.expect("memory suffices")
}

/// How a producer of these tests places keys.
type Partitioner = fn(&[u8]) -> PartitionIndex;

fn murmur(key: &[u8]) -> PartitionIndex {
    partition_for_key(key, PARTITIONS)
}

fn other_hash(key: &[u8]) -> PartitionIndex {
    let sum: u32 = key.iter().map(|byte| u32::from(*byte)).sum();
    PartitionIndex((sum % 16).cast_signed())
}

/// Sends keys in batches of so many records, as a producer does that has a batch open for each partition.
fn produce(
    skew: &mut Skew,
    keys: impl Iterator<Item = Vec<u8>>,
    (records, id, partitioner): (usize, &str, Partitioner),
) {
    let mut open: BTreeMap<PartitionIndex, Vec<Option<Vec<u8>>>> = BTreeMap::new();
    for key in keys {
        let partition = partitioner(&key);
        let keys = open.entry(partition).or_default();
        keys.push(Some(key));
        if keys.len() == records {
            pass(skew, (partition, id), &batch(keys, Compression::None));
            keys.clear();
        }
    }
}

fn pass(skew: &mut Skew, (partition, id): (PartitionIndex, &str), batch: &[u8]) {
    skew.on_batch(&Passed {
        topic_id: TOPIC,
        partition,
        placed_by: PlacedBy::Client {
            id,
            partition_count: Some(PARTITIONS),
        },
        batch,
    });
}

fn named(ranks: impl Iterator<Item = u64>) -> impl Iterator<Item = Vec<u8>> {
    ranks.map(|rank| format!("airport-{rank}").into_bytes())
}

#[test]
fn the_shares_of_hot_keys_are_estimated_whatever_the_size_of_batches() {
    for records in [1, 10, 200] {
        let mut skew = Skew::new(11);
        let ranks: Vec<u64> = zipf(1_000, 1.0, 3).take(200_000).collect();
        produce(
            &mut skew,
            named(ranks.iter().copied()),
            (records, "java", murmur),
        );
        let topic = skew.topic(TOPIC).expect("it was produced to");
        let hottest = topic.keys.hottest();
        #[allow(clippy::cast_precision_loss)]
        let share = |records: u64| records as f64 / topic.records as f64;
        for (place, hot) in hottest.iter().take(3).enumerate() {
            assert_eq!(
                *hot.start,
                *format!("airport-{place}").into_bytes(),
                "{records}"
            );
            let count = ranks.iter().filter(|rank| **rank == place as u64).count();
            #[allow(clippy::cast_precision_loss)]
            let exact = count as f64 / ranks.len() as f64;
            let off = share(hot.records_max) / exact;
            assert!(
                (0.8..1.25).contains(&off),
                "{records}: {place} is {off} times {exact}"
            );
        }
        assert!(
            topic.sampled_total > 2_000 && topic.sampled_total < 40_000,
            "{}",
            topic.sampled_total
        );
    }
}

#[test]
fn keys_that_come_in_turn_are_not_taken_for_hot_ones() {
    let mut skew = Skew::new(11);
    produce(
        &mut skew,
        named((0..200_000).map(|index| index % 64)),
        (1, "devices", murmur),
    );
    let topic = skew.topic(TOPIC).expect("it was produced to");
    let hottest = topic.keys.hottest();
    assert_eq!(hottest.len(), 64);
    assert!(
        hottest[0].records_max * 64 < topic.records * 2,
        "{:?}",
        hottest[0]
    );
}

#[test]
fn producers_that_hash_otherwise_are_told_from_those_that_do_not() {
    let mut skew = Skew::new(1);
    produce(
        &mut skew,
        named(zipf(500, 0.5, 1).take(50_000)),
        (20, "java", murmur),
    );
    produce(
        &mut skew,
        named(zipf(500, 0.5, 2).take(50_000)),
        (20, "librdkafka", other_hash),
    );
    let topic = skew.topic(TOPIC).expect("it was produced to");
    let (java, other) = (topic.clients["java"], topic.clients["librdkafka"]);
    assert!(java.compared > 500 && java.elsewhere == 0, "{java:?}");
    assert!(
        other.compared > 500 && other.elsewhere > other.compared / 2,
        "{other:?}"
    );
    assert_eq!(topic.elsewhere_total, other.elsewhere);
}

#[test]
fn what_routers_place_is_not_compared() {
    let mut skew = Skew::new(1);
    let keys = vec![Some(b"key".to_vec()); 10];
    let batch = batch(&keys, Compression::None);
    for partition in 0..4 {
        skew.on_batch(&Passed {
            topic_id: TOPIC,
            partition: PartitionIndex(partition),
            placed_by: PlacedBy::Router,
            batch: &batch,
        });
    }
    let topic = skew.topic(TOPIC).expect("it was produced to");
    assert!(topic.clients.is_empty());
    assert_eq!(topic.sampled_total, 40);
    assert_eq!(topic.keys.hottest()[0].records_max, 40);
}

#[test]
fn the_fullest_partition_is_held_against_the_mean_of_all() {
    let mut skew = Skew::new(1);
    let full = batch(&[const { None }; 30], Compression::None);
    let small = batch(&[const { None }; 10], Compression::Lz4);
    for _ in 0..10 {
        pass(&mut skew, (PartitionIndex(3), "a"), &full);
        pass(&mut skew, (PartitionIndex(5), "a"), &small);
    }
    let topic = skew.topic(TOPIC).expect("it was produced to");
    let (full, small) = (full.len() as u64 * 10, small.len() as u64 * 10);
    assert_eq!(topic.partition_bytes, [0, 0, 0, full, 0, small]);
    assert_eq!(topic.compressed_bytes, small);
    #[allow(clippy::cast_precision_loss)]
    let expected = full as f64 * 8.0 / (full + small) as f64;
    let skew = topic.skew(8).expect("there were bytes");
    assert!((skew - expected).abs() < 1e-9);
    assert_eq!(topic.records, topic.keyless);
    assert!(
        topic.records.abs_diff(300) < 60,
        "compressed ones are not looked at"
    );
}

#[test]
fn clients_are_told_apart_up_to_a_bound_and_their_names_are_cut() {
    let mut skew = Skew::new(1);
    let batch = batch(&[Some(b"key".to_vec())], Compression::None);
    for client in 0..100 {
        let name = format!("{client:03}{}", "ü".repeat(30_000));
        pass(&mut skew, (PartitionIndex(0), &name), &batch);
    }
    let topic = skew.topic(TOPIC).expect("it was produced to");
    assert_eq!(topic.clients.len(), CLIENTS_MAX);
    assert!(topic.clients.keys().all(|name| name.chars().count() == 64));
    assert_eq!(topic.other_clients.compared, 100 - CLIENTS_MAX as u64);
}

#[test]
fn topics_and_partitions_are_watched_up_to_a_bound_and_the_idle_make_room() {
    let mut skew = Skew::new(1);
    let batch = batch(&[None], Compression::None);
    let mut see = |topic: u16, partition: i32| {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&topic.to_be_bytes());
        skew.on_batch(&Passed {
            topic_id: TopicId(id),
            partition: PartitionIndex(partition),
            placed_by: PlacedBy::Router,
            batch: &batch,
        });
        (skew.topics().count(), skew.topic(TopicId(id)).is_some())
    };
    for topic in 0..2000 {
        see(topic, 0);
    }
    assert_eq!(see(0, 0).0, TOPICS_MAX);
    let watched = (0..1000).any(|_| see(5_000, 9).1);
    assert!(watched, "a topic that goes on is watched soon");
    for _ in 0..10 {
        assert!(see(5_000, i32::MAX).1);
    }
    let size = |skew: &Skew| -> usize {
        let topics = skew.topics.values();
        topics
            .map(|watched| watched.topic.partition_bytes.len())
            .sum()
    };
    assert_eq!(size(&skew), skew.partitions);
    assert!(skew.partitions < PARTITIONS_MAX);
}

#[test]
fn what_was_seen_by_several_adds_up() {
    let (mut one, mut other) = (Skew::new(1), Skew::new(2));
    produce(
        &mut one,
        named(zipf(300, 1.0, 1).take(30_000)),
        (20, "java", murmur),
    );
    produce(
        &mut other,
        named(zipf(300, 1.0, 2).take(30_000)),
        (20, "sarama", other_hash),
    );
    let (one, other) = (one.topic(TOPIC).unwrap(), other.topic(TOPIC).unwrap());
    let mut both = one.clone();
    both.merge(other);
    assert_eq!(both.bytes(), one.bytes() + other.bytes());
    assert_eq!(both.records, one.records + other.records);
    assert_eq!(both.clients.len(), 2);
    assert_eq!(&*both.keys.hottest()[0].start, b"airport-0");
}

#[test]
fn old_counts_fade() {
    let mut skew = Skew::new(1);
    let keys = |key: &[u8]| batch(&vec![Some(key.to_vec()); 50_000], Compression::None);
    let (then, since) = (keys(b"then"), keys(b"since"));
    for (batch, rounds) in [(&then, 900), (&since, 900)] {
        for _ in 0..rounds {
            pass(&mut skew, (murmur(b"then"), "a"), batch);
        }
    }
    let topic = skew.topic(TOPIC).expect("it was produced to");
    let hottest = topic.keys.hottest();
    assert_eq!(&*hottest[0].start, b"since");
    assert!(topic.records < 1 << 22 && topic.bytes() < 4 << 30);
    assert!(hottest[0].records_max > topic.records / 2);
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_seen(bytes in proptest::collection::vec(0_u8.., 0..300), is_batch: bool, count in 0_i32..) {
        let mut bytes = bytes;
        if is_batch && bytes.len() >= 61 {
            bytes[8..12].copy_from_slice(&200_i32.to_be_bytes());
            bytes[16] = 2;
            bytes[21..23].copy_from_slice(&[0, 0]);
            bytes[57..61].copy_from_slice(&count.to_be_bytes());
        }
        let mut skew = Skew::new(1);
        for _ in 0..3 {
            pass(&mut skew, (PartitionIndex(2), "a"), &bytes);
        }
        assert_eq!(skew.topic(TOPIC).unwrap().bytes(), 3 * bytes.len() as u64);
        assert!(skew.topic(TOPIC).unwrap().sampled_total <= 3 * (bytes.len() as u64 / 7));
    }
}
