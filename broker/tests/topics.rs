//! Topics and settings: made, listed, shown, deleted, and refused in words.

mod kit;

use std::path::PathBuf;
use std::time::Duration;

use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::{BrokerId, TopicId};
use keylane_protocol::message::api_versions::ApiVersionsRequest;
use keylane_protocol::message::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use keylane_protocol::message::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use keylane_protocol::message::describe_cluster::DescribeClusterRequest;
use keylane_protocol::message::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource,
};
use keylane_protocol::message::fetch::FetchRequest;
use keylane_protocol::message::find_coordinator::FindCoordinatorRequest;
use keylane_protocol::message::init_producer_id::InitProducerIdRequest;
use keylane_protocol::message::metadata::{MetadataRequest, MetadataRequestTopic};
use keylane_protocol::message::produce::ProduceRequest;
use keylane_protocol::offset::Offset;
use kit::{Client, TestBroker, batch, fetch_request, in_every_version, produce_request, values};
use tokio::time::Instant;

#[test]
fn topics_are_listed_by_name_by_id_and_all_together() {
    let broker = TestBroker::start();
    let id = broker.create_topic("t", 2);
    broker.create_topic("u", 1);
    let mut client = broker.connect();
    let ask = |client: &mut Client, topics, version| {
        let request = MetadataRequest {
            topics,
            ..MetadataRequest::default()
        };
        client.ask(&request, version)
    };
    assert_eq!(ask(&mut client, Some(vec![]), 0).topics.len(), 2);
    assert_eq!(ask(&mut client, Some(vec![]), 1).topics.len(), 0);
    let all = ask(&mut client, None, 12);
    assert_eq!(all.topics.len(), 2);
    assert!(all.cluster_id.is_some_and(|id| !id.is_empty()));
    assert_eq!(all.controller_id, all.brokers[0].node_id);
    assert_eq!(all.brokers[0].port, i32::from(broker.address().port()));
    let named = |name: &str| {
        Some(vec![MetadataRequestTopic {
            name: Some(name.into()),
            ..MetadataRequestTopic::default()
        }])
    };
    let one = ask(&mut client, named("t"), 12);
    assert_eq!(
        (one.topics[0].topic_id, one.topics[0].partitions.len()),
        (id, 2)
    );
    let missing = ask(&mut client, named("nope"), 12);
    assert_eq!(
        missing.topics[0].error_code,
        ErrorCode::UnknownTopicOrPartition
    );
    let bad = ask(&mut client, named("../x"), 12);
    assert_eq!(bad.topics[0].error_code, ErrorCode::InvalidTopicException);
    let by_id = |topic_id| {
        Some(vec![MetadataRequestTopic {
            name: None,
            topic_id,
        }])
    };
    let one = ask(&mut client, by_id(id), 12);
    assert_eq!(one.topics[0].name.as_deref(), Some("t"));
    let missing = ask(&mut client, by_id(TopicId([3; 16])), 12);
    assert_eq!(missing.topics[0].error_code, ErrorCode::UnknownTopicId);
}

#[test]
fn an_unknown_id_is_answered_in_every_version_that_asks_by_id() {
    let broker = TestBroker::start();
    let mut client = broker.connect();
    let request = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            name: None,
            topic_id: TopicId([9; 16]),
        }]),
        ..MetadataRequest::default()
    };
    for version in 10..=12 {
        let topic = &client.ask(&request, version).topics[0];
        assert_eq!(topic.error_code, ErrorCode::UnknownTopicId);
        assert_eq!(topic.topic_id, TopicId([9; 16]));
        let name = (version < 12).then_some("");
        assert_eq!(topic.name.as_deref(), name, "version {version}");
    }
}

#[test]
fn a_missing_topic_is_created_only_if_broker_and_client_permit_it() {
    let broker = TestBroker::start_with(|config| {
        config.auto_create_topics = true;
        config.default_partitions = 6;
    });
    let mut client = broker.connect();
    let request = |allow_auto_topic_creation| MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            name: Some("t".into()),
            ..MetadataRequestTopic::default()
        }]),
        allow_auto_topic_creation,
        ..MetadataRequest::default()
    };
    let refused = client.ask(&request(false), 9);
    assert_eq!(
        refused.topics[0].error_code,
        ErrorCode::UnknownTopicOrPartition
    );
    let created = client.ask(&request(true), 9);
    assert_eq!(created.topics[0].error_code, ErrorCode::None);
    assert_eq!(created.topics[0].partitions.len(), 6);
}

