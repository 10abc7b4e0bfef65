//! Splitting: parts against what a reader finds in the batch, odd widths, hostile bytes.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::record::Record;
use crate::record_batch::{BatchProducer, NewRecord, RecordBatchBuilder};
use crate::routed::PRODUCER_ID_MIN;

const PRODUCER: BatchProducer = BatchProducer {
    id: ProducerId(PRODUCER_ID_MIN.0 + 77),
    epoch: ProducerEpoch(4),
    base_sequence: Sequence(9),
};

type OwnedRecord = (i64, Option<Vec<u8>>, Option<Vec<u8>>, usize);

fn build(records: &[OwnedRecord], compression: Compression, producer: BatchProducer) -> Bytes {
    let mut builder = RecordBatchBuilder::with_capacity(64);
    for (timestamp, key, value, header_count) in records {
        builder.append(&NewRecord {
            timestamp: *timestamp,
            key: key.as_deref(),
            value: value.as_deref(),
            headers: &[("name", Some(b"value".as_slice())), ("", None)][..*header_count],
        });
    }
    builder
        .finish(compression, producer)
        .expect("memory suffices")
}

fn checked(batch: Bytes) -> RecordBatch {
    RecordBatch::check(batch).expect("a sound batch")
}

fn read(batch: &RecordBatch) -> Vec<Record> {
    let records = batch.records(0).expect("uncompressed");
    records.collect::<Result<_, _>>().expect("sound records")
}

/// Returns a batch of the routed producer with these keys.
fn keyed(keys: &[&[u8]]) -> RecordBatch {
    let records: Vec<OwnedRecord> = keys
        .iter()
        .zip(100..)
        .map(|(key, timestamp)| (timestamp, Some(key.to_vec()), Some(b"value".to_vec()), 0))
        .collect();
    checked(build(&records, Compression::None, PRODUCER))
}

/// Returns a batch whose records are these bytes.
fn of_body(body: &[u8], record_count: i32) -> RecordBatch {
    let mut batch = keyed(&[b"a"]).bytes()[..HEADER_BYTES].to_vec();
    batch.extend_from_slice(body);
    let header = RecordBatchHeader {
        batch_length: i32::try_from(batch.len() - LENGTH_OVERHEAD_BYTES).unwrap(),
        last_offset_delta: record_count - 1,
        record_count,
        ..*keyed(&[b"a"]).header()
    };
    header.write(&mut batch);
    seal(&mut batch);
    checked(batch.into())
}

/// Holds the parts of a batch against what a reader finds in it.
fn check_parts(batch: &RecordBatch, partition_count: i32) {
    let parts = split(batch, partition_count).expect("a sound batch");
    let header = batch.header();
    let mut expected: BTreeMap<PartitionIndex, Vec<Record>> = BTreeMap::new();
    for record in read(batch) {
        let key = record.key.as_deref();
        let partition = partition_of(
            key,
            header.producer_id,
            header.base_sequence,
            partition_count,
        );
        let records = expected.entry(partition).or_default();
        let offset = Offset(i64::try_from(records.len()).unwrap());
        records.push(Record { offset, ..record });
    }
    let partitions: Vec<_> = parts.iter().map(|part| part.partition).collect();
    assert_eq!(partitions, expected.keys().copied().collect::<Vec<_>>());
    for (part, records) in parts.iter().zip(expected.values()) {
        let part = checked(part.batch.clone());
        assert!(part.bytes().len() <= batch.bytes().len());
        let found = RecordBatchHeader {
            crc: 0,
            ..*part.header()
        };
        let expected = RecordBatchHeader {
            batch_length: i32::try_from(part.bytes().len() - LENGTH_OVERHEAD_BYTES).unwrap(),
            crc: 0,
            last_offset_delta: i32::try_from(records.len()).unwrap() - 1,
            max_timestamp: records.iter().map(|record| record.timestamp).max().unwrap(),
            record_count: i32::try_from(records.len()).unwrap(),
            ..*header
        };
        assert_eq!(found, expected);
        assert_eq!(&read(&part), records);
    }
    assert_eq!(split(batch, partition_count).as_deref(), Ok(&parts[..]));
}

