//! Everything but Produce: asked rarely, so answered by the codec.

use bytes::Bytes;
use bytestring::ByteString;
use keylane_protocol::api::ApiKey;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::frame::{
    decode_request_body, response_frame, unsupported_api_versions_frame,
};
use keylane_protocol::header::RequestHeader;
use keylane_protocol::identifiers::{BrokerId, PartitionIndex, ProducerId};
use keylane_protocol::message::Response;
use keylane_protocol::message::api_versions::{ApiVersion, ApiVersionsResponse};
use keylane_protocol::message::fetch::{
    FetchRequest, FetchResponse, FetchablePartitionResponse, FetchableTopicResponse,
};
use keylane_protocol::message::init_producer_id::InitProducerIdResponse;
use keylane_protocol::message::list_offsets::{
    EARLIEST_TIMESTAMP, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopicResponse,
};
use keylane_protocol::message::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
    MetadataResponseTopic,
};
use keylane_protocol::offset::{LeaderEpoch, Offset, ProducerEpoch};
use keylane_protocol::primitive::{Decoder, Records};

use super::partitions::Partitions;
use super::produce::{Malformed, PRODUCE_VERSION};
use super::store::Store;

/// The version of Fetch that is offered: the last one that names topics instead of giving their ids.
const FETCH_VERSION: i16 = 12;

const BROKER: BrokerId = BrokerId(1);
const EPOCH: LeaderEpoch = LeaderEpoch(0);

/// What answers are made of.
pub(super) struct Facts<'a> {
    pub(super) port: u16,
    pub(super) partition_count: i32,
    pub(super) partitions: &'a mut Partitions,
    pub(super) store: Option<&'a Store>,
    pub(super) next_producer_id: &'a mut i64,
}

/// A request that is not Produce.
pub(super) enum Request {
    /// Its answer.
    Answered(Vec<Bytes>),
    /// A Fetch, which may have to wait.
    Fetch(PendingFetch),
}

/// A Fetch with what its answer needs.
#[derive(Debug)]
pub(super) struct PendingFetch {
    correlation_id: i32,
    version: i16,
    pub(super) request: FetchRequest,
}

