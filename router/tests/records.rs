//! Records through a router, by Keylane's own client: produced, read, and held while a broker is away.

mod kit;

use std::cell::Cell;
use std::time::Duration;

use keylane_client::{Acks, Client, NewTopic, Producer, ProducerRecord, Reader, StartAt};
use keylane_protocol::identifiers::PartitionIndex;
use keylane_protocol::message::metadata::MetadataRequest;
use keylane_protocol::message::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use keylane_protocol::offset::LeaderEpoch;
use keylane_router::Router;
use kit::{Connection, PATIENCE, TestBroker, router};
use tokio::time::timeout;

const TOPIC: &str = "orders";
const PARTITIONS: i32 = 4;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

async fn client(router: &Router) -> Client {
    let client = Client::connect(router.address().to_string()).await;
    client.expect("the router answers")
}

async fn create(client: &Client) {
    let topic = NewTopic::new(TOPIC).partitions(PARTITIONS);
    client.admin().create_topic(topic).await.expect("created");
}

async fn send(producer: &Producer, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let (key, value) = (format!("key-{}", number % 11), number.to_string());
        let record = ProducerRecord::to(TOPIC).key(&key).value(&value);
        drop(producer.send(record).await.expect("taken"));
    }
    let flushed = timeout(PATIENCE, producer.flush()).await;
    flushed.expect("in time").expect("acknowledged");
}

/// Reads until every number of the range was seen, each once.
async fn read(reader: &mut Reader, numbers: std::ops::Range<u32>) {
    let mut expected: std::collections::BTreeSet<u32> = numbers.collect();
    while !expected.is_empty() {
        let next = timeout(PATIENCE, reader.next()).await;
        let record = next.expect("records in time").expect("readable");
        let value = record.value.expect("set");
        let number = std::str::from_utf8(&value).expect("text").parse();
        let number = number.expect("a number");
        assert!(expected.remove(&number), "{number} twice or unexpected");
    }
}

async fn reader(client: &Client) -> Reader {
    let reader = client.reader().topic(TOPIC, StartAt::Earliest).build();
    reader.await.expect("a reader")
}

/// Returns what a router says of the end of a leader epoch in every partition of the topic.
fn ends_of(connection: &mut Connection, epoch: LeaderEpoch) -> Vec<EpochEndOffset> {
    let partitions = (0..PARTITIONS).map(|index| OffsetForLeaderPartition {
        partition: PartitionIndex(index),
        current_leader_epoch: LeaderEpoch::NONE,
        leader_epoch: epoch,
    });
    let request = OffsetForLeaderEpochRequest {
        topics: vec![OffsetForLeaderTopic {
            topic: TOPIC.into(),
            partitions: partitions.collect(),
        }],
        ..OffsetForLeaderEpochRequest::default()
    };
    connection.ask(&request, 4).topics.remove(0).partitions
}

#[test]
fn where_a_leader_epoch_ends_is_told_of_every_partition_after_its_leader_came_back() {
    let mut broker = TestBroker::start();
    let router = router(&broker, |_| {});
    let mut connection = Connection::open(router.address());
    let leading = |connection: &mut Connection| {
        let all = MetadataRequest {
            topics: None,
            ..MetadataRequest::default()
        };
        let metadata = connection.ask(&all, 12);
        metadata.topics[0].partitions[0].leader_epoch
    };
    let send_all = |numbers| {
        runtime().block_on(async {
            let client = client(&router).await;
            let producer = client.producer().build().await.expect("a producer");
            send(&producer, numbers).await;
        });
    };
    runtime().block_on(async { create(&client(&router).await).await });
    send_all(0..100);
    let first = leading(&mut connection);
    broker.start_again();
    send_all(100..200);
    let second = leading(&mut connection);
    assert!(second > first);
    let ends = ends_of(&mut connection, first);
    assert!(ends.iter().all(|end| end.error_code.is_none()));
    assert!(ends.iter().all(|end| end.leader_epoch == first));
    let records = |ends: &[EpochEndOffset]| ends.iter().map(|end| end.end_offset.0).sum::<i64>();
    assert_eq!(records(&ends), 100);
    assert_eq!(records(&ends_of(&mut connection, second)), 200);
    let later = ends_of(&mut connection, LeaderEpoch(second.0 + 1));
    assert!(later.iter().all(|end| end.end_offset.0 == -1));
    router.stop();
}

