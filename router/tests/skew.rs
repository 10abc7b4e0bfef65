//! What a router sees of keys on their way: partitioned and routed batches of a client that says exactly what it is told to.

mod kit;

use bytes::Bytes;
use keylane_protocol::compression::Compression;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::PartitionIndex;
use keylane_protocol::message::create_topics::{CreatableTopic, CreateTopicsRequest};
use keylane_protocol::message::init_routed_producer::InitRoutedProducerRequest;
use keylane_protocol::message::produce::{ProducePartition, ProduceRequest, ProduceTopic};
use keylane_protocol::message::routed_produce::RoutedProduceRequest;
use keylane_protocol::offset::Sequence;
use keylane_protocol::partitioner::partition_for_key;
use keylane_protocol::record_batch::{BatchProducer, NewRecord, RecordBatchBuilder};
use kit::{Connection, TestBroker, router};

const TOPIC: &str = "flights";
const PARTITIONS: i32 = 6;

fn batch(keys: &[&str], compression: Compression, producer: BatchProducer) -> Bytes {
    let mut builder = RecordBatchBuilder::with_capacity(1024);
    for key in keys {
        builder.append(&NewRecord {
            timestamp: 1,
            key: Some(key.as_bytes()),
            value: Some(b"a flight"),
            headers: &[],
        });
    }
    let batch = builder.finish(compression, producer);
    batch.expect("memory suffices")
}

fn produce(connection: &mut Connection, partition: PartitionIndex, records: Bytes) {
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 10_000,
        topic_data: vec![ProduceTopic {
            name: TOPIC.into(),
            partition_data: vec![ProducePartition {
                index: partition,
                records: Some(records),
            }],
        }],
        ..ProduceRequest::default()
    };
    let response = connection.ask(&request, 9);
    let partition = &response.responses[0].partition_responses[0];
    assert_eq!(partition.error_code, ErrorCode::None);
}

#[test]
fn hot_keys_fullness_and_foreign_partitioners_are_seen_on_both_paths() {
    let broker = TestBroker::start();
    let router = router(&broker, |_| {});
    let mut connection = Connection::open(router.address());
    let request = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: TOPIC.into(),
            num_partitions: PARTITIONS,
            replication_factor: -1,
            ..CreatableTopic::default()
        }],
        timeout_ms: 10_000,
        validate_only: false,
    };
    let topic_id = connection.ask(&request, 7).topics[0].topic_id;
    let probe = router.probe();
    assert!(probe.skew(TOPIC).is_none() && probe.skews().is_empty());

    let right = partition_for_key(b"JFK", PARTITIONS);
    let wrong = PartitionIndex((right.0 + 1) % PARTITIONS);
    let plain = |keys: &[&str]| batch(keys, Compression::None, BatchProducer::NONE);
    let keys = ["JFK", "JFK", "JFK", "JFK"];
    produce(&mut connection, right, plain(&keys));
    // From another runtime of the router.
    let mut second = Connection::open(router.address());
    produce(&mut second, wrong, plain(&keys[..1]));
    let compressed = batch(&keys, Compression::Zstd, BatchProducer::NONE);
    produce(&mut second, wrong, compressed.clone());

    let given = connection.ask(
        &InitRoutedProducerRequest {
            delivery_timeout_ms: 1000,
        },
        0,
    );
    let producer = BatchProducer {
        id: given.producer_id,
        epoch: given.producer_epoch,
        base_sequence: Sequence(0),
    };
    let routed = batch(&["JFK", "LAX", "ORD"], Compression::None, producer);
    let request = RoutedProduceRequest {
        topic_id,
        partition_count: PARTITIONS,
        is_first: true,
        timeout_ms: 10_000,
        records: Some(routed),
        ..RoutedProduceRequest::default()
    };
    let response = connection.ask(&request, 0);
    assert_eq!(response.error_code, ErrorCode::None);

    let seen = probe.skew(TOPIC).expect("it was produced to");
    assert_eq!((seen.id, seen.partition_count), (topic_id, PARTITIONS));
    let watch = &seen.watch;
    assert_eq!((watch.records, watch.sampled_total), (8, 8));
    let hottest = watch.keys.hottest();
    assert_eq!(
        (&*hottest[0].start, hottest[0].records_max),
        (&b"JFK"[..], 6)
    );
    assert_eq!(hottest[0].partition(PARTITIONS), Some(right));
    assert_eq!(hottest.len(), 3);
    let client = watch.clients["test"];
    assert_eq!((client.compared, client.elsewhere), (5, 1));
    assert_eq!(watch.compressed_bytes, compressed.len() as u64);
    let fullest = watch.partition_bytes[usize::try_from(right.0).unwrap()];
    assert!(watch.bytes() > fullest && fullest > plain(&keys).len() as u64);
    assert_eq!(probe.skews().len(), 1);
    router.stop();
    assert!(probe.skews().is_empty());
}
