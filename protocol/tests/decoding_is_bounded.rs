//! Decoding allocates at most 16 times the length of its input plus 1 MiB, whatever the bytes: counted by the
//! allocator, for every API and version, over damaged messages, random bytes and lists made to be expensive.

#![allow(unsafe_code, reason = "counting allocations needs an allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;

use bytes::Bytes;
use keylane_protocol::api::{APIS, Api, ApiKey};
use keylane_protocol::compression::Compression;
use keylane_protocol::consumer_protocol::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription,
};
use keylane_protocol::fuzzing::RESPONSE;
use keylane_protocol::group_record::GroupRecord;
use keylane_protocol::limits::{DECODE_ALLOCATION_BYTES_EXTRA, DECODE_ALLOCATION_FACTOR};
use keylane_protocol::link::Frame;
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
use keylane_protocol::message::fetch::FetchRequest;
use keylane_protocol::message::find_coordinator::FindCoordinatorRequest;
use keylane_protocol::message::heartbeat::HeartbeatRequest;
use keylane_protocol::message::incremental_alter_configs::IncrementalAlterConfigsRequest;
use keylane_protocol::message::init_producer_id::InitProducerIdRequest;
use keylane_protocol::message::init_routed_producer::InitRoutedProducerRequest;
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
use keylane_protocol::message::routed_produce::RoutedProduceRequest;
use keylane_protocol::message::sync_group::SyncGroupRequest;
use keylane_protocol::message::{Message, Request};
use keylane_protocol::offset::{ProducerEpoch, Sequence};
use keylane_protocol::primitive::Decoder;
use keylane_protocol::record_batch::{BatchProducer, NewRecord, RecordBatch, RecordBatchBuilder};
use keylane_protocol::routed::{PRODUCER_ID_MIN, split};