fn bytes(length_max: usize) -> impl Strategy<Value = Option<Vec<u8>>> {
    proptest::option::of(proptest::collection::vec(any::<u8>(), 0..length_max))
}

proptest! {
    #[test]
    fn the_parts_in_order_are_the_batch(
        records in proptest::collection::vec((any::<i64>(), bytes(6), bytes(150), 0..3_usize), 1..150),
        partition_count in prop_oneof![1..9, Just(64), Just(10_000), Just(i32::MAX)],
        number in 0..i32::MAX,
    ) {
        let producer = BatchProducer { base_sequence: Sequence(number), ..PRODUCER };
        check_parts(&checked(build(&records, Compression::None, producer)), partition_count);
    }

    #[test]
    fn any_bytes_are_split_if_and_only_if_a_reader_can_read_them(
        mut body in proptest::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(2), Just(14), any::<u8>()], 7..40),
        record_count in 1..4,
    ) {
        body.resize(body.len().max(7 * usize::try_from(record_count).unwrap()), 0);
        let batch = of_body(&body, record_count);
        let readable = batch.records(0).unwrap().all(|record| record.is_ok());
        match split(&batch, 3) {
            Ok(_) => prop_assert!(readable),
            Err(SplitError::InvalidMaxTimestamp { .. }) => prop_assert!(readable),
            Err(_) => prop_assert!(!readable),
        }
    }
}

#[test]
fn a_batch_of_one_partition_is_not_copied() {
    for (batch, partition_count) in [
        (keyed(&[b"a", b"b", b"c"]), 1),
        (keyed(&[b"a", b"a"]), 64),
        (keyed(&[b"a"]), i32::MAX),
    ] {
        let parts = split(&batch, partition_count).unwrap();
        assert_eq!(parts.len(), 1);
        assert_eq!(parts[0].batch, batch.bytes());
        assert_eq!(parts[0].batch.as_ptr(), batch.bytes().as_ptr());
    }
}

#[test]
fn the_records_without_a_key_stay_together() {
    let records: Vec<OwnedRecord> = (0..50)
        .map(|index| {
            let key = (index % 2 == 0).then(|| vec![index]);
            (0, key, Some(vec![index]), 0)
        })
        .collect();
    let batch = checked(build(&records, Compression::None, PRODUCER));
    check_parts(&batch, 8);
    let keyless = split(&batch, 8)
        .unwrap()
        .into_iter()
        .filter(|part| {
            let records = read(&checked(part.batch.clone()));
            records.iter().any(|record| record.key.is_none())
        })
        .count();
    assert_eq!(keyless, 1);
}

#[test]
fn offset_deltas_and_lengths_change_their_widths() {
    // Records 64 to 199 have an offset delta of two bytes, which takes some of them over a length of one.
    let records: Vec<OwnedRecord> = (0..200)
        .map(|index| (0, Some(vec![index]), Some(vec![7; 56]), 0))
        .collect();
    let batch = checked(build(&records, Compression::None, PRODUCER));
    check_parts(&batch, 2);
    let widths = |batch: &RecordBatch| batch.bytes().len() - HEADER_BYTES;
    let parts = split(&batch, 16).unwrap();
    assert_eq!(parts.len(), 16);
    let sum: usize = parts
        .into_iter()
        .map(|part| widths(&checked(part.batch)))
        .sum();
    assert_eq!(widths(&batch), 64 * 64 + 136 * 66);
    assert_eq!(sum, 200 * 64);
}

