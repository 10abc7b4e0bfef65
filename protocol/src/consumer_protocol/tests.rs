//! Both structures in every version, against the crate `kafka-protocol`, which was generated from Kafka's schemas; and
//! versions that are not known.

use bytes::{BufMut, BytesMut};
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::message::sample::{Choices, Sample};

fn sampled<T: Sample>(choices: &[u8], version: i16) -> T {
    let format = known_format(version).expect("a known version");
    T::sample(&mut Choices(choices), format)
}

/// Returns bytes that they decoded and encoded again, with the version in front.
fn reencoded_by_them<T: Encodable + Decodable>(bytes: &Bytes) -> Bytes {
    let mut rest = bytes.clone();
    let version = i16::from_be_bytes([rest[0], rest[1]]);
    let _ = rest.split_to(2);
    let value = T::decode(&mut rest, version).expect("they decode what we encoded");
    assert!(rest.is_empty(), "they leave {} bytes", rest.len());
    let mut again = BytesMut::new();
    again.put_i16(version);
    value
        .encode(&mut again, version)
        .expect("they encode what they decoded");
    again.freeze()
}

proptest! {
    #[test]
    fn subscriptions_agree_in_every_version(choices in vec(any::<u8>(), 0..200), version in VERSIONS) {
        let subscription: ConsumerProtocolSubscription = sampled(&choices, version);
        let bytes = subscription.encode(version).expect("encodes");
        let again = reencoded_by_them::<theirs::ConsumerProtocolSubscription>(&bytes);
        prop_assert_eq!(&again, &bytes);
        prop_assert_eq!(ConsumerProtocolSubscription::decode(&again), Ok((version, subscription)));
    }

    #[test]
    fn assignments_agree_in_every_version(choices in vec(any::<u8>(), 0..200), version in VERSIONS) {
        let assignment: ConsumerProtocolAssignment = sampled(&choices, version);
        let bytes = assignment.encode(version).expect("encodes");
        let again = reencoded_by_them::<theirs::ConsumerProtocolAssignment>(&bytes);
        prop_assert_eq!(&again, &bytes);
        prop_assert_eq!(ConsumerProtocolAssignment::decode(&again), Ok((version, assignment)));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..100)) {
        let bytes = Bytes::from(bytes);
        let _ = ConsumerProtocolSubscription::decode(&bytes);
        let _ = ConsumerProtocolAssignment::decode(&bytes);
    }
}

fn bytes_of(hexadecimal: &str) -> Bytes {
    let places = (0..hexadecimal.len()).step_by(2);
    let byte = |at| u8::from_str_radix(&hexadecimal[at..at + 2], 16).expect("two digits");
    places.map(byte).collect()
}

fn partitions(topic: &str, partitions: &[i32]) -> TopicPartitions {
    TopicPartitions {
        topic: topic.into(),
        partitions: partitions.iter().copied().map(PartitionIndex).collect(),
    }
}

/// Written by `ConsumerProtocol` of kafka-clients 4.3.1.
#[test]
fn what_java_writes_is_read_and_written_alike() {
    let subscription = ConsumerProtocolSubscription {
        topics: vec!["orders".into(), "payments".into()],
        user_data: Some(Bytes::from_static(&[1, 2, 3])),
        owned_partitions: vec![partitions("orders", &[0, 2])],
        generation_id: Generation(5),
        rack_id: Some("rack-a".into()),
    };
    let bytes = bytes_of(
        "00030000000200066f726465727300087061796d656e7473000000030102030000000100066f7264657273\
         0000000200000000000000020000000500067261636b2d61",
    );
    let read = ConsumerProtocolSubscription::decode(&bytes);
    assert_eq!(read, Ok((3, subscription.clone())));
    assert_eq!(subscription.encode(3), Ok(bytes));
    let oldest = bytes_of("00000000000200066f726465727300087061796d656e747300000003010203");
    assert_eq!(subscription.encode(0), Ok(oldest));
    let assignment = ConsumerProtocolAssignment {
        assigned_partitions: vec![partitions("orders", &[0, 2]), partitions("payments", &[1])],
        user_data: None,
    };
    let bytes = bytes_of(
        "00010000000200066f726465727300000002000000000000000200087061796d656e747300000001000000\
         01ffffffff",
    );
    let read = ConsumerProtocolAssignment::decode(&bytes);
    assert_eq!(read, Ok((1, assignment.clone())));
    assert_eq!(assignment.encode(1), Ok(bytes));
}

