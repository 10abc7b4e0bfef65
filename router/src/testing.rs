//! What the tests of this crate share: small clusters, made of metadata records like real ones.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use keylane_protocol::cluster::{
    BrokerFenceChanged, BrokerRegistered, ClusterFounded, ClusterImage, MetadataRecord,
    PartitionChanged, RouterRegistered, TopicConfigured, TopicCreated,
};
use keylane_protocol::compression::Compression;
use keylane_protocol::identifiers::{
    BrokerId, ClusterId, FolderId, PartitionIndex, ProducerId, StartId, TopicId,
};
use keylane_protocol::offset::{PartitionEpoch, ProducerEpoch, Sequence};
use keylane_protocol::partitioner::partition_for_key;
use keylane_protocol::record_batch::{BatchProducer, NewRecord, RecordBatchBuilder};
use keylane_protocol::routed::PRODUCER_ID_MIN;

use crate::routing::Routing;

/// Returns a time to count from.
#[allow(clippy::disallowed_methods)]
pub(crate) fn start() -> Instant {
    Instant::now()
}

/// A cluster that tests change.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    image: ClusterImage,
    topics: u8,
}

impl Cluster {
    /// Returns a cluster of brokers 1 to `brokers`, all taking part.
    pub(crate) fn of_brokers(brokers: i32) -> Self {
        let mut cluster = Self {
            image: ClusterImage::default(),
            topics: 0,
        };
        cluster.apply(ClusterFounded {
            cluster_id: ClusterId([7; 16]),
        });
        for id in 1..=brokers {
            cluster.add_broker(id);
        }
        cluster
    }

    fn add_broker(&mut self, id: i32) {
        let broker_epoch = self.image.next_broker_epoch();
        let broker_id = BrokerId(id);
        self.apply(BrokerRegistered {
            broker_id,
            broker_epoch,
            folder_id: FolderId([1; 16]),
            incarnation: 1,
            boot_id: "boot".into(),
            host: format!("broker-{id}").into(),
            port: 9092,
            internal_host: format!("broker-{id}").into(),
            internal_port: 9093,
            rack: None,
            start: StartId([2; 16]),
        });
        self.fence(id, false);
    }

    /// Fences a broker, or no longer.
    pub(crate) fn fence(&mut self, id: i32, is_fenced: bool) {
        let broker_id = BrokerId(id);
        let broker_epoch = self.image.broker(broker_id).expect("registered").epoch;
        self.apply(BrokerFenceChanged {
            broker_id,
            broker_epoch,
            is_fenced,
        });
    }

    /// Adds a router.
    pub(crate) fn with_router(mut self, id: i32, host: &str, port: i32) -> Self {
        let router_epoch = self.image.next_broker_epoch();
        self.apply(RouterRegistered {
            router_id: BrokerId(id),
            router_epoch,
            host: host.into(),
            port,
        });
        self
    }

    /// Adds a topic whose partitions have these leaders; -1 for none.
    pub(crate) fn with_topic(mut self, name: &str, leaders: &[i32]) -> Self {
        self.topics += 1;
        let topic_id = TopicId([self.topics; 16]);
        self.apply(TopicCreated {
            topic_id,
            name: name.into(),
        });
        let floor = self.image.leader_epoch_floor();
        for (index, &leader) in (0..).zip(leaders) {
            let kept_by = BrokerId(leader.max(1));
            self.apply(PartitionChanged {
                topic_id,
                partition: PartitionIndex(index),
                replicas: vec![kept_by],
                in_sync: vec![kept_by],
                leader: BrokerId(leader),
                leader_epoch: floor,
                partition_epoch: PartitionEpoch(0),
                ..PartitionChanged::default()
            });
        }
        self
    }

    /// Gives a partition another leader, -1 for none, in the next epoch.
    pub(crate) fn lead(&mut self, name: &str, index: i32, leader: i32) {
        let topic = Arc::clone(self.image.topic_named(name).expect("the topic exists"));
        let before = topic.partition(PartitionIndex(index)).expect("a partition");
        let mut change = before.to_record(topic.id, PartitionIndex(index));
        if leader > 0 && !change.replicas.contains(&BrokerId(leader)) {
            change.replicas = vec![BrokerId(leader)];
            change.in_sync = change.replicas.clone();
        }
        change.leader = BrokerId(leader);
        change.partition_epoch.0 += 1;
        if leader > 0 {
            change.leader_epoch.0 += 1;
        }
        self.apply(change);
    }

    /// Adds a partition to a topic.
    pub(crate) fn add_partition(&mut self, name: &str, leader: i32) {
        let topic = Arc::clone(self.image.topic_named(name).expect("the topic exists"));
        self.apply(PartitionChanged {
            topic_id: topic.id,
            partition: PartitionIndex(topic.partition_count()),
            replicas: vec![BrokerId(leader)],
            in_sync: vec![BrokerId(leader)],
            leader: BrokerId(leader),
            leader_epoch: self.image.leader_epoch_floor(),
            partition_epoch: PartitionEpoch(0),
            ..PartitionChanged::default()
        });
    }

    /// Gives a topic a setting of its own.
    pub(crate) fn configure(&mut self, name: &str, key: &str, value: &str) {
        let topic_id = self.id_of(name);
        self.apply(TopicConfigured {
            topic_id,
            key: key.into(),
            value: Some(value.into()),
        });
    }

    /// Returns a topic's id.
    pub(crate) fn id_of(&self, name: &str) -> TopicId {
        self.image.topic_named(name).expect("the topic exists").id
    }

    /// Returns the image.
    pub(crate) fn image(&self) -> Arc<ClusterImage> {
        Arc::new(self.image.clone())
    }

    /// Returns the routing by the image.
    pub(crate) fn routing(&self, now: Instant) -> Routing {
        Routing::new(self.image(), now)
    }

    fn apply(&mut self, record: impl Into<MetadataRecord>) {
        self.image.apply(&record.into()).expect("it can follow");
    }
}

/// Returns a routed batch with one record of a key for each of these partitions.
pub(crate) fn routed_batch(
    producer: i64,
    number: i32,
    partitions: &[i32],
    partition_count: i32,
) -> Bytes {
    let mut builder = RecordBatchBuilder::with_capacity(256);
    for partition in partitions {
        let mut keys = (0..).map(|key: u32| key.to_string());
        let is_its =
            |key: &String| partition_for_key(key.as_bytes(), partition_count).0 == *partition;
        let key = keys.find(is_its).expect("one of them");
        builder.append(&NewRecord {
            key: Some(key.as_bytes()),
            value: Some(b"value"),
            ..NewRecord::default()
        });
    }
    let producer = BatchProducer {
        id: ProducerId(PRODUCER_ID_MIN.0 + producer),
        epoch: ProducerEpoch(0),
        base_sequence: Sequence(number),
    };
    let batch = builder.finish(Compression::None, producer);
    batch.expect("nothing is compressed")
}
