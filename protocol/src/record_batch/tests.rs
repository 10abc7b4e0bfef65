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
