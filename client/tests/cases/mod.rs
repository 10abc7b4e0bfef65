//! Produce, read and administer: what must work alike on every cluster. The test target that includes this says which.

use std::collections::BTreeMap;
use std::time::Duration;

use keylane_client::{
    Acks, AlterConfigsError, Client, Compression, ConfigChange, ConfigEntry, ConfigResource,
    ConfigSource, ConsumedRecord, CreatePartitionsError, CreateTopicError, DeleteTopicError,
    ListOffsetsError, MetadataError, NewTopic, Offset, OffsetSpec, OutOfRange, PartitionIndex,
    Producer, ProducerRecord, ReadError, Reader, SendError, StartAt,
};

use super::{Cluster, cluster};

/// A cluster, a topic of its own, and the removal of the topic at the end.
struct Stage {
    /// Ends with the stage.
    _cluster: Cluster,
    client: Client,
    topic: String,
}

impl Stage {
    async fn new(name: &str, partitions: i32) -> Option<Self> {
        let cluster = cluster()?;
        let client = Client::connect(&cluster.address).await.expect("a cluster");
        let topic = format!("keylane-client-{name}-{}", std::process::id());
        let new = NewTopic::new(&topic).partitions(partitions);
        let created = client.admin().create_topic(new).await.expect("a new topic");
        assert_eq!(created.partitions, usize::try_from(partitions).ok());
        // Apache Kafka's leaders do not know their role at once, and what acks 0 sends them until then is gone. They
        // know it when they answer this.
        let admin = client.admin();
        let listed = admin.list_offsets(&topic, OffsetSpec::Latest).await;
        listed.expect("leaders that serve");
        Some(Self {
            _cluster: cluster,
            client,
            topic,
        })
    }

    async fn reader(&self, start: StartAt) -> Reader {
        let reader = self.client.reader().topic(&self.topic, start);
        reader.build().await.expect("a reader")
    }

    async fn end(self) {
        let admin = self.client.admin();
        admin.delete_topic(&self.topic).await.expect("deleted");
    }
}

async fn send_numbers(producer: &Producer, topic: &str, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let key = format!("key-{}", number % 7);
        let value = number.to_string();
        let record = ProducerRecord::to(topic)
            .key(&key)
            .value(&value)
            .header("n", &value);
        drop(producer.send(record).await.expect("taken"));
    }
}

async fn next_in_time(reader: &mut Reader) -> ConsumedRecord {
    let next = tokio::time::timeout(Duration::from_secs(20), reader.next());
    next.await.expect("records in time").expect("readable")
}

/// Reads so many records and returns the values by key, in the order read.
async fn read_numbers(reader: &mut Reader, count: usize) -> BTreeMap<String, Vec<u32>> {
    let mut by_key: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for _ in 0..count {
        let record = next_in_time(reader).await;
        let text = |bytes: Option<bytes::Bytes>| {
            String::from_utf8(bytes.expect("set").to_vec()).expect("text")
        };
        assert_eq!(record.headers[0].value, record.value);
        let number = text(record.value).parse().expect("a number");
        by_key.entry(text(record.key)).or_default().push(number);
    }
    by_key
}

fn assert_numbers(by_key: &BTreeMap<String, Vec<u32>>, numbers: std::ops::Range<u32>) {
    for (key, values) in by_key {
        let is_of_key = |number: &u32| format!("key-{}", number % 7) == *key;
        let expected: Vec<u32> = numbers.clone().filter(is_of_key).collect();
        assert_eq!(values, &expected, "{key}");
    }
}

#[tokio::test]
async fn records_in_every_codec_come_back_once_and_in_order() {
    let Some(stage) = Stage::new("codecs", 3).await else {
        return;
    };
    let mut sent = 0;
    for compression in Compression::ALL {
        let producer = stage.client.producer().compression(compression);
        let producer = producer.build().await.expect("a producer");
        send_numbers(&producer, &stage.topic, sent..sent + 500).await;
        producer.close().await.expect("all written");
        sent += 500;
    }
    let mut reader = stage.reader(StartAt::Earliest).await;
    let by_key = read_numbers(&mut reader, 2500).await;
    assert_numbers(&by_key, 0..2500);
    stage.end().await;
}

