//! What controllers decide, asked through routers: the router that answers has what it tells of.

mod kit;

use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::{BrokerId, PartitionIndex};
use keylane_protocol::message::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsTopic,
};
use keylane_protocol::message::create_topics::CreateTopicsRequest;
use keylane_protocol::message::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, RESOURCE_TYPE_BROKER, RESOURCE_TYPE_TOPIC,
};
use keylane_protocol::message::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, CONFIG_OPERATION_SET, IncrementalAlterConfigsRequest,
};
use keylane_protocol::message::list_offsets::{
    LATEST_TIMESTAMP, ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use keylane_protocol::message::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse,
};

use kit::{Connection, TestBroker, router};

fn create(connection: &mut Connection, name: &str, partitions: i32) {
    let request = CreateTopicsRequest::one(name, partitions);
    let created = connection.ask(&request, 7);
    assert_eq!(created.topics[0].error_code, ErrorCode::None);
}

fn metadata_of(names: &[&str], may_create: bool) -> MetadataRequest {
    let topic = |name: &&str| MetadataRequestTopic {
        name: Some((*name).into()),
        ..MetadataRequestTopic::default()
    };
    MetadataRequest {
        topics: Some(names.iter().map(topic).collect()),
        allow_auto_topic_creation: may_create,
        ..MetadataRequest::default()
    }
}

fn partitions_of(response: &MetadataResponse) -> Vec<usize> {
    let topics = response.topics.iter();
    topics.map(|topic| topic.partitions.len()).collect()
}

fn more(name: &str, count: i32, validate_only: bool) -> CreatePartitionsRequest {
    CreatePartitionsRequest {
        topics: vec![CreatePartitionsTopic {
            name: name.into(),
            count,
            assignments: None,
        }],
        timeout_ms: 10_000,
        validate_only,
    }
}

#[test]
fn new_partitions_are_known_when_their_creation_is_answered() {
    let broker = TestBroker::start();
    let router = router(&broker, |_| {});
    let mut connection = Connection::open(router.address());
    create(&mut connection, "orders", 2);
    for (count, version) in [(3, 0), (5, 2), (9, 3)] {
        let checked = connection.ask(&more("orders", count, true), version);
        assert_eq!(checked.results[0].error_code, ErrorCode::None);
        let before = connection.ask(&metadata_of(&["orders"], false), 12);
        assert!(partitions_of(&before)[0] < usize::try_from(count).expect("a count"));
        // What follows in the same breath sees them.
        connection.send(&more("orders", count, false), version);
        connection.send(&metadata_of(&["orders"], false), 12);
        let (_, told) = connection.answer::<CreatePartitionsRequest>(version);
        assert_eq!(told.results[0].error_code, ErrorCode::None);
        let (_, after) = connection.answer::<MetadataRequest>(12);
        let partitions = &after.topics[0].partitions;
        assert_eq!(partitions.len(), usize::try_from(count).expect("a count"));
        assert!(partitions.iter().all(|of| of.leader_id.is_router()));
    }
    let refused = connection.ask(&more("orders", 9, false), 3);
    let result = &refused.results[0];
    assert_eq!(result.error_code, ErrorCode::InvalidPartitions);
    let words = result.error_message.as_deref().expect("in words");
    assert!(words.contains("9 partitions already"), "{words}");
    let unknown = connection.ask(&more("nothing", 9, false), 3);
    let code = unknown.results[0].error_code;
    assert_eq!(code, ErrorCode::UnknownTopicOrPartition);
}

fn alter(resource_type: i8, name: &str, key: &str, value: &str) -> IncrementalAlterConfigsRequest {
    IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type,
            resource_name: name.into(),
            configs: vec![AlterableConfig {
                name: key.into(),
                config_operation: CONFIG_OPERATION_SET,
                value: Some(value.into()),
            }],
        }],
        validate_only: false,
    }
}

fn segment_bytes(connection: &mut Connection, topic: &str) -> String {
    let request = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: RESOURCE_TYPE_TOPIC,
            resource_name: topic.into(),
            configuration_keys: Some(vec!["segment.bytes".into()]),
        }],
        ..DescribeConfigsRequest::default()
    };
    let described = connection.ask(&request, 4);
    let value = described.results[0].configs[0].value.clone();
    value.expect("a value").to_string()
}

#[test]
fn settings_of_topics_are_changed_through_a_router() {
    let broker = TestBroker::start();
    let router = router(&broker, |_| {});
    let mut connection = Connection::open(router.address());
    create(&mut connection, "orders", 1);
    for (version, value) in [(0, "16777216"), (1, "33554432")] {
        let request = alter(RESOURCE_TYPE_TOPIC, "orders", "segment.bytes", value);
        let altered = connection.ask(&request, version);
        assert_eq!(altered.responses[0].error_code, ErrorCode::None);
        assert_eq!(segment_bytes(&mut connection, "orders"), value);
    }
    for (resource_type, name, key, code, word) in [
        (
            RESOURCE_TYPE_TOPIC,
            "orders",
            "no.such.key",
            ErrorCode::InvalidConfig,
            "no.such.key",
        ),
        (
            RESOURCE_TYPE_TOPIC,
            "nothing",
            "segment.bytes",
            ErrorCode::UnknownTopicOrPartition,
            "nothing",
        ),
        (
            RESOURCE_TYPE_BROKER,
            "1000000",
            "router.hold.ms",
            ErrorCode::InvalidRequest,
            "started",
        ),
    ] {
        let refused = connection.ask(&alter(resource_type, name, key, "16777216"), 1);
        let response = &refused.responses[0];
        assert_eq!(response.error_code, code);
        let words = response.error_message.as_deref().expect("in words");
        assert!(words.contains(word), "{words}");
    }
}

