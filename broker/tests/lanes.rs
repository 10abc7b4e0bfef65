//! Lanes as routers use them: appends and their outcomes, requests and their answers, and what ends a lane.

mod kit;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use keylane_broker::Broker;
use keylane_broker::config::BrokerConfig;
use keylane_broker::disk::Disk;
use keylane_broker::disk::simulated::SimulatedDisk;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::{BrokerId, PartitionIndex, TopicId};
use keylane_protocol::link::lane::Flow;
use keylane_protocol::link::{Body, Frame, Lane};
use keylane_protocol::message::create_topics::CreateTopicsRequest;
use keylane_protocol::message::delete_topics::DeleteTopicsRequest;
use keylane_protocol::message::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource,
};
use keylane_protocol::message::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use keylane_protocol::message::find_coordinator::FindCoordinatorRequest;
use keylane_protocol::message::init_producer_id::InitProducerIdRequest;
use keylane_protocol::message::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use keylane_protocol::message::metadata::MetadataRequest;
use keylane_protocol::offset::{LeaderEpoch, Offset};

use kit::link::{Peer, Relay, To, sub_batch};
use kit::{Client, TestBroker, batch, values};

const FETCH: i16 = 17;

fn leader_epoch(client: &mut Client, topic: &str) -> LeaderEpoch {
    let request = MetadataRequest {
        topics: Some(vec![
            keylane_protocol::message::metadata::MetadataRequestTopic {
                name: Some(topic.into()),
                ..Default::default()
            },
        ]),
        ..MetadataRequest::default()
    };
    client.ask(&request, 12).topics[0].partitions[0].leader_epoch
}

/// Creates a topic and returns where its first partition is.
fn topic(broker: &TestBroker, name: &str, partitions: i32) -> To {
    To {
        topic_id: broker.create_topic(name, partitions),
        partition: 0,
        leader_epoch: leader_epoch(&mut broker.connect(), name),
    }
}

fn fetch(to: To, offset: i64, wait_ms: i32) -> FetchRequest {
    FetchRequest {
        max_wait_ms: wait_ms,
        min_bytes: 1,
        max_bytes: 8 << 20,
        topics: vec![FetchTopic {
            topic_id: to.topic_id,
            partitions: vec![FetchPartition {
                partition: PartitionIndex(to.partition),
                current_leader_epoch: to.leader_epoch,
                fetch_offset: Offset(offset),
                partition_max_bytes: 8 << 20,
                ..FetchPartition::default()
            }],
            ..FetchTopic::default()
        }],
        ..FetchRequest::default()
    }
}

fn list_end(topic: &str) -> ListOffsetsRequest {
    ListOffsetsRequest {
        replica_id: BrokerId::NONE,
        topics: vec![ListOffsetsTopic {
            name: topic.into(),
            partitions: vec![ListOffsetsPartition {
                timestamp: -1,
                ..ListOffsetsPartition::default()
            }],
        }],
        ..ListOffsetsRequest::default()
    }
}

fn only(response: &FetchResponse) -> &keylane_protocol::message::fetch::FetchablePartitionResponse {
    &response.responses[0].partitions[0]
}

#[test]
fn records_of_many_lanes_are_appended_in_the_order_of_each_and_read_back() {
    let broker = TestBroker::start();
    let to = topic(&broker, "t", 1);
    let mut peer = Peer::connect(broker.internal_address());
    let lanes: Vec<Lane> = (0..4).map(|_| peer.open_lane()).collect();
    for round in 0..10 {
        for lane in &lanes {
            let records = batch(&[format!("{lane}:{round}")]);
            peer.append(*lane, to, records, lane.0 * 100 + round);
        }
    }
    let mut offsets = Vec::new();
    for lane in &lanes {
        let of_lane: Vec<i64> = (0..10)
            .map(|round| peer.outcome(lane.0 * 100 + round).base_offset.0)
            .collect();
        assert!(of_lane.is_sorted(), "{of_lane:?}");
        offsets.extend(of_lane);
    }
    offsets.sort_unstable();
    assert_eq!(offsets, (0..40).collect::<Vec<_>>());
    let response = peer.ask(lanes[0], &fetch(to, 0, 0), FETCH);
    assert_eq!(values(only(&response)).len(), 40);
}

