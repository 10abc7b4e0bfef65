//! What a client sees: order of answers, long polls, duplicates, and the edges of every API.

mod kit;

use std::time::Duration;

use bytes::Bytes;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::{BrokerId, PartitionIndex, ProducerId, TopicId};
use keylane_protocol::message::api_versions::ApiVersionsRequest;
use keylane_protocol::message::fetch::{FetchPartition, FetchRequest, FetchResponse};
use keylane_protocol::message::init_producer_id::InitProducerIdRequest;
use keylane_protocol::message::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsTopic,
};
use keylane_protocol::message::metadata::MetadataRequest;
use keylane_protocol::message::produce::{ProducePartition, ProduceRequest};
use keylane_protocol::offset::{LeaderEpoch, Offset, ProducerEpoch, Sequence};
use keylane_protocol::record_batch::BatchProducer;
use kit::{
    Client, TestBroker, batch, batch_of, fetch_request, in_every_version, produce_request, values,
};
use tokio::time::Instant;

#[test]
fn records_come_back_at_their_offsets() {
    let broker = TestBroker::start();
    broker.create_topic("t", 1);
    let mut client = broker.connect();
    assert_eq!(client.produce("t", 0, batch(&["a", "b"])).base_offset.0, 0);
    assert_eq!(client.produce("t", 0, batch(&["c"])).base_offset.0, 2);
    let fetched = client.fetch("t", 0, 0, 1000);
    assert_eq!(fetched.high_watermark, Offset(3));
    let expected = ["a", "b", "c"].map(str::to_owned);
    assert_eq!(values(&fetched), (0..).zip(expected).collect::<Vec<_>>());
    assert_eq!(values(&client.fetch("t", 0, 2, 1000)).len(), 1);
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let broker = TestBroker::start();
    broker.create_topic("t", 3);
    let mut client = broker.connect();
    let mut expected = Vec::new();
    for round in 0..50 {
        let request = produce_request("t", round % 3, batch(&["x"]), -1);
        expected.push((true, client.send(&request, 9)));
        let request = ApiVersionsRequest::default();
        expected.push((false, client.send(&request, 2)));
    }
    for (is_produce, correlation_id) in expected {
        if is_produce {
            let response = client.receive::<ProduceRequest>(9, correlation_id);
            let part = &response.responses[0].partition_responses[0];
            assert_eq!(part.error_code, ErrorCode::None);
        } else {
            client.receive::<ApiVersionsRequest>(2, correlation_id);
        }
    }
}

#[test]
fn a_parked_fetch_is_answered_when_data_comes() {
    let broker = TestBroker::start();
    broker.create_topic("t", 1);
    let mut reader = broker.connect();
    let started = Instant::now();
    let correlation_id = reader.send(&fetch_request("t", 0, 0, 20_000), 12);
    std::thread::sleep(Duration::from_millis(100));
    broker.connect().produce("t", 0, batch(&["late"]));
    let response = reader.receive::<FetchRequest>(12, correlation_id);
    assert_eq!(values(&response.responses[0].partitions[0]).len(), 1);
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_parked_fetch_is_answered_empty_when_its_time_is_up() {
    let broker = TestBroker::start();
    broker.create_topic("t", 2);
    let started = Instant::now();
    let fetched = broker.connect().fetch("t", 1, 0, 300);
    assert!(values(&fetched).is_empty());
    assert_eq!(fetched.error_code, ErrorCode::None);
    assert!(started.elapsed() >= Duration::from_millis(300));
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_parked_fetch_waits_for_its_minimum_of_bytes() {
    let broker = TestBroker::start();
    broker.create_topic("t", 2);
    let mut reader = broker.connect();
    let request = FetchRequest {
        min_bytes: 300,
        ..fetch_request("t", 0, 0, 20_000)
    };
    let correlation_id = reader.send(&request, 12);
    let mut writer = broker.connect();
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(30));
        writer.produce("t", 0, batch(&["x".repeat(60)]));
    }
    let response = reader.receive::<FetchRequest>(12, correlation_id);
    assert_eq!(values(&response.responses[0].partitions[0]).len(), 3);
}

