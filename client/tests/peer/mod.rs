//! A peer over real sockets that speaks just enough of the protocol and misbehaves as it is told to.
//!
//! It keeps the batches it "writes" per partition, recognises repetitions like a broker, and asks a script what to do
//! with each Produce and Fetch request.

#![allow(dead_code, reason = "each test target uses a part of it")]

pub(crate) mod routed;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use keylane_client::{BrokerId, ErrorCode, Offset, PartitionIndex, TopicId};
use keylane_protocol::api::{APIS, ApiKey};
use keylane_protocol::frame::{
    decode_request_body, response_frame, unsupported_api_versions_frame,
};
use keylane_protocol::header::RequestHeader;
use keylane_protocol::identifiers::ProducerId;
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
use keylane_protocol::message::produce::{
    PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse,
};
use keylane_protocol::offset::{LeaderEpoch, ProducerEpoch};
use keylane_protocol::primitive::Decoder;
use keylane_protocol::record_batch::{RecordBatchHeader, stamp};
use keylane_protocol::transport::{FrameReader, FrameWriter};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};

/// What the peer does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Serves it.
    Serve,
    /// Serves it after a while.
    ServeAfter(Duration),
    /// Writes, then closes the connection without an answer.
    WriteAndClose,
    /// Writes, then sends so many bytes of the answer and closes the connection.
    WriteAndCutAnswer(usize),
    /// Closes the connection without writing.
    Close,
    /// Never answers, keeps the connection open.
    Ignore,
    /// Never reads on, keeps the connection open.
    Hang,
    /// Answers with an error, writes nothing.
    Refuse(ErrorCode),
    /// Answers with an error although it writes.
    WriteAndRefuse(ErrorCode),
    /// Sends these bytes in place of an answer.
    Say(&'static [u8]),
    /// Serves a fetch with one byte of each batch bent.
    Bend,
    /// Serves a routed batch with a bent answer.
    BendRouted(routed::Bend),
}

/// Decides by the number of the request, counted from 0.
type Script = Box<dyn FnMut(usize) -> Action + Send>;

/// A peer that listens on loopback.
#[derive(Clone)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    topic: &'static str,
    topic_id: TopicId,
    is_hidden: bool,
    on_identity: fn(usize) -> (ErrorCode, i16),
    identities: usize,
    partitions: Vec<Vec<Written>>,
    keeps: bool,
    api_versions_max: i16,
    on_produce: Script,
    produces: usize,
    on_fetch: Script,
    fetches: usize,
    metadatas: usize,
    epochs: Vec<i16>,
    routed: routed::RoutedState,
}

/// A batch as written.
#[derive(Clone)]
struct Written {
    base_offset: Offset,
    header: RecordBatchHeader,
    bytes: Bytes,
}