#[test]
fn needlessly_long_numbers_are_shortened_only_where_they_are_written_anew() {
    // Two records, their every number a group longer than it needs to be.
    let record = |offset_delta: u8, key: u8| {
        [
            &[0x9a, 0x80, 0x00, 0x00, 0x80, 0x80, 0x00][..],
            &[0x80 | offset_delta, 0x80, 0x00, 0x82, 0x00, key],
            &[0x81, 0x00, 0x80, 0x00],
        ]
        .concat()
    };
    let body = [record(0, b'a'), record(2, b'b')].concat();
    // The length is zigzag: 13 bytes follow it.
    let mut body = body;
    let each = body.len() / 2;
    for start in [0, each] {
        body[start] = 0x80 | u8::try_from((each - 3) * 2).unwrap();
    }
    let batch = of_body(&body, 2);
    let batch = with_max_timestamp(&batch, batch.header().base_timestamp);
    check_parts(&batch, 9);
    let whole = split(&batch, 1).unwrap();
    assert_eq!(whole[0].batch, batch.bytes());
    let parts = split(&batch, 9).unwrap();
    assert_eq!(parts.len(), 2);
    for (part, key) in parts.iter().zip([b'a', b'b']) {
        let expected = [
            &[24, 0x00, 0x80, 0x80, 0x00, 0x00][..],
            &[0x82, 0x00, key, 0x81, 0x00, 0x80, 0x00],
        ]
        .concat();
        assert_eq!(part.batch[HEADER_BYTES..], expected);
    }
}

fn with_max_timestamp(batch: &RecordBatch, max_timestamp: i64) -> RecordBatch {
    with_header(batch, |header| header.max_timestamp = max_timestamp)
}

fn with_header(batch: &RecordBatch, change: impl FnOnce(&mut RecordBatchHeader)) -> RecordBatch {
    let mut header = *batch.header();
    change(&mut header);
    let mut bytes = batch.bytes().to_vec();
    header.write(&mut bytes);
    seal(&mut bytes);
    RecordBatch::check_stored(bytes.into()).expect("sound but for what is changed")
}

#[track_caller]
fn check_refused(change: impl FnOnce(&mut RecordBatchHeader), expected: &SplitError) {
    let batch = with_header(&keyed(&[b"a", b"b"]), change);
    assert_eq!(split(&batch, 8).as_ref(), Err(expected));
}

#[test]
fn a_batch_that_is_no_routed_one_is_refused() {
    for id in [-1, 0, PRODUCER_ID_MIN.0 - 1, i64::MIN] {
        let producer_id = ProducerId(id);
        let expected = SplitError::NotRouted { producer_id };
        check_refused(|header| header.producer_id = producer_id, &expected);
    }
    let epoch = ProducerEpoch(-1);
    check_refused(
        |header| header.producer_epoch = epoch,
        &SplitError::NegativeEpoch { epoch },
    );
    let number = Sequence(-1);
    check_refused(
        |header| header.base_sequence = number,
        &SplitError::NegativeNumber { number },
    );
    check_refused(|header| header.attributes = 1 << 5, &SplitError::Control);
    check_refused(
        |header| header.attributes = 1 << 4,
        &SplitError::Transactional,
    );
    check_refused(
        |header| header.attributes = 1 << 3,
        &SplitError::LogAppendTime,
    );
}

#[test]
fn compressed_records_are_refused_by_the_name_of_their_codec() {
    for &codec in &Compression::ALL[1..] {
        let batch = checked(build(&[(0, None, None, 0)], codec, PRODUCER));
        let found = split(&batch, 8).unwrap_err();
        assert_eq!(found, SplitError::Compressed { codec });
        assert!(found.to_string().contains(codec.name()));
    }
}

#[test]
fn headers_that_their_records_belie_are_refused() {
    check_refused(
        |header| header.max_timestamp = 99,
        &SplitError::InvalidMaxTimestamp {
            declared: 99,
            found: 101,
        },
    );
    check_refused(
        |header| (header.record_count, header.last_offset_delta) = (1, 0),
        &SplitError::TrailingBytes {
            declared: 1,
            extra: 13,
        },
    );
    for (record_count, last_offset_delta) in [(0, 0), (2, 2)] {
        check_refused(
            |header| {
                (header.record_count, header.last_offset_delta) = (record_count, last_offset_delta)
            },
            &SplitError::InvalidCount {
                record_count,
                last_offset_delta,
            },
        );
    }
}