#[test]
fn each_sub_batch_is_refused_by_itself() {
    let broker = TestBroker::start();
    let to = topic(&broker, "t", 2);
    let mut peer = Peer::connect(broker.internal_address());
    let lane = peer.open_lane();
    let mut corrupt = batch(&["x"]).to_vec();
    *corrupt.last_mut().expect("bytes") ^= 1;
    let two = Bytes::from([batch(&["a"]), batch(&["b"])].concat());
    peer.append(lane, to, batch(&["first"]), 1);
    peer.append(lane, to, corrupt.into(), 2);
    peer.append(lane, to, two, 3);
    peer.append(lane, to, Bytes::new(), 4);
    peer.append(lane, to, vec![7; 2 << 20].into(), 5);
    peer.append(lane, To { partition: 1, ..to }, batch(&["other"]), 6);
    peer.append(lane, to, batch(&["last"]), 7);
    let codes = (1..=7).map(|asker| peer.outcome(asker).error_code);
    let expected = [
        ErrorCode::None,
        ErrorCode::CorruptMessage,
        ErrorCode::InvalidRecord,
        ErrorCode::InvalidRecord,
        ErrorCode::MessageTooLarge,
        ErrorCode::None,
        ErrorCode::None,
    ];
    assert_eq!(codes.collect::<Vec<_>>(), expected);
    let mut refused = sub_batch(lane, to, batch(&["x"]));
    refused.acks = 2;
    let deadline = kit::link::now() + Duration::from_secs(20);
    peer.dialer.append(refused, deadline, 8).expect("queued");
    let outcome = peer.outcome(8);
    assert_eq!(outcome.error_code, ErrorCode::InvalidRequiredAcks);
    assert!(outcome.words.is_some());
}

#[test]
fn an_older_leader_epoch_is_refused_at_once_and_names_the_leader() {
    let mut broker = TestBroker::start();
    let old = topic(&broker, "t", 1);
    broker.stop();
    broker.start_again();
    let leader_epoch = leader_epoch(&mut broker.connect(), "t");
    assert!(leader_epoch > old.leader_epoch);
    let mut peer = Peer::connect(broker.internal_address());
    let lane = peer.open_lane();
    peer.append(lane, old, batch(&["late"]), 1);
    let outcome = peer.outcome(1);
    assert_eq!(outcome.error_code, ErrorCode::NotLeaderOrFollower);
    assert_eq!(outcome.leader_id, BrokerId(1));
    assert_eq!(outcome.leader_epoch, leader_epoch);
    let now = To {
        leader_epoch,
        ..old
    };
    peer.append(lane, now, batch(&["now"]), 2);
    assert_eq!(peer.outcome(2).base_offset, Offset(0));
}

#[test]
fn a_newer_leader_epoch_waits_for_the_image_and_holds_up_no_other_partition() {
    let broker = TestBroker::start();
    let to = topic(&broker, "t", 2);
    let mut peer = Peer::connect(broker.internal_address());
    let lane = peer.open_lane();
    let newer = To {
        leader_epoch: LeaderEpoch(to.leader_epoch.0 + 1),
        ..to
    };
    let unknown = To {
        topic_id: TopicId([9; 16]),
        ..to
    };
    peer.append(lane, newer, batch(&["x"]), 1);
    peer.append(lane, unknown, batch(&["x"]), 2);
    peer.append(lane, To { partition: 1, ..to }, batch(&["x"]), 3);
    assert_eq!(peer.outcome(3).error_code, ErrorCode::None);
    assert!(!peer.is_told(1) && !peer.is_told(2), "they wait");
    assert_eq!(peer.outcome(1).error_code, ErrorCode::NotLeaderOrFollower);
    let code = peer.outcome(2).error_code;
    assert_eq!(code, ErrorCode::UnknownTopicOrPartition);
    peer.append(lane, to, batch(&["y"]), 4);
    assert_eq!(peer.outcome(4).base_offset, Offset(0));
}