impl Peer {
    /// Starts a peer with one topic that serves everything.
    pub(crate) async fn start(topic: &'static str, partitions: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let state = State {
            topic,
            topic_id: TopicId([7; 16]),
            is_hidden: false,
            on_identity: |_| (ErrorCode::None, 0),
            identities: 0,
            partitions: vec![Vec::new(); partitions],
            keeps: true,
            api_versions_max: i16::MAX,
            on_produce: Box::new(|_| Action::Serve),
            produces: 0,
            on_fetch: Box::new(|_| Action::Serve),
            fetches: 0,
            metadatas: 0,
            epochs: Vec::new(),
            routed: routed::RoutedState::default(),
        };
        let peer = Self {
            address: listener.local_addr().expect("bound"),
            state: Arc::new(Mutex::new(state)),
        };
        tokio::spawn(accept(listener, peer.clone()));
        peer
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("not poisoned")
    }

    /// Says what to do with Produce requests.
    pub(crate) fn on_produce(&self, script: impl FnMut(usize) -> Action + Send + 'static) {
        self.lock().on_produce = Box::new(script);
    }

    /// Says what to do with Fetch requests.
    pub(crate) fn on_fetch(&self, script: impl FnMut(usize) -> Action + Send + 'static) {
        self.lock().on_fetch = Box::new(script);
    }

    /// Says, by the number of the request, how a producer id is answered: with an error, or with an epoch.
    pub(crate) fn on_identity(&self, script: fn(usize) -> (ErrorCode, i16)) {
        self.lock().on_identity = script;
    }

    pub(crate) fn identity_requests(&self) -> usize {
        self.lock().identities
    }

    /// Forgets what it writes, to only answer.
    pub(crate) fn keep_nothing(&self) {
        self.lock().keeps = false;
    }

    /// Answers ApiVersions above this version with UNSUPPORTED_VERSION.
    pub(crate) fn speak_api_versions_up_to(&self, version: i16) {
        self.lock().api_versions_max = version;
    }

    /// Gives the topic another id, as if it had been created anew.
    pub(crate) fn recreate_topic(&self) {
        self.lock().topic_id = TopicId([8; 16]);
    }

    /// Says in its metadata that there is no such topic, or that there is.
    pub(crate) fn hide_topic(&self, is_hidden: bool) {
        self.lock().is_hidden = is_hidden;
    }

    /// Loses all but so many of a partition's batches, as after an unclean election.
    pub(crate) fn lose_batches_after(&self, partition: usize, count: usize) {
        self.lock().partitions[partition].truncate(count);
    }

    pub(crate) fn metadata_requests(&self) -> usize {
        self.lock().metadatas
    }

    pub(crate) fn produce_requests(&self) -> usize {
        self.lock().produces
    }

    /// Returns the producer epochs seen, each once, in order.
    pub(crate) fn epochs(&self) -> Vec<i16> {
        self.lock().epochs.clone()
    }

    /// Returns the values of a partition's records, in order.
    pub(crate) fn values(&self, partition: usize) -> Vec<Bytes> {
        let written = self.lock().partitions[partition].clone();
        let batches = written.into_iter().map(|written| {
            let batch = keylane_protocol::record_batch::RecordBatch::check(written.bytes);
            batch.expect("sound").records(1 << 24).expect("readable")
        });
        batches
            .flatten()
            .map(|record| record.expect("readable").value.expect("set"))
            .collect()
    }
}

async fn accept(listener: TcpListener, peer: Peer) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(stream, peer.clone()));
    }
}

async fn serve(stream: TcpStream, peer: Peer) {
    stream.set_nodelay(true).expect("set");
    let (reader, writer) = stream.into_split();
    let mut reader = FrameReader::new(reader, 64 << 20);
    let mut writer = FrameWriter::new(writer);
    while let Ok(Some(frame)) = reader.next_frame().await {
        let (header, body) = RequestHeader::decode(frame).expect("a request");
        if !answer(&peer, &header, body, &mut writer).await {
            return;
        }
    }
}

