//! Routed batches through routers and brokers, by a client that says exactly what it is told to.

mod kit;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use keylane_protocol::compression::Compression;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::frame::decode_response;
use keylane_protocol::identifiers::{BrokerId, PartitionIndex, ProducerId, TopicId};
use keylane_protocol::message::api_versions::ApiVersionsRequest;
use keylane_protocol::message::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsTopic,
};
use keylane_protocol::message::create_topics::{CreatableTopic, CreateTopicsRequest};
use keylane_protocol::message::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use keylane_protocol::message::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use keylane_protocol::message::init_producer_id::InitProducerIdRequest;
use keylane_protocol::message::init_routed_producer::InitRoutedProducerRequest;
use keylane_protocol::message::list_offsets::{
    LATEST_TIMESTAMP, ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use keylane_protocol::message::metadata::MetadataRequest;
use keylane_protocol::message::produce::{ProducePartition, ProduceRequest, ProduceTopic};
use keylane_protocol::message::routed_produce::{RoutedProduceRequest, RoutedProduceResponse};
use keylane_protocol::offset::{ProducerEpoch, Sequence};
use keylane_protocol::partitioner::partition_for_key;
use keylane_protocol::record_batch::{BatchProducer, NewRecord, RecordBatchBuilder};
use keylane_protocol::routed::is_routed;
use kit::{Connection, TestBroker, router};

const TOPIC: &str = "orders";
const OK: ErrorCode = ErrorCode::None;

/// A producer of one topic.
#[derive(Clone, Copy)]
struct Producing {
    producer_id: ProducerId,
    topic_id: TopicId,
    partition_count: i32,
}

/// Offset or error of each partition.
type Told = BTreeMap<i32, Result<i64, ErrorCode>>;

impl Producing {
    fn begin(connection: &mut Connection, topic_id: TopicId, partition_count: i32) -> Self {
        let request = InitRoutedProducerRequest {
            delivery_timeout_ms: 120_000,
        };
        let given = connection.ask(&request, 0);
        assert_eq!(given.error_code, OK, "{:?}", given.error_message);
        assert!(is_routed(given.producer_id) && given.expiry_ms >= 4 * 120_000);
        Self {
            producer_id: given.producer_id,
            topic_id,
            partition_count,
        }
    }

    fn batch(&self, number: i32, keys: &[&str], value: &[u8]) -> Bytes {
        let mut builder = RecordBatchBuilder::with_capacity(256);
        for key in keys {
            builder.append(&NewRecord {
                key: Some(key.as_bytes()),
                value: Some(value),
                ..NewRecord::default()
            });
        }
        let producer = BatchProducer {
            id: self.producer_id,
            epoch: ProducerEpoch(0),
            base_sequence: Sequence(number),
        };
        let batch = builder.finish(Compression::None, producer);
        batch.expect("nothing is compressed")
    }

    /// Returns a request whose session begins if its number is the floor.
    fn request(&self, (number, floor): (i32, i32), keys: &[&str]) -> RoutedProduceRequest {
        RoutedProduceRequest {
            topic_id: self.topic_id,
            partition_count: self.partition_count,
            floor: Sequence(floor),
            is_first: number == floor,
            timeout_ms: 10_000,
            records: Some(self.batch(number, keys, b"value")),
        }
    }
}

fn create(connection: &mut Connection, partitions: i32) -> TopicId {
    let request = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: TOPIC.into(),
            num_partitions: partitions,
            replication_factor: -1,
            ..CreatableTopic::default()
        }],
        timeout_ms: 10_000,
        validate_only: false,
    };
    let created = connection.ask(&request, 7);
    assert_eq!(created.topics[0].error_code, OK);
    created.topics[0].topic_id
}

fn delete(connection: &mut Connection) {
    let request = DeleteTopicsRequest {
        topics: vec![DeleteTopicState {
            name: Some(TOPIC.into()),
            ..DeleteTopicState::default()
        }],
        timeout_ms: 10_000,
        ..DeleteTopicsRequest::default()
    };
    let deleted = connection.ask(&request, 6);
    assert_eq!(deleted.responses[0].error_code, OK);
}

fn ends(connection: &mut Connection, partitions: i32) -> Vec<i64> {
    let partitions = (0..partitions).map(|index| ListOffsetsPartition {
        partition_index: PartitionIndex(index),
        timestamp: LATEST_TIMESTAMP,
        ..ListOffsetsPartition::default()
    });
    let request = ListOffsetsRequest {
        replica_id: BrokerId::NONE,
        topics: vec![ListOffsetsTopic {
            name: TOPIC.into(),
            partitions: partitions.collect(),
        }],
        ..ListOffsetsRequest::default()
    };
    let answer = connection.ask(&request, 7);
    let partitions = answer.topics[0].partitions.iter();
    partitions.map(|partition| partition.offset.0).collect()
}

