//! A router in front of a real broker, as clients see it: one cluster at one address.

mod kit;

use keylane_protocol::cluster::Endpoint;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::message::api_versions::ApiVersionsRequest;
use keylane_protocol::message::create_topics::CreateTopicsRequest;
use keylane_protocol::message::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use keylane_protocol::message::describe_cluster::DescribeClusterRequest;
use keylane_protocol::message::metadata::{MetadataRequest, MetadataRequestTopic};

use kit::{Connection, TestBroker, router};

fn metadata_of(name: &str) -> MetadataRequest {
    MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            name: Some(name.into()),
            ..MetadataRequestTopic::default()
        }]),
        ..MetadataRequest::default()
    }
}

#[test]
fn a_created_topic_is_known_when_its_creation_is_answered() {
    let broker = TestBroker::start();
    let router = router(&broker, |_| {});
    let mut connection = Connection::open(router.address());
    let created = connection.ask(&CreateTopicsRequest::one("orders", 3), 7);
    assert_eq!(created.topics[0].error_code, ErrorCode::None);
    let metadata = connection.ask(&metadata_of("orders"), 12);
    assert_eq!(metadata.topics[0].partitions.len(), 3);
    let [node] = metadata.brokers.as_slice() else {
        panic!("not one node: {:?}", metadata.brokers);
    };
    assert!(node.node_id.is_router());
    assert_eq!(node.port, i32::from(router.address().port()));
    for partition in &metadata.topics[0].partitions {
        assert_eq!(partition.leader_id, node.node_id);
        assert_eq!(partition.replica_nodes.len(), 1);
    }
    let delete = DeleteTopicsRequest {
        topics: vec![DeleteTopicState {
            name: Some("orders".into()),
            ..DeleteTopicState::default()
        }],
        timeout_ms: 10_000,
        ..DeleteTopicsRequest::default()
    };
    let deleted = connection.ask(&delete, 6);
    assert_eq!(deleted.responses[0].error_code, ErrorCode::None);
    let metadata = connection.ask(&metadata_of("orders"), 12);
    let code = metadata.topics[0].error_code;
    assert_eq!(code, ErrorCode::UnknownTopicOrPartition);
    router.stop();
}

#[test]
fn two_routers_tell_a_client_the_same() {
    let broker = TestBroker::start();
    let endpoint = |port| Endpoint::new(&"router.test".into(), port);
    let routers =
        [9001, 9002].map(|port| router(&broker, |config| config.advertise = endpoint(port)));
    let mut connections = routers
        .each_ref()
        .map(|router| Connection::open(router.address()));
    let [first, second] = &mut connections;
    first.ask(&CreateTopicsRequest::one("orders", 2), 7);
    let all = MetadataRequest::default();
    let until = std::time::Duration::from_millis(50);
    for _ in 0..200 {
        first.send(&all, 12);
        second.send(&all, 12);
        let told = first.receive().expect("an answer");
        let told_by_other = second.receive().expect("an answer");
        let cluster = first.ask(&DescribeClusterRequest::default(), 0);
        let _ = second.ask(&DescribeClusterRequest::default(), 0);
        // Heartbeats make both known.
        if cluster.brokers.len() == 2 && told[4..] == told_by_other[4..] {
            return;
        }
        std::thread::sleep(until);
    }
    panic!("the routers do not agree");
}

#[test]
fn an_unknown_version_of_api_versions_is_answered_with_those_that_are_known() {
    let broker = TestBroker::start();
    let router = router(&broker, |_| {});
    let mut connection = Connection::open(router.address());
    connection.send_raw(&[0, 18, 0, 99, 0, 0, 0, 7, 255, 255]);
    let (correlation_id, answer) = connection.answer::<ApiVersionsRequest>(0);
    assert_eq!(correlation_id, 7);
    assert_eq!(answer.error_code, ErrorCode::UnsupportedVersion);
    let versions = connection.ask(&ApiVersionsRequest::default(), 0);
    assert!(versions.api_keys.len() > 10);
}

#[test]
fn what_is_no_request_ends_the_connection_after_what_came_before_is_answered() {
    let broker = TestBroker::start();
    let router = router(&broker, |_| {});
    let mut connection = Connection::open(router.address());
    connection.send(&metadata_of("nothing"), 12);
    connection.send_raw(&[0, 77, 0, 0, 0, 0, 0, 9, 255, 255]);
    let (_, metadata) = connection.answer::<MetadataRequest>(12);
    let code = metadata.topics[0].error_code;
    assert_eq!(code, ErrorCode::UnknownTopicOrPartition);
    assert!(connection.receive().is_none(), "it is closed");
}