#[test]
fn topics_are_created_on_demand_through_a_router_where_the_cluster_permits_it() {
    let broker = TestBroker::start_with(|config| config.auto_create_topics = true);
    let router = router(&broker, |_| {});
    let mut connection = Connection::open(router.address());
    let not_wanted = connection.ask(&metadata_of(&["orders"], false), 12);
    let code = not_wanted.topics[0].error_code;
    assert_eq!(code, ErrorCode::UnknownTopicOrPartition);
    let request = metadata_of(&["orders", "../x", "bills"], true);
    let created = connection.ask(&request, 12);
    let [orders, impossible, bills] = created.topics.as_slice() else {
        panic!("three were asked for");
    };
    for topic in [orders, bills] {
        assert_eq!(topic.error_code, ErrorCode::None);
        assert!(!topic.partitions.is_empty(), "it can be used at once");
        let mut leaders = topic.partitions.iter().map(|of| of.leader_id);
        assert!(leaders.all(|leader| leader.is_router()));
    }
    assert_eq!(impossible.error_code, ErrorCode::InvalidTopicException);
    let again = connection.ask(&request, 12);
    assert_eq!(again.topics[0].topic_id, orders.topic_id);
    // Old versions cannot say that it is not wanted.
    let old = connection.ask(&metadata_of(&["old"], true), 1);
    assert_eq!(old.topics[0].error_code, ErrorCode::None);
    // `.` and `_` count as the same.
    let colliding = connection.ask(&metadata_of(&["a.b"], true), 12);
    assert_eq!(colliding.topics[0].error_code, ErrorCode::None);
    let colliding = connection.ask(&metadata_of(&["a_b"], true), 12);
    let code = colliding.topics[0].error_code;
    assert_eq!(code, ErrorCode::InvalidTopicException);
}

#[test]
fn two_clients_that_want_a_topic_at_once_get_the_same() {
    let broker = TestBroker::start_with(|config| config.auto_create_topics = true);
    let routers = [(); 2].map(|()| router(&broker, |_| {}));
    let mut connections = routers
        .each_ref()
        .map(|router| Connection::open(router.address()));
    let names: Vec<String> = (0..20).map(|number| format!("topic-{number}")).collect();
    for name in &names {
        for connection in &mut connections {
            connection.send(&metadata_of(&[name], true), 12);
        }
    }
    for name in &names {
        let told = connections
            .each_mut()
            .map(|connection| connection.answer::<MetadataRequest>(12).1);
        let [first, second] = told.map(|mut told| told.topics.remove(0));
        assert_eq!(first.error_code, ErrorCode::None, "{name}");
        assert_eq!(first.topic_id, second.topic_id, "{name}");
        assert_eq!(first.partitions.len(), second.partitions.len(), "{name}");
    }
}

#[test]
fn nothing_is_created_on_demand_where_the_cluster_does_not_permit_it() {
    let broker = TestBroker::start();
    let router = router(&broker, |_| {});
    let mut connection = Connection::open(router.address());
    for _ in 0..50 {
        let refused = connection.ask(&metadata_of(&["orders"], true), 12);
        let code = refused.topics[0].error_code;
        assert_eq!(code, ErrorCode::UnknownTopicOrPartition);
    }
    let all = MetadataRequest::default();
    assert!(connection.ask(&all, 12).topics.is_empty());
}

#[test]
fn what_was_just_changed_is_known_to_whoever_is_asked_about_it() {
    let brokers = kit::voters(3);
    let router = kit::router_of(kit::internal_of(&brokers[0].0), |_| {});
    let mut connection = Connection::open(router.address());
    for round in 0..60 {
        let name = format!("topic-{round}");
        create(&mut connection, &name, 3);
        let partitions = (0..3).map(|index| ListOffsetsPartition {
            partition_index: PartitionIndex(index),
            timestamp: LATEST_TIMESTAMP,
            ..ListOffsetsPartition::default()
        });
        let ends = ListOffsetsRequest {
            replica_id: BrokerId::NONE,
            topics: vec![ListOffsetsTopic {
                name: name.as_str().into(),
                partitions: partitions.collect(),
            }],
            ..ListOffsetsRequest::default()
        };
        for partition in &connection.ask(&ends, 7).topics[0].partitions {
            assert_eq!(partition.error_code, ErrorCode::None, "{name}");
        }
        // Another broker is asked for each connection.
        let value = (16_777_216 + round).to_string();
        let request = alter(RESOURCE_TYPE_TOPIC, &name, "segment.bytes", &value);
        let altered = connection.ask(&request, 1);
        assert_eq!(altered.responses[0].error_code, ErrorCode::None);
        assert_eq!(segment_bytes(&mut connection, &name), value);
        connection = Connection::open(router.address());
    }
}