#[test]
fn records_without_acknowledgement_are_appended_although_the_lane_closes() {
    let broker = TestBroker::start();
    let to = topic(&broker, "t", 1);
    let mut peer = Peer::connect(broker.internal_address());
    let (leaving, staying) = (peer.open_lane(), peer.open_lane());
    peer.append_unanswered(leaving, to, batch(&["fire"]));
    peer.append_unanswered(leaving, to, batch(&["forget"]));
    assert!(peer.dialer.close_lane(leaving).is_empty());
    peer.write();
    peer.append(staying, to, batch(&["last"]), 1);
    assert_eq!(peer.outcome(1).base_offset, Offset(2));
}

fn dropped(broker: &TestBroker) -> u64 {
    let broker = broker.broker.as_ref().expect("it runs");
    broker.probe().dropped_sub_batches()
}

#[test]
fn records_that_wait_for_the_image_are_dropped_when_their_lane_closes() {
    let broker = TestBroker::start();
    let to = topic(&broker, "t", 1);
    let newer = To {
        leader_epoch: LeaderEpoch(to.leader_epoch.0 + 1),
        ..to
    };
    let mut peer = Peer::connect(broker.internal_address());
    let (leaving, staying) = (peer.open_lane(), peer.open_lane());
    peer.append(leaving, newer, batch(&["x"]), 1);
    peer.append(leaving, newer, batch(&["y"]), 2);
    peer.append(staying, newer, batch(&["z"]), 3);
    peer.rest(Duration::from_millis(50));
    assert!(!peer.is_told(1) && dropped(&broker) == 0, "they wait");
    peer.dialer.close_lane(leaving);
    assert_eq!(peer.outcome(3).error_code, ErrorCode::NotLeaderOrFollower);
    assert_eq!(dropped(&broker), 2);
    peer.append(staying, to, batch(&["later"]), 4);
    assert_eq!(peer.outcome(4).base_offset, Offset(0));
}

#[test]
fn records_that_arrive_together_with_the_end_of_their_lane_are_dropped() {
    let broker = TestBroker::start();
    let to = topic(&broker, "t", 1);
    let relay = Relay::to(broker.internal_address());
    let mut peer = Peer::connect(relay.address);
    let (leaving, staying) = (peer.open_lane(), peer.open_lane());
    peer.append(leaving, to, batch(&["first"]), 1);
    assert_eq!(peer.outcome(1).base_offset, Offset(0));
    relay.hold();
    peer.append(leaving, to, batch(&["given up"]), 2);
    peer.append_unanswered(leaving, to, batch(&["fire"]));
    peer.append(staying, to, batch(&["kept"]), 3);
    peer.write();
    peer.dialer.close_lane(leaving);
    peer.write();
    relay.let_go();
    assert_eq!(peer.outcome(3).base_offset, Offset(2));
    assert_eq!(dropped(&broker), 1);
    let response = peer.ask(staying, &fetch(to, 0, 0), FETCH);
    let values = values(only(&response)).into_iter().map(|(_, value)| value);
    assert!(values.eq(["first", "fire", "kept"]));
}

#[test]
fn credit_comes_back_for_every_sub_batch_whatever_becomes_of_it() {
    let broker = TestBroker::start();
    let to = topic(&broker, "t", 1);
    let mut peer = Peer::connect(broker.internal_address());
    let lane = peer.open_lane();
    // Three times the credit, of which every other batch is refused, and one in five comes in chunks.
    let good = batch(&[vec![b'x'; 500_000]]);
    let bad = Bytes::from(vec![7; 1_500_000]);
    for asker in 0..48 {
        let records = if asker % 2 == 0 { &good } else { &bad };
        peer.append(lane, to, records.clone(), asker);
    }
    for asker in 0..48 {
        let is_taken = peer.outcome(asker).error_code.is_none();
        assert_eq!(is_taken, asker % 2 == 0);
    }
    peer.rest(Duration::from_millis(50));
    assert!(peer.dialer.outbox().queued_bytes() == 0);
}