/// Answers one request and returns whether the connection stays open.
async fn answer(
    peer: &Peer,
    header: &RequestHeader,
    body: Decoder,
    writer: &mut FrameWriter<OwnedWriteHalf>,
) -> bool {
    let version = header.api_version;
    let id = header.correlation_id;
    let frame = match ApiKey::from_code(header.api_key).expect("known") {
        ApiKey::ApiVersions if version > peer.lock().api_versions_max => {
            unsupported_api_versions_frame(id)
        }
        ApiKey::ApiVersions => {
            let mut offered = ApiVersionsResponse::offering_all();
            if peer.lock().routed.is_offered {
                let private = APIS.into_iter().filter(|api| api.key.is_private());
                offered
                    .api_keys
                    .extend(private.filter_map(ApiVersion::offered));
            }
            response_frame(&offered, version, id).expect("encoded")
        }
        ApiKey::Metadata => {
            let request = decode_request_body(body, version).expect("a request");
            response_frame(&peer.lock().metadata(&request, peer.address), version, id)
                .expect("encoded")
        }
        ApiKey::InitProducerId => {
            let response = peer.lock().identity();
            response_frame(&response, version, id).expect("encoded")
        }
        ApiKey::InitRoutedProducer => {
            let request = decode_request_body(body, version).expect("a request");
            let response = peer.lock().init_routed_producer(&request);
            response_frame(&response, version, id).expect("encoded")
        }
        ApiKey::RoutedProduce => {
            let request = decode_request_body(body, version).expect("a request");
            let (action, response) = peer.lock().routed_produce(&request);
            let frame = response_frame(&response, version, id).expect("encoded");
            return act(action, frame, writer).await;
        }
        ApiKey::ListOffsets => {
            let request = decode_request_body(body, version).expect("a request");
            response_frame(&peer.lock().list_offsets(&request), version, id).expect("encoded")
        }
        ApiKey::Produce => {
            let request: ProduceRequest = decode_request_body(body, version).expect("a request");
            let (action, response) = peer.lock().produce(&request);
            let is_answered = request.acks != 0;
            let frame = response_frame(&response, version, id).expect("encoded");
            let frame = if is_answered { frame } else { Vec::new() };
            return act(action, frame, writer).await;
        }
        ApiKey::Fetch => {
            let request: FetchRequest = decode_request_body(body, version).expect("a request");
            let (action, response) = peer.lock().fetch(&request);
            let is_empty = response.responses.iter().all(|topic| {
                topic.partitions.iter().all(|partition| {
                    partition.error_code.is_none()
                        && partition
                            .records
                            .as_ref()
                            .is_none_or(|records| records.is_empty())
                })
            });
            if is_empty {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let frame = response_frame(&response, version, id).expect("encoded");
            return act(action, frame, writer).await;
        }
        other => panic!("{} is not played", other.name()),
    };
    act(Action::Serve, frame, writer).await
}

async fn act(action: Action, frame: Vec<Bytes>, writer: &mut FrameWriter<OwnedWriteHalf>) -> bool {
    match action {
        Action::Serve
        | Action::Refuse(_)
        | Action::WriteAndRefuse(_)
        | Action::Bend
        | Action::BendRouted(_) => {
            writer.queue(frame);
        }
        Action::ServeAfter(delay) => {
            tokio::time::sleep(delay).await;
            writer.queue(frame);
        }
        Action::WriteAndCutAnswer(length) => {
            let whole: Vec<u8> = frame.iter().flatten().copied().collect();
            writer.queue(vec![Bytes::from(whole).slice(..length)]);
            let _ = writer.flush().await;
            return false;
        }
        Action::Say(bytes) => writer.queue(vec![Bytes::from_static(bytes)]),
        Action::WriteAndClose | Action::Close => return false,
        Action::Ignore => {}
        Action::Hang => std::future::pending().await,
    }
    writer.flush().await.is_ok()
}

impl State {
    fn metadata(&mut self, request: &MetadataRequest, address: SocketAddr) -> MetadataResponse {
        self.metadatas += 1;
        let topics = request.topics.iter().flatten();
        let topics = topics.map(|topic| {
            let name = topic.name.clone().unwrap_or_default();
            if *name != *self.topic || self.is_hidden {
                return MetadataResponseTopic {
                    error_code: ErrorCode::UnknownTopicOrPartition,
                    name: Some(name),
                    ..Default::default()
                };
            }
            let partition = |index| MetadataResponsePartition {
                partition_index: PartitionIndex(index),
                leader_id: BrokerId(1),
                leader_epoch: LeaderEpoch(3),
                replica_nodes: vec![BrokerId(1)],
                isr_nodes: vec![BrokerId(1)],
                ..Default::default()
            };
            let count = i32::try_from(self.partitions.len()).expect("few");
            MetadataResponseTopic {
                name: Some(name),
                topic_id: self.topic_id,
                partitions: (0..count).map(partition).collect(),
                ..Default::default()
            }
        });
        MetadataResponse {
            topics: topics.collect(),
            brokers: vec![MetadataResponseBroker {
                node_id: BrokerId(1),
                host: address.ip().to_string().into(),
                port: i32::from(address.port()),
                rack: None,
            }],
            cluster_id: Some(ByteString::from_static("peer")),
            controller_id: BrokerId(1),
            ..Default::default()
        }
    }

    fn identity(&mut self) -> InitProducerIdResponse {
        let (error_code, epoch) = (self.on_identity)(self.identities);
        self.identities += 1;
        InitProducerIdResponse {
            error_code,
            producer_id: ProducerId(4000),
            producer_epoch: ProducerEpoch(epoch),
            ..Default::default()
        }
    }

    fn list_offsets(&self, request: &ListOffsetsRequest) -> ListOffsetsResponse {
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                let index = partition.partition_index;
                let written = &self.partitions[usize::try_from(index.0).expect("positive")];
                let end = written.last().map_or(Offset(0), end_offset);
                let is_first = partition.timestamp == EARLIEST_TIMESTAMP;
                ListOffsetsPartitionResponse {
                    partition_index: index,
                    offset: if is_first { Offset(0) } else { end },
                    ..Default::default()
                }
            });
            ListOffsetsTopicResponse {
                name: topic.name.clone(),
                partitions: partitions.collect(),
            }
        });
        ListOffsetsResponse {
            topics: topics.collect(),
            ..Default::default()
        }
    }

    fn produce(&mut self, request: &ProduceRequest) -> (Action, ProduceResponse) {
        let action = (self.on_produce)(self.produces);
        self.produces += 1;
        let writes = !matches!(action, Action::Close | Action::Ignore | Action::Refuse(_));
        let code = match action {
            Action::Refuse(code) | Action::WriteAndRefuse(code) => code,
            _ => ErrorCode::None,
        };
        let mut responses = Vec::new();
        for topic in &request.topic_data {
            let mut partition_responses = Vec::new();
            for partition in &topic.partition_data {
                let batch = partition.records.clone().expect("records");
                let written = if writes {
                    self.write(partition.index, &batch)
                } else {
                    Ok(Offset(-1))
                };
                let refused = written.err().unwrap_or(ErrorCode::None);
                partition_responses.push(PartitionProduceResponse {
                    index: partition.index,
                    error_code: if code.is_none() { refused } else { code },
                    base_offset: written.unwrap_or(Offset(-1)),
                    ..Default::default()
                });
            }
            responses.push(TopicProduceResponse {
                name: topic.name.clone(),
                partition_responses,
            });
        }
        let response = ProduceResponse {
            responses,
            ..Default::default()
        };
        (action, response)
    }

    fn write(&mut self, index: PartitionIndex, batch: &Bytes) -> Result<Offset, ErrorCode> {
        let header = RecordBatchHeader::read(batch).expect("a batch");
        if !self.keeps {
            return Ok(Offset(0));
        }
        let epoch = header.producer_epoch.0;
        if self.epochs.last() != Some(&epoch) {
            self.epochs.push(epoch);
        }
        let written = &mut self.partitions[usize::try_from(index.0).expect("positive")];
        let is_same = |known: &&Written| {
            header.producer_id != ProducerId::NONE
                && known.header.producer_epoch == header.producer_epoch
                && known.header.base_sequence == header.base_sequence
        };
        if let Some(known) = written.iter().find(is_same) {
            return Ok(known.base_offset);
        }
        let last = written.last();
        let expected = last.map_or(0, |last| {
            if last.header.producer_epoch == header.producer_epoch {
                last.header.base_sequence.plus(last.header.record_count).0
            } else {
                0
            }
        });
        if header.producer_id != ProducerId::NONE && header.base_sequence.0 != expected {
            return Err(ErrorCode::OutOfOrderSequenceNumber);
        }
        let base_offset = last.map_or(Offset(0), end_offset);
        let mut bytes = batch.to_vec();
        stamp(&mut bytes, base_offset, LeaderEpoch(3));
        written.push(Written {
            base_offset,
            header,
            bytes: bytes.into(),
        });
        Ok(base_offset)
    }

    fn fetch(&mut self, request: &FetchRequest) -> (Action, FetchResponse) {
        let action = (self.on_fetch)(self.fetches);
        self.fetches += 1;
        let code = match action {
            Action::Refuse(code) => code,
            _ => ErrorCode::None,
        };
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                let index = usize::try_from(partition.partition.0).expect("positive");
                let written = &self.partitions[index];
                let wanted = written.iter();
                let wanted = wanted.filter(|written| end_offset(written) > partition.fetch_offset);
                let mut records: Vec<u8> =
                    wanted.flat_map(|written| written.bytes.clone()).collect();
                if matches!(action, Action::Bend)
                    && let Some(last) = records.last_mut()
                {
                    *last ^= 1;
                }
                if topic.topic_id != self.topic_id {
                    return FetchablePartitionResponse {
                        partition_index: partition.partition,
                        error_code: ErrorCode::UnknownTopicId,
                        ..Default::default()
                    };
                }
                FetchablePartitionResponse {
                    partition_index: partition.partition,
                    error_code: code,
                    high_watermark: written.last().map_or(Offset(0), end_offset),
                    records: code.is_none().then(|| Bytes::from(records).into()),
                    ..Default::default()
                }
            });
            FetchableTopicResponse {
                topic: topic.topic.clone(),
                topic_id: topic.topic_id,
                partitions: partitions.collect(),
            }
        });
        let response = FetchResponse {
            responses: topics.collect(),
            ..Default::default()
        };
        (action, response)
    }
}

fn end_offset(written: &Written) -> Offset {
    written
        .base_offset
        .plus(i64::from(written.header.record_count))
}
