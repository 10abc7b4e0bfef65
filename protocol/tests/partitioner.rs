//! Compares our key partitioner with Kafka's Java client on 10,000 real keys (tail numbers and flights of New York's
//! airports in 2013, in the order in which they first occur) and on binary keys of every length from 0 to 63 bytes.
//! `java_partitions.csv` was printed by `.ci/clients/java/JavaPartitions.java`; a key that begins with `0x` is hexadecimal.

use keylane_protocol::identifiers::PartitionIndex;
use keylane_protocol::partitioner::partition_for_key;

const PARTITION_COUNTS: [i32; 3] = [6, 16, 1000];

/// A key and the partition that the Java client chose for it, by partition count.
struct Row {
    key: Vec<u8>,
    partitions: [i32; 3],
}

fn rows() -> Vec<Row> {
    include_str!("java_partitions.csv")
        .lines()
        .map(read_row)
        .collect()
}

fn read_row(line: &str) -> Row {
    let columns: Vec<&str> = line.split(',').collect();
    let [key, a, b, c] = columns[..] else {
        panic!("four columns expected: {line}");
    };
    Row {
        key: key
            .strip_prefix("0x")
            .map_or_else(|| key.as_bytes().to_vec(), from_hexadecimal),
        partitions: [a, b, c].map(|number| number.parse().expect("a partition")),
    }
}

fn from_hexadecimal(digits: &str) -> Vec<u8> {
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal digits"))
        .collect()
}

#[test]
fn the_java_client_and_we_choose_the_same_partition_for_ten_thousand_real_keys() {
    let rows = rows();
    assert!(rows.len() >= 10_000, "only {} keys", rows.len());
    for row in rows {
        for (partition_count, expected) in PARTITION_COUNTS.into_iter().zip(row.partitions) {
            assert_eq!(
                partition_for_key(&row.key, partition_count),
                PartitionIndex(expected),
                "key {:?} of {partition_count} partitions",
                String::from_utf8_lossy(&row.key),
            );
        }
    }
}

#[test]
fn the_recorded_keys_use_every_partition() {
    let rows = rows();
    for (column, partition_count) in PARTITION_COUNTS.into_iter().enumerate() {
        let used: std::collections::BTreeSet<i32> =
            rows.iter().map(|row| row.partitions[column]).collect();
        assert!(used.into_iter().eq(0..partition_count), "{partition_count}");
    }
}
