//! What the tests of this crate share: small clusters, made of metadata records like real ones.

use std::sync::Arc;
use std::time::Instant;

use keylane_protocol::cluster::{
    BrokerFenceChanged, BrokerRegistered, ClusterFounded, ClusterImage, MetadataRecord,
    PartitionChanged, RouterRegistered, TopicCreated,
};
use keylane_protocol::identifiers::{
    BrokerId, ClusterId, FolderId, PartitionIndex, StartId, TopicId,
};
use keylane_protocol::offset::PartitionEpoch;

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
