//! Several brokers that are one cluster, over real sockets: founded, spread, killed, started again, and refused.

mod kit;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use keylane_broker::Broker;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::{BrokerId, TopicId};
use keylane_protocol::message::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use keylane_protocol::message::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, RESOURCE_TYPE_TOPIC,
};
use keylane_protocol::message::init_producer_id::InitProducerIdRequest;
use keylane_protocol::message::metadata::MetadataResponse;

use kit::cluster::{
    Cluster, TRIES_MAX, free_ports, leaders, metadata, partitions, refusal, start_all, topic_names,
};
use kit::{Client, batch, values};

#[test]
fn one_voter_and_two_others_are_one_cluster() {
    let cluster = Cluster::start(1, 3);
    cluster.until_all_take_part(3);
    // A broker that does not vote, let alone lead the controllers.
    assert_eq!(
        cluster.connect(2).create_topic("t", 6).error_code,
        ErrorCode::None
    );
    assert_eq!(
        cluster.connect(3).create_topic("t", 6).error_code,
        ErrorCode::TopicAlreadyExists
    );
    let seen = [1, 2, 3].map(|id| {
        let led = |metadata: &MetadataResponse| {
            let partitions = partitions(metadata);
            partitions.len() == 6 && partitions.iter().all(|one| one.leader_id != BrokerId::NONE)
        };
        let mut metadata = cluster.until(id, "the topic is led", led);
        metadata.controller_id = BrokerId::NONE;
        metadata.brokers.sort_by_key(|broker| broker.node_id);
        metadata
    });
    assert!(seen.iter().all(|metadata| *metadata == seen[0]));
    let addresses = seen[0]
        .brokers
        .iter()
        .map(|broker| (broker.node_id.0, broker.port));
    let expected = (1..=3).map(|id| (id, i32::from(cluster.broker(id).address().port())));
    assert!(addresses.eq(expected));
    let leaders = leaders(&seen[0]);
    for id in 1..=3 {
        assert_eq!(leaders.values().filter(|leader| leader.0 == id).count(), 2);
    }
    for (&partition, &(leader, _)) in &leaders {
        for id in 1..=3 {
            let mut client = cluster.connect(id);
            let value = format!("to {id}");
            let produced = client.produce("t", partition, batch(&[&value])).error_code;
            let fetched = client.fetch("t", partition, 0, 0);
            if id == leader {
                assert_eq!(produced, ErrorCode::None);
                assert_eq!(values(&fetched), [(0, value)]);
            } else {
                assert_eq!(produced, ErrorCode::NotLeaderOrFollower);
                assert_eq!(fetched.error_code, ErrorCode::NotLeaderOrFollower);
            }
        }
    }
    for broker in cluster.brokers.into_iter().flatten().rev() {
        broker.stop().expect("a clean stop");
    }
}

#[test]
fn a_broker_that_dies_is_fenced_and_leads_again_in_higher_epochs() {
    let mut cluster = Cluster::start(1, 2);
    cluster.until_all_take_part(2);
    assert_eq!(
        cluster.connect(1).create_topic("t", 2).error_code,
        ErrorCode::None
    );
    let is_led = |metadata: &MetadataResponse| {
        partitions(metadata).len() == 2
            && partitions(metadata)
                .iter()
                .all(|one| one.leader_id != BrokerId::NONE)
    };
    let before = leaders(&cluster.until(2, "all are led", is_led));
    let (&partition, &(_, epoch)) = before
        .iter()
        .find(|(_, leader)| leader.0 == 2)
        .expect("one");
    let produced = cluster.connect(2).produce("t", partition, batch(&["kept"]));
    assert_eq!(produced.error_code, ErrorCode::None);
    cluster.crash(2);
    let fenced = cluster.until(1, "one takes part", |metadata| metadata.brokers.len() == 1);
    let led = partitions(&fenced)
        .into_iter()
        .filter(|one| one.leader_id == BrokerId(1));
    assert_eq!(
        led.count(),
        1,
        "what only the dead one has is led by nobody"
    );
    cluster.start_again(2);
    let after = leaders(&cluster.until(1, "all are led", is_led));
    let (leader, epoch_after) = after[&partition];
    assert_eq!(leader, 2);
    assert!(epoch_after > epoch, "{epoch_after} is above {epoch}");
    let mut client = cluster.connect(2);
    assert_eq!(
        values(&client.fetch("t", partition, 0, 0)),
        [(0, "kept".to_owned())]
    );
    let produced = client.produce("t", partition, batch(&["new"]));
    assert_eq!(produced.error_code, ErrorCode::None);
}

