//! The client through Keylane's routers in one process: the cases that every cluster must pass, and what only routed
//! producers can do.

mod cases;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use keylane_bench::EmbeddedCluster;
use keylane_client::{
    Acks, BuildProducerError, Client, Compression, DeliveryFailure, NewTopic, Offset,
    PartitionIndex, Path, Producer, ProducerRecord, Receipt, RecordPlace, StartAt,
};
use keylane_protocol::partitioner::partition_for_key;

/// A cluster that ends when it is dropped.
struct Cluster {
    address: String,
    _cluster: EmbeddedCluster,
}

fn cluster() -> Option<Cluster> {
    let cluster = EmbeddedCluster::start_with_routers(1).expect("a cluster");
    Some(Cluster {
        address: cluster.router_address(0),
        _cluster: cluster,
    })
}

const TOPIC: &str = "orders";
const KEYS: u32 = 11;

async fn send(producer: &Producer, number: u32) -> Receipt {
    let key = format!("key-{}", number % KEYS);
    let value = number.to_string();
    let record = ProducerRecord::to(TOPIC).key(&key).value(&value);
    producer.send(record).await.expect("taken")
}

/// Reads so many records and returns the numbers by partition and key, in the order read, and the place of each.
async fn read(
    client: &Client,
    count: usize,
) -> (
    BTreeMap<(PartitionIndex, u32), Vec<u32>>,
    BTreeMap<u32, RecordPlace>,
) {
    let reader = client.reader().topic(TOPIC, StartAt::Earliest);
    let mut reader = reader.build().await.expect("a reader");
    let mut by_key: BTreeMap<(PartitionIndex, u32), Vec<u32>> = BTreeMap::new();
    let mut places = BTreeMap::new();
    for _ in 0..count {
        let next = tokio::time::timeout(Duration::from_secs(30), reader.next());
        let record = next.await.expect("records in time").expect("readable");
        let value = record.value.expect("set");
        let text = std::str::from_utf8(&value).expect("text");
        let number: u32 = text.parse().expect("a number");
        let place = RecordPlace {
            partition: record.partition,
            offset: Some(record.offset),
        };
        assert!(places.insert(number, place).is_none(), "{number} twice");
        let key = (record.partition, number % KEYS);
        by_key.entry(key).or_default().push(number);
    }
    (by_key, places)
}

#[tokio::test]
async fn routers_and_brokers_that_crash_cost_time_and_nothing_else() {
    let mut cluster = EmbeddedCluster::start_with_routers(2).expect("a cluster");
    let addresses = [0, 1].map(|index| cluster.router_address(index));
    let client = Client::connect(addresses.to_vec()).await.expect("a router");
    let producer = client.producer().linger(Duration::from_millis(1));
    let producer = producer.batch_size_bytes(1024).path(Path::Routed);
    let producer = producer.build().await.expect("a producer");
    let mut receipts = Vec::new();
    for round in 0..8 {
        for number in round * 300..(round + 1) * 300 {
            receipts.push(send(&producer, number).await);
        }
        tokio::time::sleep(Duration::from_millis(u64::from(round))).await;
        match round % 4 {
            0 => cluster.crash_router(0),
            1 => cluster.restart_router(0).expect("a router"),
            2 => {
                cluster.crash();
                cluster.restart().expect("a broker");
            }
            _ => cluster.restart_router(1).expect("a router"),
        }
    }
    producer.close().await.expect("all written");
    let (by_key, places) = read(&client, 2400).await;
    for ((_, key), numbers) in by_key {
        let expected: Vec<u32> = (0..2400).filter(|number| number % KEYS == key).collect();
        assert_eq!(numbers, expected, "key {key}");
    }
    for (number, receipt) in (0..).zip(receipts) {
        assert_eq!(receipt.await.expect("written"), places[&number], "{number}");
    }
}

#[tokio::test]
async fn partitions_added_meanwhile_double_and_reorder_nothing() {
    let mut cluster = EmbeddedCluster::start_with_routers(2).expect("a cluster");
    let addresses = [0, 1].map(|index| cluster.router_address(index));
    let client = Client::connect(addresses.to_vec()).await.expect("a router");
    let admin = client.admin();
    let new = NewTopic::new(TOPIC).partitions(2);
    admin.create_topic(new).await.expect("created");
    let producer = client
        .producer()
        .linger(Duration::ZERO)
        .batch_size_bytes(1024);
    let producer = producer.build().await.expect("a producer");
    for number in 0..1200 {
        drop(send(&producer, number).await);
        match number {
            300 => {
                admin.create_partitions(TOPIC, 5).await.expect("more");
                cluster.crash_router(0);
            }
            600 => cluster.restart_router(0).expect("a router"),
            900 => producer.flush().await.expect("written"),
            _ => {}
        }
    }
    producer.close().await.expect("all written");
    let (by_key, places) = read(&client, 1200).await;
    for numbers in by_key.values() {
        assert!(numbers.is_sorted(), "{numbers:?}");
    }
    // What was first sent after the producer had heard of them goes where the new count says.
    for number in 901..1200 {
        let key = format!("key-{}", number % KEYS);
        let expected = partition_for_key(key.as_bytes(), 5);
        assert_eq!(places[&number].partition, expected, "{number}");
    }
}

