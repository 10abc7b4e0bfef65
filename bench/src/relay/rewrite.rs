//! Answers that name brokers: each is said to be at the relay's address, so that clients stay with the relay.

use std::net::SocketAddr;

use bytes::Bytes;
use bytestring::ByteString;
use keylane_protocol::api::ApiKey;
use keylane_protocol::frame::{LENGTH_PREFIX_BYTES, decode_response, response_frame};
use keylane_protocol::message::Response;
use keylane_protocol::message::describe_cluster::DescribeClusterResponse;
use keylane_protocol::message::metadata::MetadataResponse;

/// Returns the frame of an answer to send to the client; `None` if it should have been rewritten and cannot be read.
pub(super) fn answer(
    frame: &Bytes,
    api_key: i16,
    version: i16,
    relay: SocketAddr,
) -> Option<Vec<Bytes>> {
    let host = ByteString::from(relay.ip().to_string());
    let port = i32::from(relay.port());
    match ApiKey::from_code(api_key) {
        Some(ApiKey::Metadata) => rewritten(frame, version, |response: &mut MetadataResponse| {
            for broker in &mut response.brokers {
                broker.host = host.clone();
                broker.port = port;
            }
        }),
        Some(ApiKey::DescribeCluster) => {
            rewritten(frame, version, |response: &mut DescribeClusterResponse| {
                for broker in &mut response.brokers {
                    broker.host = host.clone();
                    broker.port = port;
                }
            })
        }
        _ => Some(framed(frame)),
    }
}

fn rewritten<R: Response>(
    frame: &Bytes,
    version: i16,
    rewrite: impl FnOnce(&mut R),
) -> Option<Vec<Bytes>> {
    let (header, mut response) = decode_response::<R>(frame.clone(), version).ok()?;
    rewrite(&mut response);
    response_frame(&response, version, header.correlation_id).ok()
}

/// Returns a frame with its length in front again.
pub(super) fn framed(frame: &Bytes) -> Vec<Bytes> {
    let length = u32::try_from(frame.len()).expect("frames were shorter when they were read");
    let prefix: [u8; LENGTH_PREFIX_BYTES] = length.to_be_bytes();
    vec![Bytes::copy_from_slice(&prefix), frame.clone()]
}