thread_local! {
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

/// Counts what each thread asks for; what it gives back is not subtracted.
struct Counting;

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that ends has no counter any more; what it frees or asks for then is not measured.
        let _ = ALLOCATED.try_with(|count| count.set(count.get() + layout.size()));
        // SAFETY: the caller keeps the promises of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `alloc` above, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Decodes a body and says whether that worked.
type Decode = fn(&mut Decoder, i16) -> bool;

fn decode<M: Message>(decoder: &mut Decoder, version: i16) -> bool {
    M::decode(decoder, version).is_ok()
}

fn pair<R: Request>() -> (ApiKey, [Decode; 2]) {
    (R::API_KEY, [decode::<R>, decode::<R::Response>])
}

fn messages() -> [(ApiKey, [Decode; 2]); 28] {
    [
        pair::<ApiVersionsRequest>(),
        pair::<ConsumerGroupDescribeRequest>(),
        pair::<ConsumerGroupHeartbeatRequest>(),
        pair::<CreatePartitionsRequest>(),
        pair::<CreateTopicsRequest>(),
        pair::<DeleteGroupsRequest>(),
        pair::<DeleteTopicsRequest>(),
        pair::<DescribeClusterRequest>(),
        pair::<DescribeConfigsRequest>(),
        pair::<DescribeGroupsRequest>(),
        pair::<FetchRequest>(),
        pair::<FindCoordinatorRequest>(),
        pair::<HeartbeatRequest>(),
        pair::<IncrementalAlterConfigsRequest>(),
        pair::<InitProducerIdRequest>(),
        pair::<InitRoutedProducerRequest>(),
        pair::<JoinGroupRequest>(),
        pair::<LeaveGroupRequest>(),
        pair::<ListGroupsRequest>(),
        pair::<ListOffsetsRequest>(),
        pair::<MetadataRequest>(),
        pair::<OffsetCommitRequest>(),
        pair::<OffsetDeleteRequest>(),
        pair::<OffsetFetchRequest>(),
        pair::<OffsetForLeaderEpochRequest>(),
        pair::<ProduceRequest>(),
        pair::<RoutedProduceRequest>(),
        pair::<SyncGroupRequest>(),
    ]
}

/// What decoding everything has cost at most, and how often it worked.
#[derive(Default)]
struct Tally {
    inputs: usize,
    decoded: usize,
    share_most: f64,
}

impl Tally {
    /// Decodes a body and holds what was allocated against the bound.
    fn check(&mut self, decode: Decode, version: i16, body: &Bytes) {
        let mut decoder = Decoder::new(body.clone());
        self.measure(body.len(), || decode(&mut decoder, version));
    }

    /// Decodes a frame of the internal link and holds what was allocated against the bound.
    fn check_link_frame(&mut self, frame: Bytes) {
        self.measure(frame.len(), || Frame::decode(frame).is_ok());
    }

    /// Decodes a subscription and an assignment, and holds what was allocated for each against the bound.
    fn check_consumer_protocol(&mut self, bytes: &Bytes) {
        self.measure(bytes.len(), || {
            ConsumerProtocolSubscription::decode(bytes).is_ok()
        });
        self.measure(bytes.len(), || {
            ConsumerProtocolAssignment::decode(bytes).is_ok()
        });
    }

    fn measure(&mut self, length: usize, decode: impl FnOnce() -> bool) {
        let before = ALLOCATED.get();
        let worked = decode();
        let allocated = ALLOCATED.get() - before;
        let allowed = DECODE_ALLOCATION_FACTOR * length + DECODE_ALLOCATION_BYTES_EXTRA;
        assert!(
            allocated <= allowed,
            "{allocated} bytes allocated for {length}"
        );
        self.inputs += 1;
        self.decoded += usize::from(worked);
        self.share_most = self.share_most.max(allocated as f64 / allowed as f64);
    }
}

/// Messages of every version, as written into the corpus of the fuzz targets.
fn corpus(kind: usize, api: Api, version: i16) -> Bytes {
    let words = api.name.chars().map(|letter| match letter {
        'A'..='Z' => format!("_{}", letter.to_ascii_lowercase()),
        _ => letter.to_string(),
    });
    let target = words.collect::<String>();
    let kind_name = ["request", "response"][kind];
    let file = format!("fuzz/corpus/{}/{kind_name}_v{version}", &target[1..]);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let input = std::fs::read(&path).expect("every version has a message in the corpus");
    let choice = [0, RESPONSE][kind] | u8::try_from(version).expect("a small version");
    assert_eq!(input[0], choice, "{}", path.display());
    Bytes::from(input).slice(1..)
}

fn for_each_message(mut check: impl FnMut(Decode, i16, Bytes)) {
    assert!(
        APIS.iter()
            .all(|api| messages().iter().any(|(key, _)| *key == api.key))
    );
    for (key, decodes) in messages() {
        let api = key.api();
        for version in api.version_min..=api.version_max {
            for (kind, decode) in decodes.into_iter().enumerate() {
                check(decode, version, corpus(kind, api, version));
            }
        }
    }
}

/// Lengths and counts that claim much, in the forms they have on the wire.
const CLAIMS: [&[u8]; 8] = [
    &[0x7f, 0xff, 0xff, 0xff],
    &[0xff, 0xff, 0xff, 0xff],
    &[0x00, 0x10, 0x00, 0x00],
    &[0x7f, 0xff],
    &[0xff],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0x07],
    &[0x80, 0x80, 0x40],
];

#[test]
fn six_bytes_that_claim_a_billion_topics_cost_nothing() {
    let body = Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff, 0, 0]);
    let before = ALLOCATED.get();
    assert!(!decode::<MetadataRequest>(&mut Decoder::new(body), 0));
    assert_eq!(ALLOCATED.get() - before, 0);
}

#[test]
fn damaged_messages_stay_within_the_bound() {
    let mut tally = Tally::default();
    for_each_message(|decode, version, body| {
        tally.check(decode, version, &body);
        for end in 0..body.len() {
            tally.check(decode, version, &body.slice(..end));
        }
        for at in 0..body.len() {
            for claim in CLAIMS {
                let mut damaged = body.to_vec();
                let end = body.len().min(at + claim.len());
                damaged.splice(at..end, claim.iter().copied());
                tally.check(decode, version, &damaged.into());
            }
        }
    });
    println!("{} inputs, {} decoded", tally.inputs, tally.decoded);
    assert!(tally.inputs > 50_000 && tally.decoded > 1000);
}

