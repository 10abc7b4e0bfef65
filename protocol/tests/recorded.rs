//! Frames written by Apache Kafka and its clients (see `recorded/README.md`) decode whole and encode to the same bytes,
//! and every record batch in them is read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use keylane_protocol::api::{APIS, ApiKey};
use keylane_protocol::compression::Compression;
use keylane_protocol::frame::{
    LENGTH_PREFIX_BYTES, decode_request_body, decode_response, request_frame, response_frame,
};
use keylane_protocol::header::RequestHeader;
use keylane_protocol::message::Request;
use keylane_protocol::message::api_versions::ApiVersionsRequest;
use keylane_protocol::message::consumer_group_describe::ConsumerGroupDescribeRequest;
use keylane_protocol::message::consumer_group_heartbeat::ConsumerGroupHeartbeatRequest;
use keylane_protocol::message::create_partitions::CreatePartitionsRequest;
use keylane_protocol::message::create_topics::CreateTopicsRequest;
use keylane_protocol::message::delete_groups::DeleteGroupsRequest;
use keylane_protocol::message::delete_topics::DeleteTopicsRequest;
use keylane_protocol::message::describe_cluster::DescribeClusterRequest;
use keylane_protocol::message::describe_configs::DescribeConfigsRequest;
use keylane_protocol::message::describe_groups::DescribeGroupsRequest;
use keylane_protocol::message::fetch::{FetchRequest, FetchResponse};
use keylane_protocol::message::find_coordinator::FindCoordinatorRequest;
use keylane_protocol::message::heartbeat::HeartbeatRequest;
use keylane_protocol::message::incremental_alter_configs::IncrementalAlterConfigsRequest;
use keylane_protocol::message::init_producer_id::InitProducerIdRequest;
use keylane_protocol::message::join_group::JoinGroupRequest;
use keylane_protocol::message::leave_group::LeaveGroupRequest;
use keylane_protocol::message::list_groups::ListGroupsRequest;
use keylane_protocol::message::list_offsets::ListOffsetsRequest;
use keylane_protocol::message::metadata::MetadataRequest;
use keylane_protocol::message::offset_commit::OffsetCommitRequest;
use keylane_protocol::message::offset_delete::OffsetDeleteRequest;
use keylane_protocol::message::offset_fetch::OffsetFetchRequest;
use keylane_protocol::message::offset_for_leader_epoch::OffsetForLeaderEpochRequest;
use keylane_protocol::message::produce::ProduceRequest;
use keylane_protocol::message::sync_group::SyncGroupRequest;
use keylane_protocol::record_batch::{RecordBatch, RecordBatches};

const DECOMPRESSED_BYTES_MAX: usize = 1024 * 1024;

/// A frame, and what is said about it by its file's name or its line.
struct Recorded {
    shown: String,
    api: ApiKey,
    version: i16,
    is_response: bool,
    is_inexact: bool,
    bytes: Bytes,
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = folder.read_dir().expect("a folder of recorded frames");
    entries.map(|entry| entry.expect("an entry").path())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded")
}

/// Returns the frames that have files of their own.
fn frames() -> Vec<Recorded> {
    let folders = entries(&root()).filter(|path| path.is_dir());
    let files = folders.flat_map(|folder| entries(&folder).collect::<Vec<_>>());
    files.map(|path| frame_of_file(&path)).collect()
}

/// Returns the frames of the exchanges between a client and Apache Kafka, by client.
fn exchanges() -> BTreeMap<String, Vec<Recorded>> {
    let files = entries(&root()).filter(|path| path.extension().is_some_and(|end| end == "txt"));
    files
        .map(|path| {
            let client = path.file_stem().expect("the name of a client");
            (
                client.to_string_lossy().into_owned(),
                frames_of_exchanges(&path),
            )
        })
        .collect()
}

fn frame_of_file(path: &Path) -> Recorded {
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
        shown: path.display().to_string(),
        api: api_called(api),
        version,
        is_response: kind == "response",
        is_inexact: name.ends_with("_inexact"),
        bytes: std::fs::read(path).expect("a recorded frame").into(),
    }
}

/// Returns the API whose name is this one in snake case.
fn api_called(snake_case: &str) -> ApiKey {
    let name = snake_case.replace('_', "");
    let found = APIS.iter().find(|api| api.name.eq_ignore_ascii_case(&name));
    found
        .unwrap_or_else(|| panic!("no API is called {name}"))
        .key
}