#[test]
fn what_is_produced_through_one_router_is_read_through_another() {
    let broker = TestBroker::start();
    let routers = [(); 2].map(|()| router(&broker, |_| {}));
    runtime().block_on(async {
        let writing = client(&routers[0]).await;
        create(&writing).await;
        let producer = writing.producer().build().await.expect("a producer");
        let reading = client(&routers[1]).await;
        let mut reader = reader(&reading).await;
        send(&producer, 0..5000).await;
        read(&mut reader, 0..5000).await;
        send(&producer, 5000..5010).await;
        read(&mut reader, 5000..5010).await;
    });
    for router in routers {
        router.stop();
    }
}

#[test]
fn several_brokers_are_one_cluster_and_the_living_ones_are_served_when_one_dies() {
    let mut brokers = kit::voters(3);
    let routers = [0, 2].map(|place| {
        kit::router_of(kit::internal_of(&brokers[place].0), |config| {
            config.hold = Duration::from_millis(500);
        })
    });
    runtime().block_on(async {
        let client = client(&routers[0]).await;
        create(&client).await;
        let producer = client.producer().build().await.expect("a producer");
        send(&producer, 0..1000).await;
        let other = self::client(&routers[1]).await;
        let mut reader = reader(&other).await;
        read(&mut reader, 0..1000).await;
        let described = other.admin().describe_topic(TOPIC).await;
        let partitions = described.expect("described").partitions;
        let kept_by = partitions
            .iter()
            .map(|partition| partition.replicas.clone());
        let kept_by: std::collections::BTreeSet<_> = kept_by.collect();
        assert_eq!(kept_by.len(), 3, "four partitions, three brokers");
        // A crash, of whoever leads the controllers or not.
        drop(brokers.remove(1));
        let gone = keylane_protocol::identifiers::BrokerId(2);
        let living = partitions
            .iter()
            .filter(|partition| !partition.replicas.contains(&gone));
        let mut end = 1000;
        for (number, partition) in (1000..).zip(living) {
            let value = number.to_string();
            let record = ProducerRecord::to(TOPIC)
                .partition(partition.partition.0)
                .value(&value);
            let receipt = producer.send(record).await.expect("taken");
            let place = timeout(PATIENCE, receipt).await.expect("in time");
            place.expect("acknowledged");
            end = number + 1;
        }
        assert!(end >= 1002, "two partitions are kept by others");
        read(&mut reader, 1000..end).await;
    });
}

/// Sends to a partition until told to end; returns whether it was, before there was too much.
async fn flood(producer: &Producer, partition: i32, is_over: &Cell<bool>) -> bool {
    const RECORDS_MAX: usize = 200_000;
    let value = [b'x'; 1024];
    for _ in 0..RECORDS_MAX {
        if is_over.get() {
            return true;
        }
        let record = ProducerRecord::to(TOPIC).partition(partition);
        drop(producer.send(record.value(&value)).await.expect("taken"));
        tokio::task::yield_now().await;
    }
    false
}

/// Sends one record at a time to a partition, the next one when the reader of all partitions has met the one before.
async fn ping(producer: &Producer, partition: i32, reader: &mut Reader, is_over: &Cell<bool>) {
    for number in 0..20_u32 {
        let value = number.to_string();
        let record = ProducerRecord::to(TOPIC).partition(partition).value(&value);
        let receipt = producer.send(record).await.expect("taken");
        timeout(PATIENCE, receipt)
            .await
            .expect("in time")
            .expect("written");
        loop {
            let next = timeout(PATIENCE, reader.next()).await;
            let record = next.expect("records in time").expect("readable");
            if record.partition.0 == partition {
                assert_eq!(record.value.as_deref(), Some(value.as_bytes()));
                break;
            }
        }
    }
    is_over.set(true);
}

#[test]
fn the_reader_of_a_slow_partition_keeps_up_beside_a_busy_one_on_another_broker() {
    let brokers = kit::voters(3);
    let router = kit::router_of(kit::internal_of(&brokers[0].0), |_| {});
    runtime().block_on(async {
        let [busy, slow] = [client(&router).await, client(&router).await];
        create(&busy).await;
        let described = busy.admin().describe_topic(TOPIC).await;
        let partitions = described.expect("described").partitions;
        let kept_by = |index: usize| partitions[index].replicas.clone();
        assert_ne!(kept_by(0), kept_by(1), "they are on two brokers");
        let to_busy = busy.producer().build().await.expect("a producer");
        let to_slow = slow.producer().build().await.expect("a producer");
        let mut reader = reader(&slow).await;
        let is_over = Cell::new(false);
        let (is_slow_done_first, ()) = tokio::join!(
            flood(&to_busy, 0, &is_over),
            ping(&to_slow, 1, &mut reader, &is_over)
        );
        assert!(is_slow_done_first, "the busy one had to end first");
    });
}

