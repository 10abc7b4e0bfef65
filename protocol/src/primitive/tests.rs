//! Tests of the primitives through messages small enough to write down byte by byte.

use bytes::Bytes;
use bytestring::ByteString;

use super::*;
use crate::error_code::ErrorCode;
use crate::frame::{decode_response, request_frame, response_frame};
use crate::header::RequestHeader;
use crate::identifiers::PartitionIndex;
use crate::limits::INSERT_COPIED_BYTES_MAX;
use crate::message::Message;
use crate::message::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use crate::message::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use crate::message::fetch::{FetchResponse, FetchablePartitionResponse, FetchableTopicResponse};
use crate::message::metadata::MetadataRequest;
use crate::message::produce::ProduceRequest;

fn encoded(message: &impl Message, version: i16) -> Vec<u8> {
    let mut encoder = Encoder::new();
    message.encode(version, &mut encoder).expect("encodes");
    encoder.into_segments().concat()
}

fn decoded<M: Message>(bytes: &[u8], version: i16) -> Result<M, DecodeError> {
    let mut decoder = Decoder::new(Bytes::copy_from_slice(bytes));
    let message = M::decode(&mut decoder, version)?;
    decoder.finish()?;
    Ok(message)
}

#[test]
fn varints_are_read_as_written_and_refused_beyond_32_bits() {
    for value in [0, 1, 127, 128, 300, 16_383, 16_384, u32::MAX - 1, u32::MAX] {
        let mut encoder = Encoder::new();
        encoder.put_unsigned_varint(value);
        let mut decoder = Decoder::new(Bytes::from(encoder.into_segments().concat()));
        assert_eq!(decoder.read_unsigned_varint(), Ok(value));
        assert_eq!(decoder.finish(), Ok(()));
    }
    for bytes in [
        &[0xff, 0xff, 0xff, 0xff, 0x10],
        &[0x80, 0x80, 0x80, 0x80, 0x80],
    ] {
        let mut decoder = Decoder::new(Bytes::from_static(bytes));
        let refused = decoder.read_unsigned_varint();
        assert_eq!(refused, Err(DecodeError::InvalidLength { at: 0 }));
    }
}

#[test]
fn a_list_that_cannot_fit_is_refused_before_it_is_allocated() {
    let refused = decoded::<MetadataRequest>(&[0x7f, 0xff, 0xff, 0xff, 0, 0], 0);
    assert_eq!(
        refused,
        Err(DecodeError::TooManyElements {
            at: 4,
            count: 0x7fff_ffff,
            remaining: 2
        })
    );
}

#[test]
fn a_list_that_needs_more_memory_than_its_bytes_allow_is_refused() {
    let names = 1_000_000;
    let mut bytes = Vec::from(i32::to_be_bytes(names));
    bytes.resize(4 + 2 * names as usize, 0);
    let refused = decoded::<MetadataRequest>(&bytes, 0).expect_err("a name needs 48 bytes");
    assert!(
        matches!(refused, DecodeError::AllocationTooLarge { .. }),
        "{refused}"
    );
}

#[test]
fn null_is_refused_in_versions_without_it() {
    let null = [0xff, 0xff, 0xff, 0xff];
    assert_eq!(
        decoded::<MetadataRequest>(&null, 0),
        Err(DecodeError::UnexpectedNull { at: 4 })
    );
    let all = decoded::<MetadataRequest>(&null, 1).expect("null asks for all topics");
    assert_eq!(all.topics, None);
    let mut encoder = Encoder::new();
    let refused = all.encode(0, &mut encoder);
    assert_eq!(
        refused,
        Err(EncodeError::UnexpectedNull {
            field: "MetadataRequest.topics",
            version: 0
        })
    );
}

