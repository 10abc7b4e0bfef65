//! What is fetched when, and what a reader gets, without sockets or time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use keylane_protocol::compression::Compression;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::{BrokerId, PartitionIndex, TopicId};
use keylane_protocol::message::metadata::{
    MetadataResponse, MetadataResponsePartition, MetadataResponseTopic,
};
use keylane_protocol::offset::{LeaderEpoch, Offset};
use keylane_protocol::record_batch::{BatchProducer, NewRecord, RecordBatchBuilder, stamp};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::super::config::{OutOfRange, ReaderConfig};
use super::super::current::Current;
use super::super::error::ReadError;
use super::{Arrived, PartitionAnswer, PlannedFetch, Position, Positions};
use crate::metadata::ClusterView;

const TOPIC: &str = "orders";

fn config() -> ReaderConfig {
    ReaderConfig {
        min_bytes: 1,
        max_bytes: 1000,
        max_bytes_per_partition: 1000,
        max_wait: Duration::from_millis(500),
        prefetch_bytes: 4000,
        decompressed_bytes_max: 1 << 20,
        out_of_range: OutOfRange::Fail,
    }
}

/// Positions at offset 0 of partitions whose leaders are given.
fn positions(config: ReaderConfig, leaders: &[i32]) -> Positions {
    let position = |index: usize| {
        let partition = PartitionIndex(i32::try_from(index).expect("few"));
        Position::new(Arc::from(TOPIC), TopicId([1; 16]), partition, Offset(0))
    };
    let all = (0..leaders.len()).map(position).collect();
    let mut positions = Positions::new(config, all, 1);
    positions.follow(&view(1, leaders));
    positions
}

fn view(topic_id: u8, leaders: &[i32]) -> ClusterView {
    let partition = |(index, &leader): (usize, &i32)| MetadataResponsePartition {
        partition_index: PartitionIndex(i32::try_from(index).expect("few")),
        leader_id: BrokerId(leader),
        ..Default::default()
    };
    let topic = MetadataResponseTopic {
        name: Some(TOPIC.into()),
        topic_id: TopicId([topic_id; 16]),
        partitions: leaders.iter().enumerate().map(partition).collect(),
        ..Default::default()
    };
    ClusterView::default().after(&MetadataResponse {
        topics: vec![topic],
        ..Default::default()
    })
}

fn plan(positions: &mut Positions, now: Instant) -> Vec<PlannedFetch> {
    positions.plan(now, |_| true, &mut BTreeSet::new())
}

/// Returns batches of so many records each, from an offset on.
fn batches(mut offset: i64, counts: &[usize]) -> Bytes {
    let mut all = BytesMut::new();
    for &count in counts {
        let mut builder = RecordBatchBuilder::with_capacity(256);
        for index in 0..count {
            let value = (offset + i64::try_from(index).expect("few")).to_be_bytes();
            builder.append(&NewRecord {
                value: Some(&value),
                ..NewRecord::default()
            });
        }
        let batch = builder.finish(Compression::None, BatchProducer::NONE);
        let mut batch = batch.expect("memory").to_vec();
        stamp(&mut batch, Offset(offset), LeaderEpoch(0));
        all.extend_from_slice(&batch);
        offset += i64::try_from(count).expect("few");
    }
    all.freeze()
}

fn answer(code: ErrorCode, records: Bytes) -> PartitionAnswer {
    PartitionAnswer {
        code,
        high_watermark: Offset(100),
        log_start_offset: Offset(0),
        records,
    }
}

#[test]
fn a_broker_has_one_fetch_at_a_time_and_a_partition_follows_its_leader() {
    let now = crate::ambient::now();
    let mut positions = positions(config(), &[1, 2, 1]);
    let planned = plan(&mut positions, now);
    let shown = |planned: &[PlannedFetch]| {
        let count = |fetch: &PlannedFetch| (fetch.broker.0, fetch.partitions.len());
        planned.iter().map(count).collect::<Vec<_>>()
    };
    assert_eq!(shown(&planned), [(1, 2), (2, 1)]);
    assert!(plan(&mut positions, now).is_empty());
    positions.follow(&view(1, &[2, 2, 2]));
    for fetch in &planned {
        positions.on_fetch_done(fetch.broker);
        for wanted in &fetch.partitions {
            let moved = answer(ErrorCode::NotLeaderOrFollower, Bytes::new());
            positions.on_answer(wanted, Some(moved), now);
        }
    }
    assert!(
        plan(&mut positions, now).is_empty(),
        "failures are followed by a pause"
    );
    assert_eq!(
        shown(&plan(&mut positions, now + Duration::from_secs(1))),
        [(2, 3)]
    );
}

