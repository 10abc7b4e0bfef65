//! The client and Keylane's own broker in one process: the cases that every cluster must pass, and broker crashes.

mod cases;

use std::time::Duration;

use keylane_bench::EmbeddedCluster;
use keylane_client::{Client, DeliveryError, Offset, Producer, ProducerRecord, Reader, StartAt};

/// A cluster that ends when it is dropped.
struct Cluster {
    address: String,
    _cluster: EmbeddedCluster,
}

fn cluster() -> Option<Cluster> {
    let cluster = EmbeddedCluster::start().expect("a broker");
    Some(Cluster {
        address: cluster.address(),
        _cluster: cluster,
    })
}

const TOPIC: &str = "orders";
const PARTITIONS: usize = 6;

async fn send(producer: &Producer, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let key = format!("key-{}", number % 11);
        let value = number.to_string();
        let record = ProducerRecord::to(TOPIC).key(&key).value(&value);
        drop(producer.send(record).await.expect("taken"));
    }
}

/// Reads until every number below the end was seen, each once, those of one key in order.
async fn read(reader: &mut Reader, end: u32) {
    let mut seen = vec![false; end as usize];
    let mut last_of_key = [None; 11];
    for _ in 0..end {
        let next = tokio::time::timeout(Duration::from_secs(30), reader.next());
        let record = next.await.expect("records in time").expect("readable");
        let value = record.value.expect("set");
        let text = std::str::from_utf8(&value).expect("text");
        let number: u32 = text.parse().expect("a number");
        assert!(
            !std::mem::replace(&mut seen[number as usize], true),
            "{number} twice"
        );
        let last = last_of_key[(number % 11) as usize].replace(number);
        assert!(last < Some(number), "{number} after {last:?}");
    }
}

#[tokio::test]
async fn a_topic_comes_into_being_with_its_first_record() {
    let cluster = EmbeddedCluster::start().expect("a broker");
    let client = Client::connect(cluster.address()).await.expect("a broker");
    let producer = client.producer().build().await.expect("a producer");
    send(&producer, 0..100).await;
    producer.close().await.expect("all written");
    let topic = client
        .admin()
        .describe_topic(TOPIC)
        .await
        .expect("it is there");
    assert_eq!(topic.partitions.len(), PARTITIONS);
    let reader = client.reader().topic(TOPIC, StartAt::Earliest);
    read(&mut reader.build().await.expect("a reader"), 100).await;
}

/// The producer only waits while the broker is down; the reader finds every record once, across the same crashes.
#[tokio::test]
async fn crashes_of_the_broker_cost_time_and_nothing_else() {
    let mut cluster = EmbeddedCluster::start().expect("a broker");
    let client = Client::connect(cluster.address()).await.expect("a broker");
    let producer = client
        .producer()
        .linger(Duration::from_millis(1))
        .batch_size_bytes(1024);
    let producer = producer.build().await.expect("a producer");
    send(&producer, 0..1).await;
    producer.flush().await.expect("written");
    let reader = client.reader().topic(TOPIC, StartAt::Earliest);
    let mut reader = reader.build().await.expect("a reader");
    let reading = tokio::spawn(async move { read(&mut reader, 3001).await });
    for round in 0..6 {
        send(&producer, 1 + round * 500..1 + (round + 1) * 500).await;
        tokio::time::sleep(Duration::from_millis(u64::from(round))).await;
        if round % 2 == 0 {
            cluster.crash();
        }
        cluster.restart().expect("a broker");
    }
    producer.close().await.expect("all written");
    reading.await.expect("everything was read");
    let ends = client
        .admin()
        .list_offsets(TOPIC, keylane_client::OffsetSpec::Latest)
        .await;
    let ends = ends.expect("answered").into_values();
    let total: i64 = ends.map(|listed| listed.offset.expect("told").0).sum();
    assert_eq!(total, 3001);
}

#[tokio::test]
async fn a_broker_that_stays_away_is_told_by_the_delivery_timeout() {
    let mut cluster = EmbeddedCluster::start().expect("a broker");
    let client = Client::connect(cluster.address()).await.expect("a broker");
    let producer = client
        .producer()
        .delivery_timeout(Duration::from_millis(500));
    let producer = producer.build().await.expect("a producer");
    send(&producer, 0..1).await;
    producer.flush().await.expect("written");
    cluster.crash();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let record = ProducerRecord::to(TOPIC).value("late");
    let receipt = producer.send(record).await.expect("taken");
    let error = receipt.await.expect_err("nobody is there");
    assert!(matches!(error, DeliveryError::NotWritten { .. }), "{error}");
    cluster.restart().expect("a broker");
    // The client may still pause for longer than this producer is patient.
    let mut attempts = 0;
    loop {
        let record = ProducerRecord::to(TOPIC).partition(0).value("again");
        let receipt = producer.send(record).await.expect("taken");
        let Err(error) = receipt.await else { break };
        assert!(error.is_retriable() && attempts < 10, "{error}");
        attempts += 1;
    }
}

#[tokio::test]
async fn a_topic_deleted_and_created_anew_takes_records_from_the_start() {
    let cluster = EmbeddedCluster::start().expect("a broker");
    let client = Client::connect(cluster.address()).await.expect("a broker");
    let producer = client.producer().build().await.expect("a producer");
    let admin = client.admin();
    for _ in 0..3 {
        let record = ProducerRecord::to(TOPIC).partition(1).value("v");
        let place = producer
            .send(record)
            .await
            .expect("taken")
            .await
            .expect("written");
        assert_eq!(place.offset, Some(Offset(0)));
        admin.delete_topic(TOPIC).await.expect("deleted");
        let new = keylane_client::NewTopic::new(TOPIC).partitions(2);
        admin.create_topic(new).await.expect("created");
    }
}
