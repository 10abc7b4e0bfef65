//! Creating and deleting topics: what is waited for, and what is told without an answer.

use keylane_protocol::frame::response_frame;
use keylane_protocol::message::create_topics::CreatableTopic;

use super::*;
use crate::testing::Cluster;

fn result(topic_id: TopicId, error_code: ErrorCode) -> CreatableTopicResult {
    CreatableTopicResult {
        topic_id,
        error_code,
        num_partitions: 2,
        ..CreatableTopicResult::default()
    }
}

#[test]
fn a_creation_is_told_when_the_image_has_the_whole_topic() {
    let cluster = Cluster::of_brokers(1);
    let id = TopicId([1; 16]);
    let response = CreateTopicsResponse {
        throttle_time_ms: 0,
        topics: vec![
            result(id, ErrorCode::None),
            result(TopicId::ZERO, ErrorCode::TopicAlreadyExists),
        ],
    };
    let awaited = created(&response, false);
    assert!(!awaited.is_in(&cluster.image()));
    let partial = cluster.clone().with_topic("a", &[1]);
    assert_eq!(partial.id_of("a"), id);
    assert!(!awaited.is_in(&partial.image()));
    let whole = cluster.clone().with_topic("a", &[1, 1]);
    assert!(awaited.is_in(&whole.image()));
    assert!(
        created(&response, true).is_in(&cluster.image()),
        "only checked"
    );
}

#[test]
fn a_deletion_is_told_when_the_image_has_the_topic_no_longer() {
    let mut cluster = Cluster::of_brokers(1).with_topic("a", &[1]);
    let response = DeleteTopicsResponse {
        throttle_time_ms: 0,
        responses: vec![DeletableTopicResult {
            name: Some("a".into()),
            topic_id: cluster.id_of("a"),
            ..DeletableTopicResult::default()
        }],
    };
    let awaited = deleted(&response);
    assert!(!awaited.is_in(&cluster.image()));
    cluster.delete("a");
    assert!(awaited.is_in(&cluster.image()));
}

#[test]
fn names_of_old_versions_are_asked_for_like_those_of_new_ones() {
    let old = DeleteTopicsRequest {
        topic_names: vec!["a".into(), "b".into()],
        timeout_ms: 7,
        ..DeleteTopicsRequest::default()
    };
    let asked = to_delete(old);
    assert!(asked.topic_names.is_empty());
    let named = |name: &str| DeleteTopicState {
        name: Some(name.into()),
        topic_id: TopicId::ZERO,
    };
    assert_eq!(asked.topics, [named("a"), named("b")]);
    assert_eq!(to_delete(asked.clone()), asked);
}

#[test]
fn without_a_controller_everything_is_told_once_in_every_version() {
    let topic = |name: &str| CreatableTopic {
        name: name.into(),
        ..CreatableTopic::default()
    };
    let create = CreateTopicsRequest {
        topics: vec![topic("a"), topic("b"), topic("a")],
        ..CreateTopicsRequest::default()
    };
    let delete = to_delete(DeleteTopicsRequest {
        topic_names: vec!["a".into(), "a".into()],
        ..DeleteTopicsRequest::default()
    });
    for (unanswered, code) in [
        (Unanswered::Unsent, ErrorCode::NotController),
        (Unanswered::Sent, ErrorCode::RequestTimedOut),
    ] {
        let response = create_unanswered(&create, unanswered);
        assert_eq!(response.topics.len(), 2);
        assert!(response.topics.iter().all(|topic| topic.error_code == code));
        for version in 2..=7 {
            response_frame(&response, version, 1).expect("the version can carry it");
        }
        let response = delete_unanswered(&delete, unanswered);
        assert_eq!(response.responses.len(), 1);
        assert_eq!(response.responses[0].error_code, code);
        for version in 1..=6 {
            response_frame(&response, version, 1).expect("the version can carry it");
        }
    }
}
