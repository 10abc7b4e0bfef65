//! Every API and version, as request and as response: our encoding is decoded by us and by the crate
//! `kafka-protocol`, whose encoding of the same value must have the same bytes and be decoded by us to the same value.
//!
//! The other crate was generated from Kafka's schemas, so agreeing with it means agreeing with Kafka. It is never
//! given hostile bytes: it allocates what they claim.

use std::cell::Cell;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::sample::{Choices, Sample};
use super::*;
use crate::api::APIS;
use crate::message::{
    api_versions::*, consumer_group_describe::*, consumer_group_heartbeat::*, create_partitions::*,
    create_topics::*, delete_groups::*, delete_topics::*, describe_cluster::*, describe_configs::*,
    describe_groups::*, fetch::*, find_coordinator::*, heartbeat::*, incremental_alter_configs::*,
    init_producer_id::*, init_routed_producer::*, join_group::*, leave_group::*, list_groups::*,
    list_offsets::*, metadata::*, offset_commit::*, offset_delete::*, offset_fetch::*,
    offset_for_leader_epoch::*, produce::*, routed_produce::*, sync_group::*,
};

/// Values tried per type and version.
const CASES: u32 = 512;

fn encoded<M: Message>(message: &M, version: i16) -> Bytes {
    let mut encoder = Encoder::new();
    message
        .encode(version, &mut encoder)
        .expect("what was sampled can be encoded");
    let length = encoder.len();
    let bytes = Bytes::from(encoder.into_segments().concat());
    assert_eq!(bytes.len(), length);
    bytes
}

fn decoded<M: Message>(bytes: &Bytes, version: i16) -> M {
    let mut decoder = Decoder::new(bytes.clone());
    let message = M::decode(&mut decoder, version).expect("what was encoded can be decoded");
    decoder.finish().expect("nothing is left over");
    message
}

/// Decodes bytes that arrived in pieces of the same length.
fn decoded_over<M: Message>(bytes: &Bytes, piece: usize, version: i16) -> Result<M, DecodeError> {
    let starts = (0..bytes.len()).step_by(piece);
    let pieces = starts.map(|start| bytes.slice(start..bytes.len().min(start + piece)));
    let mut decoder = Decoder::over(&pieces.collect());
    let message = M::decode(&mut decoder, version)?;
    decoder.finish()?;
    Ok(message)
}

fn reencoded_by_them<T: Encodable + Decodable>(bytes: &Bytes, version: i16) -> Bytes {
    let mut rest = bytes.clone();
    let message = T::decode(&mut rest, version).expect("they decode what we encoded");
    assert!(rest.is_empty(), "they leave {} bytes", rest.len());
    let mut again = BytesMut::new();
    message
        .encode(&mut again, version)
        .expect("they encode what they decoded");
    again.freeze()
}

/// Checks one type in every version of its API against the other crate.
fn check<M: Message + Sample + PartialEq + std::fmt::Debug, T: Encodable + Decodable>() {
    check_with::<M>(|message, bytes, version| {
        let again = reencoded_by_them::<T>(bytes, version);
        prop_assert_eq!(&again, bytes);
        prop_assert_eq!(&decoded::<M>(&again, version), message);
        Ok(())
    });
}

/// Checks one type in every version of its API.
fn check_with<M: Message + Sample + PartialEq + std::fmt::Debug>(
    agrees: impl Fn(&M, &Bytes, i16) -> Result<(), TestCaseError>,
) {
    let api = M::API_KEY.api();
    for version in api.version_min..=api.version_max {
        let format = api.format(version).expect("a version of the table");
        let mut runner = TestRunner::new(ProptestConfig {
            cases: CASES,
            failure_persistence: None,
            ..ProptestConfig::default()
        });
        let cases = Cell::new(0);
        let outcome = runner.run(&vec(any::<u8>(), 0..400), |choices| {
            cases.set(cases.get() + 1);
            let message = M::sample(&mut Choices(&choices), format);
            let bytes = encoded(&message, version);
            prop_assert_eq!(&decoded::<M>(&bytes, version), &message);
            let piece = 1 + choices.len() % 11;
            let in_pieces = decoded_over::<M>(&bytes, piece, version);
            prop_assert_eq!(in_pieces.as_ref(), Ok(&message));
            let short = bytes.slice(..choices.len() * 31 % (bytes.len() + 1));
            let whole = decoded_over::<M>(&short, bytes.len() + 1, version);
            prop_assert_eq!(decoded_over::<M>(&short, piece, version), whole);
            agrees(&message, &bytes, version)
        });
        if let Err(failure) = outcome {
            panic!("{} version {version}: {failure}", api.name);
        }
        assert_eq!(cases.get(), CASES, "{} version {version}", api.name);
    }
}

