//! Bodies of the fuzz targets in `protocol/fuzz`, here so that their corpus is replayed by `cargo test`.
//!
//! Each takes any bytes, must not panic, and checks that what decodes is encoded to something that decodes to the same.
//! The first byte of a message's input chooses the version, its top bit a response; the body follows. To fuzz:
//! `cd protocol && cargo fuzz run -s none fetch -- -max_total_time=120 -malloc_limit_mb=64`.

use std::fmt::Debug;

use bytes::Bytes;

use crate::api::ApiKey;
use crate::cluster::call::decode_any;
use crate::cluster::{ClusterImage, MetadataRecord, decode_records, encode_records};
use crate::consumer_protocol::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};
use crate::frame::{FrameSplitter, InvalidFrameLength, LENGTH_PREFIX_BYTES, frame_length};
use crate::group_record::GroupRecord;
use crate::header::RequestHeader;
use crate::link::{Frame, Inbox, Lane};
use crate::message::api_versions::ApiVersionsRequest;
use crate::message::consumer_group_describe::ConsumerGroupDescribeRequest;
use crate::message::consumer_group_heartbeat::ConsumerGroupHeartbeatRequest;
use crate::message::create_partitions::CreatePartitionsRequest;
use crate::message::create_topics::CreateTopicsRequest;
use crate::message::delete_groups::DeleteGroupsRequest;
use crate::message::delete_topics::DeleteTopicsRequest;
use crate::message::describe_cluster::DescribeClusterRequest;
use crate::message::describe_configs::DescribeConfigsRequest;
use crate::message::describe_groups::DescribeGroupsRequest;
use crate::message::fetch::FetchRequest;
use crate::message::find_coordinator::FindCoordinatorRequest;
use crate::message::heartbeat::HeartbeatRequest;
use crate::message::incremental_alter_configs::IncrementalAlterConfigsRequest;
use crate::message::init_producer_id::InitProducerIdRequest;
use crate::message::init_routed_producer::InitRoutedProducerRequest;
use crate::message::join_group::JoinGroupRequest;
use crate::message::leave_group::LeaveGroupRequest;
use crate::message::list_groups::ListGroupsRequest;
use crate::message::list_offsets::ListOffsetsRequest;
use crate::message::metadata::MetadataRequest;
use crate::message::offset_commit::OffsetCommitRequest;
use crate::message::offset_delete::OffsetDeleteRequest;
use crate::message::offset_fetch::OffsetFetchRequest;
use crate::message::offset_for_leader_epoch::OffsetForLeaderEpochRequest;
use crate::message::produce::ProduceRequest;
use crate::message::routed_produce::RoutedProduceRequest;
use crate::message::sync_group::SyncGroupRequest;
use crate::message::{Message, Request};
use crate::primitive::{DecodeError, Decoder, Encoder};
use crate::record_batch::fuzzing::{compression, record_batch, repair};
use crate::record_batch::{RecordBatch, RecordBatchHeader};
use crate::routed::{SplitError, split};

/// Chooses a response in the first byte of a message's input; the other bits are the version.
pub const RESPONSE: u8 = 0x80;

/// A fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name of the target, and of its folder in `protocol/fuzz/corpus`.
    pub name: &'static str,
    /// What it does with an input.
    pub run: fn(&[u8]),
}

