//! The first half of a request: read its header, refuse what cannot be served, hand a Produce to its shards.
//!
//! Everything but Produce is finished when it reaches the head of the queue, so that it sees what the requests before
//! it did. Nothing is answered here: what is refused ends the connection after the answers before it have left.

use bytes::Bytes;
use bytestring::ByteString;
use keylane_protocol::api::ApiKey;
use keylane_protocol::frame::decode_request_body;
use keylane_protocol::header::{RequestHeader, UnsupportedRequest};
use keylane_protocol::message::produce::ProduceRequest;
use keylane_protocol::primitive::Decoder;

use super::Connection;
use crate::handler::exchange::{RefusedRequest, check_items};
use crate::handler::produce::{self, ProduceUnderway};

/// A request whose order is fixed.
pub(super) enum Begun {
    /// The batches are with their shards.
    Produce {
        version: i16,
        correlation_id: i32,
        underway: ProduceUnderway,
    },
    /// To be decoded and served at the head of the queue.
    Waiting {
        api: ApiKey,
        version: i16,
        correlation_id: i32,
        client_id: Option<ByteString>,
        body: Decoder,
    },
    /// ApiVersions in a version that is not known; the body is not touched.
    UnknownApiVersions { correlation_id: i32 },
}

impl Begun {
    pub(super) fn api(&self) -> ApiKey {
        match self {
            Self::Produce { .. } => ApiKey::Produce,
            Self::Waiting { api, .. } => *api,
            Self::UnknownApiVersions { .. } => ApiKey::ApiVersions,
        }
    }

    pub(super) fn changes_topics(&self) -> bool {
        matches!(
            self,
            Self::Waiting {
                api: ApiKey::CreateTopics
                    | ApiKey::DeleteTopics
                    | ApiKey::CreatePartitions
                    | ApiKey::IncrementalAlterConfigs,
                ..
            }
        )
    }
}

/// Tells whether a frame holds a Fetch, by its first two bytes.
pub(super) fn is_fetch(frame: &Bytes) -> bool {
    frame.starts_with(&ApiKey::Fetch.code().to_be_bytes())
}

/// Begins the request in a frame.
pub(super) async fn begin(connection: &Connection, frame: Bytes) -> Result<Begun, RefusedRequest> {
    let frame_bytes = frame.len();
    let (header, body) = RequestHeader::decode(frame)?;
    let (version, correlation_id) = (header.api_version, header.correlation_id);
    let api = match header.supported() {
        Ok(api) if api.key.is_private() => {
            let api_key = header.api_key;
            return Err(UnsupportedRequest::UnknownApi { api_key }.into());
        }
        Ok(api) => api.key,
        Err(UnsupportedRequest::UnsupportedVersion {
            api: ApiKey::ApiVersions,
            ..
        }) => return Ok(Begun::UnknownApiVersions { correlation_id }),
        Err(refused) => return Err(refused.into()),
    };
    if api != ApiKey::Produce {
        return Ok(Begun::Waiting {
            api,
            version,
            correlation_id,
            client_id: header.client_id,
            body,
        });
    }
    let request: ProduceRequest = decode_request_body(body, version)?;
    let partitions = request
        .topic_data
        .iter()
        .map(|topic| topic.partition_data.len());
    check_items(request.topic_data.len() + partitions.sum::<usize>())?;
    let underway = produce::begin(&connection.broker, request, version, frame_bytes).await;
    Ok(Begun::Produce {
        version,
        correlation_id,
        underway,
    })
}
