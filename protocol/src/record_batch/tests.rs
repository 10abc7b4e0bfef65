//! Record batches and compression: round trips, damage and bombs.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::compression::{Compression, DECOMPRESSED_BYTES_MAX};
use crate::record::Record;

type OwnedHeader = (String, Option<Vec<u8>>);
type OwnedRecord = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<OwnedHeader>);

fn build(records: &[OwnedRecord], compression: Compression) -> Bytes {
    let mut builder = RecordBatchBuilder::with_capacity(64);
    for (timestamp, key, value, headers) in records {
        let headers: Vec<(&str, Option<&[u8]>)> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_deref()))
            .collect();
        let record = NewRecord {
            timestamp: *timestamp,
            key: key.as_deref(),
            value: value.as_deref(),
            headers: &headers,
        };
        let expected = builder.size_with(&record);
        builder.append(&record);
        assert_eq!(builder.size_bytes(), expected);
    }
    builder
        .finish(compression, BatchProducer::NONE)
        .expect("memory suffices")
}

fn read(batch: Bytes) -> Vec<Record> {
    let batch = RecordBatch::check(batch).expect("a sound batch");
    let records = batch
        .records(DECOMPRESSED_BYTES_MAX)
        .expect("the codec's own bytes");
    records.collect::<Result<_, _>>().expect("sound records")
}

fn one(value: &[u8], compression: Compression) -> Bytes {
    build(
        &[(7, Some(b"key".to_vec()), Some(value.to_vec()), Vec::new())],
        compression,
    )
}

fn bytes() -> impl Strategy<Value = Option<Vec<u8>>> {
    proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200))
}

fn records() -> impl Strategy<Value = Vec<OwnedRecord>> {
    let header = (".{0,8}", bytes());
    let record = (
        any::<i64>(),
        bytes(),
        bytes(),
        proptest::collection::vec(header, 0..4),
    );
    proptest::collection::vec(record, 1..80)
}