#[test]
fn fetching_stops_while_nothing_is_taken_and_never_exceeds_the_bound() {
    let now = crate::ambient::now();
    let mut positions = positions(config(), &[1]);
    let mut held = 0;
    let mut offset = 0;
    while let Some(fetch) = plan(&mut positions, now).pop() {
        let records = batches(offset, &[3, 3]);
        offset += 6;
        assert!(fetch.max_bytes + held <= 4000);
        held += records.len();
        positions.on_fetch_done(fetch.broker);
        let records = answer(ErrorCode::None, records);
        positions.on_answer(&fetch.partitions[0], Some(records), now);
    }
    assert!(held > 2000, "only {held} bytes were fetched ahead");
    while positions.take().is_some() {}
    assert_eq!(plan(&mut positions, now).len(), 1);
}

#[test]
fn what_was_fetched_before_a_seek_is_dropped() {
    let now = crate::ambient::now();
    let mut positions = positions(config(), &[1]);
    let first = plan(&mut positions, now).pop().expect("a fetch");
    positions.on_fetch_done(first.broker);
    let records = answer(ErrorCode::None, batches(0, &[2]));
    positions.on_answer(&first.partitions[0], Some(records.clone()), now);
    let second = plan(&mut positions, now).pop().expect("a fetch");
    assert_eq!(second.partitions[0].offset, Offset(2));
    positions.seek(0, Offset(50));
    assert!(positions.take().is_none());
    positions.on_fetch_done(second.broker);
    positions.on_answer(&second.partitions[0], Some(records), now);
    assert!(positions.take().is_none());
    let third = plan(&mut positions, now).pop().expect("a fetch");
    assert_eq!(third.partitions[0].offset, Offset(50));
}

#[test]
fn a_failed_partition_says_so_once_and_rests_until_a_seek() {
    let now = crate::ambient::now();
    let mut positions = positions(config(), &[1]);
    let fetch = plan(&mut positions, now).pop().expect("a fetch");
    positions.on_fetch_done(fetch.broker);
    let refused = answer(ErrorCode::OffsetOutOfRange, Bytes::new());
    positions.on_answer(&fetch.partitions[0], Some(refused), now);
    let Some(Arrived::Failed { error, .. }) = positions.take() else {
        panic!("the error must arrive");
    };
    assert!(
        matches!(
            error,
            ReadError::OffsetOutOfRange {
                end: Offset(100),
                ..
            }
        ),
        "{error}"
    );
    assert!(positions.take().is_none());
    assert!(plan(&mut positions, now + Duration::from_secs(60)).is_empty());
    positions.seek(0, Offset(0));
    assert_eq!(plan(&mut positions, now).len(), 1);
}

/// Answers the next fetch of the only partition so many times with an error, each after its pause.
fn refuse(positions: &mut Positions, code: ErrorCode, times: usize, now: &mut Instant) {
    for _ in 0..times {
        *now += Duration::from_secs(2);
        let fetch = plan(positions, *now).pop().expect("a fetch");
        positions.on_fetch_done(fetch.broker);
        let refused = answer(code, Bytes::new());
        positions.on_answer(&fetch.partitions[0], Some(refused), *now);
    }
}

#[test]
fn damage_that_a_broker_reports_is_an_error_and_not_waited_out() {
    let mut now = crate::ambient::now();
    let mut positions = positions(config(), &[1]);
    refuse(&mut positions, ErrorCode::CorruptMessage, 1, &mut now);
    let Some(Arrived::Failed { error, .. }) = positions.take() else {
        panic!("the error must arrive");
    };
    assert!(matches!(error, ReadError::Corrupt { .. }), "{error}");
}

#[test]
fn a_topic_is_gone_only_after_many_answers_in_a_row_say_so() {
    let mut now = crate::ambient::now();
    let mut positions = positions(config(), &[1]);
    refuse(&mut positions, ErrorCode::NotLeaderOrFollower, 40, &mut now);
    refuse(
        &mut positions,
        ErrorCode::UnknownTopicOrPartition,
        20,
        &mut now,
    );
    refuse(&mut positions, ErrorCode::NotLeaderOrFollower, 1, &mut now);
    refuse(
        &mut positions,
        ErrorCode::UnknownTopicOrPartition,
        20,
        &mut now,
    );
    assert!(positions.take().is_none());
    refuse(
        &mut positions,
        ErrorCode::UnknownTopicOrPartition,
        6,
        &mut now,
    );
    let arrived = positions.take();
    assert!(
        matches!(arrived, Some(Arrived::Failed { .. })),
        "{arrived:?}"
    );
}

#[test]
fn a_partition_for_which_no_offset_was_found_is_not_asked_about_in_a_loop() {
    let config = ReaderConfig {
        out_of_range: OutOfRange::Latest,
        ..config()
    };
    let mut positions = positions(config, &[1]);
    let now = crate::ambient::now();
    let wanted = plan(&mut positions, now).remove(0).partitions.remove(0);
    let lost = answer(ErrorCode::OffsetOutOfRange, Bytes::new());
    positions.on_answer(&wanted, Some(lost), now);
    assert_eq!(positions.resetting(now), [(0, 0)]);
    positions.on_reset_failed(0, 0, now);
    assert!(positions.resetting(now).is_empty());
    let later = positions.next_attempt(now).expect("a pause");
    assert_eq!(positions.resetting(later), [(0, 0)]);
    positions.seek(0, Offset(7));
    positions.on_reset_failed(0, 0, later);
    assert_eq!(positions.next_attempt(later), None, "a seek came between");
}

