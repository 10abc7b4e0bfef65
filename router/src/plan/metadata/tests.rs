//! What every router tells a client of nodes and topics.

use core::net::{IpAddr, Ipv4Addr};
use std::collections::BTreeSet;

use keylane_protocol::cluster::Endpoint;
use keylane_protocol::frame::response_frame;
use keylane_protocol::offset::LeaderEpoch;

use super::*;
use crate::advertise::{Advertise, ClientIdentity, router_id};
use crate::testing::Cluster;

const HOSTS: [&str; 3] = ["r1", "r2", "r3"];

fn endpoint(host: &str) -> Endpoint {
    Endpoint::new(&host.into(), 9092).expect("an endpoint")
}

/// Three brokers and three routers, and a topic.
fn three() -> Cluster {
    let cluster = Cluster::of_brokers(3).with_topic("orders", &[1, 2, 3, -1]);
    HOSTS.into_iter().fold(cluster, |cluster, host| {
        let id = router_id(&endpoint(host), &cluster.image());
        cluster.with_router(id.0, host, 9092)
    })
}

fn advertised(cluster: &Cluster, router: &str, client_id: &str) -> Advertised {
    let client = ClientIdentity {
        client_id: Some(client_id),
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    let own = endpoint(router);
    Advertised::to_client(&Advertise::At(own.clone()), &cluster.image(), client, &own)
}

pub(in crate::plan) fn advertised_three(client_id: &str) -> (Cluster, Advertised) {
    let cluster = three();
    let advertised = advertised(&cluster, "r1", client_id);
    (cluster, advertised)
}

fn by_name(name: &str) -> MetadataRequestTopic {
    MetadataRequestTopic {
        topic_id: TopicId::ZERO,
        name: Some(name.into()),
    }
}

fn by_id(topic_id: TopicId) -> MetadataRequestTopic {
    MetadataRequestTopic {
        topic_id,
        name: None,
    }
}

fn request(topics: Option<Vec<MetadataRequestTopic>>) -> MetadataRequest {
    MetadataRequest {
        topics,
        ..MetadataRequest::default()
    }
}

fn ask(topics: Option<Vec<MetadataRequestTopic>>, version: i16) -> MetadataResponse {
    let (cluster, advertised) = advertised_three("a");
    answer(&request(topics), version, &advertised, &cluster.image())
}

#[test]
fn two_routers_on_one_image_answer_a_thousand_clients_with_equal_bytes() {
    let cluster = three();
    for number in 0..1000 {
        let client_id = format!("client-{number}");
        let bytes = HOSTS.map(|host| {
            let advertised = advertised(&cluster, host, &client_id);
            let answer = answer(&request(None), 12, &advertised, &cluster.image());
            response_frame(&answer, 12, 1).expect("it can be encoded")
        });
        assert!(
            bytes.windows(2).all(|pair| pair[0] == pair[1]),
            "{client_id}"
        );
    }
}

#[test]
fn nodes_are_routers_and_each_address_is_told_once() {
    let answer = ask(None, 12);
    let nodes = answer.brokers.iter();
    let addresses: BTreeSet<_> = nodes.map(|node| (&node.host, node.port)).collect();
    assert_eq!((answer.brokers.len(), addresses.len()), (3, 3));
    assert!(answer.brokers.iter().all(|node| node.node_id.is_router()));
}

#[test]
fn one_router_leads_every_partition_and_brokers_keep_it() {
    let answer = ask(Some(vec![by_name("orders")]), 12);
    let partitions = &answer.topics[0].partitions;
    assert_eq!(partitions.len(), 4);
    for (partition, broker) in partitions.iter().zip([1, 2, 3, 1]) {
        assert_eq!(partition.leader_id, answer.controller_id);
        assert_eq!(partition.replica_nodes, [BrokerId(broker)]);
        assert_eq!(partition.isr_nodes, [BrokerId(broker)]);
        assert_eq!(partition.error_code, ErrorCode::None);
        assert_eq!(partition.leader_epoch, LeaderEpoch(0));
    }
    assert!(
        answer
            .brokers
            .iter()
            .any(|node| node.node_id == answer.controller_id)
    );
}

#[test]
fn replicas_on_fenced_brokers_are_offline() {
    let (mut cluster, advertised) = advertised_three("a");
    cluster.fence(2, true);
    let answer = answer(&request(None), 12, &advertised, &cluster.image());
    let offline: Vec<usize> = answer.topics[0]
        .partitions
        .iter()
        .map(|partition| partition.offline_replicas.len())
        .collect();
    assert_eq!(offline, [0, 1, 0, 0]);
}

#[test]
fn all_topics_are_asked_for_by_null_and_in_version_0_by_an_empty_list() {
    assert_eq!(ask(None, 1).topics.len(), 1);
    assert_eq!(ask(Some(Vec::new()), 0).topics.len(), 1);
    assert_eq!(ask(Some(Vec::new()), 1).topics.len(), 0);
}

#[test]
fn an_id_of_no_topic_is_answered_in_every_version_that_can_ask_for_it() {
    for version in 10..=12 {
        let answer = ask(Some(vec![by_id(TopicId([9; 16]))]), version);
        assert_eq!(answer.topics[0].error_code, ErrorCode::UnknownTopicId);
        let frame = response_frame(&answer, version, 1);
        assert!(frame.is_ok(), "version {version}: {frame:?}");
    }
}

#[test]
fn what_does_not_exist_is_told_so_and_each_topic_once() {
    let unknown = TopicId([9; 16]);
    let asked = vec![
        by_name("orders"),
        by_name("nope"),
        by_name("a b"),
        by_id(unknown),
        by_name("nope"),
    ];
    let answer = ask(Some(asked.clone()), 12);
    let codes: Vec<ErrorCode> = answer.topics.iter().map(|topic| topic.error_code).collect();
    assert_eq!(
        codes,
        [
            ErrorCode::None,
            ErrorCode::UnknownTopicOrPartition,
            ErrorCode::InvalidTopicException,
            ErrorCode::UnknownTopicId
        ]
    );
    let missing = missing(&request(Some(asked)), &three().image());
    assert_eq!(
        missing,
        [TopicKey::Name("nope".into()), TopicKey::Id(unknown)]
    );
}

#[test]
fn a_topic_whose_partitions_are_not_there_yet_is_never_told_as_empty() {
    let cluster = three().with_topic("new", &[]);
    let advertised = advertised(&cluster, "r1", "a");
    let asked = request(Some(vec![by_name("new")]));
    let one = answer(&asked, 12, &advertised, &cluster.image());
    assert_eq!(one.topics[0].error_code, ErrorCode::LeaderNotAvailable);
    let all = answer(&request(None), 12, &advertised, &cluster.image());
    assert!(all.topics.iter().all(|topic| !topic.partitions.is_empty()));
}

fn wanted(names: &[&str], may_create: bool) -> MetadataRequest {
    MetadataRequest {
        topics: Some(names.iter().map(|name| by_name(name)).collect()),
        allow_auto_topic_creation: may_create,
        ..MetadataRequest::default()
    }
}

#[test]
fn only_what_is_missing_and_possible_is_created_and_only_if_the_client_permits_it() {
    let image = three().image();
    let names = |request: &MetadataRequest| {
        let topics = request.topics.iter().flatten();
        let names = topics.map(|topic| topic.name.as_deref().expect("by name").to_owned());
        names.collect::<Vec<_>>()
    };
    let mut request = wanted(&["new", "orders", "../x", "another", "new"], true);
    let id = by_id(TopicId([9; 16]));
    request.topics.get_or_insert_default().push(id);
    let created = to_create(&request, &image).expect("two are missing");
    assert_eq!(names(&created), ["another", "new"]);
    assert!(created.allow_auto_topic_creation);
    request.allow_auto_topic_creation = false;
    assert_eq!(to_create(&request, &image), None);
    assert_eq!(to_create(&wanted(&["orders"], true), &image), None);
    let all = MetadataRequest {
        topics: None,
        ..wanted(&[], true)
    };
    assert_eq!(to_create(&all, &image), None);
}

#[test]
fn why_a_topic_could_not_be_created_is_told_at_its_place_and_nowhere_else() {
    let (cluster, advertised) = advertised_three("c");
    let request = wanted(&["orders", "made", "full", "left-out"], true);
    let asked = to_create(&request, &cluster.image()).expect("three are missing");
    let response = MetadataResponse {
        topics: vec![
            MetadataResponseTopic::untold(Some("made".into()), TopicId([5; 16]), ErrorCode::None),
            MetadataResponseTopic::untold(
                Some("full".into()),
                TopicId::ZERO,
                ErrorCode::PolicyViolation,
            ),
        ],
        ..MetadataResponse::default()
    };
    let failed = failed(&asked, &response);
    assert!(!is_refused(&failed), "one was created");
    let image = cluster.with_topic("made", &[1]).image();
    let mut told = answer(&request, 12, &advertised, &image);
    mark_failed(&mut told, &failed);
    let codes: Vec<ErrorCode> = told.topics.iter().map(|topic| topic.error_code).collect();
    let expected = [
        ErrorCode::None,
        ErrorCode::None,
        ErrorCode::PolicyViolation,
        ErrorCode::UnknownTopicOrPartition,
    ];
    assert_eq!(codes, expected);
}

#[test]
fn a_cluster_that_creates_nothing_is_told_apart_from_one_that_does_not_answer() {
    let asked = to_create(&wanted(&["a", "b"], true), &three().image()).expect("missing");
    let unknown = |name: &str| {
        let code = ErrorCode::UnknownTopicOrPartition;
        MetadataResponseTopic::untold(Some(name.into()), TopicId::ZERO, code)
    };
    let refused = MetadataResponse {
        topics: vec![unknown("a"), unknown("b")],
        ..MetadataResponse::default()
    };
    assert!(is_refused(&failed(&asked, &refused)));
    let unanswered = not_created(&asked);
    assert!(!is_refused(&unanswered));
    assert_eq!(unanswered.len(), 2);
    assert!(unanswered.values().all(|code| code.is_retriable()));
    assert!(!is_refused(&BTreeMap::new()));
}