#[test]
fn when_any_voter_dies_no_topic_is_lost_and_new_ones_are_created() {
    let mut cluster = Cluster::start(3, 3);
    cluster.until_all_take_part(3);
    let mut created = BTreeSet::new();
    for victim in 1..=3 {
        let survivor = victim % 3 + 1;
        let name = format!("before-{victim}");
        assert_eq!(
            cluster.connect(victim).create_topic(&name, 1).error_code,
            ErrorCode::None
        );
        created.insert(name);
        cluster.crash(victim);
        let name = format!("without-{victim}");
        let mut client = cluster.connect(survivor);
        let mut tries = (0..TRIES_MAX).map(|_| client.create_topic(&name, 1).error_code);
        let is_there = |error| matches!(error, ErrorCode::None | ErrorCode::TopicAlreadyExists);
        assert!(tries.any(is_there), "{name} is never created");
        created.insert(name);
        cluster.start_again(victim);
        cluster.until_all_take_part(3);
        for id in 1..=3 {
            cluster.until(id, "all topics", |metadata| {
                topic_names(metadata) == created
            });
        }
    }
}

#[test]
fn a_whole_cluster_that_was_stopped_comes_back() {
    let mut cluster = Cluster::start(3, 4);
    cluster.until_all_take_part(4);
    assert_eq!(
        cluster.connect(4).create_topic("t", 8).error_code,
        ErrorCode::None
    );
    let before = metadata(&mut cluster.connect(4)).cluster_id;
    for broker in cluster.brokers.drain(..).flatten() {
        broker.stop().expect("a clean stop");
    }
    let started = start_all(&cluster.configs);
    let brokers = started.into_iter();
    cluster.brokers = brokers
        .map(|result| Some(result.expect("it starts again")))
        .collect();
    cluster.until_all_take_part(4);
    let metadata = cluster.until(4, "all are led", |metadata| {
        let partitions = partitions(metadata);
        partitions.len() == 8 && partitions.iter().all(|one| one.leader_id != BrokerId::NONE)
    });
    assert_eq!(metadata.cluster_id, before);
}

#[test]
fn voters_with_different_lists_found_nothing() {
    let mut cluster = Cluster::configured(3, 3);
    let other = free_ports(1)[0];
    cluster.configs[1].voters[2].port = other;
    let (tell, refused) = mpsc::sync_channel(2);
    for config in &cluster.configs[..2] {
        let (config, tell) = (config.clone(), tell.clone());
        // Whichever asks first refuses; the other then waits for it, and the test for neither.
        thread::spawn(move || drop(tell.send(refusal(Broker::start(config)))));
    }
    let words = refused
        .recv_timeout(Duration::from_secs(60))
        .expect("one refuses");
    let same = "give all brokers of the cluster the same list";
    assert!(words.contains(same), "{words}");
}

#[test]
fn a_voter_without_what_it_promised_is_refused() {
    let mut cluster = Cluster::start(3, 3);
    cluster.crash(3);
    let folder = cluster.folders[2].path();
    std::fs::remove_dir_all(folder.join("controller")).expect("removed");
    let words = refusal(Broker::start(cluster.configs[2].clone()));
    assert!(words.contains("'controller') is gone"), "{words}");
    // Not even with a folder in which nothing is.
    let empty = tempfile::tempdir().expect("a folder for the test");
    let mut config = cluster.configs[2].clone();
    config.data_folder = empty.path().to_owned();
    let words = refusal(Broker::start(config));
    assert!(
        words.contains("as a voter with another data folder"),
        "{words}"
    );
}

