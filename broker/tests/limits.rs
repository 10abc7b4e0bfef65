//! Every bound is on, holds, and costs only who meets it.

mod kit;

use std::io::Write;
use std::time::Duration;

use bytestring::ByteString;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::{PartitionIndex, TopicId};
use keylane_protocol::message::api_versions::ApiVersionsRequest;
use keylane_protocol::message::fetch::{FetchPartition, FetchRequest};
use keylane_protocol::message::metadata::{MetadataRequest, MetadataRequestTopic};
use keylane_protocol::message::produce::ProduceRequest;
use kit::{Client, TestBroker, batch, fetch_request, produce_request, values};
use tokio::time::Instant;

fn is_served(client: &mut Client) -> bool {
    let request = ApiVersionsRequest::default();
    client.ask(&request, 2).error_code == ErrorCode::None
}

#[test]
fn connections_above_the_limit_are_closed_and_the_others_served() {
    let broker = TestBroker::start_with(|config| config.clients.connections_max = 2);
    let (mut first, mut second) = (broker.connect(), broker.connect());
    assert!(is_served(&mut first) && is_served(&mut second));
    assert!(broker.connect().is_closed());
    assert!(is_served(&mut first));
    drop(second);
    let free = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        let mut client = broker.connect();
        let _ = client.send(&ApiVersionsRequest::default(), 2);
        client.receive_frame().is_some()
    });
    assert!(free, "a place becomes free again");
}

#[test]
fn connections_of_one_address_have_a_limit_of_their_own() {
    let broker = TestBroker::start_with(|config| config.clients.connections_per_address_max = 1);
    let mut first = broker.connect();
    assert!(is_served(&mut first));
    assert!(broker.connect().is_closed());
    assert!(is_served(&mut first));
}

#[test]
fn a_request_above_the_limit_closes_the_connection() {
    let broker = TestBroker::start_with(|config| {
        config.clients.request_bytes_max = 1024;
        config.topic_defaults.message_bytes_max = 1024;
    });
    let mut client = broker.connect();
    assert!(is_served(&mut client));
    client
        .stream
        .write_all(&1025_i32.to_be_bytes())
        .expect("sent");
    assert!(client.is_closed());
}

