//! Splitting and joining ListOffsets: every partition is asked for, held or refused, and told once.

use keylane_protocol::frame::response_frame;
use keylane_protocol::identifiers::PartitionIndex;
use keylane_protocol::message::list_offsets::{
    ListOffsetsPartitionResponse, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use keylane_protocol::offset::{LeaderEpoch, Offset};
use proptest::prelude::*;

use super::*;
use crate::merge::inquiry::Findings;
use crate::merge::list_offsets::{findings, response};
use crate::plan::inquiry::{InquiryPlan, plan, release};
use crate::routing::{Route, Routing};
use crate::testing::{Cluster, start};

fn topic(name: &str, partitions: &[(i32, i64)]) -> ListOffsetsTopic {
    let asked = partitions
        .iter()
        .map(|&(index, timestamp)| ListOffsetsPartition {
            partition_index: PartitionIndex(index),
            timestamp,
            ..ListOffsetsPartition::default()
        });
    ListOffsetsTopic {
        name: name.into(),
        partitions: asked.collect(),
    }
}

fn asking(topics: Vec<ListOffsetsTopic>) -> ListOffsetsRequest {
    ListOffsetsRequest {
        replica_id: BrokerId::NONE,
        topics,
        ..ListOffsetsRequest::default()
    }
}

/// A leader's answer, last partition first: its offset is broker and partition.
fn found(part: &InquiryPart) -> ListOffsetsResponse {
    let request = request(part);
    let topics = request.topics.iter().rev();
    let topics = topics.map(|topic| ListOffsetsTopicResponse {
        name: topic.name.clone(),
        partitions: topic
            .partitions
            .iter()
            .rev()
            .map(|asked| ListOffsetsPartitionResponse {
                partition_index: asked.partition_index,
                offset: Offset(i64::from(part.broker.0 * 100 + asked.partition_index.0)),
                leader_epoch: asked.current_leader_epoch,
                ..ListOffsetsPartitionResponse::default()
            })
            .collect(),
    });
    ListOffsetsResponse {
        topics: topics.collect(),
        ..ListOffsetsResponse::default()
    }
}

fn planned(request: &ListOffsetsRequest, version: i16, routing: &Routing) -> InquiryPlan {
    plan(&inquiry(request, version), routing)
}

fn told(findings: Findings) -> Vec<(i32, ErrorCode, i64)> {
    let response = response(findings, VERSION);
    let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
    partitions
        .map(|told| (told.partition_index.0, told.error_code, told.offset.0))
        .collect()
}

#[test]
fn leaders_are_asked_in_their_epoch_and_answers_stand_in_order() {
    let mut cluster = Cluster::of_brokers(2).with_topic("a", &[1, 2, 1]);
    cluster.lead("a", 0, 1);
    let asked = asking(vec![topic("a", &[(2, -1), (0, -2), (1, 5)])]);
    let mut plan = planned(&asked, 7, &cluster.routing(start()));
    assert_eq!(plan.parts.len(), 2);
    let first = request(&plan.parts[0]);
    let epochs: Vec<i32> = first.topics[0]
        .partitions
        .iter()
        .map(|asked| asked.current_leader_epoch.0)
        .collect();
    assert_eq!(epochs, [0, 1]);
    for part in &plan.parts {
        plan.merge.on_answer(part, findings(found(part)));
    }
    assert!(plan.merge.is_complete());
    let ok = ErrorCode::None;
    let told = told(plan.merge.finish());
    assert_eq!(told, [(2, ok, 102), (0, ok, 100), (1, ok, 201)]);
}

#[test]
fn a_refused_leader_epoch_is_passed_on_to_a_client_that_named_it() {
    let routing = Cluster::of_brokers(1)
        .with_topic("a", &[1])
        .routing(start());
    for (epoch, code) in [
        (LeaderEpoch(3), ErrorCode::FencedLeaderEpoch),
        (LeaderEpoch::NONE, ErrorCode::NotLeaderOrFollower),
    ] {
        let mut asked = asking(vec![topic("a", &[(0, -1)])]);
        asked.topics[0].partitions[0].current_leader_epoch = epoch;
        let mut plan = planned(&asked, 7, &routing);
        let mut answer = found(&plan.parts[0]);
        answer.topics[0].partitions[0].error_code = ErrorCode::FencedLeaderEpoch;
        plan.merge.on_answer(&plan.parts[0], findings(answer));
        assert_eq!(told(plan.merge.finish())[0].1, code);
    }
}

#[test]
fn a_version_before_epochs_can_be_answered() {
    let cluster = Cluster::of_brokers(1).with_topic("a", &[1]);
    let asked = asking(vec![topic("a", &[(0, -1)])]);
    for version in 1..=7 {
        let mut plan = planned(&asked, version, &cluster.routing(start()));
        let answer = findings(found(&plan.parts[0]));
        plan.merge.on_answer(&plan.parts[0], answer);
        let response = response(plan.merge.finish(), version);
        response_frame(&response, version, 1).expect("the version can carry it");
    }
}

#[test]
fn timestamps_that_the_version_does_not_know_are_refused() {
    let routing = Cluster::of_brokers(1)
        .with_topic("a", &[1])
        .routing(start());
    for (timestamp, version, is_asked) in [
        (-1, 1, true),
        (-2, 1, true),
        (-3, 6, false),
        (-3, 7, true),
        (-4, 7, false),
        (i64::MIN, 7, false),
        (0, 1, true),
    ] {
        let plan = planned(
            &asking(vec![topic("a", &[(0, timestamp)])]),
            version,
            &routing,
        );
        assert_eq!(plan.parts.len() == 1, is_asked, "{timestamp} in {version}");
        if !is_asked {
            let told = told(plan.merge.finish());
            assert_eq!(told, [(0, ErrorCode::UnsupportedVersion, -1)]);
        }
    }
}

#[test]
fn followers_and_repetitions_are_refused() {
    let routing = Cluster::of_brokers(1)
        .with_topic("a", &[1])
        .routing(start());
    let mut asked = asking(vec![topic("a", &[(0, -1), (0, -2)])]);
    let twice = planned(&asked, 7, &routing);
    assert_eq!(twice.parts[0].posed.len(), 1);
    assert_eq!(told(twice.merge.finish())[1].1, ErrorCode::InvalidRequest);
    asked.replica_id = BrokerId(0);
    let follower = planned(&asked, 7, &routing);
    assert!(follower.parts.is_empty());
    let code = told(follower.merge.finish())[0].1;
    assert_eq!(code, ErrorCode::ClusterAuthorizationFailed);
}

#[test]
fn what_has_no_leader_is_held_and_sent_when_it_has_one() {
    let mut cluster = Cluster::of_brokers(2).with_topic("a", &[-1]);
    let asked = asking(vec![topic("a", &[(0, -1), (7, -1)])]);
    let mut routing = cluster.routing(start());
    let plan = planned(&asked, 7, &routing);
    assert_eq!((plan.parts.len(), plan.held.len()), (0, 2));
    cluster.lead("a", 0, 2);
    routing.on_image(cluster.image(), start());
    let (parts, held) = release(plan.held, &routing);
    assert_eq!((parts[0].broker, held.len()), (BrokerId(2), 1));
    assert_eq!(held[0].route(&routing), Route::Unknown);
    let mut merge = plan.merge;
    merge.on_refused(held[0].place, ErrorCode::UnknownTopicOrPartition);
    let codes: Vec<ErrorCode> = told(merge.finish()).iter().map(|told| told.1).collect();
    let expected = [
        ErrorCode::RequestTimedOut,
        ErrorCode::UnknownTopicOrPartition,
    ];
    assert_eq!(codes, expected);
}

proptest! {
    #[test]
    fn every_partition_is_told_once_at_its_place(
        leaders in prop::collection::vec(prop_oneof![Just(-1), 1..=3i32], 1..10),
        asked_for in prop::collection::vec((0..2usize, -1..12i32), 0..30),
        answered: [bool; 3],
    ) {
        let cluster = Cluster::of_brokers(3).with_topic("a", &leaders).with_topic("b", &[2]);
        let topics = asked_for.iter().map(|(name, index)| topic(["a", "b"][*name], &[(*index, -1)]));
        let mut plan = planned(&asking(topics.collect()), 7, &cluster.routing(start()));
        let sent: usize = plan.parts.iter().map(|part| part.posed.len()).sum();
        let mut told_by_leaders = 0;
        for (part, is_answered) in plan.parts.iter().zip(answered) {
            if is_answered {
                plan.merge.on_answer(part, findings(found(part)));
                told_by_leaders += part.posed.len();
            }
        }
        let told = told(plan.merge.finish());
        let order: Vec<i32> = asked_for.iter().map(|(_, index)| *index).collect();
        prop_assert_eq!(told.iter().map(|told| told.0).collect::<Vec<_>>(), order);
        let fine = told.iter().filter(|told| told.1.is_none()).count();
        prop_assert_eq!(fine, told_by_leaders);
        prop_assert!(sent + plan.held.len() <= asked_for.len());
    }
}
