//! Splitting a Fetch: who is asked what, in which order, within which bytes.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::testing::{Cluster, start};

fn from(partition: i32) -> FetchPartition {
    FetchPartition {
        partition: PartitionIndex(partition),
        partition_max_bytes: 1000,
        ..FetchPartition::default()
    }
}

fn asked(topics: &[(&str, &[i32])]) -> FetchRequest {
    let topics = topics.iter().map(|(name, partitions)| FetchTopic {
        topic: (*name).into(),
        partitions: partitions.iter().map(|&index| from(index)).collect(),
        ..FetchTopic::default()
    });
    FetchRequest {
        topics: topics.collect(),
        ..FetchRequest::default()
    }
}

fn names(requested: &[Requested]) -> Vec<String> {
    let name = |requested: &Requested| format!("{}{}", requested.topic, requested.from.partition);
    requested.iter().map(name).collect()
}

fn terms(bytes_max: usize) -> FetchTerms {
    FetchTerms {
        wait_ms: 500,
        bytes_min: 1,
        bytes_max,
        isolation_level: 0,
        rack_id: "here".into(),
    }
}

fn reads(requested: &[Requested], routing: &Routing) -> Vec<(usize, BrokerId, ReadFrom)> {
    let places = requested.iter().enumerate();
    places
        .filter_map(|(place, requested)| {
            let (broker, read) = requested.read_from(routing, 0)?;
            Some((place, broker, read))
        })
        .collect()
}

#[test]
fn every_partition_is_the_first_in_turn_and_topics_stay_in_one_piece() {
    let request = asked(&[("a", &[0, 1, 2]), ("b", &[0])]);
    let orders: Vec<_> = (0..5)
        .map(|turn| names(&requested(&request, 4, turn)))
        .collect();
    assert_eq!(orders[0], ["a0", "a1", "a2", "b0"]);
    assert_eq!(orders[1], ["a1", "a2", "a0", "b0"]);
    assert_eq!(orders[2], ["a2", "a0", "a1", "b0"]);
    assert_eq!(orders[3], ["b0", "a0", "a1", "a2"]);
    assert_eq!(orders[4], orders[0]);
}

#[test]
fn a_partition_asked_for_twice_is_asked_for_once() {
    let request = asked(&[("a", &[0, 0]), ("b", &[]), ("a", &[1, 0])]);
    assert_eq!(names(&requested(&request, 4, 0)), ["a0", "a1"]);
    assert!(requested(&asked(&[]), 4, 7).is_empty());
}

#[test]
fn brokers_are_asked_by_id_and_always_in_an_epoch() {
    let mut cluster = Cluster::of_brokers(2).with_topic("a", &[1, 2]);
    cluster.lead("a", 0, 2);
    cluster.lead("a", 0, 1);
    let mut request = asked(&[("a", &[0, 1])]);
    request.topics[0].partitions[1].current_leader_epoch = LeaderEpoch(7);
    request.topics[0].partitions[1].fetch_offset = Offset(42);
    let routing = cluster.routing(start());
    let parts = parts(&reads(&requested(&request, 12, 0), &routing), &terms(600));
    assert_eq!(parts.len(), 2);
    for (part, broker, epoch, offset) in [(&parts[0], 1, 2, 0), (&parts[1], 2, 7, 42)] {
        assert_eq!(part.broker, BrokerId(broker));
        let [topic] = &part.request.topics[..] else {
            panic!("one topic: {part:?}");
        };
        assert_eq!(topic.topic_id, cluster.id_of("a"));
        assert_eq!(topic.partitions[0].current_leader_epoch, LeaderEpoch(epoch));
        assert_eq!(topic.partitions[0].fetch_offset, Offset(offset));
        assert_eq!(
            (part.request.session_id, part.request.session_epoch),
            (0, -1)
        );
        assert_eq!((part.request.max_bytes, part.request.min_bytes), (300, 1));
        assert_eq!(
            (part.request.max_wait_ms, &*part.request.rack_id),
            (500, "here")
        );
    }
}