#[test]
fn a_deleted_topic_is_gone_and_its_name_makes_another() {
    let broker = TestBroker::start();
    let first = broker.create_topic("t", 1);
    let mut client = broker.connect();
    client.produce("t", 0, batch(&["a"]));
    let delete = |name: Option<&str>, topic_id| DeleteTopicsRequest {
        topics: vec![DeleteTopicState {
            name: name.map(Into::into),
            topic_id,
        }],
        ..DeleteTopicsRequest::default()
    };
    let response = client.ask(&delete(None, first), 6);
    assert_eq!(response.responses[0].error_code, ErrorCode::None);
    assert_eq!(response.responses[0].name.as_deref(), Some("t"));
    let fetched = client.fetch("t", 0, 0, 0);
    assert_eq!(fetched.error_code, ErrorCode::UnknownTopicOrPartition);
    let second = broker.create_topic("t", 1);
    assert_ne!(first, second);
    assert_eq!(client.fetch("t", 0, 0, 0).high_watermark, Offset(0));
    let missing = client.ask(&delete(Some("nope"), TopicId::ZERO), 6);
    assert_eq!(
        missing.responses[0].error_code,
        ErrorCode::UnknownTopicOrPartition
    );
    let missing = client.ask(&delete(None, first), 6);
    assert_eq!(missing.responses[0].error_code, ErrorCode::UnknownTopicId);
}

/// Returns the files below the broker's folder that are open although they were removed.
fn removed_and_open(broker: &TestBroker) -> Vec<PathBuf> {
    let open = std::fs::read_dir("/proc/self/fd").expect("this is Linux");
    let targets = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let is_removed = |path: &PathBuf| path.to_string_lossy().ends_with(" (deleted)");
    targets
        .filter(|path| path.starts_with(broker.folder.path()) && is_removed(path))
        .collect()
}

#[test]
fn a_deleted_topic_gives_its_room_back_although_it_was_read() {
    let broker = TestBroker::start_with(|config| config.limits.tail_bytes_per_shard = 0);
    broker.create_topic("t", 3);
    let mut client = broker.connect();
    for partition in 0..3 {
        client.produce("t", partition, batch(&["a"]));
        assert_eq!(values(&client.fetch("t", partition, 0, 0)).len(), 1);
    }
    let request = DeleteTopicsRequest {
        topic_names: vec!["t".into()],
        ..DeleteTopicsRequest::default()
    };
    let response = client.ask(&request, 1);
    assert_eq!(response.responses[0].error_code, ErrorCode::None);
    let is_closed = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        removed_and_open(&broker).is_empty()
    });
    assert!(is_closed, "{:?}", removed_and_open(&broker));
}

#[test]
fn a_fetch_parked_on_a_topic_that_is_deleted_is_answered() {
    let broker = TestBroker::start();
    broker.create_topic("t", 1);
    let mut reader = broker.connect();
    let correlation_id = reader.send(&fetch_request("t", 0, 0, 15_000), 12);
    std::thread::sleep(Duration::from_millis(100));
    let started = Instant::now();
    let request = DeleteTopicsRequest {
        topic_names: vec!["t".into()],
        ..DeleteTopicsRequest::default()
    };
    broker.connect().ask(&request, 3);
    let response = reader.receive::<FetchRequest>(12, correlation_id);
    assert_eq!(
        response.responses[0].partitions[0].error_code,
        ErrorCode::UnknownTopicOrPartition
    );
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn every_version_of_every_administrative_api_is_answered() {
    let broker = TestBroker::start();
    let mut client = broker.connect();
    in_every_version(
        &mut client,
        |_| ApiVersionsRequest {
            client_software_name: "a".into(),
            client_software_version: "1".into(),
        },
        |response, version| assert_eq!(response.error_code, ErrorCode::None, "v{version}"),
    );
    in_every_version(
        &mut client,
        |version| CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: format!("t{version}").into(),
                num_partitions: 1,
                replication_factor: 1,
                ..CreatableTopic::default()
            }],
            ..CreateTopicsRequest::default()
        },
        |response, version| {
            assert_eq!(response.topics[0].error_code, ErrorCode::None, "v{version}");
            assert!(response.topics[0].configs.is_some(), "or Java fails");
        },
    );
    in_every_version(
        &mut client,
        |version| {
            let name = format!("t{}", version + 1);
            let mut request = DeleteTopicsRequest::default();
            if version >= 6 {
                request.topics.push(DeleteTopicState {
                    name: Some(name.into()),
                    topic_id: TopicId::ZERO,
                });
            } else {
                request.topic_names.push(name.into());
            }
            request
        },
        |response, version| {
            let deleted = &response.responses[0];
            assert_eq!(deleted.error_code, ErrorCode::None, "v{version}");
        },
    );
    in_every_version(
        &mut client,
        |_| InitProducerIdRequest {
            transactional_id: None,
            ..InitProducerIdRequest::default()
        },
        |response, version| assert_eq!(response.error_code, ErrorCode::None, "v{version}"),
    );
    in_every_version(
        &mut client,
        |_| FindCoordinatorRequest::default(),
        |response, version| {
            assert_eq!(response.error_code, ErrorCode::None, "v{version}");
            assert_eq!(response.node_id, BrokerId(1), "the only broker");
            assert_eq!(response.port, i32::from(broker.address().port()));
        },
    );
    in_every_version(
        &mut client,
        |_| DescribeClusterRequest::default(),
        |response, _| assert_eq!(response.brokers.len(), 1),
    );
    broker.create_topic("t", 1);
    in_every_version(
        &mut client,
        |version| DescribeConfigsRequest {
            resources: [(2, "t"), (4, "1"), (2, "nope"), (4, "9"), (1, "x")]
                .map(|(resource_type, name)| DescribeConfigsResource {
                    resource_type,
                    resource_name: name.into(),
                    configuration_keys: None,
                })
                .into(),
            include_synonyms: true,
            include_documentation: version >= 3,
        },
        |response, version| {
            let failed = response
                .results
                .iter()
                .filter(|result| !result.error_code.is_none());
            assert_eq!(failed.count(), 3);
            for config in response.results.iter().flat_map(|result| &result.configs) {
                assert!((1..=5).contains(&config.config_source), "or Java fails");
                assert!(!config.synonyms.is_empty());
                assert_eq!(config.config_type > 0, version >= 3);
            }
        },
    );
}