fn frames_of_exchanges(path: &Path) -> Vec<Recorded> {
    let text = std::fs::read_to_string(path).expect("recorded exchanges");
    let mut frames = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let words: Vec<&str> = line.split(' ').collect();
        let [api, version, request, response] = words[..] else {
            panic!("{}:{number}: four words expected", path.display());
        };
        let code = api.parse().expect("the key of an API");
        for (is_response, hexadecimal) in [(false, request), (true, response)] {
            frames.push(Recorded {
                shown: format!("{}:{number}", path.display()),
                api: ApiKey::from_code(code).expect("an API of the table"),
                version: version.parse().expect("a version"),
                is_response,
                is_inexact: false,
                bytes: from_hexadecimal(hexadecimal).into(),
            });
        }
    }
    frames
}

fn from_hexadecimal(digits: &str) -> Vec<u8> {
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal digits"))
        .collect()
}

/// Returns the bytes that the decoded frame is encoded to, without their length.
fn encoded_again<R: Request>(recorded: &Recorded) -> Vec<u8> {
    let Recorded {
        shown,
        version,
        bytes,
        ..
    } = recorded;
    let encoded = if recorded.is_response {
        let decoded = decode_response::<R::Response>(bytes.clone(), *version);
        let (header, response) = decoded.unwrap_or_else(|error| panic!("{shown}: {error}"));
        response_frame(&response, *version, header.correlation_id)
    } else {
        let (header, request) = decoded_request::<R>(recorded);
        let client_id = header.client_id.as_deref();
        request_frame(&request, *version, header.correlation_id, client_id)
    };
    let encoded = encoded.expect("what was decoded can be encoded").concat();
    encoded[LENGTH_PREFIX_BYTES..].to_vec()
}

fn decoded_request<R: Request>(recorded: &Recorded) -> (RequestHeader, R) {
    let Recorded { shown, version, .. } = recorded;
    let decoded = RequestHeader::decode(recorded.bytes.clone());
    let (header, body) = decoded.unwrap_or_else(|error| panic!("{shown}: {error}"));
    let found = (header.api_key, header.api_version);
    assert_eq!(found, (R::API_KEY.code(), *version), "{shown}");
    let decoded = decode_request_body::<R>(body, *version);
    let request = decoded.unwrap_or_else(|error| panic!("{shown}: {error}"));
    (header, request)
}

fn check(recorded: &Recorded) {
    let encoded = match recorded.api {
        ApiKey::ApiVersions => encoded_again::<ApiVersionsRequest>(recorded),
        ApiKey::CreatePartitions => encoded_again::<CreatePartitionsRequest>(recorded),
        ApiKey::CreateTopics => encoded_again::<CreateTopicsRequest>(recorded),
        ApiKey::DeleteTopics => encoded_again::<DeleteTopicsRequest>(recorded),
        ApiKey::DescribeCluster => encoded_again::<DescribeClusterRequest>(recorded),
        ApiKey::DescribeConfigs => encoded_again::<DescribeConfigsRequest>(recorded),
        ApiKey::Fetch => encoded_again::<FetchRequest>(recorded),
        ApiKey::FindCoordinator => encoded_again::<FindCoordinatorRequest>(recorded),
        ApiKey::IncrementalAlterConfigs => {
            encoded_again::<IncrementalAlterConfigsRequest>(recorded)
        }
        ApiKey::InitProducerId => encoded_again::<InitProducerIdRequest>(recorded),
        ApiKey::ListOffsets => encoded_again::<ListOffsetsRequest>(recorded),
        ApiKey::OffsetForLeaderEpoch => encoded_again::<OffsetForLeaderEpochRequest>(recorded),
        ApiKey::Metadata => encoded_again::<MetadataRequest>(recorded),
        ApiKey::Produce => encoded_again::<ProduceRequest>(recorded),
        ApiKey::ConsumerGroupDescribe => encoded_again::<ConsumerGroupDescribeRequest>(recorded),
        ApiKey::ConsumerGroupHeartbeat => encoded_again::<ConsumerGroupHeartbeatRequest>(recorded),
        ApiKey::DeleteGroups => encoded_again::<DeleteGroupsRequest>(recorded),
        ApiKey::DescribeGroups => encoded_again::<DescribeGroupsRequest>(recorded),
        ApiKey::Heartbeat => encoded_again::<HeartbeatRequest>(recorded),
        ApiKey::JoinGroup => encoded_again::<JoinGroupRequest>(recorded),
        ApiKey::LeaveGroup => encoded_again::<LeaveGroupRequest>(recorded),
        ApiKey::ListGroups => encoded_again::<ListGroupsRequest>(recorded),
        ApiKey::OffsetCommit => encoded_again::<OffsetCommitRequest>(recorded),
        ApiKey::OffsetDelete => encoded_again::<OffsetDeleteRequest>(recorded),
        ApiKey::OffsetFetch => encoded_again::<OffsetFetchRequest>(recorded),
        ApiKey::SyncGroup => encoded_again::<SyncGroupRequest>(recorded),
        ApiKey::RoutedProduce | ApiKey::InitRoutedProducer => panic!("Kafka has no such API"),
    };
    if !recorded.is_inexact && encoded != recorded.bytes {
        panic!("{} is encoded differently", recorded.shown);
    }
}

