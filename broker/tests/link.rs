//! The internal listener as nodes see it: the handshake, calls, and what breaks the rules.

mod kit;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use keylane_broker::config::BrokerConfig;
use keylane_protocol::cluster::call::{
    CallKind, DescribeQuorumRequest, FetchMetadataRequest, RAFT_CALL_KIND,
};
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::{BrokerId, ClusterId};
use keylane_protocol::link::Body;
use keylane_protocol::link::handshake::{Hello, Refusal};
use keylane_protocol::transport::link::HandshakeError;

use kit::TestBroker;
use kit::link::{Peer, hello};

#[test]
fn a_link_is_welcomed_with_what_the_broker_is() {
    let broker = TestBroker::start();
    let peer = Peer::connect(broker.internal_address());
    let welcome = &peer.welcome;
    assert_ne!(welcome.cluster_id, ClusterId::ZERO);
    assert_eq!(welcome.broker_id, BrokerId(1));
    assert_ne!(welcome.raft_node_id, 0);
    assert!(welcome.broker_epoch.0 >= 0 && welcome.credit_bytes > 0);
}

#[test]
fn a_node_of_another_cluster_is_refused_in_words() {
    let broker = TestBroker::start();
    let hello = Hello {
        cluster_id: ClusterId([7; 16]),
        ..hello()
    };
    match Peer::introduce(broker.internal_address(), &hello).err() {
        Some(HandshakeError::Refused(refused)) => {
            assert_eq!(refused.reason, Refusal::OtherCluster);
            assert!(refused.words.contains("test belongs to cluster"));
        }
        other => panic!("it should be refused: {other:?}"),
    }
}

#[test]
fn a_kafka_client_is_not_taken_for_a_node_and_costs_only_its_connection() {
    let broker = TestBroker::start();
    let mut peer = Peer::connect(broker.internal_address());
    let mut stream = TcpStream::connect(broker.internal_address()).expect("it listens");
    let request = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 255, 255];
    stream.write_all(&request).expect("sent");
    let mut rest = Vec::new();
    let closed = stream.read_to_end(&mut rest);
    assert!(closed.is_err() || rest.is_empty());
    let answer = peer.call(&DescribeQuorumRequest::default());
    assert_eq!(answer.controller_id, BrokerId(1));
}

#[test]
fn the_metadata_name_the_internal_address() {
    let broker = TestBroker::start();
    let mut peer = Peer::connect(broker.internal_address());
    let answer = peer.call(&DescribeQuorumRequest::default());
    let voter = &answer.voters[0];
    let port = i32::from(broker.internal_address().port());
    assert_eq!(
        (voter.internal_host.as_ref(), voter.internal_port),
        ("127.0.0.1", port)
    );
}

#[test]
fn a_call_that_waits_holds_up_no_other() {
    let broker = TestBroker::start();
    let mut peer = Peer::connect(broker.internal_address());
    let known = peer.call(&FetchMetadataRequest::default()).index;
    let waiting = FetchMetadataRequest {
        index: known,
        wait_ms: 60_000,
    };
    let body = || {
        use keylane_protocol::cluster::call::CallBody;
        Body::from(waiting.to_bytes().expect("encodes"))
    };
    let kind = CallKind::FetchMetadata.number();
    peer.call_raw(kind, body(), 1, Duration::from_secs(60));
    let answer = peer.call(&DescribeQuorumRequest::default());
    assert_eq!(answer.index, known);
    broker.create_topic("news", 1);
    assert!(peer.reply(1).error_code.is_none());
}

#[test]
fn a_call_of_an_unknown_kind_or_body_is_refused_by_itself() {
    let broker = TestBroker::start();
    let mut peer = Peer::connect(broker.internal_address());
    let time = Duration::from_secs(20);
    peer.call_raw(77, Body::default(), 1, time);
    assert_eq!(peer.reply(1).error_code, ErrorCode::UnsupportedVersion);
    let kind = CallKind::RegisterBroker.number();
    peer.call_raw(kind, Body::from(bytes::Bytes::from_static(b"?")), 2, time);
    assert_eq!(peer.reply(2).error_code, ErrorCode::InvalidRequest);
    peer.call_raw(
        RAFT_CALL_KIND,
        Body::from(bytes::Bytes::from_static(b"?")),
        3,
        time,
    );
    let reply = peer.reply(3);
    assert!(
        reply.error_code.is_none() && !reply.chunk.is_empty(),
        "the quorum says so itself"
    );
    peer.call(&DescribeQuorumRequest::default());
}

#[test]
fn frames_that_break_the_rules_cost_only_their_link() {
    let broker = TestBroker::start();
    let mut good = Peer::connect(broker.internal_address());
    // A length beyond any frame, an unknown kind, an answer from the dialer, a lane that is not open.
    let frames: [&[u8]; 4] = [
        &[0x7f, 0, 0, 0],
        &[0, 0, 0, 1, 99],
        &[0, 0, 0, 2, 13, 0],
        &[0, 0, 0, 10, 11, 0, 0, 0, 0, 0, 0, 0, 5, 0],
    ];
    for frame in frames {
        let mut bad = Peer::connect(broker.internal_address());
        bad.write_raw(frame);
        assert!(bad.is_closed_by_broker(), "{frame:?}");
    }
    good.call(&DescribeQuorumRequest::default());
}

#[test]
fn a_broker_stops_cleanly_while_links_are_open() {
    let mut broker = TestBroker::start();
    let mut peer = Peer::connect(broker.internal_address());
    broker.stop();
    assert!(peer.is_closed_by_broker());
}

#[test]
fn an_internal_listener_that_others_reach_must_be_meant() {
    let mut config = BrokerConfig::new("/tmp/x");
    config.internal_listen = "0.0.0.0:0".parse().expect("an address");
    let faults = config.validate().expect_err("not meant").faults;
    assert_eq!(faults[0].field, "internal_listen");
}
