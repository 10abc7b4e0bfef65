//! Joining answers to a Fetch: every partition once, in order, within the bytes.

use bytes::Bytes;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::{BrokerId, TopicId};
use keylane_protocol::message::fetch::{FetchPartition, FetchRequest, FetchTopic};
use keylane_protocol::offset::LeaderEpoch;
use proptest::prelude::*;

use super::*;
use crate::plan::fetch::requested;

/// Partitions 0 to `count` of two topics in turn, so that topics have more than one.
fn partitions(count: i32) -> Vec<Requested> {
    let topic = |name: &str, first| FetchTopic {
        topic: name.into(),
        topic_id: TopicId::ZERO,
        partitions: (first..count)
            .step_by(2)
            .map(|index| FetchPartition {
                partition: PartitionIndex(index),
                ..FetchPartition::default()
            })
            .collect(),
    };
    let request = FetchRequest {
        topics: vec![topic("even", 0), topic("odd", 1)],
        ..FetchRequest::default()
    };
    requested(&request, 4, 0)
}

fn records(bytes: usize) -> FetchablePartitionResponse {
    FetchablePartitionResponse {
        high_watermark: Offset(100),
        records: Some(Bytes::from(vec![0; bytes]).into()),
        ..FetchablePartitionResponse::default()
    }
}

fn sizes(merged: &Merged) -> Vec<usize> {
    let topics = merged.response.responses.iter();
    topics
        .flat_map(|topic| topic.partitions.iter().map(record_bytes))
        .collect()
}

fn merged(bytes: &[Option<usize>], bytes_max: usize) -> Merged {
    let count = i32::try_from(bytes.len()).expect("few");
    let answers = bytes.iter().map(|bytes| bytes.map(records)).collect();
    merge(partitions(count), answers, bytes_max)
}

#[test]
fn a_partition_without_answer_has_no_error_no_records_and_no_watermarks() {
    let merged = merged(&[None], 100);
    let told = &merged.response.responses[0].partitions[0];
    assert_eq!(told.error_code, ErrorCode::None);
    assert_eq!(record_bytes(told), 0);
    let watermarks = [
        told.high_watermark,
        told.last_stable_offset,
        told.log_start_offset,
    ];
    assert_eq!(watermarks, [Offset(-1); 3]);
    assert_eq!(merged.response.session_id, 0);
}

#[test]
fn only_the_first_partition_with_records_may_exceed_the_bytes() {
    let first = merged(&[Some(0), Some(150), Some(1), None, Some(0)], 100);
    assert_eq!(sizes(&first), [0, 150, 0, 0, 0]);
    assert_eq!(first.left_over.len(), 1);
    assert_eq!(first.left_over[0].0, 2);
    let second = merged(&[Some(60), Some(50), Some(40), Some(0)], 100);
    assert_eq!(sizes(&second), [60, 0, 40, 0]);
    assert_eq!(second.left_over[0].0, 1);
}

#[test]
fn a_brokers_words_are_passed_on_without_its_address() {
    let fenced = FetchablePartitionResponse {
        error_code: ErrorCode::FencedLeaderEpoch,
        current_leader: LeaderIdAndEpoch {
            leader_id: BrokerId(2),
            leader_epoch: LeaderEpoch(9),
        },
        ..without_records(PartitionIndex(0))
    };
    let mut partitions = partitions(1);
    for (epoch, code) in [
        (LeaderEpoch(8), ErrorCode::FencedLeaderEpoch),
        // A client that gave no epoch may not know the code.
        (LeaderEpoch::NONE, ErrorCode::NotLeaderOrFollower),
    ] {
        partitions[0].from.current_leader_epoch = epoch;
        let merged = merge(partitions.clone(), vec![Some(fenced.clone())], 100);
        let told = &merged.response.responses[0].partitions[0];
        assert_eq!(told.error_code, code);
        assert!(!told.current_leader.is_known());
        assert!(merged.response.node_endpoints.is_empty());
    }
}

#[test]
fn record_bytes_are_not_copied() {
    let answer = records(10);
    let place = |answer: &FetchablePartitionResponse| {
        let records = answer.records.as_ref().expect("records");
        records.slices().next().expect("a slice").as_ptr()
    };
    let before = place(&answer);
    let merged = merge(partitions(1), vec![Some(answer)], 100);
    assert_eq!(place(&merged.response.responses[0].partitions[0]), before);
}

proptest! {
    #[test]
    fn every_partition_appears_once_in_order_and_the_bytes_are_kept(
        bytes in prop::collection::vec(prop::option::of(prop_oneof![Just(0usize), 1..200usize]), 0..20),
        bytes_max in 0..500usize,
    ) {
        let merged = merged(&bytes, bytes_max);
        let count = i32::try_from(bytes.len()).expect("few");
        let topics = merged.response.responses.iter();
        let told: Vec<(String, i32)> = topics
            .flat_map(|topic| topic.partitions.iter().map(|told| (topic.topic.to_string(), told.partition_index.0)))
            .collect();
        let asked: Vec<(String, i32)> = partitions(count)
            .iter()
            .map(|asked| (asked.topic.to_string(), asked.from.partition.0))
            .collect();
        prop_assert_eq!(told, asked);
        let sizes = sizes(&merged);
        let first = sizes.iter().copied().find(|&size| size > 0).unwrap_or(0);
        prop_assert!(sizes.iter().sum::<usize>() <= bytes_max.max(first));
        let left_over: usize = merged.left_over.iter().map(|(_, answer)| record_bytes(answer)).sum();
        let all: usize = bytes.iter().flatten().sum();
        prop_assert_eq!(sizes.iter().sum::<usize>() + left_over, all);
    }
}
