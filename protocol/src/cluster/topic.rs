//! Topics and partitions as the metadata shows them.

use std::collections::BTreeMap;

use bytestring::ByteString;

use super::record::PartitionChanged;
use crate::identifiers::{BrokerId, PartitionIndex, TopicId, TopicName};
use crate::offset::{LeaderEpoch, PartitionEpoch};

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicImage {
    /// Its id.
    pub id: TopicId,
    /// Its name.
    pub name: TopicName,
    /// Its partitions in order; empty only between the record that creates it and those that follow.
    pub partitions: Vec<PartitionImage>,
    /// What is configured for it, by Kafka's keys.
    pub configs: BTreeMap<ByteString, ByteString>,
}

impl TopicImage {
    /// Returns a partition; `None` if the topic has no such.
    #[must_use]
    pub fn partition(&self, index: PartitionIndex) -> Option<&PartitionImage> {
        let index = usize::try_from(index.0).ok()?;
        self.partitions.get(index)
    }

    /// Returns how many partitions the topic has.
    #[must_use]
    pub fn partition_count(&self) -> i32 {
        i32::try_from(self.partitions.len()).expect("partitions are counted by an i32")
    }

    /// Returns the partitions with their indexes.
    pub fn partitions(&self) -> impl Iterator<Item = (PartitionIndex, &PartitionImage)> {
        (0..).map(PartitionIndex).zip(&self.partitions)
    }
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionImage {
    /// Who keeps its records, the preferred leader first.
    pub replicas: Vec<BrokerId>,
    /// Which of them have every record that was acknowledged.
    pub in_sync: Vec<BrokerId>,
    /// Who may still be elected although not in sync (KIP-966).
    pub eligible: Vec<BrokerId>,
    /// Who else was in sync when the set was last large enough (KIP-966).
    pub last_known: Vec<BrokerId>,
    /// Who leads it; `None` while nobody can.
    pub leader: Option<BrokerId>,
    /// The epoch of the leadership.
    pub leader_epoch: LeaderEpoch,
    /// How often this entry has changed.
    pub partition_epoch: PartitionEpoch,
}

impl PartitionImage {
    pub(super) fn from_record(record: &PartitionChanged) -> Self {
        Self {
            replicas: record.replicas.clone(),
            in_sync: record.in_sync.clone(),
            eligible: record.eligible.clone(),
            last_known: record.last_known.clone(),
            leader: (record.leader != BrokerId::NONE).then_some(record.leader),
            leader_epoch: record.leader_epoch,
            partition_epoch: record.partition_epoch,
        }
    }

    /// Returns the record that makes the partition what it is.
    #[must_use]
    pub fn to_record(&self, topic_id: TopicId, partition: PartitionIndex) -> PartitionChanged {
        PartitionChanged {
            topic_id,
            partition,
            replicas: self.replicas.clone(),
            in_sync: self.in_sync.clone(),
            leader: self.leader.unwrap_or(BrokerId::NONE),
            leader_epoch: self.leader_epoch,
            partition_epoch: self.partition_epoch,
            eligible: self.eligible.clone(),
            last_known: self.last_known.clone(),
        }
    }

    /// Returns what is wrong with a partition that is to follow `before`; `None` if nothing is.
    pub(super) fn fault(&self, before: Option<&Self>) -> Option<&'static str> {
        let are_replicas = |brokers: &[BrokerId]| {
            brokers.iter().all(|broker| self.replicas.contains(broker)) && are_distinct(brokers)
        };
        if self.replicas.is_empty() || !are_distinct(&self.replicas) {
            return Some("its replicas are not one or more different brokers");
        }
        if !self.replicas.iter().all(|broker| broker.is_broker()) {
            return Some("a replica has an id that no broker can have");
        }
        if ![&self.in_sync, &self.eligible, &self.last_known]
            .into_iter()
            .all(|brokers| are_replicas(brokers))
        {
            return Some("somebody is in sync, or was, who is no replica");
        }
        if self
            .leader
            .is_some_and(|leader| !self.in_sync.contains(&leader))
        {
            return Some("its leader is not in sync");
        }
        if self.leader_epoch < LeaderEpoch(0) || self.partition_epoch < PartitionEpoch(0) {
            return Some("an epoch is negative");
        }
        let before = before?;
        if self.partition_epoch <= before.partition_epoch {
            return Some("its partition epoch does not rise");
        }
        if self.leader_epoch < before.leader_epoch {
            return Some("its leader epoch falls");
        }
        if self.leader_epoch == before.leader_epoch
            && self.leader.is_some()
            && before.leader.is_some()
            && self.leader != before.leader
        {
            return Some("it has another leader in the same epoch");
        }
        None
    }
}

fn are_distinct(brokers: &[BrokerId]) -> bool {
    brokers
        .iter()
        .enumerate()
        .all(|(index, broker)| !brokers[..index].contains(broker))
}
