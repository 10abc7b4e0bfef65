//! Splitting and joining OffsetForLeaderEpoch: each leader is asked in its epoch, and what it says stands in order.

use keylane_protocol::frame::response_frame;
use keylane_protocol::identifiers::PartitionIndex;
use keylane_protocol::message::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochResponse, OffsetForLeaderTopicResult,
};
use keylane_protocol::offset::{LeaderEpoch, Offset};

use super::*;
use crate::merge::inquiry::Findings;
use crate::merge::offset_for_leader_epoch::{findings, response};
use crate::plan::inquiry::plan;
use crate::testing::{Cluster, start};

/// Asks where an epoch ends in these partitions of a topic, each with the current epoch as it is known.
fn asking(partitions: &[(i32, i32)]) -> OffsetForLeaderEpochRequest {
    let partitions = partitions.iter();
    let asked = partitions.map(|&(index, known)| OffsetForLeaderPartition {
        partition: PartitionIndex(index),
        current_leader_epoch: LeaderEpoch(known),
        leader_epoch: LeaderEpoch(0),
    });
    OffsetForLeaderEpochRequest {
        replica_id: BrokerId::NONE,
        topics: vec![OffsetForLeaderTopic {
            topic: "a".into(),
            partitions: asked.collect(),
        }],
    }
}

/// A leader's answer, last partition first: its end offset is broker and partition.
fn found(part: &InquiryPart, error_code: ErrorCode) -> OffsetForLeaderEpochResponse {
    let request = request(part);
    let asked = request.topics[0].partitions.iter().rev();
    let partitions = asked.map(|asked| EpochEndOffset {
        error_code,
        partition: asked.partition,
        leader_epoch: asked.leader_epoch,
        end_offset: Offset(i64::from(part.broker.0 * 100 + asked.partition.0)),
    });
    OffsetForLeaderEpochResponse {
        topics: vec![OffsetForLeaderTopicResult {
            topic: "a".into(),
            partitions: partitions.collect(),
        }],
        ..OffsetForLeaderEpochResponse::default()
    }
}

fn told(findings: Findings) -> Vec<(i32, ErrorCode, i64)> {
    let partitions = response(findings).topics.remove(0).partitions.into_iter();
    partitions
        .map(|told| (told.partition.0, told.error_code, told.end_offset.0))
        .collect()
}

#[test]
fn leaders_are_asked_in_their_epoch_and_answers_stand_in_order() {
    let mut cluster = Cluster::of_brokers(2).with_topic("a", &[1, 2, 1]);
    cluster.lead("a", 0, 1);
    let inquiry = inquiry(&asking(&[(2, -1), (0, -1), (1, 7)]));
    let mut plan = plan(&inquiry, &cluster.routing(start()));
    let asked = |part: &InquiryPart| -> Vec<(i32, i32)> {
        let request = request(part);
        let partitions = request.topics[0].partitions.iter();
        partitions
            .map(|asked| (asked.partition.0, asked.current_leader_epoch.0))
            .collect()
    };
    // The client's epoch where it names one, else that of the image.
    assert_eq!(asked(&plan.parts[0]), [(2, 0), (0, 1)]);
    assert_eq!(asked(&plan.parts[1]), [(1, 7)]);
    for part in &plan.parts {
        let findings = findings(found(part, ErrorCode::None));
        plan.merge.on_answer(part, findings);
    }
    let ok = ErrorCode::None;
    let told = told(plan.merge.finish());
    assert_eq!(told, [(2, ok, 102), (0, ok, 100), (1, ok, 201)]);
}

#[test]
fn a_refused_leader_epoch_is_passed_on_to_a_client_that_named_it() {
    let cluster = Cluster::of_brokers(1).with_topic("a", &[1]);
    for (known, code) in [
        (3, ErrorCode::UnknownLeaderEpoch),
        (-1, ErrorCode::NotLeaderOrFollower),
    ] {
        let inquiry = inquiry(&asking(&[(0, known)]));
        let mut plan = plan(&inquiry, &cluster.routing(start()));
        let answer = found(&plan.parts[0], ErrorCode::UnknownLeaderEpoch);
        plan.merge.on_answer(&plan.parts[0], findings(answer));
        assert_eq!(told(plan.merge.finish())[0].1, code);
    }
}

#[test]
fn followers_are_refused_and_debuggers_are_not() {
    let routing = Cluster::of_brokers(1)
        .with_topic("a", &[1])
        .routing(start());
    for (replica, refusal) in [
        (0, Some(ErrorCode::ClusterAuthorizationFailed)),
        (-1, None),
        (-2, None),
    ] {
        let mut asked = asking(&[(0, -1)]);
        asked.replica_id = BrokerId(replica);
        let plan = plan(&inquiry(&asked), &routing);
        assert_eq!(plan.parts.is_empty(), refusal.is_some());
        if let Some(code) = refusal {
            assert_eq!(told(plan.merge.finish())[0].1, code);
        }
    }
}

#[test]
fn every_version_can_carry_the_answer() {
    let routing = Cluster::of_brokers(1)
        .with_topic("a", &[1])
        .routing(start());
    for version in 2..=4 {
        let mut plan = plan(&inquiry(&asking(&[(0, -1)])), &routing);
        let answer = found(&plan.parts[0], ErrorCode::None);
        plan.merge.on_answer(&plan.parts[0], findings(answer));
        let response = response(plan.merge.finish());
        response_frame(&response, version, 1).expect("the version can carry it");
    }
}