#[test]
fn partitions_that_no_topic_has_are_refused() {
    for partition_count in [0, -1, i32::MIN] {
        let found = split(&keyed(&[b"a"]), partition_count);
        assert_eq!(found, Err(SplitError::NoPartitions { partition_count }));
    }
}

#[track_caller]
fn check_malformed(second: &[u8], expected: &'static str) {
    let first = [14, 0, 0, 0, 2, b'a', 1, 0];
    let batch = of_body(&[&first[..], second].concat(), 2);
    let expected = SplitError::Malformed {
        index: 1,
        part: expected,
    };
    assert_eq!(split(&batch, 8), Err(expected));
}

#[test]
fn a_damaged_record_is_named_with_the_part_that_is_wrong() {
    check_malformed(&[1, 0, 0, 2, 1, 1, 0], "length");
    check_malformed(&[14, 0, 0, 2, 1, 1, 0], "length");
    check_malformed(&[0xff; 7], "length");
    check_malformed(&[0, 0, 0, 2, 1, 1, 0], "attributes");
    check_malformed(&[12, 0, 0xff, 0xff, 0xff, 0xff, 0xff], "timestamp");
    check_malformed(&[12, 0, 0, 0, 1, 1, 0], "offset");
    check_malformed(&[12, 0, 0, 4, 1, 1, 0], "offset");
    check_malformed(&[12, 0, 0, 1, 1, 1, 0], "offset");
    check_malformed(&[12, 0, 0, 2, 3, 1, 0], "key");
    check_malformed(&[12, 0, 0, 2, 8, 1, 0], "key");
    check_malformed(&[12, 0, 0, 2, 1, 3, 0], "value");
    check_malformed(&[12, 0, 0, 2, 1, 4, 0], "value");
    check_malformed(&[12, 0, 0, 2, 1, 1, 1], "header count");
    check_malformed(&[12, 0, 0, 2, 1, 1, 2], "header count");
    check_malformed(&[16, 0, 0, 2, 1, 1, 2, 1, 0], "header name");
    check_malformed(&[16, 0, 0, 2, 1, 1, 2, 0, 2], "header value");
    check_malformed(&[14, 0, 0, 2, 1, 1, 0, 9], "end");
}

#[test]
#[ignore = "writes files: run it to renew the corpus"]
fn corpus_is_written() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/routed_split");
    std::fs::create_dir_all(folder).expect("the corpus can be written");
    let records: Vec<OwnedRecord> = (0..70)
        .map(|index| {
            let key = (index % 3 > 0).then(|| vec![index]);
            let value = (index % 5 > 0).then(|| vec![index; usize::from(index)]);
            (-i64::from(index), key, value, usize::from(index % 3))
        })
        .collect();
    let many = build(&records, Compression::None, PRODUCER);
    let two = keyed(&[b"a", b"b"]);
    let foreign = with_header(&two, |header| header.producer_id = ProducerId::NONE);
    let damaged = of_body(&[14, 0, 0, 0, 2, b'a', 1, 0, 12, 0, 0, 2, 1, 1, 2], 2);
    for (name, partition_count, batch) in [
        ("many_records", 7, &many),
        ("two_records", 9, two.bytes()),
        ("one_partition", 1, two.bytes()),
        ("two_billion_partitions", i32::MAX, &many),
        ("no_partition", 0, two.bytes()),
        ("foreign_producer", 9, foreign.bytes()),
        ("damaged_record", 9, damaged.bytes()),
    ] {
        let input = [&partition_count.to_be_bytes()[..], batch].concat();
        std::fs::write(format!("{folder}/{name}"), input).expect("the corpus can be written");
    }
}
