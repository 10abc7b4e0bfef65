//! Literal bytes of the published format, round trips in every version, and what is passed over or refused.

use bytestring::ByteString;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::group::{Generation, GroupEpoch, MemberEpoch};
use crate::identifiers::PartitionIndex;
use crate::message::sample::Choices;
use crate::offset::{LeaderEpoch, Offset};

/// A kind of record.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) key_version: i16,
    pub(crate) last: i16,
    /// Returns a record, and its value's bytes in the version asked for.
    pub(crate) sample: fn(&mut Choices<'_>, i16) -> (GroupRecord, Bytes),
}

/// Returns the bytes that hexadecimal digits and texts in quotes stand for.
fn bytes(notation: &str) -> Bytes {
    let mut found = Vec::new();
    for word in notation.split_whitespace() {
        match word.strip_prefix('\'') {
            Some(text) => found.extend_from_slice(text.trim_end_matches('\'').as_bytes()),
            None => {
                let digits: Vec<u8> = word.bytes().collect();
                for pair in digits.chunks(2) {
                    let pair = std::str::from_utf8(pair).expect("digits");
                    found.push(u8::from_str_radix(pair, 16).expect("hexadecimal digits"));
                }
            }
        }
    }
    found.into()
}

fn decoded(key: &str, value: Option<&str>) -> GroupRecord {
    let record = GroupRecord::decode(&bytes(key), value.map(bytes).as_ref());
    record.expect("sound").expect("a known key")
}

/// Checks that the record is written as the bytes, and that they are read as the record.
fn check(record: &GroupRecord, key: &str, value: Option<&str>) {
    assert_eq!(record.key_bytes(), Ok(bytes(key)), "key");
    assert_eq!(record.value_bytes(), Ok(value.map(bytes)), "value");
    assert_eq!(&decoded(key, value), record);
}

fn offset_key() -> OffsetCommitKey {
    OffsetCommitKey {
        group: "shop".into(),
        topic: "orders".into(),
        partition: PartitionIndex(7),
    }
}

const OFFSET_KEY: &str = "0001 0004 'shop' 0006 'orders' 00000007";

#[test]
fn a_committed_offset_has_the_published_bytes() {
    let value = OffsetCommitValue {
        offset: Offset(258),
        leader_epoch: LeaderEpoch(5),
        metadata: "m1".into(),
        commit_timestamp: 0x0102_0304_0506,
        ..OffsetCommitValue::default()
    };
    let record = GroupRecord::OffsetCommit(offset_key(), Some(value));
    check(
        &record,
        OFFSET_KEY,
        Some("0003 0000000000000102 00000005 0002 'm1' 0000010203040506"),
    );
    assert!(!record.is_tombstone());
}

#[test]
fn a_committed_offset_with_an_expiry_of_its_own_is_written_in_version_one() {
    let value = OffsetCommitValue {
        offset: Offset(1),
        commit_timestamp: 2,
        expire_timestamp: 3,
        ..OffsetCommitValue::default()
    };
    check(
        &GroupRecord::OffsetCommit(offset_key(), Some(value)),
        OFFSET_KEY,
        Some("0001 0000000000000001 0000 0000000000000002 0000000000000003"),
    );
}

#[test]
fn a_committed_offset_with_a_topic_id_is_written_in_version_four() {
    let value = OffsetCommitValue {
        offset: Offset(1),
        leader_epoch: LeaderEpoch(2),
        metadata: "x".into(),
        commit_timestamp: 3,
        topic_id: TopicId([0xab; 16]),
        ..OffsetCommitValue::default()
    };
    check(
        &GroupRecord::OffsetCommit(offset_key(), Some(value)),
        OFFSET_KEY,
        Some(
            "0004 0000000000000001 00000002 02 'x' 0000000000000003 \
             01 00 10 abababababababababababababababab",
        ),
    );
}

