//! The series of partitions: read from the brokers of this process when they are asked for, so that they go with their
//! partition.

use keylane_broker::PartitionReading;
use keylane_broker::partition::counters::PartitionNumbers;
use std::collections::BTreeMap;

use super::text::{Exposition, Kind, Labels};

/// Returns one number of a partition; all fit, as offsets do.
type Number = fn(&PartitionNumbers) -> i64;

const FAMILIES: &[(&str, Kind, &str, Number)] = &[
    (
        "keylane_partition_appended_bytes_total",
        Kind::Counter,
        "Bytes of record batches appended to the partition",
        |numbers| signed(numbers.appended_bytes),
    ),
    (
        "keylane_partition_appended_records_total",
        Kind::Counter,
        "Records appended to the partition",
        |numbers| signed(numbers.appended_records),
    ),
    (
        "keylane_partition_fetched_bytes_total",
        Kind::Counter,
        "Bytes of the partition's record batches in answers to Fetch",
        |numbers| signed(numbers.fetched_bytes),
    ),
    (
        "keylane_partition_fetched_records_total",
        Kind::Counter,
        "The partition's records in answers to Fetch",
        |numbers| signed(numbers.fetched_records),
    ),
    (
        "keylane_partition_log_start_offset",
        Kind::Gauge,
        "The partition's first offset",
        |numbers| numbers.log_start_offset,
    ),
    (
        "keylane_partition_high_watermark",
        Kind::Gauge,
        "The offset up to which consumers may read the partition",
        |numbers| numbers.high_watermark,
    ),
    (
        "keylane_partition_log_end_offset",
        Kind::Gauge,
        "The offset after the partition's last record, durable or not",
        |numbers| numbers.log_end_offset,
    ),
    (
        "keylane_partition_log_bytes",
        Kind::Gauge,
        "Bytes of the partition's log, without what is reserved ahead",
        |numbers| signed(numbers.log_bytes),
    ),
    (
        "keylane_partition_leader_epoch",
        Kind::Gauge,
        "The epoch in which the node leads the partition; -1 if it does not",
        |numbers| numbers.leader_epoch,
    ),
];

const DURABILITY: &str = "keylane_topic_durability";

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Writes the series of all partitions of brokers, each with its name.
pub(super) fn write(brokers: &[(String, Vec<PartitionReading>)], exposition: &mut Exposition) {
    let rows: Vec<(Labels, &PartitionReading)> = brokers
        .iter()
        .flat_map(|(node, readings)| readings.iter().map(move |reading| (node, reading)))
        .map(|(node, reading)| {
            let labels = Labels::default()
                .with("node", node)
                .with("topic", reading.topic.as_str())
                .with("partition", &reading.partition.to_string());
            (labels, reading)
        })
        .collect();
    for (name, kind, help, number) in FAMILIES {
        exposition.family(name, *kind, help);
        for (labels, reading) in &rows {
            exposition.sample(name, labels, number(&reading.numbers));
        }
    }
    exposition.family(
        DURABILITY,
        Kind::Gauge,
        "1 for what acknowledged records of the topic survive: fsync (loss of power) or page-cache (end of the process)",
    );
    for labels in durabilities(brokers) {
        exposition.sample(DURABILITY, &labels, 1);
    }
}

/// Returns the labels of each topic that a broker has partitions of.
fn durabilities(brokers: &[(String, Vec<PartitionReading>)]) -> Vec<Labels> {
    let mut topics = BTreeMap::new();
    for (node, readings) in brokers {
        for reading in readings {
            if let Some(durability) = reading.durability {
                topics.insert((node, reading.topic.as_str()), durability);
            }
        }
    }
    let topics = topics.into_iter();
    topics
        .map(|((node, topic), durability)| {
            Labels::default()
                .with("node", node)
                .with("topic", topic)
                .with("durability", &durability.to_string())
        })
        .collect()
}