#[test]
fn a_broker_of_another_cluster_is_refused() {
    let one = Cluster::start(1, 2);
    let mut other = Cluster::start(1, 2);
    other.crash(2);
    let mut config = other.configs[1].clone();
    config.voters.clone_from(&one.configs[0].voters);
    let words = refusal(Broker::start(config));
    assert!(
        words.contains("point the broker to its own cluster"),
        "{words}"
    );
}

/// What a cluster must not forget.
#[derive(Debug, PartialEq)]
struct Known {
    cluster_id: Option<String>,
    topic_ids: BTreeMap<String, TopicId>,
    segment_bytes: Option<String>,
}

fn known(client: &mut Client) -> Known {
    let metadata = metadata(client);
    let topics = metadata.topics.iter();
    let request = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: RESOURCE_TYPE_TOPIC,
            resource_name: "t".into(),
            configuration_keys: Some(vec!["segment.bytes".into()]),
        }],
        ..DescribeConfigsRequest::default()
    };
    let value = client.ask(&request, 4).results[0].configs[0].value.clone();
    Known {
        cluster_id: metadata.cluster_id.as_ref().map(ToString::to_string),
        topic_ids: topics
            .map(|topic| {
                (
                    topic.name.clone().unwrap_or_default().into(),
                    topic.topic_id,
                )
            })
            .collect(),
        segment_bytes: value.map(Into::into),
    }
}

fn producer_id(client: &mut Client) -> i64 {
    let request = InitProducerIdRequest {
        transactional_id: None,
        ..InitProducerIdRequest::default()
    };
    client.ask(&request, 4).producer_id.0
}

#[test]
fn a_whole_cluster_that_was_killed_comes_back_with_all_that_it_knew_in_higher_epochs() {
    let mut cluster = Cluster::start(3, 3);
    cluster.until_all_take_part(3);
    let request = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            configs: vec![CreatableTopicConfig {
                name: "segment.bytes".into(),
                value: Some("3000000".into()),
            }],
            ..CreatableTopic::new("t", 6)
        }],
        timeout_ms: 30_000,
        ..CreateTopicsRequest::default()
    };
    let created = cluster.connect(1).ask(&request, 7).topics.remove(0);
    assert_eq!(created.error_code, ErrorCode::None);
    let is_led = |metadata: &MetadataResponse| {
        let partitions = partitions(metadata);
        partitions.len() == 6 && partitions.iter().all(|one| one.leader_id != BrokerId::NONE)
    };
    let before = leaders(&cluster.until(2, "all are led", is_led));
    for (&partition, &(leader, _)) in &before {
        let produced = cluster
            .connect(leader)
            .produce("t", partition, batch(&["kept"]));
        assert_eq!(produced.error_code, ErrorCode::None);
    }
    let known_before = known(&mut cluster.connect(1));
    assert_eq!(known_before.segment_bytes.as_deref(), Some("3000000"));
    let mut producers: BTreeSet<i64> = BTreeSet::new();
    for id in 1..=3 {
        producers.insert(producer_id(&mut cluster.connect(id)));
    }
    for id in 1..=3 {
        cluster.crash(id);
    }
    let started = start_all(&cluster.configs).into_iter();
    cluster.brokers = started
        .map(|result| Some(result.expect("it starts again")))
        .collect();
    cluster.until_all_take_part(3);
    let after = leaders(&cluster.until(2, "all are led", is_led));
    for (partition, (leader, epoch)) in after {
        let (leader_before, epoch_before) = before[&partition];
        assert_eq!(leader, leader_before);
        assert!(epoch > epoch_before, "partition {partition}: {epoch}");
        let fetched = cluster.connect(leader).fetch("t", partition, 0, 0);
        assert_eq!(values(&fetched), [(0, "kept".to_owned())]);
    }
    for id in 1..=3 {
        assert_eq!(known(&mut cluster.connect(id)), known_before, "broker {id}");
        let is_new = producers.insert(producer_id(&mut cluster.connect(id)));
        assert!(is_new, "a producer id is given twice");
    }
}