#[test]
fn committed_offsets_are_read_in_every_version() {
    let value = |offset, leader_epoch| OffsetCommitValue {
        offset: Offset(offset),
        leader_epoch: LeaderEpoch(leader_epoch),
        metadata: "m".into(),
        commit_timestamp: 9,
        ..OffsetCommitValue::default()
    };
    let plain = "0000000000000005 0001 'm' 0000000000000009";
    for (version, body, expected) in [
        ("0000", plain.to_owned(), value(5, -1)),
        ("0001", format!("{plain} ffffffffffffffff"), value(5, -1)),
        ("0002", plain.to_owned(), value(5, -1)),
        (
            "0003",
            "0000000000000005 00000004 0001 'm' 0000000000000009".to_owned(),
            value(5, 4),
        ),
        (
            "0004",
            "0000000000000005 00000004 02 'm' 0000000000000009 00".to_owned(),
            value(5, 4),
        ),
    ] {
        let old_key = "0000 0004 'shop' 0006 'orders' 00000007";
        for key in [OFFSET_KEY, old_key] {
            assert_eq!(
                decoded(key, Some(&format!("{version} {body}"))),
                GroupRecord::OffsetCommit(offset_key(), Some(expected.clone())),
                "version {version}"
            );
        }
    }
}

#[test]
fn a_tagged_field_that_is_not_known_is_passed_over() {
    let with_tag = "0004 0000000000000005 00000004 02 'm' 0000000000000009 01 09 02 beef";
    let GroupRecord::OffsetCommit(_, Some(value)) = decoded(OFFSET_KEY, Some(with_tag)) else {
        panic!("not a committed offset");
    };
    assert_eq!(value.offset, Offset(5));
}

#[test]
fn a_tombstone_has_a_key_and_no_value() {
    let record = GroupRecord::OffsetCommit(offset_key(), None);
    check(&record, OFFSET_KEY, None);
    assert!(record.is_tombstone());
    let group = GroupKey {
        group: "shop".into(),
    };
    check(
        &GroupRecord::GroupMetadata(group, None),
        "0002 0004 'shop'",
        None,
    );
}

fn group_metadata() -> GroupMetadataValue {
    GroupMetadataValue {
        protocol_type: "consumer".into(),
        generation: Generation(3),
        protocol: Some("range".into()),
        leader: Some("m".into()),
        current_state_timestamp: 17,
        members: vec![MemberMetadata {
            member_id: "m".into(),
            group_instance_id: Some("i".into()),
            client_id: "c".into(),
            client_host: "/h".into(),
            rebalance_timeout: 300_000,
            session_timeout: 45_000,
            subscription: Bytes::from_static(&[1, 2]),
            assignment: Bytes::from_static(&[3]),
        }],
    }
}

#[test]
fn a_classic_group_has_the_published_bytes() {
    let key = GroupKey {
        group: "shop".into(),
    };
    check(
        &GroupRecord::GroupMetadata(key, Some(group_metadata())),
        "0002 0004 'shop'",
        Some(
            "0003 0008 'consumer' 00000003 0005 'range' 0001 'm' 0000000000000011 00000001 \
             0001 'm' 0001 'i' 0001 'c' 0002 '/h' 000493e0 0000afc8 00000002 0102 00000001 03",
        ),
    );
}

#[test]
fn a_classic_group_without_protocol_or_leader_is_written_with_nulls() {
    let value = GroupMetadataValue {
        current_state_timestamp: 17,
        ..GroupMetadataValue::default()
    };
    let key = GroupKey {
        group: "shop".into(),
    };
    check(
        &GroupRecord::GroupMetadata(key, Some(value)),
        "0002 0004 'shop'",
        Some("0003 0000 00000000 ffff ffff 0000000000000011 00000000"),
    );
}

