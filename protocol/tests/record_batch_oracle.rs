//! The crate `kafka-protocol` reads what this crate builds, and this crate reads what `kafka-protocol` builds, in every
//! codec. That crate cannot hold two headers of one name, so that names are unique here.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression as TheirCompression, Record as TheirRecord, RecordBatchDecoder, RecordBatchEncoder,
    RecordEncodeOptions, TimestampType,
};
use keylane_protocol::compression::{Compression, DECOMPRESSED_BYTES_MAX};
use keylane_protocol::identifiers::ProducerId;
use keylane_protocol::offset::{LeaderEpoch, Offset, ProducerEpoch, Sequence};
use keylane_protocol::record_batch::{
    BatchProducer, NewRecord, RecordBatch, RecordBatchBuilder, stamp,
};
use proptest::prelude::*;

const BASE_OFFSET: i64 = 1000;

#[derive(Clone, Debug)]
struct Sample {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: BTreeMap<String, Option<Vec<u8>>>,
}

fn bytes() -> impl Strategy<Value = Option<Vec<u8>>> {
    proptest::option::of(prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..100),
        (0_usize..10_000, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]),
    ])
}

fn samples() -> impl Strategy<Value = Vec<Sample>> {
    let sample = (
        0..1_i64 << 50,
        bytes(),
        bytes(),
        proptest::collection::btree_map(".{0,5}", bytes(), 0..4),
    )
        .prop_map(|(timestamp, key, value, headers)| Sample {
            timestamp,
            key,
            value,
            headers,
        });
    proptest::collection::vec(sample, 1..40)
}

fn codecs() -> impl Strategy<Value = (Compression, TheirCompression)> {
    proptest::sample::select(vec![
        (Compression::None, TheirCompression::None),
        (Compression::Gzip, TheirCompression::Gzip),
        (Compression::Snappy, TheirCompression::Snappy),
        (Compression::Lz4, TheirCompression::Lz4),
        (Compression::Zstd, TheirCompression::Zstd),
    ])
}

fn build(samples: &[Sample], compression: Compression) -> Bytes {
    let mut builder = RecordBatchBuilder::with_capacity(0);
    for sample in samples {
        let headers: Vec<(&str, Option<&[u8]>)> = sample
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_deref()))
            .collect();
        builder.append(&NewRecord {
            timestamp: sample.timestamp,
            key: sample.key.as_deref(),
            value: sample.value.as_deref(),
            headers: &headers,
        });
    }
    let producer = BatchProducer {
        id: ProducerId(7),
        epoch: ProducerEpoch(8),
        base_sequence: Sequence(9),
    };
    let batch = builder
        .finish(compression, producer)
        .expect("memory suffices");
    let mut batch = batch.to_vec();
    stamp(&mut batch, Offset(BASE_OFFSET), LeaderEpoch(5));
    batch.into()
}

fn their_record(index: usize, sample: &Sample) -> TheirRecord {
    let index = i32::try_from(index).expect("few records");
    TheirRecord {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: 5,
        producer_id: 7,
        producer_epoch: 8,
        timestamp_type: TimestampType::Creation,
        offset: BASE_OFFSET + i64::from(index),
        sequence: 9 + index,
        timestamp: sample.timestamp,
        key: sample.key.clone().map(Bytes::from),
        value: sample.value.clone().map(Bytes::from),
        headers: sample
            .headers
            .iter()
            .map(|(name, value)| {
                let value = value.clone().map(Bytes::from);
                (StrBytes::from_string(name.clone()), value)
            })
            .collect(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn they_read_what_we_build(samples in samples(), (ours, theirs) in codecs()) {
        let mut batch = build(&samples, ours);
        let read = RecordBatchDecoder::decode(&mut batch).expect("they read it");
        prop_assert_eq!(read.compression, theirs);
        let expected: Vec<TheirRecord> = samples
            .iter()
            .enumerate()
            .map(|(index, sample)| their_record(index, sample))
            .collect();
        prop_assert_eq!(read.records, expected);
    }

    #[test]
    fn we_read_what_they_build(samples in samples(), (ours, theirs) in codecs()) {
        let records: Vec<TheirRecord> = samples
            .iter()
            .enumerate()
            .map(|(index, sample)| their_record(index, sample))
            .collect();
        let options = RecordEncodeOptions { version: 2, compression: theirs };
        let mut batch = BytesMut::new();
        RecordBatchEncoder::encode(&mut batch, &records, &options).expect("they build it");
        let batch = RecordBatch::check(batch.freeze()).expect("we read it");
        let header = batch.header();
        prop_assert_eq!(header.compression(), Ok(ours));
        prop_assert_eq!(header.base_offset, Offset(BASE_OFFSET));
        prop_assert_eq!(header.leader_epoch, LeaderEpoch(5));
        prop_assert_eq!(header.producer_id, ProducerId(7));
        prop_assert_eq!(header.producer_epoch, ProducerEpoch(8));
        prop_assert_eq!(header.base_sequence, Sequence(9));
        let read = batch.records(DECOMPRESSED_BYTES_MAX).expect("their codec");
        let mut count = 0;
        for (record, sample) in read.zip(&samples) {
            let record = record.expect("a sound record");
            prop_assert_eq!(record.offset, Offset(BASE_OFFSET + count));
            prop_assert_eq!(record.timestamp, sample.timestamp);
            prop_assert_eq!(record.key.as_deref(), sample.key.as_deref());
            prop_assert_eq!(record.value.as_deref(), sample.value.as_deref());
            let headers: BTreeMap<String, Option<Vec<u8>>> = record
                .headers
                .iter()
                .map(|header| (header.name.to_string(), header.value.as_deref().map(<[u8]>::to_vec)))
                .collect();
            prop_assert_eq!(&headers, &sample.headers);
            count += 1;
        }
        prop_assert_eq!(usize::try_from(count).expect("few records"), samples.len());
    }
}