#[test]
fn topics_are_found_by_name_up_to_version_12_and_then_by_id() {
    let cluster = Cluster::of_brokers(1).with_topic("a", &[1]);
    let routing = cluster.routing(start());
    let mut request = asked(&[("a", &[0, 3])]);
    request.topics[0].topic_id = cluster.id_of("a");
    for version in [12, 13] {
        let requested = requested(&request, version, 0);
        assert!(requested[0].read_from(&routing, 0).is_some());
        assert_eq!(requested[1].route(&routing), Route::Unknown);
        let code = requested[1].unknown_code(&routing);
        assert_eq!(code, ErrorCode::UnknownTopicOrPartition);
    }
    request.topics[0].topic_id = TopicId([9; 16]);
    let requested = requested(&request, 13, 0);
    assert_eq!(requested[0].read_from(&routing, 0), None);
    assert_eq!(
        requested[0].unknown_code(&routing),
        ErrorCode::UnknownTopicId
    );
}

#[test]
fn followers_and_sessions_are_refused() {
    let mut request = asked(&[("a", &[0])]);
    request.session_epoch = 0;
    assert_eq!(refuse(&request, 12), None);
    let code =
        |request: &FetchRequest, version| refuse(request, version).map(|told| told.error_code);
    request.session_epoch = 1;
    assert_eq!(
        code(&request, 12),
        Some(ErrorCode::InvalidFetchSessionEpoch)
    );
    request.session_id = 5;
    assert_eq!(code(&request, 12), Some(ErrorCode::FetchSessionIdNotFound));
    request.replica_id = BrokerId(0);
    assert_eq!(
        code(&request, 12),
        Some(ErrorCode::ClusterAuthorizationFailed)
    );
    let told = refuse(&request, 4).expect("refused");
    let partition = &told.responses[0].partitions[0];
    assert_eq!(partition.error_code, ErrorCode::ClusterAuthorizationFailed);
    request.replica_id = BrokerId::NONE;
    request.session_id = 0;
    request.session_epoch = -1;
    request.replica_state.replica_id = BrokerId(3);
    assert_eq!(
        code(&request, 15),
        Some(ErrorCode::ClusterAuthorizationFailed)
    );
}

#[test]
fn bytes_that_one_part_cannot_use_go_to_the_others() {
    assert_eq!(shares(&[1000, 1000], 600), [300, 300]);
    assert_eq!(shares(&[1000, 100, 1000], 600), [250, 100, 250]);
    assert_eq!(shares(&[10, 20], 600), [10, 20]);
    assert_eq!(shares(&[10, 20, 30], 0), [1, 1, 1]);
    assert_eq!(shares(&[], 600), [0; 0]);
}

proptest! {
    #[test]
    fn every_partition_with_a_leader_is_asked_for_once_and_shares_stay_within_the_bytes(
        leaders in prop::collection::vec(prop_oneof![Just(-1), 1..=3i32], 1..10),
        asked_for in prop::collection::vec((0..3usize, -1..12i32), 0..30),
        turn: usize,
        bytes in 0..5000usize,
    ) {
        let cluster = Cluster::of_brokers(3).with_topic("a", &leaders).with_topic("b", &[2]);
        let routing = cluster.routing(start());
        let topics: Vec<(&str, [i32; 1])> = asked_for.iter().map(|(name, index)| (["a", "b", "c"][*name], [*index])).collect();
        let topics: Vec<(&str, &[i32])> = topics.iter().map(|(name, index)| (*name, &index[..])).collect();
        let requested = requested(&asked(&topics), 12, turn);
        let distinct: BTreeSet<_> = asked_for.iter().collect();
        prop_assert_eq!(requested.len(), distinct.len());
        let reads = reads(&requested, &routing);
        let parts = parts(&reads, &terms(bytes));
        let mut places: Vec<usize> = parts.iter().flat_map(|part| part.reads.iter().map(|(place, _)| *place)).collect();
        places.sort_unstable();
        prop_assert_eq!(places, reads.iter().map(|(place, ..)| *place).collect::<Vec<_>>());
        let shares: usize = parts.iter().map(|part| usize::try_from(part.request.max_bytes).expect("positive")).sum();
        prop_assert!(shares <= bytes.max(parts.len()));
        for part in &parts {
            let inside: usize = part.request.topics.iter().map(|topic| topic.partitions.len()).sum();
            prop_assert_eq!(inside, part.reads.len());
            let ids: BTreeSet<_> = part.request.topics.iter().map(|topic| topic.topic_id).collect();
            prop_assert_eq!(ids.len(), part.request.topics.len());
        }
    }
}