#[test]
fn what_names_something_very_long_is_refused_in_short_words() {
    let broker = TestBroker::start();
    let mut client = broker.connect();
    let long = "\u{1}".repeat(30_000);
    let request = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: "t".into(),
            num_partitions: 1,
            replication_factor: 1,
            configs: vec![CreatableTopicConfig {
                name: long.as_str().into(),
                value: Some(long.as_str().into()),
            }],
            ..CreatableTopic::default()
        }],
        ..CreateTopicsRequest::default()
    };
    let answer = &client.ask(&request, 7).topics[0];
    assert_eq!(answer.error_code, ErrorCode::InvalidConfig);
    let request = DeleteTopicsRequest {
        topic_names: vec![long.as_str().into()],
        ..DeleteTopicsRequest::default()
    };
    let answer = &client.ask(&request, 5).responses[0];
    let text = answer.error_message.as_deref().unwrap_or_default();
    assert!((10..2000).contains(&text.len()), "{} bytes", text.len());
    let request = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: 2,
            resource_name: long.as_str().into(),
            configuration_keys: None,
        }],
        ..DescribeConfigsRequest::default()
    };
    let answer = &client.ask(&request, 4).results[0];
    assert_eq!(answer.error_code, ErrorCode::UnknownTopicOrPartition);
}

#[test]
fn topics_that_cannot_be_are_refused_in_words() {
    let broker = TestBroker::start();
    broker.create_topic("a.b", 1);
    let mut client = broker.connect();
    let topic = |name: &str, partitions, factor| CreatableTopic {
        name: name.into(),
        num_partitions: partitions,
        replication_factor: factor,
        ..CreatableTopic::default()
    };
    let with_config = |key: &str, value: &str| CreatableTopic {
        configs: vec![CreatableTopicConfig {
            name: key.into(),
            value: Some(value.into()),
        }],
        ..topic("c", 1, 1)
    };
    let cases = [
        (topic("../x", 1, 1), ErrorCode::InvalidTopicException, "'/'"),
        (topic("a_b", 1, 1), ErrorCode::InvalidTopicException, "a.b"),
        (topic("a.b", 1, 1), ErrorCode::TopicAlreadyExists, "a.b"),
        (topic("c", 0, 1), ErrorCode::InvalidPartitions, "0"),
        (
            topic("c", 1, 3),
            ErrorCode::InvalidReplicationFactor,
            "not replicated",
        ),
        (
            with_config("retention.ms", "5"),
            ErrorCode::InvalidConfig,
            "only -1",
        ),
        (
            with_config("flush.ms", "5"),
            ErrorCode::InvalidConfig,
            "segment.bytes",
        ),
    ];
    for (topic, code, words) in cases {
        let request = CreateTopicsRequest {
            topics: vec![topic],
            ..CreateTopicsRequest::default()
        };
        let answer = &client.ask(&request, 7).topics[0];
        let text = answer.error_message.as_deref().unwrap_or_default();
        assert_eq!(answer.error_code, code, "{text}");
        assert!(text.contains(words), "{text}");
    }
    let twice = CreateTopicsRequest {
        topics: vec![topic("d", 1, 1), topic("d", 1, 1)],
        ..CreateTopicsRequest::default()
    };
    let answer = client.ask(&twice, 7);
    assert_eq!(answer.topics.len(), 1);
    assert_eq!(answer.topics[0].error_code, ErrorCode::InvalidRequest);
    let only_asked = CreateTopicsRequest {
        topics: vec![topic("d", -1, -1)],
        validate_only: true,
        ..CreateTopicsRequest::default()
    };
    assert_eq!(
        client.ask(&only_asked, 7).topics[0].error_code,
        ErrorCode::None
    );
    let again = client.ask(&only_asked, 7);
    assert_eq!(
        again.topics[0].error_code,
        ErrorCode::None,
        "it was not created"
    );
}

#[test]
fn a_pipelined_request_sees_the_topic_created_before_it() {
    let broker = TestBroker::start();
    let mut client = broker.connect();
    let create = CreateTopicsRequest::one("t", 1);
    let created = client.send(&create, 5);
    let produced = client.send(&produce_request("t", 0, batch(&["a"]), 1), 9);
    client.receive::<CreateTopicsRequest>(5, created);
    let response = client.receive::<ProduceRequest>(9, produced);
    let part = &response.responses[0].partition_responses[0];
    assert_eq!(part.error_code, ErrorCode::None);
}
