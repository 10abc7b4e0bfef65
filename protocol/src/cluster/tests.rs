//! Records and images: what is written is read again, a snapshot is the image, and nothing impossible is applied.

use bytes::Bytes;
use bytestring::ByteString;
use proptest::prelude::*;

use super::*;
use crate::identifiers::{BrokerId, ClusterId, FolderId, PartitionIndex, StartId, TopicId};
use crate::message::sample::{Choices, Sample};
use crate::offset::{BrokerEpoch, LeaderEpoch, PartitionEpoch};
use crate::primitive::Format;

const ANY: Format = Format {
    version: 0,
    flexible: true,
};

fn sampled(choices: &[u8]) -> Vec<MetadataRecord> {
    Vec::sample(&mut Choices(choices), ANY)
}

fn broker(id: i32, epoch: i64) -> MetadataRecord {
    BrokerRegistered {
        broker_id: BrokerId(id),
        broker_epoch: BrokerEpoch(epoch),
        folder_id: FolderId([1; 16]),
        incarnation: 1,
        boot_id: "boot".into(),
        host: "localhost".into(),
        port: 9092,
        internal_host: "localhost".into(),
        internal_port: 9093,
        rack: None,
        start: StartId([2; 16]),
    }
    .into()
}

fn router(id: i32, epoch: i64) -> MetadataRecord {
    RouterRegistered {
        router_id: BrokerId(id),
        router_epoch: BrokerEpoch(epoch),
        host: "localhost".into(),
        port: 9094,
    }
    .into()
}

fn topic(id: u8, name: &str) -> MetadataRecord {
    TopicCreated {
        topic_id: TopicId([id; 16]),
        name: ByteString::from(name),
    }
    .into()
}

fn partition(id: u8, index: i32, leader: i32, epochs: [i32; 2]) -> PartitionChanged {
    PartitionChanged {
        topic_id: TopicId([id; 16]),
        partition: PartitionIndex(index),
        replicas: vec![BrokerId(1), BrokerId(2)],
        in_sync: vec![BrokerId(1), BrokerId(2)],
        leader: BrokerId(leader),
        leader_epoch: LeaderEpoch(epochs[0]),
        partition_epoch: PartitionEpoch(epochs[1]),
        ..PartitionChanged::default()
    }
}

fn founded() -> MetadataRecord {
    ClusterFounded {
        cluster_id: ClusterId([7; 16]),
    }
    .into()
}

/// Returns the image of records that can all follow one another.
fn image(records: &[MetadataRecord]) -> ClusterImage {
    ClusterImage::default()
        .with(records)
        .expect("every record can follow")
}

/// One step of a life in which most steps are possible.
fn step(image: &ClusterImage, choice: u8, detail: u8) -> MetadataRecord {
    let small = detail % 4;
    let epoch = image.next_broker_epoch().0;
    let id = TopicId([small + 1; 16]);
    let partitions = image.topic(id).map_or(0, |topic| topic.partition_count());
    match choice % 9 {
        0 => broker(i32::from(small) + 1, epoch),
        1 => router(1_000_000 + i32::from(small), epoch),
        2 => RouterRemoved {
            router_id: BrokerId(1_000_000 + i32::from(small)),
        }
        .into(),
        3 => topic(small + 1, &format!("t{small}")),
        4 => {
            let floor = image.leader_epoch_floor().0;
            partition(small + 1, partitions, 1, [floor, 0]).into()
        }
        5 => {
            let index = PartitionIndex(partitions - 1);
            let before = image.partition(id, index);
            let [leader_epoch, partition_epoch] = before.map_or([0, 0], |before| {
                [before.leader_epoch.0 + 1, before.partition_epoch.0 + 1]
            });
            let leader = if detail > 127 { 2 } else { -1 };
            partition(
                small + 1,
                partitions - 1,
                leader,
                [leader_epoch, partition_epoch],
            )
            .into()
        }
        6 => TopicDeleted { topic_id: id }.into(),
        7 => TopicConfigured {
            topic_id: id,
            key: "durability".into(),
            value: (detail > 127).then(|| "page-cache".into()),
        }
        .into(),
        _ => EpochsUsed {
            leader_epoch_floor: LeaderEpoch(image.leader_epoch_floor().0 + i32::from(detail % 2)),
            broker_epoch: BrokerEpoch(epoch),
        }
        .into(),
    }
}