#[test]
fn records_without_acknowledgement_arrive() {
    let broker = TestBroker::start();
    let router = router(&broker, |_| {});
    runtime().block_on(async {
        let client = client(&router).await;
        create(&client).await;
        let producer = client.producer().acks(Acks::None).build().await;
        let producer = producer.expect("a producer");
        send(&producer, 0..1000).await;
        let mut reader = reader(&client).await;
        read(&mut reader, 0..1000).await;
    });
}

#[test]
fn a_broker_that_starts_again_is_waited_for() {
    let mut broker = TestBroker::start();
    let router = router(&broker, |_| {});
    runtime().block_on(async {
        let client = client(&router).await;
        create(&client).await;
        let producer = client.producer().build().await.expect("a producer");
        send(&producer, 0..100).await;
        broker.stop();
        let (key, value) = ("held", "100");
        let record = ProducerRecord::to(TOPIC).key(key).value(value);
        let receipt = producer.send(record).await.expect("taken");
        tokio::time::sleep(Duration::from_millis(300)).await;
        broker.start_again();
        let place = timeout(PATIENCE, receipt).await.expect("in time");
        place.expect("acknowledged");
        let mut reader = reader(&client).await;
        read(&mut reader, 0..101).await;
    });
}

#[test]
fn a_client_that_knows_two_routers_goes_on_when_one_is_killed() {
    let broker = TestBroker::start();
    // Each tells clients of itself alone, so that the other is known by the client's configuration only.
    let [first, second] = [(); 2].map(|()| router(&broker, |_| {}));
    let both = format!("{},{}", first.address(), second.address());
    runtime().block_on(async {
        let client = Client::connect(both).await.expect("one answers");
        create(&client).await;
        let producer = client.producer().build().await.expect("a producer");
        let mut reader = reader(&client).await;
        send(&producer, 0..100).await;
        read(&mut reader, 0..100).await;
        tokio::task::spawn_blocking(move || first.stop())
            .await
            .expect("it ends");
        send(&producer, 100..200).await;
        read(&mut reader, 100..200).await;
        let listed = client.admin().describe_topic(TOPIC).await;
        listed.expect("the other router answers");
    });
    second.stop();
}

#[test]
fn a_router_that_starts_again_is_found_again() {
    let broker = TestBroker::start();
    let first = router(&broker, |_| {});
    let address = first.address();
    runtime().block_on(async {
        let client = client(&first).await;
        create(&client).await;
        let producer = client.producer().build().await.expect("a producer");
        send(&producer, 0..100).await;
        tokio::task::spawn_blocking(move || first.stop())
            .await
            .expect("it ends");
        let (again, broker) = tokio::task::spawn_blocking(move || {
            let again = router(&broker, |config| config.listen = address);
            (again, broker)
        })
        .await
        .expect("it starts");
        send(&producer, 100..200).await;
        let mut reader = reader(&client).await;
        read(&mut reader, 0..200).await;
        drop((again, broker));
    });
}

#[test]
fn a_client_that_never_reads_holds_up_no_other() {
    use keylane_protocol::message::metadata::MetadataRequest;
    let broker = TestBroker::start();
    let router = router(&broker, |config| config.runtimes = 1);
    let mut stuck = Connection::open(router.address());
    for _ in 0..500 {
        stuck.send(&MetadataRequest::default(), 12);
    }
    runtime().block_on(async {
        let client = client(&router).await;
        create(&client).await;
        let producer = client.producer().build().await.expect("a producer");
        send(&producer, 0..1000).await;
        let mut reader = reader(&client).await;
        read(&mut reader, 0..1000).await;
    });
}

#[test]
fn settings_and_offsets_are_asked_through_a_router() {
    let broker = TestBroker::start();
    let router = router(&broker, |_| {});
    runtime().block_on(async {
        let client = client(&router).await;
        create(&client).await;
        let producer = client.producer().build().await.expect("a producer");
        send(&producer, 0..50).await;
        let described = client.admin().describe_topic(TOPIC).await;
        assert_eq!(described.expect("described").partitions.len(), 4);
        let cluster = client.admin().describe_cluster().await.expect("described");
        assert_eq!(cluster.brokers.len(), 1);
    });
}