#[test]
fn a_topic_created_anew_is_told_although_an_offset_was_being_asked_for() {
    let config = ReaderConfig {
        out_of_range: OutOfRange::Latest,
        ..config()
    };
    let mut now = crate::ambient::now();
    let mut positions = positions(config, &[1]);
    refuse(&mut positions, ErrorCode::OffsetOutOfRange, 1, &mut now);
    positions.follow(&view(2, &[1]));
    positions.on_reset(0, 0, Offset(7));
    let Some(Arrived::Failed { error, .. }) = positions.take() else {
        panic!("the error must arrive");
    };
    assert!(matches!(error, ReadError::TopicRecreated { .. }), "{error}");
    assert!(
        plan(&mut positions, now).is_empty(),
        "it rests until a seek"
    );
}

#[test]
fn a_topic_created_anew_fails_instead_of_going_on() {
    let mut positions = positions(config(), &[1]);
    positions.follow(&view(2, &[1]));
    let arrived = positions.take();
    let Some(Arrived::Failed { error, .. }) = arrived else {
        panic!("{arrived:?}");
    };
    assert!(matches!(error, ReadError::TopicRecreated { .. }), "{error}");
}

#[test]
fn a_first_batch_that_was_cut_is_damage_a_last_one_is_not() {
    let now = crate::ambient::now();
    let whole = batches(0, &[2, 2]);
    for cut in 1..whole.len() {
        let mut positions = positions(config(), &[1]);
        let fetch = plan(&mut positions, now).pop().expect("a fetch");
        positions.on_fetch_done(fetch.broker);
        let records = answer(ErrorCode::None, whole.slice(..cut));
        positions.on_answer(&fetch.partitions[0], Some(records), now);
        let first_len = whole.len() / 2;
        match positions.take() {
            Some(Arrived::Batches { bytes, .. }) => {
                assert!(cut >= first_len);
                assert_eq!(bytes.len(), first_len);
            }
            Some(Arrived::Failed { error, .. }) => {
                assert!(cut < first_len);
                assert!(matches!(error, ReadError::Corrupt { .. }), "{error}");
            }
            None => panic!("nothing arrived of {cut} bytes"),
        }
    }
}

proptest! {
    /// Whatever fails, and however batches are cut, a reader gets every record from its start on, once and in order.
    #[test]
    fn every_record_is_read_once_and_in_order(seed: u64, start in 0..40i64) {
        let mut generator = StdRng::seed_from_u64(seed);
        let counts = [3, 1, 7, 2, 9, 1, 1, 16];
        let end = 40;
        let mut now = crate::ambient::now();
        let mut positions = positions(config(), &[1]);
        positions.seek(0, Offset(start));
        let mut read = Vec::new();
        for _ in 0..400 {
            now += Duration::from_millis(100);
            if let Some(fetch) = plan(&mut positions, now).pop() {
                let wanted = &fetch.partitions[0];
                let answer = match generator.random_range(0..4) {
                    0 => None,
                    1 => Some(answer(ErrorCode::NotLeaderOrFollower, Bytes::new())),
                    _ => Some(answer(ErrorCode::None, stored(&counts, wanted.offset, &mut generator))),
                };
                positions.on_fetch_done(fetch.broker);
                positions.on_answer(wanted, answer, now);
            }
            take_one(&mut positions, &mut read);
        }
        prop_assert_eq!(read, (start..end).collect::<Vec<i64>>());
    }
}

/// Returns what a broker answers with: from the batch that holds the offset on, a few whole batches.
fn stored(counts: &[usize], from: Offset, generator: &mut StdRng) -> Bytes {
    let mut base = 0;
    let mut left = counts;
    while let Some((&first, rest)) = left.split_first() {
        let count = i64::try_from(first).expect("few");
        if base + count > from.0 {
            break;
        }
        base += count;
        left = rest;
    }
    let few = generator.random_range(0..3).min(left.len());
    batches(base, &left[..few])
}

fn take_one(positions: &mut Positions, read: &mut Vec<i64>) {
    let Some(Arrived::Batches {
        index,
        high_watermark,
        bytes,
        ..
    }) = positions.take()
    else {
        return;
    };
    let position = &positions.all[index];
    let mut current = Current::new(index, position, high_watermark, bytes, 1 << 20);
    while let Some(record) = current.next_record() {
        let record = record.expect("sound");
        let value = record.value.expect("set");
        assert_eq!(value, record.offset.0.to_be_bytes().to_vec());
        read.push(record.offset.0);
    }
    let next = current.next_offset(&positions.all[index]);
    positions.all[index].next_offset = next.expect("no seek came between");
}