#[tokio::test]
async fn every_kind_of_acks_delivers() {
    let Some(stage) = Stage::new("acks", 1).await else {
        return;
    };
    for acks in [Acks::None, Acks::Leader, Acks::All] {
        let producer = stage.client.producer().acks(acks).linger(Duration::ZERO);
        let producer = producer.build().await.expect("a producer");
        let record = ProducerRecord::to(&stage.topic).value("v");
        let receipt = producer.send(record).await.expect("taken");
        let place = receipt.await.expect("written");
        assert_eq!(place.offset.is_some(), acks != Acks::None);
        producer.close().await.expect("all written");
    }
    let mut reader = stage.reader(StartAt::Earliest).await;
    for offset in 0..3 {
        assert_eq!(next_in_time(&mut reader).await.offset, Offset(offset));
    }
    stage.end().await;
}

#[tokio::test]
async fn receipts_name_the_place_where_the_record_is_read() {
    let Some(stage) = Stage::new("receipts", 4).await else {
        return;
    };
    let producer = stage.client.producer().build().await.expect("a producer");
    let mut receipts = Vec::new();
    for number in 0..200 {
        let value = number.to_string();
        let record = ProducerRecord::to(&stage.topic)
            .value(&value)
            .timestamp(1000 + number);
        let receipt = producer.send(record).await.expect("taken");
        receipts.push((value, receipt));
    }
    let mut places = BTreeMap::new();
    for (value, receipt) in receipts {
        let place = receipt.await.expect("written");
        places.insert((place.partition, place.offset.expect("told")), value);
    }
    let mut reader = stage.reader(StartAt::Earliest).await;
    for _ in 0..200 {
        let record = next_in_time(&mut reader).await;
        let value = places
            .remove(&(record.partition, record.offset))
            .expect("each place once");
        assert_eq!(record.value.as_deref(), Some(value.as_bytes()));
    }
    stage.end().await;
}

#[tokio::test]
async fn reading_starts_where_it_is_told_to() {
    let Some(stage) = Stage::new("starts", 1).await else {
        return;
    };
    let producer = stage.client.producer().build().await.expect("a producer");
    for number in 0..10 {
        let value = number.to_string();
        let record = ProducerRecord::to(&stage.topic)
            .value(&value)
            .timestamp(1000 * number);
        drop(producer.send(record).await.expect("taken"));
    }
    producer.flush().await.expect("written");
    let cases = [
        (StartAt::Earliest, 0),
        (StartAt::Offset(Offset(4)), 4),
        (StartAt::Timestamp(6500), 7),
        (StartAt::Timestamp(100_000), 10),
        (StartAt::Latest, 10),
    ];
    for (start, expected) in cases {
        let mut reader = stage.reader(start).await;
        let place = (stage.topic.as_str().into(), PartitionIndex(0));
        assert_eq!(reader.positions()[&place], Offset(expected), "{start:?}");
        if expected < 10 {
            let record = next_in_time(&mut reader).await;
            assert_eq!(record.offset, Offset(expected), "{start:?}");
        }
    }
    let mut reader = stage.reader(StartAt::Latest).await;
    let record = ProducerRecord::to(&stage.topic).value("late").partition(0);
    drop(producer.send(record).await.expect("taken"));
    producer.close().await.expect("written");
    let batch = reader.next_batch().await.expect("readable");
    assert_eq!(batch.records[0].offset, Offset(10));
    let ends = reader.end_offsets().await.expect("answered");
    assert_eq!(ends.into_values().collect::<Vec<_>>(), [Offset(11)]);
    reader
        .seek(&stage.topic, 0, StartAt::Earliest)
        .await
        .expect("found");
    assert_eq!(next_in_time(&mut reader).await.offset, Offset(0));
    stage.end().await;
}