#[test]
fn a_fetch_does_not_wait_for_bytes_that_its_maximum_leaves_out() {
    let broker = TestBroker::start();
    broker.create_topic("t", 1);
    let mut client = broker.connect();
    for _ in 0..5 {
        client.produce("t", 0, batch(&["x".repeat(1000)]));
    }
    let request = FetchRequest {
        min_bytes: 2500,
        max_bytes: 2500,
        ..fetch_request("t", 0, 0, 20_000)
    };
    let started = Instant::now();
    let response = client.ask(&request, 12);
    assert_eq!(values(&response.responses[0].partitions[0]).len(), 2);
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_parked_fetch_is_answered_early_when_another_request_waits_behind_it() {
    let broker = TestBroker::start();
    broker.create_topic("t", 1);
    let mut client = broker.connect();
    let started = Instant::now();
    let fetch = client.send(&fetch_request("t", 0, 0, 20_000), 12);
    std::thread::sleep(Duration::from_millis(100));
    let produce = client.send(&produce_request("t", 0, batch(&["a"]), -1), 9);
    client.receive::<FetchRequest>(12, fetch);
    client.receive::<ProduceRequest>(9, produce);
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn every_requested_partition_is_in_the_answer() {
    let broker = TestBroker::start();
    broker.create_topic("t", 2);
    let mut client = broker.connect();
    client.produce("t", 1, batch(&["a"]));
    let mut request = fetch_request("t", 0, 0, 0);
    let mut more = fetch_request("u", 0, 0, 0).topics.remove(0);
    request.topics[0].partitions.push(FetchPartition {
        partition: PartitionIndex(1),
        partition_max_bytes: 1 << 20,
        ..Default::default()
    });
    more.partitions[0].partition = PartitionIndex(9);
    request.topics.push(more);
    let response = client.ask(&request, 11);
    assert_eq!(response.session_id, 0);
    assert_eq!(response.responses[0].partitions.len(), 2);
    assert_eq!(values(&response.responses[0].partitions[1]).len(), 1);
    assert_eq!(
        response.responses[1].partitions[0].error_code,
        ErrorCode::UnknownTopicOrPartition
    );
}

#[test]
fn the_first_batch_comes_whole_even_above_the_maximum() {
    let broker = TestBroker::start();
    broker.create_topic("t", 1);
    let mut client = broker.connect();
    client.produce("t", 0, batch(&["x".repeat(5000)]));
    client.produce("t", 0, batch(&["y"]));
    let mut request = FetchRequest {
        max_bytes: 100,
        ..fetch_request("t", 0, 0, 0)
    };
    request.topics[0].partitions[0].partition_max_bytes = 100;
    let response = client.ask(&request, 12);
    assert_eq!(values(&response.responses[0].partitions[0]).len(), 1);
}

#[test]
fn a_fetch_outside_the_log_or_by_a_replica_or_session_is_refused() {
    let broker = TestBroker::start();
    let id = broker.create_topic("t", 1);
    let mut client = broker.connect();
    for offset in [-1, 1, i64::MAX] {
        let fetched = client.fetch("t", 0, offset, 0);
        assert_eq!(fetched.error_code, ErrorCode::OffsetOutOfRange, "{offset}");
    }
    let by_replica = FetchRequest {
        replica_id: BrokerId(2),
        ..fetch_request("t", 0, 0, 0)
    };
    assert_eq!(
        client.ask(&by_replica, 12).error_code,
        ErrorCode::ClusterAuthorizationFailed
    );
    let mut by_replica = fetch_request("t", 0, 0, 0);
    by_replica.replica_state.replica_id = BrokerId(2);
    assert_eq!(
        client.ask(&by_replica, 15).error_code,
        ErrorCode::ClusterAuthorizationFailed
    );
    let in_session = FetchRequest {
        session_id: 5,
        session_epoch: 1,
        ..fetch_request("t", 0, 0, 0)
    };
    assert_eq!(
        client.ask(&in_session, 12).error_code,
        ErrorCode::FetchSessionIdNotFound
    );
    let mut by_id = fetch_request("", 0, 0, 0);
    by_id.topics[0].topic_id = id;
    let response = client.ask(&by_id, 16);
    assert_eq!(
        response.responses[0].partitions[0].error_code,
        ErrorCode::None
    );
    by_id.topics[0].topic_id = TopicId([9; 16]);
    let response = client.ask(&by_id, 16);
    assert_eq!(
        response.responses[0].partitions[0].error_code,
        ErrorCode::UnknownTopicId
    );
}

#[test]
fn a_client_with_another_leader_epoch_is_fenced() {
    let mut broker = TestBroker::start();
    broker.create_topic("t", 1);
    // The end of one process and the start of the next raise the epoch.
    broker.stop();
    broker.start_again();
    let mut client = broker.connect();
    for (epoch, expected) in [
        (0, ErrorCode::FencedLeaderEpoch),
        (1, ErrorCode::FencedLeaderEpoch),
        (2, ErrorCode::None),
        (3, ErrorCode::UnknownLeaderEpoch),
    ] {
        let mut request = fetch_request("t", 0, 0, 0);
        request.topics[0].partitions[0].current_leader_epoch = LeaderEpoch(epoch);
        let response = client.ask(&request, 12);
        assert_eq!(response.responses[0].partitions[0].error_code, expected);
    }
}

fn numbered(id: i64, sequence: i32) -> BatchProducer {
    BatchProducer {
        id: ProducerId(id),
        epoch: ProducerEpoch(0),
        base_sequence: Sequence(sequence),
    }
}

fn producer_id(client: &mut Client) -> i64 {
    let request = InitProducerIdRequest {
        transactional_id: None,
        ..InitProducerIdRequest::default()
    };
    let response = client.ask(&request, 4);
    assert_eq!(response.error_code, ErrorCode::None);
    response.producer_id.0
}

#[test]
fn a_duplicate_is_answered_with_the_offset_of_its_original() {
    let broker = TestBroker::start();
    broker.create_topic("t", 1);
    let mut client = broker.connect();
    let id = producer_id(&mut client);
    let batch = |sequence| batch_of(numbered(id, sequence), 1, &["a", "b"]);
    // Both are in flight at once: the second must wait for what the first waits for.
    let first = client.send(&produce_request("t", 0, batch(0), -1), 9);
    let second = client.send(&produce_request("t", 0, batch(0), -1), 9);
    for correlation_id in [first, second] {
        let response = client.receive::<ProduceRequest>(9, correlation_id);
        let part = &response.responses[0].partition_responses[0];
        assert_eq!(
            (part.error_code, part.base_offset),
            (ErrorCode::None, Offset(0))
        );
    }
    assert_eq!(client.produce("t", 0, batch(2)).base_offset, Offset(2));
    assert_eq!(client.produce("t", 0, batch(0)).base_offset, Offset(0));
    assert_eq!(
        client.produce("t", 0, batch(6)).error_code,
        ErrorCode::OutOfOrderSequenceNumber
    );
    let unknown = client.produce("t", 0, batch_of(numbered(id + 1, 5), 1, &["a"]));
    assert_eq!(unknown.error_code, ErrorCode::UnknownProducerId);
    assert_eq!(
        unknown.log_start_offset,
        Offset(0),
        "or Java retries for ever"
    );
    assert_eq!(values(&client.fetch("t", 0, 0, 0)).len(), 4);
}

#[test]
fn batches_that_are_not_sound_are_refused() {
    let broker = TestBroker::start_with(|config| config.topic_defaults.message_bytes_max = 1000);
    broker.create_topic("t", 1);
    let mut client = broker.connect();
    let sound = batch(&["a", "b"]);
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = sound.to_vec();
        change(&mut bytes);
        Bytes::from(bytes)
    };
    let cases: [(Bytes, ErrorCode); 6] = [
        (Bytes::new(), ErrorCode::InvalidRecord),
        (with(&|bytes| bytes[70] ^= 1), ErrorCode::CorruptMessage),
        (
            with(&|bytes| bytes.truncate(80 - 15)),
            ErrorCode::InvalidRecord,
        ),
        (
            with(&|bytes| bytes.extend(sound.clone())),
            ErrorCode::InvalidRecord,
        ),
        (
            with(&|bytes| bytes[16] = 1),
            ErrorCode::UnsupportedForMessageFormat,
        ),
        (batch(&["x".repeat(2000)]), ErrorCode::MessageTooLarge),
    ];
    for (at, (bytes, expected)) in cases.into_iter().enumerate() {
        let answer = client.produce("t", 0, bytes);
        assert_eq!(answer.error_code, expected, "case {at}");
        assert_eq!(answer.base_offset, Offset(-1));
    }
    let answer = client.produce("t", 7, sound.clone());
    assert_eq!(answer.error_code, ErrorCode::UnknownTopicOrPartition);
    assert_eq!(client.produce("t", 0, sound).base_offset, Offset(0));
}

#[test]
fn a_partition_named_twice_in_a_produce_takes_neither() {
    let broker = TestBroker::start();
    broker.create_topic("t", 1);
    let mut client = broker.connect();
    let mut request = produce_request("t", 0, batch(&["a"]), -1);
    let again = request.topic_data[0].clone();
    request.topic_data.push(again);
    let response = client.ask(&request, 9);
    for topic in &response.responses {
        let error_code = topic.partition_responses[0].error_code;
        assert_eq!(error_code, ErrorCode::InvalidRequest);
    }
    assert_eq!(client.fetch("t", 0, 0, 0).high_watermark, Offset(0));
}

#[test]
fn acks_0_gets_no_answer_and_its_failure_closes_the_connection() {
    let broker = TestBroker::start();
    broker.create_topic("t", 1);
    let mut client = broker.connect();
    client.send(&produce_request("t", 0, batch(&["a"]), 0), 9);
    let request = ApiVersionsRequest::default();
    assert_eq!(client.ask(&request, 2).error_code, ErrorCode::None);
    let invalid = produce_request("t", 0, batch(&["a"]), 2);
    let response = client.ask(&invalid, 9);
    let part = &response.responses[0].partition_responses[0];
    assert_eq!(part.error_code, ErrorCode::InvalidRequiredAcks);
    client.send(&produce_request("nowhere", 0, batch(&["a"]), 0), 9);
    assert!(client.is_closed());
}

fn list(client: &mut Client, timestamp: i64, version: i16) -> ListOffsetsPartitionResponse {
    let request = ListOffsetsRequest {
        replica_id: BrokerId::NONE,
        topics: vec![ListOffsetsTopic {
            name: "t".into(),
            partitions: vec![ListOffsetsPartition {
                timestamp,
                ..ListOffsetsPartition::default()
            }],
        }],
        ..ListOffsetsRequest::default()
    };
    client.ask(&request, version).topics[0].partitions[0].clone()
}

#[test]
fn offsets_are_found_by_place_and_time() {
    let broker = TestBroker::start();
    broker.create_topic("t", 1);
    let mut client = broker.connect();
    for first_timestamp in [100, 300, 200] {
        let batch = batch_of(BatchProducer::NONE, first_timestamp, &["a", "b", "c"]);
        client.produce("t", 0, batch);
    }
    let cases = [
        (-1, 9, -1),
        (-2, 0, -1),
        (-3, 5, 302),
        (0, 0, 100),
        (101, 1, 101),
        (103, 3, 300),
        (302, 5, 302),
        (303, -1, -1),
    ];
    for (timestamp, offset, found) in cases {
        let answer = list(&mut client, timestamp, 7);
        assert_eq!(answer.error_code, ErrorCode::None);
        assert_eq!(
            (answer.offset.0, answer.timestamp),
            (offset, found),
            "{timestamp}"
        );
    }
    assert_eq!(list(&mut client, -1, 7).leader_epoch, LeaderEpoch(0));
    assert_eq!(list(&mut client, 101, 7).leader_epoch, LeaderEpoch(0));
    for (timestamp, version) in [(-3, 6), (-4, 7), (-9, 7)] {
        let answer = list(&mut client, timestamp, version);
        assert_eq!(answer.error_code, ErrorCode::UnsupportedVersion);
    }
}

#[test]
fn every_version_of_every_api_is_answered() {
    let broker = TestBroker::start();
    let id = broker.create_topic("t", 1);
    let mut client = broker.connect();
    in_every_version(
        &mut client,
        |_| produce_request("t", 0, batch(&["a"]), -1),
        |response, version| {
            let part = &response.responses[0].partition_responses[0];
            assert_eq!(part.error_code, ErrorCode::None, "v{version}");
        },
    );
    in_every_version(
        &mut client,
        |version| {
            let mut request = fetch_request("t", 0, 0, 0);
            if version >= 13 {
                request.topics[0].topic_id = id;
            }
            request
        },
        |response, version| {
            let part = &response.responses[0].partitions[0];
            assert!(values(part).len() > 1, "v{version}");
        },
    );
    in_every_version(
        &mut client,
        |_| ListOffsetsRequest {
            replica_id: BrokerId::NONE,
            topics: vec![ListOffsetsTopic {
                name: "t".into(),
                partitions: [-1, -2, 5]
                    .map(|timestamp| ListOffsetsPartition {
                        timestamp,
                        ..ListOffsetsPartition::default()
                    })
                    .into(),
            }],
            ..ListOffsetsRequest::default()
        },
        |response, version| {
            for part in &response.topics[0].partitions {
                assert_eq!(part.error_code, ErrorCode::None, "v{version}");
            }
        },
    );
    in_every_version(
        &mut client,
        |version| MetadataRequest {
            topics: (version > 0).then(Vec::new).or(Some(Vec::new())),
            include_cluster_authorized_operations: (8..=10).contains(&version),
            include_topic_authorized_operations: version >= 8,
            ..MetadataRequest::default()
        },
        |response, _| assert_eq!(response.brokers.len(), 1),
    );
}

#[test]
fn records_that_left_memory_are_read_from_disk_across_segments() {
    let mut broker = TestBroker::start_with(|config| {
        config.limits.tail_bytes_per_shard = 0;
        config.topic_defaults.segment_bytes = 64 << 10;
        config.topic_defaults.message_bytes_max = 64 << 10;
    });
    broker.create_topic("t", 1);
    let value = |i: i64| format!("{i:06}{}", "x".repeat(9_000));
    for i in 0..50 {
        let batch = batch_of(BatchProducer::NONE, i * 10, &[value(i)]);
        let answer = broker.connect().produce("t", 0, batch);
        assert_eq!(answer.base_offset, Offset(i));
    }
    for round in 0..2 {
        let mut client = broker.connect();
        let mut next = 0;
        while next < 50 {
            let found = values(&client.fetch("t", 0, next, 5_000));
            assert!(!found.is_empty(), "offset {next}");
            for (offset, found) in found {
                assert_eq!((offset, found), (next, value(next)));
                next += 1;
            }
        }
        let each = (0..50).flat_map(|i| [(i * 10 - 9, i), (i * 10, i)]);
        for (timestamp, offset) in each.skip(1).chain([(491, -1), (-3, 49)]) {
            let found = list(&mut client, timestamp, 7);
            assert_eq!(found.offset, Offset(offset), "{timestamp}, round {round}");
        }
        drop(client);
        if round == 0 {
            broker.stop();
            broker.start_again();
        }
    }
}

/// A Fetch of all partitions of a topic from their start.
fn fetch_all(partitions: i32, wait_ms: i32) -> FetchRequest {
    let mut request = fetch_request("t", 0, 0, wait_ms);
    let first = request.topics[0].partitions[0].clone();
    request.topics[0].partitions = (0..partitions)
        .map(|index| FetchPartition {
            partition: PartitionIndex(index),
            ..first.clone()
        })
        .collect();
    request
}

#[test]
fn a_parked_fetch_over_several_runtimes_is_answered_when_they_have_enough_together() {
    let broker = TestBroker::start_with(|config| config.runtimes = 2);
    broker.create_topic("t", 2);
    let (mut reader, mut writer) = (broker.connect(), broker.connect());
    let (first, second) = (batch(&["x".repeat(200)]), batch(&["x".repeat(60)]));
    let together = i32::try_from(first.len() + second.len()).expect("short");
    writer.produce("t", 0, first);
    let request = FetchRequest {
        min_bytes: together,
        ..fetch_all(2, 20_000)
    };
    let started = Instant::now();
    let correlation_id = reader.send(&request, 12);
    std::thread::sleep(Duration::from_millis(100));
    writer.produce("t", 1, second);
    let response = reader.receive::<FetchRequest>(12, correlation_id);
    for partition in &response.responses[0].partitions {
        assert_eq!(values(partition).len(), 1);
    }
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn partitions_of_several_runtimes_are_served_by_one_connection() {
    const PARTITIONS: i32 = 7;
    let mut broker = TestBroker::start_with(|config| config.runtimes = 3);
    broker.create_topic("t", PARTITIONS);
    let mut reader = broker.connect();
    let parked = reader.send(
        &FetchRequest {
            min_bytes: 2000,
            ..fetch_all(PARTITIONS, 20_000)
        },
        12,
    );
    let mut writer = broker.connect();
    let mut request = produce_request("t", 0, batch(&["x".repeat(100)]), -1);
    let records = request.topic_data[0].partition_data.remove(0).records;
    let started = Instant::now();
    for round in 0..3 {
        request.topic_data[0].partition_data = (0..PARTITIONS)
            .map(|index| ProducePartition {
                index: PartitionIndex(index),
                records: records.clone(),
            })
            .collect();
        let response = writer.ask(&request, 9);
        for part in &response.responses[0].partition_responses {
            assert_eq!(part.error_code, ErrorCode::None);
            assert_eq!(part.base_offset, Offset(round));
        }
    }
    let response = reader.receive::<FetchRequest>(12, parked);
    assert!(started.elapsed() < Duration::from_secs(10));
    let counts = |response: &FetchResponse| -> Vec<usize> {
        let partitions = &response.responses[0].partitions;
        partitions.iter().map(|part| values(part).len()).collect()
    };
    assert!(counts(&response).iter().sum::<usize>() >= 12, "2000 bytes");
    let response = reader.ask(&fetch_all(PARTITIONS, 0), 12);
    assert_eq!(counts(&response), [3; 7]);
    drop((reader, writer));
    broker.stop();
    broker.start_again();
    let response = broker.connect().ask(&fetch_all(PARTITIONS, 0), 12);
    assert_eq!(counts(&response), [3; 7], "one runtime now");
}
