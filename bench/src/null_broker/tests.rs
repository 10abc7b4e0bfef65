//! The null broker serves the project's own client, on real sockets.

use bytes::Bytes;
use keylane_client::{Client, ProducerRecord};
use keylane_protocol::frame::{decode_response, request_frame};
use keylane_protocol::identifiers::PartitionIndex;
use keylane_protocol::message::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use keylane_protocol::offset::Offset;
use keylane_protocol::record_batch::RecordBatches;
use std::io::Read;
use std::net::TcpStream;

use super::*;

async fn produce(address: SocketAddr, count: usize) -> Vec<i64> {
    let client = Client::connect(address.to_string()).await.expect("answers");
    let producer = client.producer().build().await.expect("has an id");
    let mut receipts = Vec::new();
    for index in 0..count {
        let value = index.to_string();
        let record = ProducerRecord::to("t").partition(1).value(&value);
        receipts.push(producer.send(record).await.expect("taken"));
    }
    let mut offsets = Vec::new();
    for receipt in receipts {
        let place = receipt.await.expect("acknowledged");
        offsets.push(place.offset.expect("told").0);
    }
    producer.close().await.expect("everything was written");
    offsets
}

fn fetch(address: SocketAddr, offset: i64) -> (i64, Bytes) {
    let request = FetchRequest {
        max_wait_ms: 100,
        min_bytes: 1,
        topics: vec![FetchTopic {
            topic: "t".into(),
            partitions: vec![FetchPartition {
                partition: PartitionIndex(1),
                fetch_offset: Offset(offset),
                partition_max_bytes: 1 << 20,
                ..FetchPartition::default()
            }],
            ..FetchTopic::default()
        }],
        ..FetchRequest::default()
    };
    let frame = request_frame(&request, 12, 5, Some("test")).expect("encodes");
    let mut stream = TcpStream::connect(address).expect("listens");
    stream.write_all(&frame.concat()).expect("sent");
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix).expect("an answer");
    let length = usize::try_from(u32::from_be_bytes(prefix)).expect("a length");
    let mut frame = vec![0; length];
    stream.read_exact(&mut frame).expect("all of it");
    let (_, response): (_, FetchResponse) = decode_response(frame.into(), 12).expect("sound");
    let partition = response.responses[0].partitions[0].clone();
    let records = partition.records.expect("records").into_bytes();
    (partition.high_watermark.0, records)
}

#[tokio::test]
async fn what_the_client_produces_can_be_fetched() {
    let folder = tempfile::tempdir().expect("a folder");
    let address = start_for_tests(NullMode::Durable, folder.path());
    let offsets = produce(address, 1_000).await;
    assert_eq!(offsets, (0..1_000).collect::<Vec<i64>>());
    let (end, records) = fetch(address, 0);
    assert_eq!(end, 1_000);
    let batches = RecordBatches::new(records).map(|batch| batch.expect("sound"));
    let counts = batches.map(|batch| i64::from(batch.header().record_count));
    assert_eq!(counts.sum::<i64>(), 1_000);
    let (end, records) = fetch(address, 1_000);
    assert_eq!((end, records.len()), (1_000, 0));
}

#[tokio::test]
async fn the_file_begins_again_when_it_is_full() {
    let folder = tempfile::tempdir().expect("a folder");
    let address = start_for_tests(NullMode::PageCache, folder.path());
    let client = Client::connect(address.to_string()).await.expect("answers");
    let producer = client.producer().build().await.expect("has an id");
    let value = vec![7; 100_000];
    for _ in 0..300 {
        let record = ProducerRecord::to("t").partition(1).value(&value);
        let receipt = producer.send(record).await.expect("taken");
        receipt.await.expect("acknowledged");
    }
    let (end, first) = fetch(address, 0);
    assert_eq!((end, first.len()), (300, 0));
    let (_, last) = fetch(address, 299);
    assert!(last.len() > 100_000);
}

#[tokio::test]
async fn a_sink_acknowledges_and_keeps_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let address = start_for_tests(NullMode::Sink, folder.path());
    assert_eq!(produce(address, 100).await.len(), 100);
    assert_eq!(fetch(address, 0), (100, Bytes::new()));
}

#[tokio::test]
async fn bytes_that_are_no_request_end_their_connection_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let address = start_for_tests(NullMode::PageCache, folder.path());
    for bytes in [
        &[0xff; 64][..],
        &[0, 0, 0, 3, 1, 2, 3],
        &[0, 0, 0, 8, 0, 0, 0, 9, 0, 0, 0, 0],
        &[0, 0, 0, 8, 0, 99, 0, 9, 0, 0, 0, 0],
    ] {
        let mut stream = TcpStream::connect(address).expect("listens");
        stream.write_all(bytes).expect("sent");
        assert_eq!(stream.read(&mut [0; 16]).expect("closed"), 0);
    }
    assert_eq!(produce(address, 10).await.len(), 10);
}
