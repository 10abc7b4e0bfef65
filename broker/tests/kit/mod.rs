//! A broker in this process and a client of raw frames, for the tests beside this folder.
#![allow(dead_code, reason = "each test file uses some of it")]

pub(crate) mod cluster;
pub(crate) mod link;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use keylane_broker::Broker;
use keylane_broker::config::BrokerConfig;
use keylane_protocol::compression::Compression;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::frame::{decode_response, request_frame};
use keylane_protocol::identifiers::{PartitionIndex, TopicId};
use keylane_protocol::message::Request;
use keylane_protocol::message::create_topics::{CreatableTopicResult, CreateTopicsRequest};
use keylane_protocol::message::fetch::{
    FetchPartition, FetchRequest, FetchTopic, FetchablePartitionResponse,
};
use keylane_protocol::message::produce::{
    PartitionProduceResponse, ProducePartition, ProduceRequest, ProduceTopic,
};
use keylane_protocol::offset::Offset;
use keylane_protocol::record_batch::{BatchProducer, NewRecord, RecordBatchBuilder, RecordBatches};

/// A broker on a free port over a folder that goes with it.
pub(crate) struct TestBroker {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) broker: Option<Broker>,
}

pub(crate) fn config(folder: &std::path::Path) -> BrokerConfig {
    let mut config = BrokerConfig::new(folder);
    config.listen.set_port(0);
    config.space_reserve_bytes = 1 << 20;
    config
}

impl TestBroker {
    pub(crate) fn start() -> Self {
        Self::start_with(|_| {})
    }

    pub(crate) fn start_with(change: impl FnOnce(&mut BrokerConfig)) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let mut config = config(folder.path());
        change(&mut config);
        let broker = Broker::start(config).expect("the broker starts");
        Self {
            folder,
            broker: Some(broker),
        }
    }

    /// Ends the broker as a crash would: nothing is finished or written.
    pub(crate) fn crash(&mut self) {
        drop(self.broker.take());
    }

    pub(crate) fn stop(&mut self) {
        let broker = self.broker.take().expect("it runs");
        broker.stop().expect("a clean stop");
    }

    pub(crate) fn start_again(&mut self) {
        assert!(self.broker.is_none());
        self.broker = Some(Broker::start(config(self.folder.path())).expect("it starts again"));
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.broker.as_ref().expect("it runs").address()
    }

    pub(crate) fn internal_address(&self) -> SocketAddr {
        self.broker.as_ref().expect("it runs").internal_address()
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address())
    }

    /// Creates a topic and returns its id.
    pub(crate) fn create_topic(&self, name: &str, partitions: i32) -> TopicId {
        let created = self.connect().create_topic(name, partitions);
        assert_eq!(created.error_code, ErrorCode::None);
        created.topic_id
    }
}

/// A connection on which frames are written and read at will.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    next: i32,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the broker accepts");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a timeout can be set");
        stream.set_nodelay(true).expect("a socket");
        Self { stream, next: 0 }
    }

    /// Creates a topic, or not, and returns what is told of it.
    pub(crate) fn create_topic(&mut self, name: &str, partitions: i32) -> CreatableTopicResult {
        let request = CreateTopicsRequest::one(name, partitions);
        self.ask(&request, 7).topics.remove(0)
    }

    /// Sends a request and returns its correlation id.
    pub(crate) fn send<R: Request>(&mut self, request: &R, version: i16) -> i32 {
        self.next += 1;
        let frame = request_frame(request, version, self.next, Some("test")).expect("encodes");
        self.stream.write_all(&frame.concat()).expect("sent");
        self.next
    }

    /// Reads one frame; `None` if the broker closed the connection.
    pub(crate) fn receive_frame(&mut self) -> Option<Bytes> {
        let mut prefix = [0; 4];
        match self.stream.read_exact(&mut prefix) {
            Ok(()) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset
                ) =>
            {
                return None;
            }
            Err(error) => panic!("nothing came: {error}"),
        }
        let length = usize::try_from(i32::from_be_bytes(prefix)).expect("a length");
        let mut frame = vec![0; length];
        self.stream.read_exact(&mut frame).expect("a whole frame");
        Some(frame.into())
    }

    /// Reads the answer to `R`; panics if it is the answer to another request.
    pub(crate) fn receive<R: Request>(&mut self, version: i16, correlation_id: i32) -> R::Response {
        let frame = self.receive_frame().expect("an answer");
        let (header, response) = decode_response::<R::Response>(frame, version).expect("decodes");
        assert_eq!(header.correlation_id, correlation_id);
        response
    }

    pub(crate) fn ask<R: Request>(&mut self, request: &R, version: i16) -> R::Response {
        let correlation_id = self.send(request, version);
        self.receive::<R>(version, correlation_id)
    }

    /// Produces one batch and returns the answer.
    pub(crate) fn produce(
        &mut self,
        topic: &str,
        partition: i32,
        batch: Bytes,
    ) -> PartitionProduceResponse {
        let request = produce_request(topic, partition, batch, -1);
        let mut response = self.ask(&request, 9);
        response.responses[0].partition_responses.remove(0)
    }

    /// Fetches from one partition and returns the answer.
    pub(crate) fn fetch(
        &mut self,
        topic: &str,
        partition: i32,
        offset: i64,
        wait_ms: i32,
    ) -> FetchablePartitionResponse {
        let request = fetch_request(topic, partition, offset, wait_ms);
        let mut response = self.ask(&request, 12);
        assert_eq!(response.error_code, ErrorCode::None);
        response.responses[0].partitions.remove(0)
    }

    /// Tells whether the broker has closed the connection, waiting for it.
    pub(crate) fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