#[test]
fn frames_of_apache_kafka_decode_and_encode_to_the_same_bytes() {
    let all = frames();
    let kafkas = APIS.iter().filter(|api| !api.key.is_private());
    let versions = kafkas.map(|api| 1 + api.version_max - api.version_min);
    let expected: i16 = versions.sum::<i16>() * 2;
    assert!(
        all.len() >= expected as usize,
        "{} frames of {expected}",
        all.len()
    );
    all.iter().for_each(check);
}

/// Returns the batches of a Produce request or of the answer to a Fetch.
fn record_batches(recorded: &Recorded) -> Vec<RecordBatch> {
    let shown = &recorded.shown;
    match (recorded.api, recorded.is_response) {
        (ApiKey::Produce, false) => {
            let (_, request) = decoded_request::<ProduceRequest>(recorded);
            let topics = request.topic_data.into_iter();
            let records = topics.flat_map(|topic| topic.partition_data);
            let checked = records.map(|partition| {
                let batch = partition.records.expect("records in a request");
                RecordBatch::check(batch).unwrap_or_else(|error| panic!("{shown}: {error}"))
            });
            checked.collect()
        }
        (ApiKey::Fetch, true) => {
            let version = recorded.version;
            let decoded = decode_response::<FetchResponse>(recorded.bytes.clone(), version);
            let (_, response) = decoded.unwrap_or_else(|error| panic!("{shown}: {error}"));
            let topics = response.responses.into_iter();
            let records = topics.flat_map(|topic| topic.partitions);
            let batches = records
                .filter_map(|partition| partition.records)
                .flat_map(|records| RecordBatches::new(records.into_bytes()));
            batches
                .map(|batch| batch.unwrap_or_else(|error| panic!("{shown}: {error}")))
                .collect()
        }
        _ => Vec::new(),
    }
}

#[test]
fn exchanges_of_clients_and_apache_kafka_decode_and_encode_to_the_same_bytes() {
    for (client, frames) in exchanges() {
        assert!(frames.len() >= 200, "{} frames of {client}", frames.len());
        frames.iter().for_each(check);
    }
}

#[test]
fn record_batches_of_every_client_in_every_codec_are_read() {
    for (client, frames) in exchanges() {
        let mut records_seen: BTreeMap<(ApiKey, &str), usize> = BTreeMap::new();
        for recorded in &frames {
            for batch in record_batches(recorded) {
                let records: Vec<_> = batch
                    .records(DECOMPRESSED_BYTES_MAX)
                    .and_then(Iterator::collect)
                    .unwrap_or_else(|error| panic!("{}: {error}", recorded.shown));
                let declared = batch.header().record_count;
                assert_eq!(Ok(declared), records.len().try_into(), "{}", recorded.shown);
                let codec = batch.header().compression().expect("a known codec");
                *records_seen
                    .entry((recorded.api, codec.name()))
                    .or_default() += records.len();
            }
        }
        for api in [ApiKey::Produce, ApiKey::Fetch] {
            for codec in Compression::ALL.map(Compression::name) {
                let records = records_seen.get(&(api, codec));
                assert!(records > Some(&0), "no {codec} in {api:?} of {client}");
            }
        }
    }
}