#[tokio::test]
async fn an_offset_out_of_range_is_an_error_or_a_new_start() {
    let Some(stage) = Stage::new("range", 1).await else {
        return;
    };
    let producer = stage.client.producer().build().await.expect("a producer");
    let record = ProducerRecord::to(&stage.topic).value("only");
    drop(producer.send(record).await.expect("taken"));
    producer.close().await.expect("written");
    let mut reader = stage.reader(StartAt::Offset(Offset(99))).await;
    let error = reader.next().await.expect_err("out of range");
    assert!(
        matches!(
            error,
            ReadError::OffsetOutOfRange {
                offset: Offset(99),
                ..
            }
        ),
        "{error}"
    );
    reader
        .seek(&stage.topic, 0, StartAt::Offset(Offset(0)))
        .await
        .expect("found");
    assert_eq!(next_in_time(&mut reader).await.offset, Offset(0));
    let reader = stage.client.reader().out_of_range(OutOfRange::Earliest);
    let reader = reader.partition(&stage.topic, 0, StartAt::Offset(Offset(99)));
    let mut reader = reader.build().await.expect("a reader");
    assert_eq!(next_in_time(&mut reader).await.offset, Offset(0));
    stage.end().await;
}

#[tokio::test]
async fn what_does_not_exist_is_named_in_the_error() {
    let Some(stage) = Stage::new("absent", 1).await else {
        return;
    };
    let admin = stage.client.admin();
    let again = admin.create_topic(NewTopic::new(&stage.topic)).await;
    assert!(
        matches!(again, Err(CreateTopicError::AlreadyExists { .. })),
        "{again:?}"
    );
    let path = admin.create_topic(NewTopic::new("../x")).await;
    assert!(matches!(path, Err(CreateTopicError::Name(_))), "{path:?}");
    let many = admin
        .create_topic(NewTopic::new("keylane-client-many").replication_factor(99))
        .await;
    assert!(
        matches!(many, Err(CreateTopicError::Refused { .. })),
        "{many:?}"
    );
    let absent = admin.delete_topic("keylane-client-absent").await;
    assert!(
        matches!(absent, Err(DeleteTopicError::UnknownTopic { .. })),
        "{absent:?}"
    );
    let absent = admin
        .list_offsets("keylane-client-absent", OffsetSpec::Latest)
        .await;
    assert!(
        matches!(
            absent,
            Err(ListOffsetsError::Metadata(
                MetadataError::UnknownTopic { .. }
            ))
        ),
        "{absent:?}"
    );
    let producer = stage
        .client
        .producer()
        .create_topics(false)
        .build()
        .await
        .expect("a producer");
    let record = ProducerRecord::to(&stage.topic).partition(1).value("v");
    let absent = producer.send(record).await;
    assert!(
        matches!(absent, Err(SendError::UnknownPartition { count: 1, .. })),
        "{absent:?}"
    );
    let large = vec![0; 2 * 1024 * 1024];
    let large = producer
        .send(ProducerRecord::to(&stage.topic).value(&large))
        .await;
    assert!(
        matches!(large, Err(SendError::TooLarge { .. })),
        "{large:?}"
    );
    stage.end().await;
}

#[tokio::test]
async fn topics_settings_and_the_cluster_are_described() {
    let Some(stage) = Stage::new("described", 5).await else {
        return;
    };
    let admin = stage.client.admin();
    let cluster = admin.describe_cluster().await.expect("answered");
    assert!(!cluster.brokers.is_empty() && !cluster.id.is_empty());
    let topic = admin.describe_topic(&stage.topic).await.expect("answered");
    assert_eq!(topic.partitions.len(), 5);
    let listed = admin.list_topics().await.expect("answered");
    let listed = listed.iter().find(|listed| listed.name == stage.topic);
    assert_eq!(
        listed.map(|listed| (listed.partitions, listed.id)),
        Some((5, topic.id))
    );
    let resource = ConfigResource::Topic(stage.topic.clone());
    let entries = admin.describe_configs(&resource).await.expect("answered");
    assert!(!entries.is_empty());
    let offsets = admin
        .list_offsets(&stage.topic, OffsetSpec::Latest)
        .await
        .expect("answered");
    assert_eq!(offsets.len(), 5);
    assert!(
        offsets
            .values()
            .all(|listed| listed.offset == Some(Offset(0)))
    );
    stage.end().await;
}