#[test]
fn random_bytes_stay_within_the_bound() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut tally = Tally::default();
    for_each_message(|decode, version, _| {
        for round in 0..200 {
            // Small values make counts and lengths that can be met, so that decoding gets further.
            let mask = [0xff, 0x0f, 0x03][round % 3];
            let length = random() % 2000;
            let body: Vec<u8> = (0..length).map(|_| random() as u8 & mask).collect();
            tally.check(decode, version, &body.into());
        }
    });
    println!("{} inputs, {} decoded", tally.inputs, tally.decoded);
}

/// Puts a list of as many elements as its bytes could hold at every place of a message: the dearest input there is.
#[test]
fn lists_of_the_smallest_elements_stay_within_the_bound() {
    const LENGTH: u32 = 256 << 10;
    let mut tally = Tally::default();
    for_each_message(|decode, version, body| {
        for at in [0, 4, 5, 8, 9].into_iter().filter(|&at| at < body.len()) {
            for size_min in [1, 2, 3, 6, 12] {
                let count = LENGTH / size_min - 64;
                let compact =
                    [count, count >> 7, count >> 14, count >> 21].map(|bits| bits as u8 | 0x80);
                for prefix in [&count.to_be_bytes()[..], &[&compact[..], &[0]].concat()] {
                    let mut input = body[..at].to_vec();
                    input.extend_from_slice(prefix);
                    input.resize(LENGTH as usize, 0);
                    tally.check(decode, version, &input.into());
                }
            }
        }
    });
    println!(
        "{} inputs, the dearest took {:.2} of what is allowed",
        tally.inputs, tally.share_most
    );
    assert!(
        tally.share_most > 0.5,
        "only {} of the bound was put to the test",
        tally.share_most
    );
}

/// Damaged structures, and lists of as many elements as their bytes could hold.
#[test]
fn what_consumers_tell_one_another_stays_within_the_bound() {
    const LENGTH: u32 = 256 << 10;
    let mut tally = Tally::default();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/consumer_protocol");
    for kind in ["subscription_v3", "assignment_v3"] {
        let input = std::fs::read(folder.join(kind)).expect("in the corpus");
        let bytes = Bytes::from(input).slice(1..);
        for at in 0..bytes.len() {
            tally.check_consumer_protocol(&bytes.slice(..at));
            for claim in CLAIMS {
                let mut damaged = bytes.to_vec();
                let end = bytes.len().min(at + claim.len());
                damaged.splice(at..end, claim.iter().copied());
                tally.check_consumer_protocol(&damaged.into());
            }
        }
    }
    // Topics, then what follows no topics and no user data: partitions that are owned or assigned.
    for prefix in [&[0, 3][..], &[0, 3, 0, 0, 0, 0, 255, 255, 255, 255]] {
        for size_min in 1..16 {
            let count = LENGTH / size_min - 64;
            let mut input = [prefix, &count.to_be_bytes()].concat();
            input.resize(LENGTH as usize, 0);
            tally.check_consumer_protocol(&input.into());
        }
    }
    assert!(tally.inputs > 5000 && tally.decoded > 100);
    assert!(tally.share_most > 0.5, "{}", tally.share_most);
}

/// Returns a frame of each kind, as written into the corpus of the fuzz target.
fn link_frames() -> Vec<Bytes> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/link_frame");
    let read = |(_, name): &(u8, &str)| std::fs::read(folder.join(name)).expect("in the corpus");
    Frame::KINDS.iter().map(read).map(Bytes::from).collect()
}

#[test]
fn damaged_link_frames_stay_within_the_bound() {
    let mut tally = Tally::default();
    for frame in link_frames() {
        for at in 0..frame.len() {
            tally.check_link_frame(frame.slice(..at));
            for claim in CLAIMS {
                let mut damaged = frame.to_vec();
                let end = frame.len().min(at + claim.len());
                damaged.splice(at..end, claim.iter().copied());
                tally.check_link_frame(damaged.into());
            }
        }
    }
    assert!(tally.inputs > 5000 && tally.decoded > 100);
}