#[test]
fn a_parked_fetch_holds_up_no_request_and_is_woken_by_records() {
    let broker = TestBroker::start();
    let to = topic(&broker, "t", 1);
    let mut peer = Peer::connect(broker.internal_address());
    let lane = peer.open_lane();
    peer.send(lane, (&fetch(to, 0, 20_000), FETCH), 1);
    let listed = peer.ask(lane, &list_end("t"), 7);
    assert_eq!(listed.topics[0].partitions[0].offset, Offset(0));
    assert!(!peer.is_told(1), "it is parked");
    peer.append(lane, to, batch(&["news"]), 2);
    let response = peer.answer::<FetchRequest>(FETCH, 1);
    assert_eq!(values(only(&response)), [(0, "news".to_owned())]);
}

#[test]
fn a_parked_fetch_is_answered_at_once_when_it_is_to_finish() {
    let broker = TestBroker::start();
    let to = topic(&broker, "t", 1);
    let mut peer = Peer::connect(broker.internal_address());
    let lane = peer.open_lane();
    let parked = peer.send(lane, (&fetch(to, 0, 19_000), FETCH), 1);
    peer.ask(lane, &list_end("t"), 7);
    let began = tokio::time::Instant::now();
    assert!(peer.dialer.finish(lane, parked).is_none(), "it was sent");
    let response = peer.answer::<FetchRequest>(FETCH, 1);
    assert_eq!(only(&response).error_code, ErrorCode::None);
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_cancelled_fetch_is_dropped_and_its_lane_goes_on() {
    let broker = TestBroker::start();
    let to = topic(&broker, "t", 1);
    let mut peer = Peer::connect(broker.internal_address());
    let lane = peer.open_lane();
    // More in turn than may wait at once: none is left behind.
    for asker in 0..40 {
        let parked = peer.send(lane, (&fetch(to, 0, 19_000), FETCH), asker);
        peer.write();
        peer.dialer.cancel(Flow::Lane(lane), parked);
    }
    peer.send(lane, (&fetch(to, 0, 19_000), FETCH), 100);
    peer.append(lane, to, batch(&["news"]), 101);
    let response = peer.answer::<FetchRequest>(FETCH, 100);
    assert_eq!(values(only(&response)).len(), 1);
}

#[test]
fn what_has_expired_is_refused() {
    let broker = TestBroker::start();
    let to = topic(&broker, "t", 1);
    let mut peer = Peer::connect(broker.internal_address());
    let lane = peer.open_lane();
    // With the time that a slow link has left of it.
    let request = peer.send(lane, (&list_end("t"), 7), 1);
    let mut expired = Vec::new();
    while let Some(frame) = peer.dialer.outbox().next_frame(kit::link::now()) {
        expired.push(match frame {
            Frame::Request(request) => Frame::Request(keylane_protocol::link::lane::Request {
                time_left_ms: 0,
                ..request
            }),
            other => other,
        });
    }
    peer.append(lane, to, batch(&["x"]), 2);
    while let Some(frame) = peer.dialer.outbox().next_frame(kit::link::now()) {
        expired.push(match frame {
            Frame::Append(mut append) => {
                append.sub_batches[0].time_left_ms = 0;
                append.into()
            }
            other => other,
        });
    }
    for frame in expired {
        peer.write_raw(&frame.encode().expect("encodes").concat());
    }
    let answer = peer.answer_raw(1);
    assert_eq!(
        (answer.correlation, answer.error_code),
        (request, ErrorCode::RequestTimedOut)
    );
    assert_eq!(peer.outcome(2).error_code, ErrorCode::RequestTimedOut);
    peer.append(lane, to, batch(&["y"]), 3);
    assert_eq!(
        peer.outcome(3).base_offset,
        Offset(0),
        "nothing was appended"
    );
}

#[test]
fn a_follower_is_refused_as_at_the_client_listener() {
    let broker = TestBroker::start();
    let to = topic(&broker, "t", 1);
    let mut peer = Peer::connect(broker.internal_address());
    let lane = peer.open_lane();
    let mut request = fetch(to, 0, 0);
    request.replica_state.replica_id = BrokerId(2);
    let response = peer.ask(lane, &request, FETCH);
    assert_eq!(response.error_code, ErrorCode::ClusterAuthorizationFailed);
    let request = ListOffsetsRequest {
        replica_id: BrokerId(2),
        ..list_end("t")
    };
    let response = peer.ask(lane, &request, 7);
    let code = response.topics[0].partitions[0].error_code;
    assert_eq!(code, ErrorCode::ClusterAuthorizationFailed);
}

#[test]
fn topics_are_created_and_deleted_over_a_lane_in_order() {
    let broker = TestBroker::start();
    let mut peer = Peer::connect(broker.internal_address());
    let lane = peer.open_lane();
    let create = CreateTopicsRequest::one("new", 3);
    let delete = DeleteTopicsRequest {
        topic_names: vec!["new".into()],
        ..DeleteTopicsRequest::default()
    };
    // Without waiting in between: each is begun when the one before is answered.
    peer.send(lane, (&create, 7), 1);
    peer.send(lane, (&list_end("new"), 7), 2);
    peer.send(lane, (&delete, 5), 3);
    peer.send(lane, (&create, 7), 4);
    let created = peer.answer::<CreateTopicsRequest>(7, 1);
    assert_eq!(created.topics[0].error_code, ErrorCode::None);
    let listed = peer.answer::<ListOffsetsRequest>(7, 2);
    assert_eq!(listed.topics[0].partitions[0].error_code, ErrorCode::None);
    let deleted = peer.answer::<DeleteTopicsRequest>(5, 3);
    assert_eq!(deleted.responses[0].error_code, ErrorCode::None);
    let again = peer.answer::<CreateTopicsRequest>(7, 4);
    assert_eq!(again.topics[0].error_code, ErrorCode::None);
    assert_ne!(again.topics[0].topic_id, created.topics[0].topic_id);
}

#[test]
fn whatever_clients_ask_a_broker_is_answered_on_a_lane() {
    let broker = TestBroker::start();
    topic(&broker, "t", 1);
    let mut peer = Peer::connect(broker.internal_address());
    let lane = peer.open_lane();
    let new_producer = InitProducerIdRequest {
        transactional_id: None,
        ..InitProducerIdRequest::default()
    };
    let first = peer.ask(lane, &new_producer, 4);
    let second = peer.ask(lane, &new_producer, 4);
    assert_eq!(first.error_code, ErrorCode::None);
    assert_ne!(first.producer_id, second.producer_id);
    let described = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: 2,
            resource_name: "t".into(),
            configuration_keys: None,
        }],
        ..DescribeConfigsRequest::default()
    };
    let described = peer.ask(lane, &described, 4);
    assert_eq!(described.results[0].error_code, ErrorCode::None);
    let coordinator = peer.ask(lane, &FindCoordinatorRequest::default(), 2);
    assert_eq!(coordinator.port, i32::from(broker.address().port()));
    let everything = MetadataRequest {
        topics: None,
        ..MetadataRequest::default()
    };
    let metadata = peer.ask(lane, &everything, 12);
    assert_eq!(metadata.topics[0].name.as_deref(), Some("t"));
}

