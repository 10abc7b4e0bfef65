//! The cluster at one moment: what the records up to there make.
//!
//! Immutable for its readers: whoever applies records does so on a clone, which shares every topic and node that does
//! not change. [`ClusterImage::apply`] refuses what cannot follow: an image that took it would differ from others.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytestring::ByteString;

use super::node::{BrokerImage, RouterImage};
use super::record::{
    BrokerFenceChanged, BrokerRegistered, ClusterFounded, EpochsUsed, MetadataRecord,
    PartitionChanged, RouterRegistered, TopicConfigured, TopicCreated,
};
use super::topic::{PartitionImage, TopicImage};
use crate::identifiers::{BrokerId, ClusterId, PartitionIndex, TopicId, TopicName};
use crate::offset::{BrokerEpoch, LeaderEpoch};

/// Why a record cannot follow those before it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The cluster exists, or its id is zero.
    #[error("the cluster cannot be founded: its id is zero, or it has one")]
    Founded,
    /// A broker's or router's registration makes no sense.
    #[error("the registration of node {node} in epoch {epoch} cannot follow: {fault}")]
    Node {
        /// The node.
        node: BrokerId,
        /// The registration.
        epoch: BrokerEpoch,
        /// What is wrong.
        fault: &'static str,
    },
    /// A topic's name or id is invalid or taken.
    #[error(
        "the topic {name:?} with id {id} cannot be created: its name or id is invalid or taken"
    )]
    Topic {
        /// The id.
        id: TopicId,
        /// The name.
        name: ByteString,
    },
    /// There is no such topic.
    #[error("there is no topic with id {id}")]
    UnknownTopic {
        /// The id.
        id: TopicId,
    },
    /// A partition cannot be changed like that.
    #[error("partition {partition} of the topic with id {id} cannot be changed: {fault}")]
    Partition {
        /// The topic.
        id: TopicId,
        /// The partition.
        partition: PartitionIndex,
        /// What is wrong.
        fault: &'static str,
    },
    /// A number that may only rise falls.
    #[error("{what} falls")]
    Falls {
        /// The number.
        what: &'static str,
    },
}

/// Everything the metadata says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterImage {
    cluster_id: Option<ClusterId>,
    brokers: BTreeMap<BrokerId, Arc<BrokerImage>>,
    routers: BTreeMap<BrokerId, Arc<RouterImage>>,
    topics: BTreeMap<TopicId, Arc<TopicImage>>,
    names: BTreeMap<TopicName, TopicId>,
    partition_count: usize,
    epoch_last: BrokerEpoch,
    leader_epoch_floor: LeaderEpoch,
}

impl ClusterImage {
    /// Returns the cluster's id; `None` before it is founded.
    #[must_use]
    pub fn cluster_id(&self) -> Option<ClusterId> {
        self.cluster_id
    }

    /// Returns a broker.
    #[must_use]
    pub fn broker(&self, id: BrokerId) -> Option<&Arc<BrokerImage>> {
        self.brokers.get(&id)
    }

    /// Returns all brokers that ever registered, in the order of their ids.
    pub fn brokers(&self) -> impl Iterator<Item = &Arc<BrokerImage>> {
        self.brokers.values()
    }

    /// Returns all living routers in the order of their ids.
    pub fn routers(&self) -> impl Iterator<Item = &Arc<RouterImage>> {
        self.routers.values()
    }

    /// Returns a router.
    #[must_use]
    pub fn router(&self, id: BrokerId) -> Option<&Arc<RouterImage>> {
        self.routers.get(&id)
    }

    /// Returns the topic of an id.
    #[must_use]
    pub fn topic(&self, id: TopicId) -> Option<&Arc<TopicImage>> {
        self.topics.get(&id)
    }

    /// Returns the topic of a name, which may be no possible name at all.
    #[must_use]
    pub fn topic_named(&self, name: &str) -> Option<&Arc<TopicImage>> {
        let name = TopicName::new(name).ok()?;
        self.topics.get(self.names.get(&name)?)
    }

