//! Bytes that no client sends: they cost the connection they came on, never the broker.

mod kit;

use std::io::Write;

use keylane_protocol::api::{APIS, ApiKey};
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::frame::decode_response;
use keylane_protocol::message::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use kit::{Client, TestBroker};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

fn is_alive(broker: &TestBroker) -> bool {
    let request = ApiVersionsRequest::default();
    let response = broker.connect().ask(&request, 2);
    response.error_code == ErrorCode::None
}

fn send_raw(broker: &TestBroker, bytes: &[u8]) -> Client {
    let mut client = broker.connect();
    // The broker may close while this is still being written.
    let _ = client.stream.write_all(bytes);
    client
}

/// A request header before flexible versions, without client id.
fn header(key: i16, version: i16) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(key.to_be_bytes());
    bytes.extend(version.to_be_bytes());
    bytes.extend(7_i32.to_be_bytes());
    bytes.extend((-1_i16).to_be_bytes());
    bytes
}

fn framed(body: &[u8]) -> Vec<u8> {
    let length = i32::try_from(body.len()).expect("short");
    [length.to_be_bytes().as_slice(), body].concat()
}

#[test]
fn impossible_lengths_close_the_connection() {
    let broker = TestBroker::start();
    for length in [0, -1, i32::MIN, i32::MAX, 100 * 1024 * 1024 + 1] {
        assert!(
            send_raw(&broker, &length.to_be_bytes()).is_closed(),
            "{length}"
        );
    }
    assert!(send_raw(&broker, b"GET / HTTP/1.1\r\n\r\n").is_closed());
    assert!(is_alive(&broker));
}

#[test]
fn unknown_apis_and_versions_close_the_connection() {
    let broker = TestBroker::start();
    for (key, version) in [
        (8, 0),
        (10, 3),
        (-1, 0),
        (999, 0),
        (0, 2),
        (0, 12),
        (1, 3),
        (3, 13),
    ] {
        let frame = framed(&header(key, version));
        assert!(send_raw(&broker, &frame).is_closed(), "{key} v{version}");
    }
    assert!(is_alive(&broker));
}

#[test]
fn an_unknown_version_of_api_versions_is_answered_in_version_0() {
    let broker = TestBroker::start();
    let mut body = header(18, 99);
    body.extend([0xff; 20]);
    let mut client = send_raw(&broker, &framed(&body));
    let frame = client.receive_frame().expect("an answer");
    let (_, response) = decode_response::<ApiVersionsResponse>(frame, 0).expect("a v0 body");
    assert_eq!(response.error_code, ErrorCode::UnsupportedVersion);
    let own = &response.api_keys[0];
    assert_eq!((own.api_key, own.min_version, own.max_version), (18, 0, 4));
    let request = ApiVersionsRequest::default();
    assert_eq!(client.ask(&request, 0).error_code, ErrorCode::None);
}

#[test]
fn bytes_after_a_request_close_the_connection() {
    let broker = TestBroker::start();
    // librdkafka's Metadata goes on after its end.
    for api in APIS.iter().filter(|api| api.key != ApiKey::Metadata) {
        let version = api.version_min;
        let mut body = header(api.key.code(), version);
        body.extend([0; 4096]);
        assert!(
            send_raw(&broker, &framed(&body)).is_closed(),
            "{}",
            api.name
        );
    }
    assert!(is_alive(&broker));
}

#[test]
fn random_frames_never_end_the_broker() {
    const SEED: u64 = 20_261_124;
    let broker = TestBroker::start();
    broker.create_topic("t", 2);
    let mut random = StdRng::seed_from_u64(SEED);
    for round in 0..2_000 {
        let api = APIS[random.random_range(0..APIS.len())];
        let version = random.random_range(api.version_min..=api.version_max);
        let mut body = header(api.key.code(), version);
        let length = random.random_range(0..200);
        // Small numbers are lengths and counts more often than large ones.
        let small: bool = random.random();
        body.extend((0..length).map(|_| {
            let byte: u8 = random.random();
            if small { byte % 4 } else { byte }
        }));
        let _ = send_raw(&broker, &framed(&body));
        if round % 100 == 0 {
            assert!(is_alive(&broker), "seed {SEED}, round {round}");
        }
    }
    assert!(is_alive(&broker), "seed {SEED}");
}