/// Every target.
pub const TARGETS: &[Target] = &[
    target("api_versions", exchange::<ApiVersionsRequest>),
    target("compression", compression),
    target("create_partitions", exchange::<CreatePartitionsRequest>),
    target("create_topics", exchange::<CreateTopicsRequest>),
    target("delete_topics", exchange::<DeleteTopicsRequest>),
    target("describe_cluster", exchange::<DescribeClusterRequest>),
    target("describe_configs", exchange::<DescribeConfigsRequest>),
    target("fetch", exchange::<FetchRequest>),
    target("frame", frame),
    target("find_coordinator", exchange::<FindCoordinatorRequest>),
    target("cluster_metadata", cluster_metadata),
    target(
        "incremental_alter_configs",
        exchange::<IncrementalAlterConfigsRequest>,
    ),
    target("init_producer_id", exchange::<InitProducerIdRequest>),
    target(
        "init_routed_producer",
        exchange::<InitRoutedProducerRequest>,
    ),
    target("group_record", group_record),
    target("link_frame", link_frame),
    target("link_inbox", link_inbox),
    target("list_offsets", exchange::<ListOffsetsRequest>),
    target("metadata", exchange::<MetadataRequest>),
    target(
        "offset_for_leader_epoch",
        exchange::<OffsetForLeaderEpochRequest>,
    ),
    target("produce", exchange::<ProduceRequest>),
    target("record_batch", record_batch),
    target("routed_produce", exchange::<RoutedProduceRequest>),
    target("routed_split", routed_split),
    target(
        "consumer_group_describe",
        exchange::<ConsumerGroupDescribeRequest>,
    ),
    target(
        "consumer_group_heartbeat",
        exchange::<ConsumerGroupHeartbeatRequest>,
    ),
    target("delete_groups", exchange::<DeleteGroupsRequest>),
    target("describe_groups", exchange::<DescribeGroupsRequest>),
    target("heartbeat", exchange::<HeartbeatRequest>),
    target("join_group", exchange::<JoinGroupRequest>),
    target("leave_group", exchange::<LeaveGroupRequest>),
    target("list_groups", exchange::<ListGroupsRequest>),
    target("offset_commit", exchange::<OffsetCommitRequest>),
    target("offset_delete", exchange::<OffsetDeleteRequest>),
    target("offset_fetch", exchange::<OffsetFetchRequest>),
    target("sync_group", exchange::<SyncGroupRequest>),
    target("consumer_protocol", consumer_protocol),
];

const fn target(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run }
}

/// Decodes a request or response of one API.
pub fn exchange<R>(input: &[u8])
where
    R: Request + Debug + PartialEq,
    R::Response: Debug + PartialEq,
{
    let Some((&choice, body)) = input.split_first() else {
        return;
    };
    let version = i16::from(choice & !RESPONSE);
    let decoder = Decoder::new(Bytes::copy_from_slice(body));
    // Most bytes are no message; whether they are refused for the right reason is for other tests.
    let _ = match choice & RESPONSE {
        0 => message::<R>(decoder, version),
        _ => message::<R::Response>(decoder, version),
    };
}

/// Decodes a subscription, or if the first byte is odd an assignment, of the protocol that consumers speak among
/// themselves.
pub fn consumer_protocol(input: &[u8]) {
    let Some((&choice, bytes)) = input.split_first() else {
        return;
    };
    let bytes = Bytes::copy_from_slice(bytes);
    match choice % 2 {
        0 => {
            if let Ok((version, subscription)) = ConsumerProtocolSubscription::decode(&bytes) {
                let encoded = subscription.encode(version).expect("what was decoded");
                let again = ConsumerProtocolSubscription::decode(&encoded);
                assert_eq!(again, Ok((version, subscription)));
            }
        }
        _ => {
            if let Ok((version, assignment)) = ConsumerProtocolAssignment::decode(&bytes) {
                let encoded = assignment.encode(version).expect("what was decoded");
                let again = ConsumerProtocolAssignment::decode(&encoded);
                assert_eq!(again, Ok((version, assignment)));
            }
        }
    }
}

/// Decodes bodies of calls, and records of the metadata log; applies those that can follow, and makes the image again from its snapshot.
pub fn cluster_metadata(input: &[u8]) {
    if let Some((&kind, body)) = input.split_first() {
        decode_any(u16::from(kind), &Bytes::copy_from_slice(body));
    }
    let Ok(records) = decode_records(&Bytes::copy_from_slice(input)) else {
        return;
    };
    let mut image = ClusterImage::default();
    for record in &records {
        let _ = image.apply(record);
    }
    let again = |records: &[MetadataRecord]| {
        let encoded = encode_records(records).expect("texts were read, so they can be written");
        decode_records(&encoded).expect("what was written can be read")
    };
    assert_eq!(again(&records), records);
    let restored = ClusterImage::default().with(&again(&image.to_records()));
    assert_eq!(restored, Ok(image));
}

/// Decodes a record of `__consumer_offsets`, as a tombstone and with a value: the first byte says how long the key is.
pub fn group_record(input: &[u8]) {
    let Some((&length, rest)) = input.split_first() else {
        return;
    };
    let Some((key, value)) = rest.split_at_checked(usize::from(length)) else {
        return;
    };
    let (key, value) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
    for value in [None, Some(&value)] {
        let Ok(Some(record)) = GroupRecord::decode(&key, value) else {
            continue;
        };
        let key = record.key_bytes().expect("its texts were read");
        let value = record.value_bytes().expect("its texts were read");
        let again = GroupRecord::decode(&key, value.as_ref());
        assert_eq!(again, Ok(Some(record)));
    }
}