impl Facts<'_> {
    /// Reads a request and answers it, unless it is a Fetch.
    pub(super) fn on_request(&mut self, frame: Bytes) -> Result<Request, Malformed> {
        let (header, body) = RequestHeader::decode(frame).map_err(|_| Malformed)?;
        let version = header.api_version;
        let correlation_id = header.correlation_id;
        let Ok(api) = header.supported() else {
            return if header.api_key == ApiKey::ApiVersions.code() {
                Ok(Request::Answered(unsupported_api_versions_frame(
                    correlation_id,
                )))
            } else {
                Err(Malformed)
            };
        };
        let answer = match api.key {
            ApiKey::ApiVersions => encode(&offered(), version, correlation_id),
            ApiKey::Metadata => encode(&self.metadata(body, version)?, version, correlation_id),
            ApiKey::InitProducerId => encode(&self.producer_id(), version, correlation_id),
            ApiKey::ListOffsets => {
                let request = decode_request_body(body, version).map_err(|_| Malformed)?;
                encode(&self.offsets(request), version, correlation_id)
            }
            ApiKey::Fetch => {
                return Ok(Request::Fetch(PendingFetch {
                    correlation_id,
                    version,
                    request: decode_request_body(body, version).map_err(|_| Malformed)?,
                }));
            }
            _ => Err(Malformed),
        };
        answer.map(Request::Answered)
    }

    fn metadata(&self, body: Decoder, version: i16) -> Result<MetadataResponse, Malformed> {
        let request: MetadataRequest = decode_request_body(body, version).map_err(|_| Malformed)?;
        let partition = |index| MetadataResponsePartition {
            partition_index: PartitionIndex(index),
            leader_id: BROKER,
            leader_epoch: EPOCH,
            replica_nodes: vec![BROKER],
            isr_nodes: vec![BROKER],
            ..MetadataResponsePartition::default()
        };
        let topics = request.topics.unwrap_or_default().into_iter();
        Ok(MetadataResponse {
            brokers: vec![MetadataResponseBroker {
                node_id: BROKER,
                host: ByteString::from_static("127.0.0.1"),
                port: i32::from(self.port),
                rack: None,
            }],
            cluster_id: Some(ByteString::from_static("null-broker")),
            controller_id: BROKER,
            topics: topics
                .map(|topic| MetadataResponseTopic {
                    name: topic.name,
                    topic_id: topic.topic_id,
                    partitions: (0..self.partition_count).map(partition).collect(),
                    ..MetadataResponseTopic::default()
                })
                .collect(),
            ..MetadataResponse::default()
        })
    }

    fn producer_id(&mut self) -> InitProducerIdResponse {
        *self.next_producer_id += 1;
        InitProducerIdResponse {
            producer_id: ProducerId(*self.next_producer_id),
            producer_epoch: ProducerEpoch(0),
            ..InitProducerIdResponse::default()
        }
    }

    fn offsets(&mut self, request: ListOffsetsRequest) -> ListOffsetsResponse {
        let count = self.partition_count;
        let topics = request.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|asked| {
                let index = asked.partition_index;
                let found = self.partitions.get(topic.name.as_bytes(), index.0, count);
                let end = found.as_ref().map(|partition| partition.end);
                let is_start = asked.timestamp == EARLIEST_TIMESTAMP;
                ListOffsetsPartitionResponse {
                    partition_index: index,
                    error_code: existing(end.is_some()),
                    offset: Offset(if is_start { 0 } else { end.unwrap_or(-1) }),
                    leader_epoch: EPOCH,
                    ..ListOffsetsPartitionResponse::default()
                }
            });
            let partitions = partitions.collect();
            ListOffsetsTopicResponse {
                name: topic.name,
                partitions,
            }
        });
        ListOffsetsResponse {
            topics: topics.collect(),
            ..ListOffsetsResponse::default()
        }
    }

    /// Returns the answer to a Fetch if there are enough bytes for it, or if it must not wait.
    pub(super) fn fetch(
        &mut self,
        pending: &PendingFetch,
        must_answer: bool,
    ) -> Result<Option<Vec<Bytes>>, Malformed> {
        let request = &pending.request;
        let mut budget = usize::try_from(request.max_bytes).unwrap_or(0);
        let mut found = 0;
        let mut responses = Vec::new();
        for topic in &request.topics {
            let mut partitions = Vec::new();
            for asked in &topic.partitions {
                let limit = usize::try_from(asked.partition_max_bytes).unwrap_or(0);
                let index = asked.partition.0;
                let offset = asked.fetch_offset.0;
                let answer = self.read(&topic.topic, index, offset, limit.min(budget))?;
                let bytes = answer.records.as_ref().map_or(0, Records::len);
                budget = budget.saturating_sub(bytes);
                found += bytes;
                partitions.push(answer);
            }
            responses.push(FetchableTopicResponse {
                topic: topic.topic.clone(),
                partitions,
                ..FetchableTopicResponse::default()
            });
        }
        let is_enough = found >= usize::try_from(request.min_bytes).unwrap_or(0);
        if !is_enough && !must_answer {
            return Ok(None);
        }
        let response = FetchResponse {
            responses,
            ..FetchResponse::default()
        };
        encode(&response, pending.version, pending.correlation_id).map(Some)
    }

    fn read(
        &mut self,
        topic: &ByteString,
        index: i32,
        offset: i64,
        bytes_max: usize,
    ) -> Result<FetchablePartitionResponse, Malformed> {
        let count = self.partition_count;
        let partition = self.partitions.get(topic.as_bytes(), index, count);
        let end = partition.as_ref().map(|partition| partition.end);
        let mut records = Vec::new();
        if let (Some(partition), Some(store)) = (partition, self.store) {
            for batch in partition.batches_from(offset, bytes_max) {
                let mut bytes = store
                    .read(batch.position, batch.length)
                    .map_err(|_| Malformed)?;
                if bytes.len() < batch.length || bytes[..8] != batch.base_offset.to_be_bytes() {
                    // The file began again over it.
                    break;
                }
                records.append(&mut bytes);
            }
        }
        Ok(FetchablePartitionResponse {
            partition_index: PartitionIndex(index),
            error_code: existing(end.is_some()),
            high_watermark: Offset(end.unwrap_or(-1)),
            last_stable_offset: Offset(end.unwrap_or(-1)),
            log_start_offset: Offset(0),
            records: Some(Records::from(Bytes::from(records))),
            ..FetchablePartitionResponse::default()
        })
    }
}

fn existing(exists: bool) -> ErrorCode {
    if exists {
        ErrorCode::None
    } else {
        ErrorCode::UnknownTopicOrPartition
    }
}

/// Returns the APIs served, Produce and Fetch in one version each.
fn offered() -> ApiVersionsResponse {
    let one = |key: ApiKey, version| ApiVersion {
        api_key: key.code(),
        min_version: version,
        max_version: version,
    };
    let chosen = [
        one(ApiKey::Produce, PRODUCE_VERSION),
        one(ApiKey::Fetch, FETCH_VERSION),
    ];
    let whole = [
        ApiKey::ListOffsets,
        ApiKey::Metadata,
        ApiKey::ApiVersions,
        ApiKey::InitProducerId,
    ];
    let whole = whole.map(|key| ApiVersion::offered(key.api()));
    ApiVersionsResponse {
        api_keys: chosen
            .into_iter()
            .chain(whole.into_iter().flatten())
            .collect(),
        ..ApiVersionsResponse::default()
    }
}

fn encode<R: Response>(response: &R, version: i16, id: i32) -> Result<Vec<Bytes>, Malformed> {
    response_frame(response, version, id).map_err(|_| Malformed)
}