#[test]
fn a_silent_connection_is_closed_and_a_speaking_one_is_not() {
    let broker = TestBroker::start_with(|config| {
        config.clients.idle_timeout = Duration::from_millis(400);
    });
    let mut silent = broker.connect();
    let mut speaking = broker.connect();
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(1) {
        assert!(is_served(&mut speaking));
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(silent.is_closed());
    assert!(is_served(&mut speaking));
}

#[test]
fn a_request_that_never_becomes_whole_closes_its_connection_only() {
    let broker = TestBroker::start_with(|config| {
        config.clients.receive_timeout = Duration::from_millis(200);
    });
    let mut other = broker.connect();
    let mut half = broker.connect();
    half.stream.write_all(&[0, 0, 0, 9, 0]).expect("sent");
    let started = Instant::now();
    assert!(half.is_closed());
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(is_served(&mut other));
}

#[test]
fn a_client_that_never_reads_costs_its_own_connection_only() {
    let broker = TestBroker::start_with(|config| {
        config.clients.send_timeout = Duration::from_millis(300);
        config.clients.connection_requests_max = 4;
    });
    broker.create_topic("t", 1000);
    let mut deaf = broker.connect();
    let mut other = broker.connect();
    deaf.stream
        .set_write_timeout(Some(Duration::from_millis(200)))
        .expect("a timeout can be set");
    // All topics, again and again, until no more fits anywhere between the two.
    let request = MetadataRequest {
        topics: None,
        ..MetadataRequest::default()
    };
    let frame = keylane_protocol::frame::request_frame(&request, 9, 1, None)
        .expect("encodes")
        .concat();
    let mut sent = 0;
    while deaf.stream.write_all(&frame).is_ok() && sent < 2_000_000 {
        sent += 1;
        if sent % 1000 == 0 {
            assert!(is_served(&mut other));
        }
    }
    let started = Instant::now();
    while !deaf.stream.take_error().is_ok_and(|error| error.is_some())
        && deaf
            .stream
            .write(&frame)
            .is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    {
        assert!(started.elapsed() < Duration::from_secs(15), "it stays open");
        assert!(is_served(&mut other));
    }
    assert!(is_served(&mut other));
}

/// A Fetch of a few kilobytes that stays unanswered for `wait_ms`.
fn large_parked_fetch(wait_ms: i32) -> FetchRequest {
    FetchRequest {
        rack_id: ByteString::from("r".repeat(3000)),
        ..fetch_request("t", 0, 0, wait_ms)
    }
}

#[test]
fn requests_of_all_connections_share_a_budget() {
    let broker = TestBroker::start_with(|config| {
        config.clients.request_bytes_max = 4096;
        config.clients.request_bytes_total_max = 4096;
        config.topic_defaults.message_bytes_max = 4096;
    });
    broker.create_topic("t", 1);
    let mut parked = broker.connect();
    let mut other = broker.connect();
    let correlation_id = parked.send(&large_parked_fetch(600), 12);
    std::thread::sleep(Duration::from_millis(100));
    let started = Instant::now();
    let response = other.ask(&large_parked_fetch(0), 12);
    assert_eq!(response.error_code, ErrorCode::None);
    assert!(
        started.elapsed() > Duration::from_millis(200),
        "it waits until the first request is answered"
    );
    parked.receive::<FetchRequest>(12, correlation_id);
}

#[test]
fn requests_of_one_connection_have_a_share_and_others_are_served() {
    let broker = TestBroker::start_with(|config| {
        config.clients.connection_requests_max = 2;
        config.clients.connection_request_bytes_max = 4096;
    });
    broker.create_topic("t", 1);
    let mut busy = broker.connect();
    let mut other = broker.connect();
    let ids: Vec<i32> = (0..20)
        .map(|_| busy.send(&large_parked_fetch(20), 12))
        .collect();
    assert!(is_served(&mut other));
    for id in ids {
        busy.receive::<FetchRequest>(12, id);
    }
}

#[test]
fn a_request_that_fills_its_connections_share_does_not_wait_for_a_parked_fetch() {
    let broker = TestBroker::start_with(|config| {
        config.clients.connection_request_bytes_max = 1024;
    });
    broker.create_topic("t", 1);
    let mut client = broker.connect();
    let started = Instant::now();
    let parked = client.send(&fetch_request("t", 0, 0, 15_000), 12);
    let produce = produce_request("t", 0, batch(&["x".repeat(2000)]), -1);
    let produced = client.send(&produce, 9);
    client.receive::<FetchRequest>(12, parked);
    client.receive::<ProduceRequest>(9, produced);
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn when_answers_fill_their_bound_a_fetch_gets_little_but_never_nothing() {
    let broker = TestBroker::start_with(|config| config.clients.fetch_bytes_total_max = 1);
    broker.create_topic("t", 1);
    let mut client = broker.connect();
    for _ in 0..20 {
        client.produce("t", 0, batch(&["x".repeat(10_000)]));
    }
    let mut next = 0;
    while next < 20 {
        let fetched = client.fetch("t", 0, next, 1000);
        let count = i64::try_from(values(&fetched).len()).expect("few");
        assert!((1..=6).contains(&count), "{count} of 10 kB each");
        next += count;
    }
}

#[test]
fn when_answers_fill_their_bound_many_partitions_get_no_more_than_one() {
    let broker = TestBroker::start_with(|config| config.clients.fetch_bytes_total_max = 1);
    broker.create_topic("t", 8);
    let mut client = broker.connect();
    for partition in 0..8 {
        for _ in 0..4 {
            client.produce("t", partition, batch(&["x".repeat(10_000)]));
        }
    }
    let mut request = fetch_request("t", 0, 0, 0);
    let asked = request.topics[0].partitions[0].clone();
    request.topics[0].partitions = (0..8)
        .map(|index| FetchPartition {
            partition: PartitionIndex(index),
            ..asked.clone()
        })
        .collect();
    let response = client.ask(&request, 12);
    let partitions = &response.responses[0].partitions;
    let records = partitions.iter().map(|partition| values(partition).len());
    assert_eq!(records.sum::<usize>(), 6, "64 KiB of 10 kB each");
}

#[test]
fn a_parked_fetch_holds_nothing_of_the_bound_of_answers() {
    let broker = TestBroker::start_with(|config| config.clients.fetch_bytes_total_max = 120_000);
    broker.create_topic("t", 1);
    let (mut parked, mut other) = (broker.connect(), broker.connect());
    for _ in 0..10 {
        other.produce("t", 0, batch(&["x".repeat(10_000)]));
    }
    let request = FetchRequest {
        min_bytes: 1 << 20,
        ..fetch_request("t", 0, 0, 1_000)
    };
    let correlation_id = parked.send(&request, 12);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(values(&other.fetch("t", 0, 0, 0)).len(), 10);
    parked.receive::<FetchRequest>(12, correlation_id);
}

#[test]
fn a_topic_is_described_once_whatever_ids_stand_beside_its_name() {
    let broker = TestBroker::start();
    broker.create_topic("t", 100);
    let with_id = |number: u128| MetadataRequestTopic {
        name: Some("t".into()),
        topic_id: TopicId(number.to_be_bytes()),
    };
    let request = MetadataRequest {
        topics: Some((0..1_000).map(with_id).collect()),
        ..MetadataRequest::default()
    };
    let response = broker.connect().ask(&request, 12);
    assert_eq!(response.topics.len(), 1);
    assert_eq!(response.topics[0].partitions.len(), 100);
}

#[test]
fn a_request_that_names_too_much_closes_its_connection() {
    let broker = TestBroker::start();
    let request = |count: usize| MetadataRequest {
        topics: Some(vec![
            MetadataRequestTopic {
                name: Some("t".into()),
                ..MetadataRequestTopic::default()
            };
            count
        ]),
        ..MetadataRequest::default()
    };
    let mut client = broker.connect();
    let response = client.ask(&request(50_000), 9);
    assert_eq!(response.topics.len(), 1, "each name is answered once");
    client.send(&request(100_001), 9);
    assert!(client.is_closed());
}