fn subscription() -> ConsumerProtocolSubscription {
    ConsumerProtocolSubscription {
        topics: vec!["t".into()],
        user_data: None,
        owned_partitions: vec![partitions("t", &[1])],
        generation_id: Generation(7),
        rack_id: Some("r".into()),
    }
}

#[test]
fn a_later_version_is_read_as_the_last_known_whatever_follows_its_fields() {
    let known = subscription().encode(3).expect("encodes");
    for version in [4, 100, i16::MAX] {
        let later = [&version.to_be_bytes()[..], &known[2..], &[1, 2, 3]].concat();
        let read = ConsumerProtocolSubscription::decode(&later.into());
        assert_eq!(read, Ok((3, subscription())));
    }
    let later = [&[0, 9][..], &[0; 4], &[255; 4], &[1]].concat();
    let read = ConsumerProtocolAssignment::decode(&later.into());
    assert_eq!(read, Ok((3, ConsumerProtocolAssignment::default())));
}

#[test]
fn an_earlier_version_leaves_out_what_it_lacks() {
    let written = subscription().encode(1).expect("encodes");
    let (version, read) = ConsumerProtocolSubscription::decode(&written).expect("decodes");
    assert_eq!((version, read.generation_id), (1, Generation::NONE));
    assert_eq!(read.owned_partitions, subscription().owned_partitions);
    assert_eq!(read.rack_id, None);
}

#[test]
fn negative_versions_no_bytes_and_cut_bytes_are_refused() {
    let (api, version) = ("ConsumerProtocolSubscription", -1);
    assert_eq!(
        ConsumerProtocolSubscription::decode(&Bytes::from_static(&[255; 20])),
        Err(DecodeError::UnsupportedVersion { api, version })
    );
    for version in [-1, 4] {
        let refused = subscription().encode(version);
        assert_eq!(
            refused,
            Err(EncodeError::UnsupportedVersion { api, version })
        );
    }
    ConsumerProtocolAssignment::decode(&Bytes::new()).expect_err("no version");
    let whole = subscription().encode(3).expect("encodes");
    for end in 0..whole.len() {
        ConsumerProtocolSubscription::decode(&whole.slice(..end)).expect_err("cut");
    }
}

/// Returns the longest of some short encodings of a version.
fn longest<T: Sample>(version: i16, encode: impl Fn(&T) -> Bytes) -> Bytes {
    let candidates = (1..=u8::MAX).map(|step| {
        let choice = |place: u8| place.wrapping_mul(step) ^ (place >> 3) ^ step;
        let choices: Vec<u8> = (0..120).map(choice).collect();
        encode(&sampled(&choices, version))
    });
    let short = candidates.filter(|bytes| bytes.len() < 512);
    short.max_by_key(Bytes::len).expect("a short one")
}

#[test]
#[ignore = "writes files: run it to renew the corpus after a declaration has changed"]
fn corpus_is_written() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/consumer_protocol");
    std::fs::create_dir_all(folder).expect("the corpus can be written");
    for version in VERSIONS {
        let subscription = longest(version, |subscription: &ConsumerProtocolSubscription| {
            subscription.encode(version).expect("encodes")
        });
        let assignment = longest(version, |assignment: &ConsumerProtocolAssignment| {
            assignment.encode(version).expect("encodes")
        });
        for (choice, kind, bytes) in [
            (0, "subscription", subscription),
            (1, "assignment", assignment),
        ] {
            let input = [&[choice][..], &bytes].concat();
            std::fs::write(format!("{folder}/{kind}_v{version}"), input)
                .expect("it can be written");
        }
    }
}