/// Writes the longest of some short messages of each version into the corpus of the fuzz targets.
fn write_corpus<M: Message + Sample>(target: &str, kind: &str, choice: u8) {
    let api = M::API_KEY.api();
    let folder = format!("{}/fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    std::fs::create_dir_all(&folder).expect("the corpus can be written");
    for version in api.version_min..=api.version_max {
        let format = api.format(version).expect("a version of the table");
        let candidates = (1..=u8::MAX).map(|step| {
            let choice = |place: u8| place.wrapping_mul(step) ^ (place >> 3) ^ step;
            let choices: Vec<u8> = (0..120).map(choice).collect();
            encoded(&M::sample(&mut Choices(&choices), format), version)
        });
        let short = candidates.filter(|bytes| bytes.len() < 512);
        let longest = short.max_by_key(Bytes::len).expect("a short message");
        let mut input = vec![choice | u8::try_from(version).expect("a small version")];
        input.extend_from_slice(&longest);
        std::fs::write(format!("{folder}/{kind}_v{version}"), input).expect("it can be written");
    }
}

macro_rules! agreement {
    ($($test:ident: $request:ident, $response:ident;)*) => {
        $(
            mod $test {
                use super::*;

                #[test]
                fn requests_agree_in_every_version() {
                    check::<$request, theirs::$request>();
                }

                #[test]
                fn responses_agree_in_every_version() {
                    check::<$response, theirs::$response>();
                }
            }
        )*

        #[test]
        #[ignore = "writes files: run it to renew the corpus after a declaration has changed"]
        fn corpus_is_written() {
            $(
                write_corpus::<$request>(stringify!($test), "request", 0);
                write_corpus::<$response>(stringify!($test), "response", crate::fuzzing::RESPONSE);
            )*
        }

        #[test]
        fn every_api_of_the_table_is_compared() {
            let compared = [$($request::API_KEY),*];
            for api in APIS {
                let is_compared = compared.contains(&api.key);
                assert!(is_compared || api.key.is_private(), "{} is not", api.name);
            }
        }
    };
}

agreement! {
    api_versions: ApiVersionsRequest, ApiVersionsResponse;
    consumer_group_describe: ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse;
    consumer_group_heartbeat: ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse;
    create_partitions: CreatePartitionsRequest, CreatePartitionsResponse;
    create_topics: CreateTopicsRequest, CreateTopicsResponse;
    delete_groups: DeleteGroupsRequest, DeleteGroupsResponse;
    delete_topics: DeleteTopicsRequest, DeleteTopicsResponse;
    describe_cluster: DescribeClusterRequest, DescribeClusterResponse;
    describe_configs: DescribeConfigsRequest, DescribeConfigsResponse;
    describe_groups: DescribeGroupsRequest, DescribeGroupsResponse;
    fetch: FetchRequest, FetchResponse;
    find_coordinator: FindCoordinatorRequest, FindCoordinatorResponse;
    heartbeat: HeartbeatRequest, HeartbeatResponse;
    incremental_alter_configs: IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse;
    init_producer_id: InitProducerIdRequest, InitProducerIdResponse;
    join_group: JoinGroupRequest, JoinGroupResponse;
    leave_group: LeaveGroupRequest, LeaveGroupResponse;
    list_groups: ListGroupsRequest, ListGroupsResponse;
    list_offsets: ListOffsetsRequest, ListOffsetsResponse;
    metadata: MetadataRequest, MetadataResponse;
    offset_commit: OffsetCommitRequest, OffsetCommitResponse;
    offset_delete: OffsetDeleteRequest, OffsetDeleteResponse;
    offset_fetch: OffsetFetchRequest, OffsetFetchResponse;
    offset_for_leader_epoch: OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse;
    produce: ProduceRequest, ProduceResponse;
    sync_group: SyncGroupRequest, SyncGroupResponse;
}

/// What Kafka does not have is decoded as it was encoded.
macro_rules! own {
    ($($test:ident: $request:ident, $response:ident;)*) => {
        $(
            mod $test {
                use super::*;

                #[test]
                fn requests_and_responses_decode_as_they_were_encoded() {
                    check_with::<$request>(|_, _, _| Ok(()));
                    check_with::<$response>(|_, _, _| Ok(()));
                }
            }
        )*

        #[test]
        #[ignore = "writes files: run it to renew the corpus after a declaration has changed"]
        fn corpus_of_own_apis_is_written() {
            $(
                write_corpus::<$request>(stringify!($test), "request", 0);
                write_corpus::<$response>(stringify!($test), "response", crate::fuzzing::RESPONSE);
            )*
        }

        #[test]
        fn every_own_api_of_the_table_is_checked() {
            let checked = [$($request::API_KEY),*];
            let own = APIS.iter().map(|api| api.key).filter(|key| key.is_private());
            assert!(own.eq(checked));
        }
    };
}

own! {
    routed_produce: RoutedProduceRequest, RoutedProduceResponse;
    init_routed_producer: InitRoutedProducerRequest, InitRoutedProducerResponse;
}