proptest! {
    #[test]
    fn records_are_read_as_they_were_written(choices in prop::collection::vec(any::<u8>(), 0..512)) {
        let records = sampled(&choices);
        let bytes = encode_records(&records).expect("texts are short");
        prop_assert_eq!(decode_records(&bytes), Ok(records));
        for end in 0..bytes.len() {
            prop_assert!(decode_records(&bytes.slice(..end)).is_err());
        }
    }

    #[test]
    fn records_that_make_no_sense_are_refused_and_change_nothing(choices in prop::collection::vec(any::<u8>(), 0..512)) {
        let mut image = image(&[founded(), broker(1, 1), topic(1, "a"), partition(1, 0, 1, [0, 0]).into()]);
        for record in sampled(&choices) {
            let before = image.clone();
            if image.apply(&record).is_err() {
                prop_assert_eq!(&image, &before);
            }
        }
    }

    #[test]
    fn a_snapshot_makes_the_same_image(steps in prop::collection::vec(any::<[u8; 2]>(), 0..64)) {
        let mut live = image(&[founded()]);
        for [choice, detail] in steps {
            let record = step(&live, choice, detail);
            let _ = live.apply(&record);
        }
        let bytes = encode_records(&live.to_records()).expect("texts are short");
        let records = decode_records(&bytes).expect("just written");
        prop_assert_eq!(ClusterImage::default().with(&records), Ok(live));
    }
}

#[test]
fn a_life_reaches_every_kind_of_record() {
    let mut live = image(&[founded()]);
    let mut applied = [0usize; 9];
    for round in 0..4_000u32 {
        let [choice, detail, ..] = round.wrapping_mul(2_654_435_761).to_be_bytes();
        let record = step(&live, choice, detail);
        applied[usize::from(choice % 9)] += usize::from(live.apply(&record).is_ok());
    }
    assert!(applied.iter().all(|&count| count > 0), "{applied:?}");
}

#[test]
fn a_later_format_or_kind_is_refused_in_words() {
    let newer = decode_records(&Bytes::from_static(&[1, 0, 0, 0, 0]));
    assert_eq!(newer, Err(RecordsError::NewerFormat { format: 1 }));
    let unknown = decode_records(&Bytes::from_static(&[0, 0, 0, 0, 1, 0, 99, 0, 0, 0, 0]));
    assert_eq!(unknown, Err(RecordsError::UnknownKind { kind: 99 }));
    let text = unknown.expect_err("refused").to_string();
    assert!(text.contains("later version"), "{text}");
}

#[test]
fn a_record_may_grow_by_tagged_fields_that_are_skipped() {
    let written = encode_records(&[TopicDeleted {
        topic_id: TopicId([1; 16]),
    }
    .into()]);
    let mut grown = written.expect("short").to_vec();
    // One tagged field, number 5, of two bytes, in place of none.
    grown.pop();
    grown.extend([1, 5, 2, 0xAA, 0xBB]);
    let length = u32::try_from(grown.len() - 11).expect("short");
    grown[7..11].copy_from_slice(&length.to_be_bytes());
    let records = decode_records(&Bytes::from(grown)).expect("tagged fields are skipped");
    assert_eq!(records.len(), 1);
}

#[test]
fn leader_epochs_of_a_recreated_topic_start_above_every_one_before() {
    let mut live = image(&[
        founded(),
        topic(1, "orders"),
        partition(1, 0, 1, [41, 3]).into(),
        TopicDeleted {
            topic_id: TopicId([1; 16]),
        }
        .into(),
        topic(2, "orders"),
    ]);
    assert_eq!(live.leader_epoch_floor(), LeaderEpoch(42));
    assert!(live.apply(&partition(2, 0, 1, [41, 0]).into()).is_err());
    assert!(live.apply(&partition(2, 0, 1, [42, 0]).into()).is_ok());
}