/// Splits bytes into frames, in pieces of a size the first byte chooses, and decodes each as a request.
pub fn frame(input: &[u8]) {
    const LENGTH_MAX: usize = 512;
    let Some((&size, stream)) = input.split_first() else {
        return;
    };
    let mut splitter = FrameSplitter::new(LENGTH_MAX);
    let mut rest = stream;
    for piece in stream.chunks(usize::from(size) + 1) {
        splitter.buffer.extend_from_slice(piece);
        loop {
            let found = splitter.next_frame();
            if found == Ok(None) {
                break;
            }
            assert_eq!(found, first_frame(&mut rest, LENGTH_MAX));
            let Ok(Some(frame)) = found else {
                return;
            };
            let _ = request(frame);
        }
    }
}

/// Cuts the first frame off bytes that are all there.
fn first_frame(rest: &mut &[u8], length_max: usize) -> Result<Option<Bytes>, InvalidFrameLength> {
    let Some((&prefix, body)) = rest.split_first_chunk() else {
        return Ok(None);
    };
    let length = frame_length(prefix, length_max)?;
    let Some((frame, after)) = body.split_at_checked(length) else {
        return Ok(None);
    };
    *rest = after;
    Ok(Some(Bytes::copy_from_slice(frame)))
}

/// Decodes a frame of the internal link, without its length.
pub fn link_frame(input: &[u8]) {
    let Ok(frame) = Frame::decode(Bytes::copy_from_slice(input)) else {
        return;
    };
    let encoded = match frame.encode() {
        Ok(segments) => Bytes::from(segments.concat()).slice(LENGTH_PREFIX_BYTES..),
        Err(error) => panic!("what was decoded cannot be encoded: {error}"),
    };
    assert_eq!(Frame::decode(encoded), Ok(frame));
}

/// Passes a stream of frames of the internal link to the end that the first byte chooses: however they break its rules,
/// it holds no more than has arrived.
pub fn link_inbox(input: &[u8]) {
    const LENGTH_MAX: usize = 1 << 20;
    let Some((&side, stream)) = input.split_first() else {
        return;
    };
    let mut inbox = match side % 2 {
        0 => Inbox::listener(1 << 20),
        _ => Inbox::dialer(),
    };
    inbox.open_lane(Lane(1));
    let mut rest = stream;
    while let Ok(Some(bytes)) = first_frame(&mut rest, LENGTH_MAX) {
        let Ok(frame) = Frame::decode(bytes) else {
            return;
        };
        let Ok(whole) = inbox.on_frame(frame) else {
            return;
        };
        assert!(inbox.assembled_bytes() <= input.len());
        if let Some(Frame::Append(append)) = whole {
            for sub_batch in append.sub_batches {
                inbox.release(sub_batch.records.len());
            }
        }
    }
}

/// Splits a batch, put right like that of [`record_batch`], over as many partitions as the first four bytes say: if and
/// only if a reader can read it, into parts that hold as many records as it does.
pub fn routed_split(input: &[u8]) {
    // Below this a list of headers, which the splitter only walks, never takes more memory than a reader allows.
    const LENGTH_MAX: usize = 32 * 1024;
    let Some((&partition_count, bytes)) = input.split_first_chunk() else {
        return;
    };
    let Some(batch) = repair(bytes).and_then(|batch| RecordBatch::check(batch).ok()) else {
        return;
    };
    let parts = match split(&batch, i32::from_be_bytes(partition_count)) {
        Ok(parts) => parts,
        Err(SplitError::Malformed { .. } | SplitError::TrailingBytes { .. }) => {
            let mut records = batch.records(0).expect("an uncompressed batch");
            let is_read = records.all(|record| record.is_ok());
            assert!(!is_read, "a reader takes what is not split");
            return;
        }
        Err(_) => return,
    };
    let mut record_count = 0;
    for part in &parts {
        assert!(part.batch.len() <= batch.bytes().len());
        let part = RecordBatch::check(part.batch.clone()).expect("a part is a batch");
        assert_eq!(named(part.header()), named(batch.header()));
        record_count += part.header().record_count;
        let mut records = part.records(0).expect("an uncompressed batch");
        assert!(records.all(|record| record.is_ok()) || input.len() > LENGTH_MAX);
    }
    assert_eq!(record_count, batch.header().record_count);
}

