//! Batches that Apache Kafka's Java client, kafka-python and librdkafka wrote in every codec are read record by record;
//! see `recorded_batches/README.md`.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use keylane_protocol::compression::{Compression, DECOMPRESSED_BYTES_MAX};
use keylane_protocol::identifiers::ProducerId;
use keylane_protocol::offset::{Offset, ProducerEpoch, Sequence};
use keylane_protocol::record::Record;
use keylane_protocol::record_batch::{BatchProducer, NewRecord, RecordBatch, RecordBatchBuilder};

const SENDERS: [&str; 3] = [
    "apache-kafka-clients-4.3.1",
    "kafka-python-3.0.12",
    "librdkafka-2.16.0",
];

fn file(sender: &str, compression: Compression) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded_batches");
    folder
        .join(sender)
        .join(format!("{}.bin", compression.name()))
}

fn recorded(sender: &str, compression: Compression) -> Bytes {
    let file = file(sender, compression);
    std::fs::read(&file)
        .unwrap_or_else(|error| panic!("{}: {error}", file.display()))
        .into()
}

fn record_count(compression: Compression) -> usize {
    match compression {
        Compression::None => 20,
        _ => 200,
    }
}

const HEADERS: &[(&str, Option<&[u8]>)] =
    &[("h", Some(b"a")), ("h", None), ("", Some("ü".as_bytes()))];

/// The record that every sender was given at this place.
struct Expected {
    timestamp: i64,
    key: Option<String>,
    value: Option<String>,
    headers: &'static [(&'static str, Option<&'static [u8]>)],
}

fn expected(index: usize) -> Expected {
    let past = i64::try_from(index).expect("a small index") * 7;
    Expected {
        timestamp: 1_700_000_000_000 + if index == 3 { -50 } else { past },
        key: (!index.is_multiple_of(3)).then(|| format!("key-{}", index % 10)),
        value: (!index.is_multiple_of(7)).then(|| format!("value {index} ").repeat(50)),
        headers: match index % 5 {
            0 => HEADERS,
            _ => &[],
        },
    }
}

fn check(record: &Record, index: usize) {
    let expected = expected(index);
    assert_eq!(
        record.offset,
        Offset(i64::try_from(index).expect("a small index"))
    );
    assert_eq!(record.timestamp, expected.timestamp);
    assert_eq!(
        record.key.as_deref(),
        expected.key.as_deref().map(str::as_bytes)
    );
    assert_eq!(
        record.value.as_deref(),
        expected.value.as_deref().map(str::as_bytes)
    );
    let headers: Vec<(&str, Option<&[u8]>)> = record
        .headers
        .iter()
        .map(|header| (header.name.as_ref(), header.value.as_deref()))
        .collect();
    assert_eq!(headers, expected.headers);
}

fn build(compression: Compression) -> Bytes {
    let mut builder = RecordBatchBuilder::with_capacity(0);
    for index in 0..record_count(compression) {
        let record = expected(index);
        builder.append(&NewRecord {
            timestamp: record.timestamp,
            key: record.key.as_deref().map(str::as_bytes),
            value: record.value.as_deref().map(str::as_bytes),
            headers: record.headers,
        });
    }
    let producer = BatchProducer {
        id: ProducerId(4242),
        epoch: ProducerEpoch(3),
        base_sequence: Sequence(17),
    };
    builder
        .finish(compression, producer)
        .expect("memory suffices")
}

#[test]
fn batches_of_other_clients_are_read_in_every_codec() {
    for sender in SENDERS {
        for compression in Compression::ALL {
            let batch = RecordBatch::check(recorded(sender, compression))
                .unwrap_or_else(|error| panic!("{sender}, {compression:?}: {error}"));
            assert_eq!(batch.header().compression(), Ok(compression), "{sender}");
            let mut count = 0;
            for record in batch.records(DECOMPRESSED_BYTES_MAX).expect("its codec") {
                check(&record.expect("a sound record"), count);
                count += 1;
            }
            assert_eq!(count, record_count(compression), "{sender}");
        }
    }
}

#[test]
fn an_uncompressed_batch_is_built_byte_for_byte_as_kafka_builds_it() {
    for sender in ["apache-kafka-clients-4.3.1", "kafka-python-3.0.12"] {
        // kafka-python writes leader epoch 0, which a broker replaces like the base offset.
        let theirs = recorded(sender, Compression::None);
        assert_eq!(
            build(Compression::None)[16..],
            theirs[16..],
            "from the magic on, {sender}"
        );
    }
}

/// Writes what this crate builds for Kafka's own classes to check: set `KEYLANE_RECORD_BATCHES` to a folder, then run
/// `RecordBatches.java FOLDER read`.
#[test]
#[ignore = "writes files for RecordBatches.java to check"]
fn batches_for_kafka_to_read() {
    let folder = std::env::var_os("KEYLANE_RECORD_BATCHES").expect("a folder to write to");
    for compression in Compression::ALL {
        let file = Path::new(&folder).join(format!("{}.bin", compression.name()));
        std::fs::write(file, build(compression)).expect("the folder can be written to");
    }
}