fn told(answer: &RoutedProduceResponse) -> Told {
    assert_eq!(answer.error_code, OK, "{:?}", answer.error_message);
    let partitions = answer.partitions.iter();
    partitions
        .map(|told| {
            let outcome = match told.error_code {
                OK => Ok(told.base_offset.0),
                code => Err(code),
            };
            (told.partition.0, outcome)
        })
        .collect()
}

/// Returns keys of which one belongs to each partition.
fn keys(partition_count: i32) -> Vec<String> {
    let all = (0..partition_count).map(|partition| {
        let mut keys = (0..).map(|key: u32| format!("key-{key}"));
        let is_its =
            |key: &String| partition_for_key(key.as_bytes(), partition_count).0 == partition;
        keys.find(is_its).expect("one of them")
    });
    all.collect()
}

#[test]
fn a_router_offers_what_is_ours_and_gives_routed_ids() {
    let broker = TestBroker::start();
    let router = router(&broker, |_| {});
    let mut connection = Connection::open(router.address());
    let versions = connection.ask(&ApiVersionsRequest::default(), 0);
    let ours = versions.api_keys.iter().map(|api| api.api_key);
    assert_eq!(
        ours.filter(|key| *key >= 20_000).collect::<Vec<_>>(),
        [20_000, 20_001]
    );
    let first = Producing::begin(&mut connection, TopicId::ZERO, 1);
    let second = Producing::begin(&mut connection, TopicId::ZERO, 1);
    assert_ne!(first.producer_id, second.producer_id);
    let week = InitRoutedProducerRequest {
        delivery_timeout_ms: 7 * 24 * 3_600_000,
    };
    let refused = connection.ask(&week, 0);
    assert_eq!(refused.error_code, ErrorCode::InvalidRequest);
    assert!(refused.error_message.is_some());
    router.stop();
}

#[test]
fn a_batch_over_several_partitions_is_written_and_its_retry_elsewhere_is_told_the_same() {
    const PARTITIONS: i32 = 5;
    let broker = TestBroker::start();
    let routers = [(); 2].map(|()| router(&broker, |_| {}));
    let [mut first, mut second] = routers
        .each_ref()
        .map(|router| Connection::open(router.address()));
    let topic_id = create(&mut first, PARTITIONS);
    let producer = Producing::begin(&mut first, topic_id, PARTITIONS);
    let keys = keys(PARTITIONS);
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let batches = [&keys[..], &keys[1..2], &keys[..3], &keys[4..]];
    let mut answers = Vec::new();
    for (number, keys) in (0..).zip(batches) {
        let answer = first.ask(&producer.request((number, 0), keys), 0);
        assert_eq!(answer.partition_count, PARTITIONS);
        let told = told(&answer);
        assert_eq!(told.len(), keys.len());
        assert!(told.values().all(Result::is_ok), "{told:?}");
        answers.push(told);
    }
    assert_eq!(answers[0].values().copied().collect::<Vec<_>>(), [Ok(0); 5]);
    assert_eq!(answers[1], BTreeMap::from([(1, Ok(1))]));
    assert_eq!(ends(&mut first, PARTITIONS), [2, 3, 2, 1, 2]);
    // A session elsewhere begins at the floor with what the first has written.
    for (number, keys) in (0..).zip(batches) {
        second.send(&producer.request((number, 0), keys), 0);
    }
    let mut again = BTreeMap::new();
    for _ in batches {
        let (id, answer) = second.answer::<RoutedProduceRequest>(0);
        again.insert(id, told(&answer));
    }
    assert_eq!(again.into_values().collect::<Vec<_>>(), answers);
    assert_eq!(ends(&mut second, PARTITIONS), [2, 3, 2, 1, 2]);
    for router in routers {
        router.stop();
    }
}