/// Returns what the parts of a batch share with it.
fn named(header: &RecordBatchHeader) -> (i16, i64, i64, i16, i32) {
    (
        header.attributes,
        header.base_timestamp,
        header.producer_id.0,
        header.producer_epoch.0,
        header.base_sequence.0,
    )
}

fn request(frame: Bytes) -> Result<(), DecodeError> {
    let (header, body) = RequestHeader::decode(frame)?;
    match ApiKey::from_code(header.api_key) {
        Some(api) => request_body(api, body, header.api_version),
        None => Ok(()),
    }
}

/// Decodes the body of a request of any API.
///
/// # Errors
/// When the bytes are not that request.
pub fn request_body(api: ApiKey, body: Decoder, version: i16) -> Result<(), DecodeError> {
    match api {
        ApiKey::Produce => message::<ProduceRequest>(body, version),
        ApiKey::Fetch => message::<FetchRequest>(body, version),
        ApiKey::ListOffsets => message::<ListOffsetsRequest>(body, version),
        ApiKey::Metadata => message::<MetadataRequest>(body, version),
        ApiKey::ApiVersions => message::<ApiVersionsRequest>(body, version),
        ApiKey::CreateTopics => message::<CreateTopicsRequest>(body, version),
        ApiKey::DeleteTopics => message::<DeleteTopicsRequest>(body, version),
        ApiKey::FindCoordinator => message::<FindCoordinatorRequest>(body, version),
        ApiKey::InitProducerId => message::<InitProducerIdRequest>(body, version),
        ApiKey::OffsetForLeaderEpoch => message::<OffsetForLeaderEpochRequest>(body, version),
        ApiKey::DescribeConfigs => message::<DescribeConfigsRequest>(body, version),
        ApiKey::CreatePartitions => message::<CreatePartitionsRequest>(body, version),
        ApiKey::IncrementalAlterConfigs => message::<IncrementalAlterConfigsRequest>(body, version),
        ApiKey::DescribeCluster => message::<DescribeClusterRequest>(body, version),
        ApiKey::ConsumerGroupDescribe => message::<ConsumerGroupDescribeRequest>(body, version),
        ApiKey::ConsumerGroupHeartbeat => message::<ConsumerGroupHeartbeatRequest>(body, version),
        ApiKey::DeleteGroups => message::<DeleteGroupsRequest>(body, version),
        ApiKey::DescribeGroups => message::<DescribeGroupsRequest>(body, version),
        ApiKey::Heartbeat => message::<HeartbeatRequest>(body, version),
        ApiKey::JoinGroup => message::<JoinGroupRequest>(body, version),
        ApiKey::LeaveGroup => message::<LeaveGroupRequest>(body, version),
        ApiKey::ListGroups => message::<ListGroupsRequest>(body, version),
        ApiKey::OffsetCommit => message::<OffsetCommitRequest>(body, version),
        ApiKey::OffsetDelete => message::<OffsetDeleteRequest>(body, version),
        ApiKey::OffsetFetch => message::<OffsetFetchRequest>(body, version),
        ApiKey::SyncGroup => message::<SyncGroupRequest>(body, version),
        ApiKey::RoutedProduce => message::<RoutedProduceRequest>(body, version),
        ApiKey::InitRoutedProducer => message::<InitRoutedProducerRequest>(body, version),
    }
}

fn message<M: Message + Debug + PartialEq>(
    mut decoder: Decoder,
    version: i16,
) -> Result<(), DecodeError> {
    let decoded = M::decode(&mut decoder, version)?;
    let mut encoder = Encoder::new();
    if let Err(error) = decoded.encode(version, &mut encoder) {
        panic!("what was decoded cannot be encoded: {error}");
    }
    let encoded = Bytes::from(encoder.into_segments().concat());
    let again = M::decode(&mut Decoder::new(encoded), version);
    assert_eq!(again.as_ref(), Ok(&decoded), "version {version}");
    Ok(())
}