#[test]
fn a_request_that_cannot_be_served_costs_neither_lane_nor_link() {
    let broker = TestBroker::start();
    topic(&broker, "t", 1);
    let mut peer = Peer::connect(broker.internal_address());
    let lane = peer.open_lane();
    // An API that does not exist, a version that does not, Produce, and bytes that are no request.
    let cases = [
        ((999, 0), ErrorCode::UnsupportedVersion),
        ((3, 99), ErrorCode::UnsupportedVersion),
        ((0, 9), ErrorCode::UnsupportedVersion),
        ((2, 7), ErrorCode::InvalidRequest),
        ((1, 17), ErrorCode::InvalidRequest),
    ];
    for (asker, (api, code)) in (0..).zip(cases) {
        let body = Body::from(Bytes::from_static(b"\xff\xff\xff"));
        peer.send_raw(lane, api, body, asker);
        let answer = peer.answer_raw(asker);
        assert_eq!(answer.error_code, code, "{api:?}");
        assert!(answer.words.is_some() && answer.chunk.is_empty());
    }
    let listed = peer.ask(lane, &list_end("t"), 7);
    assert_eq!(listed.topics[0].partitions[0].error_code, ErrorCode::None);
}

#[test]
fn a_link_that_is_not_read_stops_no_other() {
    let broker = TestBroker::start_with(|config| {
        config.clients.fetch_bytes_total_max = 4 << 20;
    });
    let to = topic(&broker, "t", 1);
    let mut peer = Peer::connect(broker.internal_address());
    let lane = peer.open_lane();
    for asker in 0..8 {
        peer.append(lane, to, batch(&[vec![b'x'; 900_000]]), asker);
        peer.outcome(asker);
    }
    let mut deaf = Peer::connect(broker.internal_address());
    for asker in 0..64 {
        let lane = deaf.open_lane();
        for part in 0..10 {
            deaf.send(lane, (&fetch(to, 0, 0), FETCH), asker * 10 + part);
        }
    }
    deaf.write();
    for asker in 100..120 {
        peer.append(lane, to, batch(&["y"]), asker);
        assert_eq!(peer.outcome(asker).error_code, ErrorCode::None);
        let response = peer.ask(lane, &fetch(to, 8, 0), FETCH);
        assert!(!values(only(&response)).is_empty());
    }
}