#[test]
fn tagged_fields_with_their_default_are_not_written() {
    let response = ApiVersionsResponse::default();
    assert_eq!(encoded(&response, 3), [0, 0, 1, 0, 0, 0, 0, 0]);
    let response = ApiVersionsResponse {
        finalized_features_epoch: 1,
        ..response
    };
    let bytes = encoded(&response, 3);
    assert_eq!(bytes[7..], [1, 1, 8, 0, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(decoded(&bytes, 3), Ok(response));
}

#[test]
fn unknown_tagged_fields_are_skipped_and_disorder_is_refused() {
    let unknown = [0, 0, 1, 0, 0, 0, 0, 2, 7, 2, 0xab, 0xcd, 9, 0];
    assert_eq!(decoded(&unknown, 3), Ok(ApiVersionsResponse::default()));
    for faulty in [
        &[0, 0, 1, 0, 0, 0, 0, 2, 9, 0, 7, 0][..],
        &[0, 0, 1, 0, 0, 0, 0, 1, 1, 7, 0, 0, 0, 0, 0, 0, 1],
        &[0, 0, 1, 0, 0, 0, 0, 1, 1, 9, 0, 0, 0, 0, 0, 0, 0, 1, 0],
    ] {
        decoded::<ApiVersionsResponse>(faulty, 3).expect_err("disorder");
    }
}

#[test]
fn a_field_the_version_lacks_is_dropped_only_if_declared_ignorable() {
    let request = ApiVersionsRequest {
        client_software_name: ByteString::from_static("keylane"),
        ..ApiVersionsRequest::default()
    };
    assert!(encoded(&request, 0).is_empty());
    let request = DeleteTopicsRequest {
        topics: vec![DeleteTopicState::default()],
        ..DeleteTopicsRequest::default()
    };
    let refused = request.encode(5, &mut Encoder::new());
    let field = "DeleteTopicsRequest.topics";
    assert_eq!(
        refused,
        Err(EncodeError::FieldNotInVersion { field, version: 5 })
    );
}

#[test]
fn only_few_records_are_copied_when_they_are_passed_on() {
    let batches = Bytes::from(vec![7; 16 + INSERT_COPIED_BYTES_MAX + 1]);
    let partition = FetchablePartitionResponse {
        partition_index: PartitionIndex(3),
        records: Some(
            [batches.slice(..16), batches.slice(16..)]
                .into_iter()
                .collect(),
        ),
        ..FetchablePartitionResponse::default()
    };
    let response = FetchResponse {
        responses: vec![FetchableTopicResponse {
            partitions: vec![partition.clone(), partition],
            ..FetchableTopicResponse::default()
        }],
        ..FetchResponse::default()
    };
    let segments = response_frame(&response, 12, 5).expect("encodes");
    let addresses: Vec<_> = segments.iter().map(|segment| segment.as_ptr()).collect();
    assert_eq!(segments.len(), 5, "the short prefixes are with the fields");
    for place in [1, 3] {
        assert_eq!(addresses[place], batches[16..].as_ptr());
    }
    let frame = Bytes::from(segments.concat()).slice(4..);
    let (header, back) = decode_response::<FetchResponse>(frame.clone(), 12).expect("decodes");
    assert_eq!(header.correlation_id, 5);
    assert_eq!(back, response);
    let records = back.responses[0].partitions[0]
        .records
        .clone()
        .expect("records");
    let bytes = records.into_bytes();
    assert!(
        frame.as_ptr_range().contains(&bytes.as_ptr()),
        "decoded records are a slice"
    );
}

#[test]
fn records_that_arrived_in_slices_are_decoded_without_being_copied() {
    let response = FetchResponse {
        responses: vec![FetchableTopicResponse {
            partitions: vec![FetchablePartitionResponse {
                records: Some(Bytes::from(vec![7; 100]).into()),
                ..FetchablePartitionResponse::default()
            }],
            ..FetchableTopicResponse::default()
        }],
        ..FetchResponse::default()
    };
    let body = Bytes::from(encoded(&response, 12));
    let records_at = body.windows(2).position(|pair| pair == [7, 7]);
    let cut = records_at.expect("they are there") + 40;
    let arrived = [body.slice(..cut), Bytes::copy_from_slice(&body[cut..])];
    let mut decoder = Decoder::over(&arrived.iter().cloned().collect());
    let back = FetchResponse::decode(&mut decoder, 12).expect("decodes");
    decoder.finish().expect("nothing is left over");
    assert_eq!(back, response);
    let records = back.responses[0].partitions[0].records.as_ref();
    let slices = records.expect("records").slices();
    let places: Vec<_> = slices.map(|slice| (slice.as_ptr(), slice.len())).collect();
    let first = (arrived[0][cut - 40..].as_ptr(), 40);
    assert_eq!(places, [first, (arrived[1].as_ptr(), 60)]);
}

#[test]
fn requests_carry_length_and_header() {
    let segments =
        request_frame(&ApiVersionsRequest::default(), 3, 7, Some("me")).expect("encodes");
    let bytes = segments.concat();
    assert_eq!(
        bytes,
        [
            0, 0, 0, 16, 0, 18, 0, 3, 0, 0, 0, 7, 0, 2, b'm', b'e', 0, 1, 1, 0
        ]
    );
    let (header, body) = RequestHeader::decode(Bytes::from(bytes).slice(4..)).expect("header");
    assert_eq!(header.client_id.as_deref(), Some("me"));
    assert_eq!(body.remaining(), 3);
}

#[test]
fn versions_outside_the_table_are_refused() {
    let mut decoder = Decoder::new(Bytes::from_static(&[0; 64]));
    for version in [-1, 2, 12, i16::MAX] {
        let refused = ProduceRequest::decode(&mut decoder, version);
        let api = "Produce";
        assert_eq!(
            refused,
            Err(DecodeError::UnsupportedVersion { api, version })
        );
    }
}

#[test]
fn unknown_versions_of_api_versions_are_answered_in_version_0() {
    let bytes = crate::frame::unsupported_api_versions_frame(9).concat();
    let frame = Bytes::from(bytes).slice(4..);
    let (header, response) = decode_response::<ApiVersionsResponse>(frame, 0).expect("decodes");
    assert_eq!(header.correlation_id, 9);
    assert_eq!(response.error_code, ErrorCode::UnsupportedVersion);
    assert_eq!(response.api_keys.len(), 1);
    assert_eq!(
        (
            response.api_keys[0].min_version,
            response.api_keys[0].max_version
        ),
        (0, 4)
    );
}