proptest! {
    #[test]
    fn records_come_back_as_they_were_appended(records in records(), codec in 0_i16..5) {
        let compression = Compression::from_bits(codec).expect("five codecs");
        let read = read(build(&records, compression));
        prop_assert_eq!(read.len(), records.len());
        for (index, (read, (timestamp, key, value, headers))) in read.iter().zip(&records).enumerate() {
            prop_assert_eq!(read.offset, Offset(i64::try_from(index).expect("small")));
            prop_assert_eq!(read.timestamp, *timestamp);
            prop_assert_eq!(read.key.as_deref(), key.as_deref());
            prop_assert_eq!(read.value.as_deref(), value.as_deref());
            let found: Vec<OwnedHeader> = read.headers.iter()
                .map(|header| (header.name.to_string(), header.value.as_ref().map(|value| value.to_vec())))
                .collect();
            prop_assert_eq!(&found, headers);
        }
    }

    #[test]
    fn any_bent_byte_under_the_checksum_is_found(at in HEADER_BYTES..80, bit in 0_u8..8) {
        let mut batch = BytesMut::from(one(&[5; 40], Compression::None).as_ref());
        batch[at] ^= 1 << bit;
        let found = RecordBatch::check(batch.freeze());
        let is_corrupt = matches!(found, Err(RecordBatchError::CorruptChecksum { .. }));
        prop_assert!(is_corrupt);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(mut bytes in proptest::collection::vec(any::<u8>(), 61..300), codec in 0_u8..6) {
        // Past the checks of the header, so that the records are reached.
        let length = u32::try_from(bytes.len() - 12).expect("small");
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[16] = 2;
        bytes[21..23].copy_from_slice(&[0, codec]);
        bytes[23..27].copy_from_slice(&9_u32.to_be_bytes());
        bytes[57..61].copy_from_slice(&10_u32.to_be_bytes());
        let crc = checksum(&bytes);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        let batch = RecordBatch::check(bytes.into()).ok();
        if let Some(Ok(records)) = batch.map(|batch| batch.records(1 << 20)) {
            prop_assert!(records.count() <= 11);
        }
    }
}

#[test]
fn a_batch_must_be_whole_and_alone() {
    let batch = one(b"value", Compression::None);
    let cut = RecordBatch::check(batch.slice(..batch.len() - 1));
    assert!(
        matches!(cut, Err(RecordBatchError::Truncated { .. })),
        "{cut:?}"
    );
    let mut two = BytesMut::from(batch.as_ref());
    two.extend_from_slice(&batch);
    let two = two.freeze();
    let double = RecordBatch::check(two.clone());
    assert!(
        matches!(double, Err(RecordBatchError::TrailingBytes { .. })),
        "{double:?}"
    );
    let mut batches = RecordBatches::new(two.slice(..two.len() - 3));
    assert!(batches.next().is_some_and(|batch| batch.is_ok()));
    assert!(batches.next().is_none());
    assert_eq!(batches.rest().len(), batch.len() - 3);
}

#[test]
fn older_formats_and_false_counts_are_named() {
    let batch = one(b"value", Compression::None);
    for magic in [0, 1, 3] {
        let mut old = BytesMut::from(batch.as_ref());
        old[16] = magic;
        let found = RecordBatch::check(old.freeze());
        assert!(
            matches!(found, Err(RecordBatchError::UnsupportedMagic { .. })),
            "{found:?}"
        );
    }
    let mut false_count = BytesMut::from(batch.as_ref());
    false_count[60] = 2;
    let crc = checksum(&false_count);
    false_count[17..21].copy_from_slice(&crc.to_be_bytes());
    let found = RecordBatch::check(false_count.freeze());
    assert!(
        matches!(found, Err(RecordBatchError::InvalidCount { .. })),
        "{found:?}"
    );
}

#[test]
fn stamping_leaves_the_checksum_valid() {
    let batch = one(b"value", Compression::None);
    let view = RecordBatch::check(batch.clone()).expect("sound");
    let prefix = view.stamped_prefix(Offset(42), LeaderEpoch(7));
    let mut vectored = BytesMut::from(prefix.as_slice());
    vectored.extend_from_slice(&batch[PREFIX_BYTES..]);
    let mut stamped = BytesMut::from(batch.as_ref());
    stamp(&mut stamped, Offset(42), LeaderEpoch(7));
    assert_eq!(vectored, stamped);
    let stamped = RecordBatch::check(stamped.freeze()).expect("sound");
    assert_eq!(stamped.header().base_offset, Offset(42));
    assert_eq!(stamped.header().end_offset(), Offset(43));
    assert_eq!(stamped.header().leader_epoch, LeaderEpoch(7));
}

#[test]
fn a_renumbered_batch_is_sound() {
    let producer = BatchProducer {
        id: crate::identifiers::ProducerId(9),
        epoch: crate::offset::ProducerEpoch(3),
        base_sequence: crate::offset::Sequence(17),
    };
    let batch =
        RecordBatch::check(renumber(one(b"value", Compression::Lz4), producer)).expect("sound");
    assert_eq!(batch.header().producer_id, producer.id);
    assert_eq!(batch.header().producer_epoch, producer.epoch);
    assert_eq!(batch.header().base_sequence, producer.base_sequence);
}

#[test]
fn variable_length_integers_keep_every_value() {
    for value in [
        0,
        1,
        -1,
        63,
        64,
        -64,
        -65,
        8191,
        i64::from(i32::MAX),
        i64::MAX,
        i64::MIN,
    ] {
        let mut bytes = Vec::new();
        varint::write_varlong(value, &mut bytes);
        assert_eq!(bytes.len(), varint::varlong_size(value), "{value}");
        let mut rest = bytes.as_slice();
        assert_eq!(varint::read_varlong(&mut rest), Some(value));
        assert!(rest.is_empty());
    }
    assert_eq!(varint::read_varlong(&mut [0xff; 11].as_slice()), None);
    assert_eq!(
        varint::read_varint(&mut [0xff, 0xff, 0xff, 0xff, 0x7f].as_slice()),
        None
    );
}

/// Changes bytes of a batch and computes its checksum anew.
fn bent(batch: &Bytes, at: usize, bytes: &[u8]) -> Bytes {
    let mut batch = batch.to_vec();
    batch[at..at + bytes.len()].copy_from_slice(bytes);
    seal(&mut batch);
    batch.into()
}

/// Returns a batch whose header declares these counts.
fn counted(last_offset_delta: i32, record_count: i32, compression: Compression) -> Bytes {
    let batch = bent(
        &one(b"value", compression),
        23,
        &last_offset_delta.to_be_bytes(),
    );
    bent(&batch, 57, &record_count.to_be_bytes())
}

/// Returns an uncompressed batch of one record that consists of these bytes, behind its length.
fn of_fields(fields: &[u8]) -> RecordBatch {
    let mut batch = one(b"", Compression::None)[..HEADER_BYTES].to_vec();
    varint::write_varlong(i64::try_from(fields.len()).unwrap(), &mut batch);
    batch.extend_from_slice(fields);
    let length = u32::try_from(batch.len() - LENGTH_OVERHEAD_BYTES).unwrap();
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    seal(&mut batch);
    RecordBatch::check(batch.into()).expect("only its record is odd")
}

#[test]
fn the_layout_is_kafkas_byte_for_byte() {
    let mut builder = RecordBatchBuilder::with_capacity(1024);
    let headers: [(&str, Option<&[u8]>); 2] = [("h", None), ("h", Some(b"1"))];
    let record = NewRecord {
        timestamp: 1000,
        key: Some(b"k"),
        value: None,
        headers: &headers,
    };
    builder.append(&record);
    builder.append(&NewRecord {
        timestamp: 999,
        headers: &[],
        ..record
    });
    let producer = BatchProducer {
        id: crate::identifiers::ProducerId(0x0102),
        epoch: crate::offset::ProducerEpoch(3),
        base_sequence: crate::offset::Sequence(4),
    };
    let batch = builder.finish(Compression::None, producer).unwrap();
    let mut expected = vec![0; 11];
    expected.push(49 + 15 + 8);
    expected.extend([0xff, 0xff, 0xff, 0xff, 2]);
    expected.extend_from_slice(&batch[17..21]);
    expected.extend([0, 0, 0, 0, 0, 1]);
    expected.extend(1000_i64.to_be_bytes());
    expected.extend(1000_i64.to_be_bytes());
    expected.extend([0, 0, 0, 0, 0, 0, 1, 2, 0, 3, 0, 0, 0, 4, 0, 0, 0, 2]);
    expected.extend([28, 0, 0, 0, 2, b'k', 1, 4, 2, b'h', 1, 2, b'h', 2, b'1']);
    expected.extend([14, 0, 1, 2, 2, b'k', 1, 0]);
    assert_eq!(batch, expected);
}

#[test]
fn an_uncompressed_batch_is_neither_copied_when_built_nor_when_read() {
    let mut builder = RecordBatchBuilder::with_capacity(4096);
    let record = NewRecord {
        value: Some(&[7; 1024]),
        ..NewRecord::default()
    };
    builder.append(&record);
    builder.append(&record);
    let address = builder.buffer_address();
    let batch = builder
        .finish(Compression::None, BatchProducer::NONE)
        .unwrap();
    assert_eq!(batch.as_ptr(), address);
    let batch = RecordBatch::check(batch).unwrap();
    let within = address as usize..address as usize + batch.bytes().len();
    for record in batch.records(0).unwrap() {
        assert!(within.contains(&(record.unwrap().value.unwrap().as_ptr() as usize)));
    }
}

#[test]
fn counts_and_offsets_of_a_producer_must_agree() {
    for (last_offset_delta, record_count) in [(1, 1), (0, 2), (-1, 0), (0, 0), (i32::MAX, i32::MIN)]
    {
        let found = RecordBatch::check(counted(last_offset_delta, record_count, Compression::None));
        let expected = RecordBatchError::InvalidCount {
            record_count,
            last_offset_delta,
        };
        assert_eq!(found, Err(expected));
    }
}

#[test]
fn a_log_may_hold_fewer_records_than_offsets_but_never_more() {
    for (last_offset_delta, record_count) in [(0, 1), (9, 1), (9, 0), (0, 0), (i32::MAX, 0)] {
        let batch = counted(last_offset_delta, record_count, Compression::None);
        assert!(RecordBatch::check_stored(batch).is_ok());
    }
    for (last_offset_delta, record_count) in [(0, 2), (-1, 0), (0, -1), (i32::MIN, i32::MIN)] {
        let batch = counted(last_offset_delta, record_count, Compression::None);
        let found = RecordBatch::check_stored(batch);
        assert!(matches!(found, Err(RecordBatchError::InvalidCount { .. })));
    }
}

#[test]
fn records_that_cannot_be_there_use_up_no_offsets() {
    let bytes = one(b"value", Compression::None).len() - HEADER_BYTES;
    let found = RecordBatch::check(counted(i32::MAX - 1, i32::MAX, Compression::None));
    let expected = RecordBatchError::TooManyRecords {
        record_count: i32::MAX,
        bytes,
    };
    assert_eq!(found, Err(expected));
    // Under compression only a reader can tell.
    let batch = RecordBatch::check(counted(i32::MAX - 1, i32::MAX, Compression::Lz4)).unwrap();
    let found = batch.records(DECOMPRESSED_BYTES_MAX);
    assert!(
        matches!(found, Err(InvalidRecords::TooMany { .. })),
        "{found:?}"
    );
}

#[test]
fn offsets_that_no_partition_has_are_refused_in_a_log_and_harmless_from_a_producer() {
    for (base_offset, is_stored) in [
        (i64::MIN, false),
        (-1, false),
        (0, true),
        (i64::MAX - 1, true),
        (i64::MAX, false),
    ] {
        let mut batch = one(b"value", Compression::None).to_vec();
        stamp(&mut batch, Offset(base_offset), LeaderEpoch(1));
        let batch = Bytes::from(batch);
        let stored = RecordBatch::check_stored(batch.clone());
        assert_eq!(stored.is_ok(), is_stored, "{base_offset}");
        let sent = RecordBatch::check(batch).expect("the leader replaces the offset");
        let _ = sent.header().end_offset();
        assert_eq!(sent.records(0).unwrap().filter(Result::is_ok).count(), 1);
    }
}

#[test]
fn a_short_message_of_an_old_format_is_no_incomplete_batch() {
    let mut message = vec![0; 34];
    message[16] = 1;
    let mut batches = RecordBatches::new(message.into());
    let found = batches.next();
    assert_eq!(
        found,
        Some(Err(RecordBatchError::UnsupportedMagic { magic: 1 }))
    );
    assert_eq!(batches.next(), None);
}

#[test]
fn batches_are_cut_apart_up_to_an_incomplete_one() {
    let first = one(b"first", Compression::None);
    let second = one(b"second", Compression::Zstd);
    let all = [&first[..], &second[..]].concat();
    for end in first.len()..all.len() {
        let mut batches = RecordBatches::new(Bytes::copy_from_slice(&all[..end]));
        assert_eq!(batches.by_ref().filter(Result::is_ok).count(), 1);
        assert_eq!(batches.rest().len(), end - first.len());
    }
    assert_eq!(RecordBatches::new(all.into()).count(), 2);
}

#[test]
fn the_time_of_the_append_replaces_every_timestamp() {
    let mut batch = one(b"value", Compression::Gzip).to_vec();
    stamp_log_append_time(&mut batch, 42);
    let batch = RecordBatch::check(batch.into()).expect("sound");
    assert_eq!(
        batch.header().timestamp_type(),
        TimestampType::LogAppendTime
    );
    assert_eq!(batch.header().compression(), Ok(Compression::Gzip));
    assert_eq!(batch.header().max_timestamp, 42);
    for record in batch.records(1000).unwrap() {
        assert_eq!(record.unwrap().timestamp, 42);
    }
}

#[test]
fn renumbering_works_in_place_unless_the_bytes_are_shared() {
    let producer = BatchProducer {
        id: crate::identifiers::ProducerId(5),
        epoch: crate::offset::ProducerEpoch(6),
        base_sequence: crate::offset::Sequence(7),
    };
    let batch = one(b"value", Compression::None);
    let address = batch.as_ptr();
    let copy = renumber(batch.clone(), producer);
    assert_ne!(copy.as_ptr(), address);
    let original = RecordBatch::check(batch.clone()).unwrap();
    assert_eq!(original.header().producer_id.0, -1);
    drop(original);
    let in_place = renumber(batch, producer);
    assert_eq!(in_place.as_ptr(), address);
    assert_eq!(in_place, copy);
}

#[track_caller]
fn check_malformed(fields: &[u8], expected: &str) {
    match of_fields(fields).records(0).unwrap().next() {
        Some(Err(InvalidRecords::Malformed { part, .. })) => assert_eq!(part, expected),
        found => panic!("{found:?}"),
    }
}

#[test]
fn a_malformed_record_names_the_part_that_is_wrong() {
    // The fields of a record: attributes, timestamp, offset, key, value, headers.
    assert!(
        of_fields(&[0, 0, 0, 1, 1, 0])
            .records(0)
            .unwrap()
            .all(|record| record.is_ok())
    );
    check_malformed(&[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "timestamp");
    check_malformed(&[0, 0, 2, 1, 1, 0], "offset");
    check_malformed(&[0, 0, 1, 1, 1, 0], "offset");
    check_malformed(&[0, 0, 0, 3, 1, 0], "key");
    check_malformed(&[0, 0, 0, 8, 1, 0], "key");
    check_malformed(&[0, 0, 0, 1, 3, 0], "value");
    check_malformed(&[0, 0, 0, 1, 0x80, 0x80, 0x80, 0x80, 0x80, 0, 0], "value");
    check_malformed(&[0, 0, 0, 1, 1, 1], "header count");
    check_malformed(&[0, 0, 0, 1, 1, 4, 0, 0, 0], "header count");
    check_malformed(&[0, 0, 0, 1, 1, 2, 1, 0], "header name");
    check_malformed(&[0, 0, 0, 1, 1, 2, 0, 2], "header value");
    check_malformed(&[0, 0, 0, 1, 1, 0, 9], "end");
}

#[test]
fn header_names_that_are_not_utf8_read_as_in_java() {
    let batch = of_fields(&[0, 0, 0, 1, 1, 2, 4, b'a', 0xff, 1]);
    let record = batch.records(0).unwrap().next().unwrap().unwrap();
    assert_eq!(record.headers[0].name, "a\u{fffd}");
}

#[test]
fn headers_take_memory_in_proportion_to_their_bytes() {
    let headers = |count: usize| {
        let mut fields = vec![0, 0, 0, 1, 1];
        varint::write_varlong(i64::try_from(count).unwrap(), &mut fields);
        fields.resize(fields.len() + 2 * count, 0);
        fields
    };
    let few = of_fields(&headers(20_000));
    let record = few.records(0).unwrap().next().unwrap().unwrap();
    assert_eq!(record.headers.len(), 20_000);
    check_malformed(&headers(1_000_000), "header count");
}