#[test]
fn classic_groups_are_read_in_every_version() {
    let plain = group_metadata();
    let without = |time: bool, instance: bool, rebalance: bool| {
        let mut value = plain.clone();
        if time {
            value.current_state_timestamp = -1;
        }
        if instance {
            value.members[0].group_instance_id = None;
        }
        if rebalance {
            value.members[0].rebalance_timeout = -1;
        }
        value
    };
    let head = "0008 'consumer' 00000003 0005 'range' 0001 'm'";
    let tail = "00000002 0102 00000001 03";
    let member = "00000001 0001 'm'";
    let client = "0001 'c' 0002 '/h'";
    let flexible = "09 'consumer' 00000003 06 'range' 02 'm' 0000000000000011 02 02 'm' 02 'i' 02 'c' \
                    03 '/h' 000493e0 0000afc8 03 0102 02 03 00 00";
    for (value, expected) in [
        (
            format!("0000 {head} {member} {client} 0000afc8 {tail}"),
            without(true, true, true),
        ),
        (
            format!("0001 {head} {member} {client} 000493e0 0000afc8 {tail}"),
            without(true, true, false),
        ),
        (
            format!("0002 {head} 0000000000000011 {member} {client} 000493e0 0000afc8 {tail}"),
            without(false, true, false),
        ),
        (format!("0004 {flexible}"), plain.clone()),
    ] {
        let key = GroupKey {
            group: "shop".into(),
        };
        assert_eq!(
            decoded("0002 0004 'shop'", Some(&value)),
            GroupRecord::GroupMetadata(key, Some(expected)),
            "{value}"
        );
    }
}

#[test]
fn a_consumer_group_and_its_member_have_the_published_bytes() {
    let group = ByteString::from("shop");
    let key = GroupKey {
        group: group.clone(),
    };
    let epoch = ConsumerGroupMetadataValue {
        epoch: GroupEpoch(12),
        metadata_hash: 0,
    };
    check(
        &GroupRecord::ConsumerGroupMetadata(key, Some(epoch)),
        "0003 0004 'shop'",
        Some("0000 0000000c 00"),
    );
    let key = MemberKey {
        group,
        member_id: "m".into(),
    };
    let member = ConsumerGroupMemberMetadataValue {
        client_id: "c".into(),
        client_host: "/h".into(),
        subscribed_topic_names: vec!["t".into()],
        rebalance_timeout_ms: 1000,
        server_assignor: Some("load".into()),
        classic_member_metadata: Some(ClassicMemberMetadata {
            session_timeout_ms: 7,
            supported_protocols: vec![ClassicProtocol {
                name: "range".into(),
                metadata: Bytes::from_static(&[1, 2]),
            }],
        }),
        ..ConsumerGroupMemberMetadataValue::default()
    };
    check(
        &GroupRecord::ConsumerGroupMemberMetadata(key.clone(), Some(Box::new(member))),
        "0005 0004 'shop' 0001 'm'",
        Some(
            "0000 00 00 02 'c' 03 '/h' 02 02 't' 00 000003e8 05 'load' \
             01 00 11 01 00000007 02 06 'range' 03 0102 00 00",
        ),
    );
    let current = ConsumerGroupCurrentMemberAssignmentValue {
        member_epoch: MemberEpoch(12),
        previous_member_epoch: MemberEpoch(11),
        state: 1,
        assigned_partitions: vec![CurrentPartitions {
            topic_id: TopicId([9; 16]),
            partitions: vec![PartitionIndex(4)],
            assignment_epochs: None,
        }],
        partitions_pending_revocation: Vec::new(),
    };
    check(
        &GroupRecord::ConsumerGroupCurrentMemberAssignment(key, Some(current)),
        "0008 0004 'shop' 0001 'm'",
        Some("0000 0000000c 0000000b 01 02 09090909090909090909090909090909 02 00000004 00 01 00"),
    );
}

#[test]
fn a_key_of_an_unknown_version_is_passed_over() {
    for version in ["0009", "0010", "7fff", "ffff"] {
        let key = bytes(&format!("{version} 0004 'shop' 00"));
        assert_eq!(GroupRecord::decode(&key, Some(&bytes("0063"))), Ok(None));
        assert_eq!(GroupRecord::decode(&key, None), Ok(None));
    }
}