#[tokio::test]
async fn many_producers_of_a_client_write_side_by_side() {
    let cluster = EmbeddedCluster::start_with_routers(1).expect("a cluster");
    let client = Client::connect(cluster.router_address(0))
        .await
        .expect("a router");
    let mut tasks = Vec::new();
    for index in 0..50 {
        let producer = client.producer().linger(Duration::ZERO);
        let producer = producer.build().await.expect("a producer");
        assert!(producer.is_routed());
        tasks.push(tokio::spawn(async move {
            let mut offsets = BTreeMap::new();
            for number in 0..20 {
                let receipt = send(&producer, index * 20 + number).await;
                let place = receipt.await.expect("written");
                let before = offsets.insert(place.partition, place.offset);
                assert!(before < Some(place.offset), "{before:?}, then {place:?}");
            }
            producer.close().await.expect("written");
        }));
    }
    for task in tasks {
        task.await.expect("no panic");
    }
    let (_, places) = read(&client, 1000).await;
    let numbers: BTreeSet<u32> = places.into_keys().collect();
    assert_eq!(numbers, (0..1000).collect());
}

#[tokio::test]
async fn records_that_name_their_partition_go_there() {
    let cluster = EmbeddedCluster::start_with_routers(1).expect("a cluster");
    let client = Client::connect(cluster.router_address(0))
        .await
        .expect("a router");
    let producer = client.producer().path(Path::Routed).build().await;
    let producer = producer.expect("a producer");
    for offset in 0..3 {
        let record = ProducerRecord::to(TOPIC).key("k").partition(4).value("v");
        let receipt = producer.send(record).await.expect("taken");
        let place = receipt.await.expect("written");
        assert_eq!(place.partition, PartitionIndex(4));
        assert_eq!(place.offset, Some(Offset(offset)));
    }
    let without_key = ProducerRecord::to(TOPIC).value("v");
    let receipt = producer.send(without_key).await.expect("taken");
    let place = receipt.await.expect("written");
    assert!(place.partition.0 < 6);
    producer.close().await.expect("written");
    let late = ProducerRecord::to(TOPIC).partition(0).value("v");
    assert!(producer.send(late).await.is_err(), "it is closed");
}

#[tokio::test]
async fn a_topic_created_anew_is_told_and_taken_up() {
    let cluster = EmbeddedCluster::start_with_routers(1).expect("a cluster");
    let client = Client::connect(cluster.router_address(0))
        .await
        .expect("a router");
    let producer = client.producer().linger(Duration::ZERO).build().await;
    let producer = producer.expect("a producer");
    let admin = client.admin();
    let mut is_told = false;
    for round in 0..3 {
        let place = loop {
            match send(&producer, 1).await.await {
                Ok(place) => break place,
                Err(error) => {
                    let is_gone = matches!(error.cause(), DeliveryFailure::TopicGone { .. });
                    assert!(is_gone && error.is_retriable(), "{error}");
                    is_told = true;
                }
            }
        };
        assert_eq!(place.offset, Some(Offset(0)), "round {round}");
        admin.delete_topic(TOPIC).await.expect("deleted");
        let new = NewTopic::new(TOPIC).partitions(2);
        admin.create_topic(new).await.expect("created");
    }
    assert!(is_told);
}

#[tokio::test]
async fn the_path_follows_from_what_is_dialled_and_what_is_asked_for() {
    let cluster = EmbeddedCluster::start_with_routers(1).expect("a cluster");
    let router = Client::connect(cluster.router_address(0))
        .await
        .expect("a router");
    let broker = Client::connect(cluster.address()).await.expect("a broker");
    let routed = router.producer().build().await.expect("a producer");
    assert!(routed.is_routed());
    let others = [
        broker.producer(),
        router.producer().path(Path::Partitioned),
        router.producer().acks(Acks::Leader),
        router.producer().compression(Compression::Lz4),
    ];
    for other in others {
        let producer = other.build().await.expect("a producer");
        assert!(!producer.is_routed());
        let place = send(&producer, 1).await.await.expect("written");
        assert_eq!(place.partition, partition_for_key(b"key-1", 6));
        producer.close().await.expect("written");
    }
    let refused = broker.producer().path(Path::Routed).build().await;
    let refused = refused.expect_err("brokers do not route");
    assert!(
        matches!(refused, BuildProducerError::NotARouter { .. }),
        "{refused}"
    );
    let builder = router.producer().path(Path::Routed);
    let refused = builder
        .acks(Acks::None)
        .compression(Compression::Gzip)
        .build();
    let refused = refused.await.expect_err("it cannot be routed");
    assert!(
        refused.to_string().contains("Acks::All; a routed"),
        "{refused}"
    );
    let patient = Duration::from_secs(5 * 24 * 3600);
    let patient = router.producer().delivery_timeout(patient).build().await;
    let refused = patient.expect_err("it would be forgotten before");
    assert!(refused.to_string().contains("time-out"), "{refused}");
    assert!(!refused.is_retriable());
}

#[tokio::test]
async fn a_batch_too_large_for_its_topic_fails_alone() {
    let cluster = EmbeddedCluster::start_with_routers(1).expect("a cluster");
    let client = Client::connect(cluster.router_address(0))
        .await
        .expect("a router");
    let producer = client.producer().linger(Duration::ZERO);
    let producer = producer.max_record_bytes(8 << 20);
    let producer = producer.build().await.expect("a producer");
    drop(send(&producer, 0).await);
    let large = vec![b'x'; 3 << 20];
    let record = ProducerRecord::to(TOPIC).key("key-1").value(&large);
    let refused = producer.send(record).await.expect("taken");
    drop(send(&producer, 1).await);
    let error = refused.await.expect_err("too large");
    assert!(error.is_fatal(), "{error}");
    let failed = producer.flush().await.expect_err("one failed");
    assert_eq!(failed.records, 1);
    drop(send(&producer, 2).await);
    producer.close().await.expect("written");
    let (_, places) = read(&client, 3).await;
    assert_eq!(places.into_keys().collect::<Vec<u32>>(), [0, 1, 2]);
}