pub(crate) fn produce_request(
    topic: &str,
    partition: i32,
    batch: Bytes,
    acks: i16,
) -> ProduceRequest {
    ProduceRequest {
        acks,
        timeout_ms: 10_000,
        topic_data: vec![ProduceTopic {
            name: topic.into(),
            partition_data: vec![ProducePartition {
                index: PartitionIndex(partition),
                records: Some(batch),
            }],
        }],
        ..ProduceRequest::default()
    }
}

pub(crate) fn fetch_request(
    topic: &str,
    partition: i32,
    offset: i64,
    wait_ms: i32,
) -> FetchRequest {
    FetchRequest {
        max_wait_ms: wait_ms,
        min_bytes: 1,
        max_bytes: 1 << 20,
        topics: vec![FetchTopic {
            topic: topic.into(),
            partitions: vec![FetchPartition {
                partition: PartitionIndex(partition),
                fetch_offset: Offset(offset),
                partition_max_bytes: 1 << 20,
                ..FetchPartition::default()
            }],
            ..FetchTopic::default()
        }],
        ..FetchRequest::default()
    }
}

/// Returns a batch of records whose values are `values`.
pub(crate) fn batch<V: AsRef<[u8]>>(values: &[V]) -> Bytes {
    batch_of(BatchProducer::NONE, 1_000, values)
}

/// Returns a batch with a producer's numbers; record i has the timestamp `first_timestamp + i`.
pub(crate) fn batch_of<V: AsRef<[u8]>>(
    producer: BatchProducer,
    first_timestamp: i64,
    values: &[V],
) -> Bytes {
    let mut builder = RecordBatchBuilder::with_capacity(1024);
    for (value, timestamp) in values.iter().zip(first_timestamp..) {
        builder.append(&NewRecord {
            timestamp,
            key: None,
            value: Some(value.as_ref()),
            headers: &[],
        });
    }
    builder
        .finish(Compression::None, producer)
        .expect("nothing is compressed")
}

/// Returns the values of all records in fetched bytes, with their offsets.
pub(crate) fn values(fetched: &FetchablePartitionResponse) -> Vec<(i64, String)> {
    let bytes = fetched.records.clone().unwrap_or_default().into_bytes();
    let mut found = Vec::new();
    for batch in RecordBatches::new(bytes) {
        let batch = batch.expect("a whole batch");
        for record in batch.records(1 << 20).expect("not compressed") {
            let record = record.expect("a sound record");
            let value = record.value.expect("a value").to_vec();
            found.push((record.offset.0, String::from_utf8(value).expect("text")));
        }
    }
    found
}

/// Asks in every version that is offered and decoded.
pub(crate) fn in_every_version<R: Request>(
    client: &mut Client,
    mut request: impl FnMut(i16) -> R,
    check: impl Fn(R::Response, i16),
) {
    for version in R::API_KEY.api().served() {
        let response = client.ask(&request(version), version);
        check(response, version);
    }
}