    /// Returns all topics in the order of their names.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<TopicImage>> {
        self.names.values().map(|id| &self.topics[id])
    }

    /// Returns a partition.
    #[must_use]
    pub fn partition(&self, id: TopicId, index: PartitionIndex) -> Option<&PartitionImage> {
        self.topic(id)?.partition(index)
    }

    /// Returns how many partitions all topics have together.
    #[must_use]
    pub fn partition_count(&self) -> usize {
        self.partition_count
    }

    /// Returns the epoch for the next registration.
    #[must_use]
    pub fn next_broker_epoch(&self) -> BrokerEpoch {
        BrokerEpoch(self.epoch_last.0.saturating_add(1))
    }

    /// Returns the epoch in which new partitions start: above every epoch of partitions that are gone.
    #[must_use]
    pub fn leader_epoch_floor(&self) -> LeaderEpoch {
        self.leader_epoch_floor
    }

    /// Applies a record.
    ///
    /// # Errors
    /// When it cannot follow; the image is then as before.
    pub fn apply(&mut self, record: &MetadataRecord) -> Result<(), ApplyError> {
        match record {
            MetadataRecord::ClusterFounded(founded) => self.found(founded),
            MetadataRecord::BrokerRegistered(broker) => self.register_broker(broker),
            MetadataRecord::BrokerFenceChanged(change) => self.change_fence(change),
            MetadataRecord::RouterRegistered(router) => self.register_router(router),
            MetadataRecord::RouterRemoved(router) => {
                self.routers.remove(&router.router_id);
                Ok(())
            }
            MetadataRecord::TopicCreated(topic) => self.create_topic(topic),
            MetadataRecord::PartitionChanged(partition) => self.change_partition(partition),
            MetadataRecord::TopicDeleted(topic) => self.delete_topic(topic.topic_id),
            MetadataRecord::TopicConfigured(config) => self.configure_topic(config),
            MetadataRecord::EpochsUsed(used) => self.use_epochs(used),
        }
    }

    /// Returns the image with records applied.
    ///
    /// # Errors
    /// When one of them cannot follow.
    pub fn with(&self, records: &[MetadataRecord]) -> Result<Self, ApplyError> {
        let mut image = self.clone();
        for record in records {
            image.apply(record)?;
        }
        Ok(image)
    }

    /// Returns records that make this image out of an empty one.
    #[must_use]
    pub fn to_records(&self) -> Vec<MetadataRecord> {
        let mut records: Vec<MetadataRecord> = Vec::new();
        records.extend(
            self.cluster_id
                .map(|cluster_id| ClusterFounded { cluster_id }.into()),
        );
        // A registration must have a higher epoch than those before it.
        let mut nodes: Vec<(BrokerEpoch, MetadataRecord)> = Vec::new();
        nodes.extend(
            self.brokers()
                .map(|node| (node.epoch, node.to_record().into())),
        );
        nodes.extend(
            self.routers()
                .map(|node| (node.epoch, node.to_record().into())),
        );
        nodes.sort_by_key(|(epoch, _)| *epoch);
        records.extend(nodes.into_iter().map(|(_, record)| record));
        let unfenced = self.brokers().filter(|broker| !broker.is_fenced);
        records.extend(unfenced.map(|broker| {
            let (broker_id, broker_epoch) = (broker.id, broker.epoch);
            let change = BrokerFenceChanged {
                broker_id,
                broker_epoch,
                is_fenced: false,
            };
            change.into()
        }));
        for topic in self.topics() {
            topic_records(topic, &mut records);
        }
        let used = EpochsUsed {
            leader_epoch_floor: self.leader_epoch_floor,
            broker_epoch: self.epoch_last,
        };
        if used != EpochsUsed::default() {
            records.push(used.into());
        }
        records
    }

    fn found(&mut self, founded: &ClusterFounded) -> Result<(), ApplyError> {
        if self.cluster_id.is_some() || founded.cluster_id == ClusterId::default() {
            return Err(ApplyError::Founded);
        }
        self.cluster_id = Some(founded.cluster_id);
        Ok(())
    }

    /// Takes a registration's epoch, which must be higher than every one before.
    fn take_epoch(&mut self, node: BrokerId, epoch: BrokerEpoch) -> Result<(), ApplyError> {
        if epoch <= self.epoch_last || epoch.0 == i64::MAX {
            let fault = "its epoch is not higher than those before";
            return Err(ApplyError::Node { node, epoch, fault });
        }
        self.epoch_last = epoch;
        Ok(())
    }

    fn register_broker(&mut self, record: &BrokerRegistered) -> Result<(), ApplyError> {
        let (node, epoch) = (record.broker_id, record.broker_epoch);
        let refused = |fault| ApplyError::Node { node, epoch, fault };
        if !node.is_broker() {
            return Err(refused("no broker can have its id"));
        }
        let broker = BrokerImage::from_record(record);
        let broker = broker.ok_or(refused("an address lacks its host or port"))?;
        self.take_epoch(node, epoch)?;
        self.brokers.insert(node, Arc::new(broker));
        Ok(())
    }

    fn change_fence(&mut self, change: &BrokerFenceChanged) -> Result<(), ApplyError> {
        let (node, epoch) = (change.broker_id, change.broker_epoch);
        let found = self.brokers.get_mut(&node);
        let Some(broker) = found.filter(|broker| broker.epoch == epoch) else {
            let fault = "it is not registered in this epoch";
            return Err(ApplyError::Node { node, epoch, fault });
        };
        Arc::make_mut(broker).is_fenced = change.is_fenced;
        Ok(())
    }

    fn register_router(&mut self, record: &RouterRegistered) -> Result<(), ApplyError> {
        let (node, epoch) = (record.router_id, record.router_epoch);
        let refused = |fault| ApplyError::Node { node, epoch, fault };
        if !node.is_router() {
            return Err(refused("no router can have its id"));
        }
        let router = RouterImage::from_record(record);
        let router = router.ok_or(refused("its address lacks its host or port"))?;
        self.take_epoch(node, epoch)?;
        self.routers.insert(node, Arc::new(router));
        Ok(())
    }

    fn create_topic(&mut self, record: &TopicCreated) -> Result<(), ApplyError> {
        let id = record.topic_id;
        let name = TopicName::new(&record.name).ok().filter(|name| {
            id != TopicId::ZERO && !self.topics.contains_key(&id) && !self.names.contains_key(name)
        });
        let Some(name) = name else {
            let name = record.name.clone();
            return Err(ApplyError::Topic { id, name });
        };
        self.names.insert(name.clone(), id);
        let (partitions, configs) = Default::default();
        let topic = TopicImage {
            id,
            name,
            partitions,
            configs,
        };
        self.topics.insert(id, Arc::new(topic));
        Ok(())
    }

    fn topic_mut(&mut self, id: TopicId) -> Result<&mut TopicImage, ApplyError> {
        let topic = self.topics.get_mut(&id);
        topic
            .map(Arc::make_mut)
            .ok_or(ApplyError::UnknownTopic { id })
    }

    fn change_partition(&mut self, record: &PartitionChanged) -> Result<(), ApplyError> {
        let (id, partition) = (record.topic_id, record.partition);
        let floor = self.leader_epoch_floor;
        let topic = self
            .topics
            .get(&id)
            .ok_or(ApplyError::UnknownTopic { id })?;
        let refused = |fault| ApplyError::Partition {
            id,
            partition,
            fault,
        };
        let changed = PartitionImage::from_record(record);
        let before = topic.partition(partition);
        if before.is_none() && partition.0 != topic.partition_count() {
            return Err(refused(
                "the topic has no such partition, and it is not the next one",
            ));
        }
        if before.is_none() && changed.leader_epoch < floor {
            return Err(refused("it starts in an epoch below the floor"));
        }
        if let Some(fault) = changed.fault(before) {
            return Err(refused(fault));
        }
        let index = usize::try_from(partition.0).expect("an index that was found, or a count");
        let is_new = before.is_none();
        let topic = self.topic_mut(id)?;
        if is_new {
            topic.partitions.push(changed);
            self.partition_count += 1;
        } else {
            topic.partitions[index] = changed;
        }
        Ok(())
    }

    fn delete_topic(&mut self, id: TopicId) -> Result<(), ApplyError> {
        let topic = self
            .topics
            .remove(&id)
            .ok_or(ApplyError::UnknownTopic { id })?;
        self.names.remove(&topic.name);
        self.partition_count -= topic.partitions.len();
        let highest = topic
            .partitions
            .iter()
            .map(|partition| partition.leader_epoch)
            .max();
        let above = highest.map_or(0, |epoch| epoch.0.saturating_add(1));
        self.leader_epoch_floor = self.leader_epoch_floor.max(LeaderEpoch(above));
        Ok(())
    }

    fn configure_topic(&mut self, record: &TopicConfigured) -> Result<(), ApplyError> {
        let topic = self.topic_mut(record.topic_id)?;
        match &record.value {
            Some(value) => topic.configs.insert(record.key.clone(), value.clone()),
            None => topic.configs.remove(&record.key),
        };
        Ok(())
    }

    fn use_epochs(&mut self, used: &EpochsUsed) -> Result<(), ApplyError> {
        if used.leader_epoch_floor < self.leader_epoch_floor || used.broker_epoch < self.epoch_last
        {
            let what = "an epoch that is used up";
            return Err(ApplyError::Falls { what });
        }
        self.leader_epoch_floor = used.leader_epoch_floor;
        self.epoch_last = used.broker_epoch;
        Ok(())
    }
}

fn topic_records(topic: &TopicImage, records: &mut Vec<MetadataRecord>) {
    let topic_id = topic.id;
    let name = ByteString::from(topic.name.as_str());
    records.push(TopicCreated { topic_id, name }.into());
    let partitions = topic.partitions();
    records
        .extend(partitions.map(|(index, partition)| partition.to_record(topic_id, index).into()));
    records.extend(topic.configs.iter().map(|(key, value)| {
        let (key, value) = (key.clone(), Some(value.clone()));
        TopicConfigured {
            topic_id,
            key,
            value,
        }
        .into()
    }));
}