#[test]
fn the_epoch_of_a_router_that_is_gone_is_not_given_again() {
    let live = image(&[founded(), router(1_000_000, 9)]);
    let live = live
        .with(&[RouterRemoved {
            router_id: BrokerId(1_000_000),
        }
        .into()])
        .expect("it is there");
    let restored = image(&live.to_records());
    assert_eq!(restored.next_broker_epoch(), BrokerEpoch(10));
}

#[test]
fn a_partition_never_has_two_leaders_in_one_epoch() {
    let live = image(&[topic(1, "a"), partition(1, 0, 1, [5, 1]).into()]);
    let refused = |change: PartitionChanged| live.clone().apply(&change.into()).is_err();
    assert!(refused(partition(1, 0, 2, [5, 2])), "another leader");
    assert!(refused(partition(1, 0, 2, [4, 2])), "an older epoch");
    assert!(refused(partition(1, 0, 1, [5, 1])), "the same entry epoch");
    assert!(refused(partition(1, 0, 3, [6, 2])), "a leader out of sync");
    assert!(refused(partition(1, 2, 1, [6, 2])), "a gap");
    assert!(!refused(partition(1, 0, 2, [6, 2])));
    assert!(!refused(partition(1, 0, -1, [5, 2])), "nobody leads");
}

#[test]
fn a_broker_is_fenced_until_its_own_registration_is_unfenced() {
    let unfence = |epoch| {
        let change = BrokerFenceChanged {
            broker_id: BrokerId(1),
            broker_epoch: BrokerEpoch(epoch),
            is_fenced: false,
        };
        MetadataRecord::from(change)
    };
    let mut live = image(&[broker(1, 1), unfence(1), broker(1, 2)]);
    assert!(live.broker(BrokerId(1)).expect("known").is_fenced);
    assert!(
        live.apply(&unfence(1)).is_err(),
        "the process before is over"
    );
    assert!(live.apply(&unfence(2)).is_ok());
    assert!(!live.broker(BrokerId(1)).expect("known").is_fenced);
}

#[test]
fn clones_share_what_does_not_change() {
    let live = image(&[topic(1, "a"), topic(2, "b")]);
    let next = live
        .with(&[partition(1, 0, 1, [0, 0]).into()])
        .expect("it can follow");
    let shared = |id: u8| {
        let id = TopicId([id; 16]);
        std::sync::Arc::ptr_eq(
            live.topic(id).expect("known"),
            next.topic(id).expect("known"),
        )
    };
    assert!(!shared(1));
    assert!(shared(2));
}

#[test]
fn bytes_written_earlier_are_still_read() {
    let read = |name: &str| {
        let path = format!(
            "{}/fuzz/corpus/cluster_metadata/{name}",
            env!("CARGO_MANIFEST_DIR")
        );
        let bytes = std::fs::read(path).expect("it comes with the crate");
        decode_records(&Bytes::from(bytes)).expect("a version before wrote it")
    };
    let live = image(&read("life"));
    assert!(
        live.broker(BrokerId(1))
            .is_some_and(|broker| !broker.is_fenced)
    );
    let start = |image: &ClusterImage| image.broker(BrokerId(1)).map(|broker| broker.start);
    assert_eq!(start(&live), Some(StartId::ZERO), "none was drawn then");
    assert_eq!(live.topics().count() + live.routers().count(), 0);
    assert_eq!(live.leader_epoch_floor(), LeaderEpoch(2));
    let live = image(&read("start_known"));
    assert_eq!(start(&live), Some(StartId([2; 16])));
    let live = image(&read("snapshot"));
    let topic = live.topic_named("a").expect("it is there");
    assert_eq!(topic.configs[&ByteString::from("durability")], "page-cache");
    assert_eq!(topic.partitions[0].leader, Some(BrokerId(1)));
    assert_eq!(read("one_of_each").len(), 10, "every kind");
}
