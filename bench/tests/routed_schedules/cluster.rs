//! What each router knows of the cluster: an image made of metadata records, as real ones are.

use std::sync::Arc;
use std::time::Instant;

use keylane_protocol::cluster::{
    BrokerFenceChanged, BrokerRegistered, ClusterFounded, ClusterImage, MetadataRecord,
    PartitionChanged, TopicCreated,
};
use keylane_protocol::identifiers::{
    BrokerId, ClusterId, FolderId, PartitionIndex, StartId, TopicId,
};
use keylane_protocol::offset::PartitionEpoch;
use keylane_router::routing::Routing;

use super::world::{Place, Topic};

/// The broker that leads everything.
const BROKER: BrokerId = BrokerId(1);

/// What one router knows.
#[derive(Debug)]
pub(crate) struct Knowledge {
    image: ClusterImage,
    pub(crate) routing: Routing,
}

impl Knowledge {
    /// Returns a router's knowledge of a cluster of one broker without topics.
    pub(crate) fn new(now: Instant) -> Self {
        let mut knowledge = Self {
            image: ClusterImage::default(),
            routing: Routing::new(Arc::default(), now),
        };
        knowledge.apply(ClusterFounded {
            cluster_id: ClusterId([7; 16]),
        });
        let broker_epoch = knowledge.image.next_broker_epoch();
        knowledge.apply(BrokerRegistered {
            broker_id: BROKER,
            broker_epoch,
            folder_id: FolderId([1; 16]),
            incarnation: 1,
            boot_id: "boot".into(),
            host: "broker".into(),
            port: 9092,
            internal_host: "broker".into(),
            internal_port: 9093,
            rack: None,
            start: StartId([2; 16]),
        });
        knowledge.apply(BrokerFenceChanged {
            broker_id: BROKER,
            broker_epoch,
            is_fenced: false,
        });
        knowledge
    }

    /// Adds a topic without partitions, or as many partitions as it lacks.
    pub(crate) fn learn(&mut self, topic: &Topic, partition_count: i32, now: Instant) {
        let topic_id = topic.id;
        if self.image.topic(topic_id).is_none() {
            self.apply(TopicCreated {
                topic_id,
                name: (*topic.name).into(),
            });
        }
        for index in self.partition_count(topic_id)..partition_count {
            self.apply(PartitionChanged {
                topic_id,
                partition: PartitionIndex(index),
                replicas: vec![BROKER],
                in_sync: vec![BROKER],
                leader: BROKER,
                leader_epoch: self.image.leader_epoch_floor(),
                partition_epoch: PartitionEpoch(0),
                ..PartitionChanged::default()
            });
        }
        self.routing.on_image(Arc::new(self.image.clone()), now);
    }

    /// Hears that a partition has a leader, or none.
    pub(crate) fn hear(&mut self, (topic_id, index): Place, is_led: bool, now: Instant) {
        let topic = self.image.topic(topic_id).map(Arc::clone);
        let before = topic.as_ref().and_then(|topic| topic.partition(index));
        let Some(before) = before else { return };
        let mut change = before.to_record(topic_id, index);
        change.leader = if is_led { BROKER } else { BrokerId::NONE };
        change.partition_epoch.0 += 1;
        if is_led {
            change.leader_epoch.0 += 1;
        }
        self.apply(change);
        self.routing.on_image(Arc::new(self.image.clone()), now);
    }

    fn partition_count(&self, topic_id: TopicId) -> i32 {
        let topic = self.image.topic(topic_id);
        topic.map_or(0, |topic| topic.partition_count())
    }

    fn apply(&mut self, record: impl Into<MetadataRecord>) {
        let record = record.into();
        self.image
            .apply(&record)
            .expect("records of a schedule follow one another");
    }
}