#[tokio::test]
async fn a_topic_with_more_partitions_keeps_its_records_and_takes_new_ones_in_each() {
    let Some(stage) = Stage::new("more", 1).await else {
        return;
    };
    let admin = stage.client.admin();
    let producer = stage.client.producer().build().await.expect("a producer");
    let send = async |partition, value: &'static str| {
        let record = ProducerRecord::to(&stage.topic)
            .partition(partition)
            .value(value);
        let receipt = producer.send(record).await.expect("taken");
        receipt.await.expect("written").offset
    };
    assert_eq!(send(0, "old").await, Some(Offset(0)));
    let grown = admin.create_partitions(&stage.topic, 3).await;
    grown.expect("more than before");
    let topic = admin.describe_topic(&stage.topic).await.expect("answered");
    assert_eq!(topic.partitions.len(), 3);
    // A producer learns of them with the next batch that it sends.
    for (partition, offset) in [(0, 1), (2, 0), (1, 0)] {
        assert_eq!(send(partition, "new").await, Some(Offset(offset)));
    }
    for count in [3, 2, 0] {
        let refused = admin.create_partitions(&stage.topic, count).await;
        let is_refused = matches!(refused, Err(CreatePartitionsError::Refused { .. }));
        assert!(is_refused, "{count}: {refused:?}");
    }
    let absent = admin.create_partitions("keylane-client-absent", 3).await;
    assert!(
        matches!(absent, Err(CreatePartitionsError::UnknownTopic { .. })),
        "{absent:?}"
    );
    producer.close().await.expect("written");
    stage.end().await;
}

/// Describes a topic until a setting has this value: Apache Kafka's brokers learn of a change after it is answered.
async fn setting_is(stage: &Stage, name: &str, value: Option<&str>) -> ConfigEntry {
    let resource = ConfigResource::Topic(stage.topic.clone());
    for _ in 0..100 {
        let entries = stage.client.admin().describe_configs(&resource).await;
        let mut entries = entries.expect("answered").into_iter();
        let entry = entries.find(|entry| entry.name == name).expect("there");
        let is_set = entry.source == ConfigSource::Topic;
        if value.map_or(!is_set, |value| entry.value.as_deref() == Some(value)) {
            return entry;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{name} did not become {value:?}");
}

#[tokio::test]
async fn settings_of_a_topic_are_changed_and_others_stay_as_they_are() {
    let Some(stage) = Stage::new("altered", 1).await else {
        return;
    };
    let admin = stage.client.admin();
    let both = [
        ConfigChange::set("segment.bytes", "2097152"),
        ConfigChange::set("max.message.bytes", "100000"),
    ];
    let altered = admin.alter_topic_configs(&stage.topic, both).await;
    altered.expect("possible");
    let entry = setting_is(&stage, "segment.bytes", Some("2097152")).await;
    assert_eq!(entry.source, ConfigSource::Topic);
    assert!(!entry.is_read_only);
    setting_is(&stage, "max.message.bytes", Some("100000")).await;
    let back = [ConfigChange::unset("segment.bytes")];
    let altered = admin.alter_topic_configs(&stage.topic, back).await;
    altered.expect("possible");
    setting_is(&stage, "segment.bytes", None).await;
    // One that is not possible keeps the others from being made.
    for impossible in [
        ConfigChange::set("no.such.setting", "1"),
        ConfigChange::set("segment.ms", "soon"),
        ConfigChange::append("segment.ms", "5"),
    ] {
        let changes = [ConfigChange::unset("max.message.bytes"), impossible.clone()];
        let refused = admin.alter_topic_configs(&stage.topic, changes).await;
        let is_refused = matches!(refused, Err(AlterConfigsError::Refused { .. }));
        assert!(is_refused, "{impossible:?}: {refused:?}");
    }
    setting_is(&stage, "max.message.bytes", Some("100000")).await;
    let changes = [ConfigChange::unset("segment.bytes")];
    let absent = admin
        .alter_topic_configs("keylane-client-absent", changes)
        .await;
    assert!(
        matches!(absent, Err(AlterConfigsError::UnknownTopic { .. })),
        "{absent:?}"
    );
    stage.end().await;
}
