//! Frames written by Apache Kafka and its clients (see `recorded/README.md`) decode whole and encode to the same bytes.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use keylane_protocol::api::APIS;
use keylane_protocol::frame::{
    LENGTH_PREFIX_BYTES, decode_request_body, decode_response, request_frame, response_frame,
};
use keylane_protocol::header::RequestHeader;
use keylane_protocol::message::Request;
use keylane_protocol::message::api_versions::ApiVersionsRequest;
use keylane_protocol::message::create_topics::CreateTopicsRequest;
use keylane_protocol::message::delete_topics::DeleteTopicsRequest;
use keylane_protocol::message::describe_cluster::DescribeClusterRequest;
use keylane_protocol::message::describe_configs::DescribeConfigsRequest;
use keylane_protocol::message::fetch::FetchRequest;
use keylane_protocol::message::init_producer_id::InitProducerIdRequest;
use keylane_protocol::message::list_offsets::ListOffsetsRequest;
use keylane_protocol::message::metadata::MetadataRequest;
use keylane_protocol::message::produce::ProduceRequest;

/// What a file's name says about its content.
struct Recorded {
    path: PathBuf,
    api: String,
    version: i16,
    is_response: bool,
    is_inexact: bool,
}

fn recorded() -> Vec<Recorded> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded");
    let senders = root.read_dir().expect("the recorded frames");
    let folders = senders.map(|entry| entry.expect("an entry").path());
    let files = folders
        .filter(|path| path.is_dir())
        .flat_map(|folder| folder.read_dir().expect("a folder of a sender"));
    files
        .map(|entry| named(entry.expect("an entry").path()))
        .collect()
}

fn named(path: PathBuf) -> Recorded {
    let name = path
        .file_stem()
        .and_then(|name| name.to_str())
        .expect("a name");
    let is_version =
        |&(at, _): &(usize, &str)| name[at + 2..].starts_with(|c: char| c.is_ascii_digit());
    let version_at = name
        .match_indices("_v")
        .find(is_version)
        .expect("a version in the name")
        .0;
    let (api, rest) = (&name[..version_at], &name[version_at + 2..]);
    let mut words = rest.split('_');
    let version = words
        .next()
        .and_then(|word| word.parse().ok())
        .expect("a version");
    let kind = words.next().expect("a kind in the name");
    assert!(["request", "response"].contains(&kind), "{name}");
    Recorded {
        api: api.to_owned(),
        version,
        is_response: kind == "response",
        is_inexact: name.ends_with("_inexact"),
        path,
    }
}

fn check<R: Request>(recorded: &Recorded) {
    let Recorded { path, version, .. } = recorded;
    let shown = path.display();
    let bytes = Bytes::from(std::fs::read(path).expect("a recorded frame"));
    let encoded = if recorded.is_response {
        let decoded = decode_response::<R::Response>(bytes.clone(), *version);
        let (header, response) = decoded.unwrap_or_else(|error| panic!("{shown}: {error}"));
        response_frame(&response, *version, header.correlation_id)
    } else {
        let decoded = RequestHeader::decode(bytes.clone());
        let (header, body) = decoded.unwrap_or_else(|error| panic!("{shown}: {error}"));
        assert_eq!(
            (header.api_key, header.api_version),
            (R::API_KEY.code(), *version),
            "{shown}"
        );
        let decoded = decode_request_body::<R>(body, *version);
        let request = decoded.unwrap_or_else(|error| panic!("{shown}: {error}"));
        let client_id = header.client_id.as_deref();
        request_frame(&request, *version, header.correlation_id, client_id)
    };
    let encoded = encoded.expect("what was decoded can be encoded").concat();
    if !recorded.is_inexact {
        assert!(
            encoded[LENGTH_PREFIX_BYTES..] == bytes,
            "{shown} is encoded differently"
        );
    }
}

fn check_any(recorded: &Recorded) {
    match recorded.api.as_str() {
        "api_versions" => check::<ApiVersionsRequest>(recorded),
        "create_topics" => check::<CreateTopicsRequest>(recorded),
        "delete_topics" => check::<DeleteTopicsRequest>(recorded),
        "describe_cluster" => check::<DescribeClusterRequest>(recorded),
        "describe_configs" => check::<DescribeConfigsRequest>(recorded),
        "fetch" => check::<FetchRequest>(recorded),
        "init_producer_id" => check::<InitProducerIdRequest>(recorded),
        "list_offsets" => check::<ListOffsetsRequest>(recorded),
        "metadata" => check::<MetadataRequest>(recorded),
        "produce" => check::<ProduceRequest>(recorded),
        other => panic!("no API is called {other}"),
    }
}

#[test]
fn frames_of_apache_kafka_decode_and_encode_to_the_same_bytes() {
    let all = recorded();
    let versions = APIS.iter().map(|api| 1 + api.version_max - api.version_min);
    let expected: i16 = versions.sum::<i16>() * 2;
    assert!(
        all.len() >= expected as usize,
        "{} frames of {expected}",
        all.len()
    );
    all.iter().for_each(check_any);
}