#[test]
fn new_partitions_do_not_change_where_an_old_number_goes() {
    let broker = TestBroker::start();
    let routers = [(); 2].map(|()| router(&broker, |_| {}));
    let [mut first, mut second] = routers
        .each_ref()
        .map(|router| Connection::open(router.address()));
    let topic_id = create(&mut first, 2);
    let old = Producing::begin(&mut first, topic_id, 2);
    let keys: Vec<String> = (0..20).map(|key| format!("key-{key}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let written = told(&first.ask(&old.request((0, 0), &keys), 0));
    assert_eq!(written, BTreeMap::from([(0, Ok(0)), (1, Ok(0))]));
    let more = CreatePartitionsRequest {
        topics: vec![CreatePartitionsTopic {
            name: TOPIC.into(),
            count: 6,
            assignments: None,
        }],
        timeout_ms: 10_000,
        ..CreatePartitionsRequest::default()
    };
    let grown = first.ask(&more, 3);
    assert_eq!(grown.results[0].error_code, OK);
    let before = ends(&mut first, 6);
    // The other router may not have heard of them yet: of a batch with more partitions it asks.
    let new = Producing {
        partition_count: 6,
        ..old
    };
    second.send(&old.request((0, 0), &keys), 0);
    let next = RoutedProduceRequest {
        is_first: false,
        ..new.request((1, 0), &keys)
    };
    second.send(&next, 0);
    let mut answers = BTreeMap::new();
    for _ in 0..2 {
        let (id, answer) = second.answer::<RoutedProduceRequest>(0);
        answers.insert(id, answer);
    }
    let [again, next] = <[_; 2]>::try_from(answers.into_values().collect::<Vec<_>>()).expect("two");
    assert_eq!(told(&again), written);
    assert_eq!(told(&next).len(), 6);
    assert_eq!(next.partition_count, 6);
    let written: i64 = ends(&mut second, 6).iter().sum::<i64>() - before.iter().sum::<i64>();
    assert_eq!(written, 20);
    // More than there are is refused as a whole, after one look-up.
    let too_many = Producing {
        partition_count: 7,
        ..old
    };
    let refused = second.ask(&too_many.request((2, 2), &keys), 0);
    assert_eq!(refused.error_code, ErrorCode::InvalidRequest);
    for router in routers {
        router.stop();
    }
}

/// What is refused as a whole: request and error.
fn refusals(
    connection: &mut Connection,
    producer: &Producing,
) -> Vec<(RoutedProduceRequest, ErrorCode)> {
    let keys = ["a", "b", "c", "d"];
    let next = RoutedProduceRequest {
        is_first: false,
        ..producer.request((1, 0), &keys)
    };
    let records = |records: Bytes| RoutedProduceRequest {
        records: Some(records),
        ..next.clone()
    };
    let plain = connection.ask(&InitProducerIdRequest::default(), 4);
    let foreign = Producing {
        producer_id: plain.producer_id,
        ..*producer
    };
    let mut undecodable = producer.batch(1, &keys, b"value").to_vec();
    let last = undecodable.len() - 1;
    undecodable[last] ^= 1;
    let huge = vec![b'x'; 2 << 20];
    vec![
        (
            producer.request((2, 0), &keys),
            ErrorCode::OutOfOrderSequenceNumber,
        ),
        (
            RoutedProduceRequest {
                floor: Sequence(2),
                ..next.clone()
            },
            ErrorCode::InvalidRequest,
        ),
        (
            RoutedProduceRequest {
                floor: Sequence(-1),
                ..next.clone()
            },
            ErrorCode::InvalidRequest,
        ),
        (
            RoutedProduceRequest {
                partition_count: 0,
                ..next.clone()
            },
            ErrorCode::InvalidRequest,
        ),
        (
            records(foreign.batch(1, &keys, b"value")),
            ErrorCode::InvalidProducerIdMapping,
        ),
        (records(undecodable.into()), ErrorCode::CorruptMessage),
        (records(Bytes::new()), ErrorCode::InvalidRecord),
        (
            records(producer.batch(1, &keys, &huge)),
            ErrorCode::MessageTooLarge,
        ),
        (
            RoutedProduceRequest {
                topic_id: TopicId([9; 16]),
                is_first: true,
                ..producer.request((1, 1), &keys)
            },
            ErrorCode::UnknownTopicId,
        ),
    ]
}

#[test]
fn what_is_refused_as_a_whole_writes_nothing_and_the_producer_goes_on_in_a_new_session() {
    const PARTITIONS: i32 = 3;
    let broker = TestBroker::start();
    let router = router(&broker, |_| {});
    let mut connection = Connection::open(router.address());
    let topic_id = create(&mut connection, PARTITIONS);
    let producer = Producing::begin(&mut connection, topic_id, PARTITIONS);
    let refusals = refusals(&mut connection, &producer);
    for (request, code) in refusals {
        let producer = Producing::begin(&mut connection, topic_id, PARTITIONS);
        let renamed = RoutedProduceRequest {
            records: request.records.clone().map(|records| {
                let is_whole = records.len() > 61;
                let foreign = code == ErrorCode::InvalidProducerIdMapping;
                match is_whole && !foreign && code != ErrorCode::CorruptMessage {
                    true => renamed(records, &producer),
                    false => records,
                }
            }),
            ..request
        };
        let first = connection.ask(&producer.request((0, 0), &["a"]), 0);
        assert!(told(&first).values().all(Result::is_ok));
        let before = ends(&mut connection, PARTITIONS);
        let refused = connection.ask(&renamed, 0);
        assert_eq!(refused.error_code, code, "{:?}", refused.error_message);
        assert!(refused.partitions.is_empty() && refused.error_message.is_some());
        assert_eq!(ends(&mut connection, PARTITIONS), before, "{code}");
        let goes_on = connection.ask(&producer.request((1, 1), &["a", "b", "c", "d"]), 0);
        assert!(told(&goes_on).values().all(Result::is_ok), "{code}");
    }
    router.stop();
}

/// Returns a batch as another producer would have numbered it.
fn renamed(records: Bytes, producer: &Producing) -> Bytes {
    let header = keylane_protocol::record_batch::RecordBatchHeader::read(&records);
    let header = header.expect("it has a header");
    let producer = BatchProducer {
        id: producer.producer_id,
        epoch: header.producer_epoch,
        base_sequence: header.base_sequence,
    };
    keylane_protocol::record_batch::renumber(records, producer)
}

#[test]
fn a_topic_that_was_deleted_and_created_again_takes_nothing_under_its_old_id() {
    let broker = TestBroker::start();
    let router = router(&broker, |_| {});
    let mut connection = Connection::open(router.address());
    let old_id = create(&mut connection, 2);
    let old = Producing::begin(&mut connection, old_id, 2);
    let first = connection.ask(&old.request((0, 0), &["a"]), 0);
    assert!(told(&first).values().all(Result::is_ok));
    delete(&mut connection);
    let new_id = create(&mut connection, 2);
    let refused = connection.ask(&old.request((1, 1), &["a", "b"]), 0);
    assert_eq!(refused.error_code, ErrorCode::UnknownTopicId);
    assert_eq!(ends(&mut connection, 2), [0, 0]);
    let new = Producing {
        topic_id: new_id,
        ..old
    };
    let first = connection.ask(&new.request((0, 0), &["a"]), 0);
    assert!(told(&first).values().all(Result::is_ok));
    router.stop();
}

#[test]
fn a_number_with_other_content_is_refused_by_its_leaders() {
    let broker = TestBroker::start();
    let router = router(&broker, |_| {});
    let mut connection = Connection::open(router.address());
    let topic_id = create(&mut connection, 1);
    let producer = Producing::begin(&mut connection, topic_id, 1);
    let first = connection.ask(&producer.request((0, 0), &["a"]), 0);
    assert_eq!(told(&first), BTreeMap::from([(0, Ok(0))]));
    let other = connection.ask(&producer.request((0, 0), &["b"]), 0);
    let code = ErrorCode::DuplicateSequenceNumber;
    assert_eq!(told(&other), BTreeMap::from([(0, Err(code))]));
    assert_eq!(ends(&mut connection, 1), [1]);
    router.stop();
}

#[test]
fn answers_overtake_that_of_a_partition_without_a_leader() {
    const PARTITIONS: i32 = 6;
    let hold = Duration::from_secs(4);
    let mut brokers = kit::voters(3);
    let router = kit::router_of(kit::internal_of(&brokers[0].0), |config| config.hold = hold);
    let mut connection = Connection::open(router.address());
    let topic_id = create(&mut connection, PARTITIONS);
    let all = MetadataRequest {
        topics: None,
        ..MetadataRequest::default()
    };
    let metadata = connection.ask(&all, 12);
    let partitions = metadata.topics[0].partitions.iter();
    let lost = partitions.filter(|partition| partition.replica_nodes == [BrokerId(2)]);
    let lost: Vec<i32> = lost.map(|partition| partition.partition_index.0).collect();
    assert!(
        !lost.is_empty() && lost.len() < 6,
        "three brokers share six"
    );
    let keys = keys(PARTITIONS);
    let living = (0..PARTITIONS).find(|partition| !lost.contains(partition));
    let [lost, living] = [lost[0], living.expect("some live")]
        .map(|partition| keys[usize::try_from(partition).expect("an index")].as_str());
    let [held, other] = [(); 2].map(|()| Producing::begin(&mut connection, topic_id, PARTITIONS));
    // A crash, which the router's link has seen before anything is sent.
    drop(brokers.remove(1));
    std::thread::sleep(hold / 8);
    let mut asked = BTreeMap::new();
    connection.send(&held.request((0, 0), &[lost]), 0);
    asked.insert(connection.last(), "held");
    for number in 0..50 {
        let request = RoutedProduceRequest {
            is_first: false,
            ..other.request((number, number), &[living])
        };
        let answer = {
            connection.send(&request, 0);
            asked.insert(connection.last(), "other");
            let (id, answer) = connection.answer::<RoutedProduceRequest>(0);
            assert_eq!(asked.remove(&id), Some("other"), "the first is held");
            answer
        };
        assert!(told(&answer).values().all(Result::is_ok));
    }
    // What is not ours is answered in its order, and does not wait either.
    connection.send(&all, 12);
    let (id, _) = connection.answer::<MetadataRequest>(12);
    assert_eq!(id, connection.last());
    let (id, answer) = connection.answer::<RoutedProduceRequest>(0);
    assert_eq!(asked.remove(&id), Some("held"));
    assert!(told(&answer).values().all(Result::is_err));
}

#[test]
fn a_parked_fetch_is_neither_waited_for_nor_disturbed() {
    let broker = TestBroker::start();
    let router = router(&broker, |_| {});
    let mut connection = Connection::open(router.address());
    let topic_id = create(&mut connection, 2);
    let producer = Producing::begin(&mut connection, topic_id, 2);
    let keys = keys(2);
    let fetch = FetchRequest {
        max_wait_ms: 10_000,
        min_bytes: 1,
        max_bytes: 1 << 20,
        topics: vec![FetchTopic {
            topic: TOPIC.into(),
            partitions: vec![FetchPartition {
                partition: PartitionIndex(1),
                partition_max_bytes: 1 << 20,
                ..FetchPartition::default()
            }],
            ..FetchTopic::default()
        }],
        ..FetchRequest::default()
    };
    connection.send(&fetch, 12);
    let fetching = connection.last();
    for number in 0..20 {
        let request = producer.request((number, number), &[&keys[0]]);
        let answer = connection.ask(&request, 0);
        assert!(told(&answer).values().all(Result::is_ok));
    }
    let request = producer.request((20, 20), &[&keys[1]]);
    connection.send(&request, 0);
    let mut waiting = BTreeMap::from([(fetching, "fetch"), (connection.last(), "produce")]);
    let mut frames = [(); 2].map(|()| connection.receive().expect("an answer"));
    frames.sort_by_key(Bytes::len);
    for frame in &frames {
        let id = i32::from_be_bytes(frame[..4].try_into().expect("four bytes"));
        assert!(waiting.remove(&id).is_some());
    }
    let [_, fetched] = frames;
    let (_, fetched) = decode_response::<FetchResponse>(fetched, 12).expect("such an answer");
    let records = &fetched.responses[0].partitions[0].records;
    assert!(records.as_ref().is_some_and(|records| records.len() > 61));
    router.stop();
}

#[test]
fn a_thousand_producers_of_one_connection_are_served_together() {
    const PRODUCERS: i32 = 1000;
    let broker = TestBroker::start();
    let router = router(&broker, |_| {});
    let mut connection = Connection::open(router.address());
    let topic_id = create(&mut connection, 4);
    let producers: Vec<Producing> = (0..PRODUCERS)
        .map(|_| Producing::begin(&mut connection, topic_id, 4))
        .collect();
    for number in 0..3 {
        for producer in &producers {
            let request = RoutedProduceRequest {
                is_first: false,
                ..producer.request((number, number), &["a", "b", "c", "d"])
            };
            connection.send(&request, 0);
        }
        for _ in &producers {
            let (_, answer) = connection.answer::<RoutedProduceRequest>(0);
            let told = told(&answer);
            assert!(told.values().all(Result::is_ok), "{told:?}");
        }
    }
    let written: i64 = ends(&mut connection, 4).iter().sum();
    assert_eq!(written, i64::from(3 * 4 * PRODUCERS));
    router.stop();
}

#[test]
fn a_plain_produce_with_a_routed_id_is_refused() {
    let broker = TestBroker::start();
    let router = router(&broker, |_| {});
    let mut connection = Connection::open(router.address());
    let topic_id = create(&mut connection, 1);
    let producer = Producing::begin(&mut connection, topic_id, 1);
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 10_000,
        topic_data: vec![ProduceTopic {
            name: TOPIC.into(),
            partition_data: vec![ProducePartition {
                index: PartitionIndex(0),
                records: Some(producer.batch(0, &["a"], b"value")),
            }],
        }],
        ..ProduceRequest::default()
    };
    let answer = connection.ask(&request, 9);
    let code = answer.responses[0].partition_responses[0].error_code;
    assert_eq!(code, ErrorCode::InvalidProducerIdMapping);
    assert_eq!(ends(&mut connection, 1), [0]);
    router.stop();
}