#[test]
fn a_value_of_an_unknown_version_is_an_error() {
    for (version, number) in [("0005", 5), ("ffff", -1)] {
        assert_eq!(
            GroupRecord::decode(&bytes(OFFSET_KEY), Some(&bytes(version))),
            Err(GroupRecordError::UnknownValueVersion {
                key_version: 1,
                version: number
            })
        );
    }
}

#[test]
fn bytes_that_are_cut_short_or_left_over_are_errors() {
    let value = "0003 0000000000000102 00000005 0002 'm1' 0000010203040506";
    let (key, value) = (bytes(OFFSET_KEY), bytes(value));
    for end in 0..key.len() {
        assert!(GroupRecord::decode(&key.slice(..end), None).is_err());
    }
    for end in 0..value.len() {
        assert!(GroupRecord::decode(&key, Some(&value.slice(..end))).is_err());
    }
    let longer = |bytes: &Bytes| Bytes::from([bytes.as_ref(), &[0]].concat());
    assert!(GroupRecord::decode(&longer(&key), None).is_err());
    assert!(GroupRecord::decode(&key, Some(&longer(&value))).is_err());
}

#[test]
fn a_text_longer_than_its_length_can_say_cannot_be_written() {
    let key = GroupKey {
        group: "g".repeat(40_000).into(),
    };
    let record = GroupRecord::GroupMetadata(key, None);
    assert_eq!(
        record.key_bytes(),
        Err(EncodeError::TooLong { length: 40_000 })
    );
}

proptest! {
    #[test]
    fn every_kind_is_read_in_every_version_and_again_as_it_is_written(
        choices in vec(any::<u8>(), 0..400),
    ) {
        for kind in KINDS {
            for version in 0..=kind.last {
                let (record, value) = (kind.sample)(&mut Choices(&choices), version);
                let key = record.key_bytes().expect("short texts");
                let found = GroupRecord::decode(&key, Some(&value)).expect("sound");
                prop_assert_eq!(found.as_ref(), Some(&record), "{} {}", kind.name, version);
                let written = record.value_bytes().expect("short texts");
                let again = GroupRecord::decode(&key, written.as_ref()).expect("sound");
                prop_assert_eq!(again.as_ref(), Some(&record), "{} {}", kind.name, version);
            }
        }
    }
}

#[test]
#[ignore = "writes files: run it to renew the corpus after a declaration has changed"]
fn corpus_is_written() {
    let folder = format!("{}/fuzz/corpus/group_record", env!("CARGO_MANIFEST_DIR"));
    std::fs::create_dir_all(&folder).expect("the corpus can be written");
    let write = |name: String, key: &Bytes, value: &[u8]| {
        let mut input = vec![u8::try_from(key.len()).expect("a short key")];
        input.extend_from_slice(key);
        input.extend_from_slice(value);
        std::fs::write(format!("{folder}/{name}"), input).expect("it can be written");
    };
    for kind in KINDS {
        for version in 0..=kind.last {
            let candidates = (1..=u8::MAX).map(|step| {
                let choice = |place: u8| place.wrapping_mul(step) ^ (place >> 3) ^ step;
                let choices: Vec<u8> = (0..120).map(choice).collect();
                let (record, value) = (kind.sample)(&mut Choices(&choices), version);
                (record.key_bytes().expect("short texts"), value)
            });
            let short = candidates.filter(|(key, value)| key.len() < 256 && value.len() < 400);
            let (key, value) = short
                .max_by_key(|(_, value)| value.len())
                .expect("a record");
            let name = format!("key_{}_value_{version}", kind.key_version);
            write(name, &key, &value);
        }
    }
    write("unknown_key".to_owned(), &bytes("0010 0001 'g'"), b"\0\0");
}