#[test]
fn link_frames_full_of_empty_sub_batches_and_outcomes_stay_within_the_bound() {
    const LENGTH: u32 = 1 << 20;
    let mut tally = Tally::default();
    for (kind, _) in Frame::KINDS {
        for size_min in (20..100).step_by(4) {
            let count = LENGTH / size_min - 64;
            let compact = [count, count >> 7, count >> 14].map(|bits| bits as u8 | 0x80);
            // Ones are empty bytes, and tagged fields of number 1 and length 1: sub-batches that decode.
            for fill in [0, 1] {
                let mut input = vec![*kind];
                input.extend_from_slice(&compact);
                input.push((count >> 21) as u8);
                input.resize(LENGTH as usize, fill);
                tally.check_link_frame(input.into());
            }
        }
    }
    assert!(tally.share_most > 0.05, "{}", tally.share_most);
}

/// Returns key and value of each record of a group in the corpus of the fuzz target.
fn group_records() -> Vec<(Bytes, Bytes)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/group_record");
    let files = folder.read_dir().expect("in the corpus");
    let inputs = files.map(|file| std::fs::read(file.expect("an entry").path()).expect("readable"));
    inputs
        .map(|input| {
            let length = usize::from(input[0]);
            let input = Bytes::from(input);
            (input.slice(1..=length), input.slice(1 + length..))
        })
        .collect()
}

impl Tally {
    /// Decodes a record of a group and holds what was allocated against the bound.
    fn check_group_record(&mut self, key: &Bytes, value: &Bytes) {
        let length = key.len() + value.len();
        self.measure(length, || GroupRecord::decode(key, Some(value)).is_ok());
    }
}

#[test]
fn damaged_records_of_groups_stay_within_the_bound() {
    let mut tally = Tally::default();
    for (key, value) in group_records() {
        for end in 0..value.len() {
            tally.check_group_record(&key, &value.slice(..end));
            for claim in CLAIMS {
                let mut damaged = value.to_vec();
                damaged.splice(
                    end..value.len().min(end + claim.len()),
                    claim.iter().copied(),
                );
                tally.check_group_record(&key, &damaged.into());
            }
        }
        for claim in [[1, 0, 0, 1], [2, 0, 0, 1]] {
            for at in (2..value.len()).step_by(3) {
                // A list of as many of the smallest elements as there are bytes for.
                let mut input = value[..at].to_vec();
                input.extend_from_slice(&claim);
                input.resize(1 << 20, 0);
                tally.check_group_record(&key, &input.into());
            }
        }
    }
    assert!(tally.inputs > 5000 && tally.decoded > 100);
}

/// Returns how many bytes are allocated for each byte of a routed batch that is split, and into how many parts.
fn cost_of_splitting(key_bytes: usize, value_bytes: usize, partition_count: i32) -> (f64, usize) {
    let mut builder = RecordBatchBuilder::with_capacity(1 << 20);
    for index in 0_u32..(1 << 20) / u32::try_from(key_bytes + value_bytes + 7).expect("small") {
        builder.append(&NewRecord {
            key: Some(&index.to_le_bytes()[..key_bytes]),
            value: (value_bytes > 0).then_some(&[7; 1000][..value_bytes]),
            ..NewRecord::default()
        });
    }
    let producer = BatchProducer {
        id: PRODUCER_ID_MIN,
        epoch: ProducerEpoch(0),
        base_sequence: Sequence(0),
    };
    let batch = builder.finish(Compression::None, producer);
    let batch = RecordBatch::check(batch.expect("memory suffices")).expect("sound");
    let before = ALLOCATED.get();
    let parts = split(&batch, partition_count).expect("sound").len();
    let allocated = ALLOCATED.get() - before;
    (allocated as f64 / batch.bytes().len() as f64, parts)
}

#[test]
fn splitting_a_routed_batch_costs_what_its_records_take_however_many_partitions_there_are() {
    let (usual, parts) = cost_of_splitting(4, 100, 64);
    assert_eq!(parts, 64);
    assert!(usual < 1.25, "{usual}");
    let (whole, _) = cost_of_splitting(4, 100, 1);
    assert!(whole < 0.25, "{whole}");
    // The smallest records that have a partition each: all of it is headers.
    let (dearest, parts) = cost_of_splitting(3, 0, i32::MAX);
    assert!(parts > 80_000);
    println!("{usual:.2}, {whole:.2} and {dearest:.2} bytes for each");
    assert!(dearest < 24.0, "{dearest}");
}