#[test]
fn pipelined_appends_of_many_lanes_share_syncs() {
    const LANES: u64 = 100;
    const EACH: u64 = 5;
    let disk = SimulatedDisk::new(1);
    let syncs = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&syncs);
    disk.visit(move |moment| {
        if moment.is_sync() {
            // As slow as a real one, so that others come meanwhile.
            std::thread::sleep(Duration::from_millis(2));
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let mut config = BrokerConfig::new(Path::new("/data"));
    config.listen.set_port(0);
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let broker = Broker::start_on(config, &disk).expect("it starts");
    let broker = TestBroker {
        folder: tempfile::tempdir().expect("a folder that is not used"),
        broker: Some(broker),
    };
    let to = topic(&broker, "t", 1);
    let mut peer = Peer::connect(broker.internal_address());
    let before = syncs.load(Ordering::Relaxed);
    let lanes: Vec<Lane> = (0..LANES).map(|_| peer.open_lane()).collect();
    for (at, lane) in (0..).zip(&lanes) {
        for part in 0..EACH {
            peer.append(*lane, to, batch(&["x"]), at * EACH + part);
        }
    }
    for asker in 0..LANES * EACH {
        assert_eq!(peer.outcome(asker).error_code, ErrorCode::None);
    }
    let needed = syncs.load(Ordering::Relaxed) - before;
    assert!(needed * 10 < LANES * EACH, "{needed} syncs");
}

#[test]
fn ten_thousand_lanes_are_lawful_and_the_last_is_served_like_the_first() {
    let broker = TestBroker::start();
    let to = topic(&broker, "t", 1);
    let mut peer = Peer::connect(broker.internal_address());
    let lanes: Vec<Lane> = (0..10_000).map(|_| peer.open_lane()).collect();
    peer.append(lanes[9_999], to, batch(&["last"]), 1);
    peer.append(lanes[0], to, batch(&["first"]), 2);
    assert_eq!(peer.outcome(1).error_code, ErrorCode::None);
    assert_eq!(peer.outcome(2).error_code, ErrorCode::None);
    for lane in &lanes[..9_999] {
        peer.dialer.close_lane(*lane);
    }
    let listed = peer.ask(lanes[9_999], &list_end("t"), 7);
    assert_eq!(listed.topics[0].partitions[0].offset, Offset(2));
}

#[test]
fn what_was_read_is_appended_before_a_broker_stops() {
    let mut broker = TestBroker::start();
    let to = topic(&broker, "t", 1);
    let mut peer = Peer::connect(broker.internal_address());
    let lane = peer.open_lane();
    peer.append(lane, to, batch(&["x"]), 1);
    peer.send(lane, (&fetch(to, 5, 19_000), FETCH), 2);
    peer.outcome(1);
    broker.stop();
    assert!(peer.is_closed_by_broker());
    broker.start_again();
    let fetched = broker.connect().fetch("t", 0, 0, 0);
    assert_eq!(values(&fetched).len(), 1);
}
