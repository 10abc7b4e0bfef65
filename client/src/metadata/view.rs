//! The snapshot of the cluster, and how a Metadata answer makes the next one. No I/O, no clock.
//!
//! A leader epoch never falls within one topic id: an answer of a broker that lags behind does not undo what is known.

use std::collections::BTreeMap;
use std::sync::Arc;

use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::{BrokerId, PartitionIndex, TopicId};
use keylane_protocol::message::metadata::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use keylane_protocol::offset::LeaderEpoch;

use crate::address::BrokerAddress;
use crate::limits::PARTITIONS_MAX;

/// What is known of the cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClusterView {
    /// Counts the answers taken, so that a caller can say which of them disappointed it.
    pub(crate) generation: u64,
    pub(crate) brokers: BTreeMap<BrokerId, BrokerAddress>,
    pub(crate) topics: BTreeMap<Arc<str>, Arc<TopicView>>,
}

/// What is known of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicView {
    pub(crate) name: Arc<str>,
    /// Zero if the cluster has no topic ids.
    pub(crate) id: TopicId,
    /// By index.
    pub(crate) partitions: Vec<PartitionView>,
    /// Why the topic cannot be used, if so; then there are no partitions.
    pub(crate) error: ErrorCode,
}

/// Who leads a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PartitionView {
    pub(crate) leader: Option<BrokerId>,
    pub(crate) leader_epoch: LeaderEpoch,
}

impl ClusterView {
    pub(crate) fn leader(&self, topic: &str, partition: PartitionIndex) -> Option<BrokerId> {
        self.partition(topic, partition)?.leader
    }

    pub(crate) fn partition(
        &self,
        topic: &str,
        partition: PartitionIndex,
    ) -> Option<PartitionView> {
        let index = usize::try_from(partition.0).ok()?;
        self.topics.get(topic)?.partitions.get(index).copied()
    }

    /// Returns the view after an answer; topics it does not mention stay as they are.
    pub(crate) fn after(&self, response: &MetadataResponse) -> Self {
        let mut topics = self.topics.clone();
        for topic in &response.topics {
            let Some(name) = &topic.name else { continue };
            let known = topics.get(&**name);
            let next = next_topic(topic, name, known);
            topics.insert(Arc::clone(&next.name), Arc::new(next));
        }
        Self {
            generation: self.generation + 1,
            brokers: response.brokers.iter().filter_map(broker).collect(),
            topics,
        }
    }
}

fn broker(broker: &MetadataResponseBroker) -> Option<(BrokerId, BrokerAddress)> {
    let address = BrokerAddress {
        host: broker.host.to_string(),
        port: u16::try_from(broker.port).ok()?,
    };
    Some((broker.node_id, address))
}

fn next_topic(
    topic: &MetadataResponseTopic,
    name: &str,
    known: Option<&Arc<TopicView>>,
) -> TopicView {
    let same_topic = known.filter(|known| known.id == topic.topic_id);
    let mut partitions = Vec::new();
    if topic.error_code.is_none() {
        let count = topic.partitions.len().min(PARTITIONS_MAX);
        for index in 0..count {
            let old = same_topic.and_then(|known| known.partitions.get(index).copied());
            partitions.push(old.unwrap_or(PartitionView {
                leader: None,
                leader_epoch: LeaderEpoch::NONE,
            }));
        }
        for partition in &topic.partitions {
            let index = usize::try_from(partition.partition_index.0).ok();
            if let Some(slot) = index.and_then(|index| partitions.get_mut(index)) {
                *slot = next_partition(partition, *slot);
            }
        }
    }
    TopicView {
        name: known.map_or_else(|| Arc::from(name), |known| Arc::clone(&known.name)),
        id: topic.topic_id,
        partitions,
        error: topic.error_code,
    }
}

fn next_partition(partition: &MetadataResponsePartition, known: PartitionView) -> PartitionView {
    let told = partition.leader_epoch;
    if told != LeaderEpoch::NONE && told < known.leader_epoch {
        return known;
    }
    PartitionView {
        leader: (partition.leader_id.0 >= 0).then_some(partition.leader_id),
        leader_epoch: told,
    }
}

#[cfg(test)]
mod tests {
    use bytestring::ByteString;

    use super::*;

    fn answer(id: u8, leaders: &[(i32, i32)]) -> MetadataResponse {
        let partition =
            |(index, &(leader, epoch)): (usize, &(i32, i32))| MetadataResponsePartition {
                partition_index: PartitionIndex(i32::try_from(index).expect("few")),
                leader_id: BrokerId(leader),
                leader_epoch: LeaderEpoch(epoch),
                ..Default::default()
            };
        let topic = MetadataResponseTopic {
            name: Some(ByteString::from_static("orders")),
            topic_id: TopicId([id; 16]),
            partitions: leaders.iter().enumerate().map(partition).collect(),
            ..Default::default()
        };
        MetadataResponse {
            topics: vec![topic],
            ..Default::default()
        }
    }

    #[test]
    fn a_lagging_broker_does_not_bring_an_old_leader_back() {
        let view = ClusterView::default().after(&answer(1, &[(2, 7)]));
        let view = view.after(&answer(1, &[(1, 6)]));
        assert_eq!(view.leader("orders", PartitionIndex(0)), Some(BrokerId(2)));
        let view = view.after(&answer(1, &[(3, 8)]));
        assert_eq!(view.leader("orders", PartitionIndex(0)), Some(BrokerId(3)));
    }

    #[test]
    fn a_topic_created_anew_starts_with_its_own_epochs() {
        let view = ClusterView::default().after(&answer(1, &[(2, 7)]));
        let view = view.after(&answer(2, &[(1, 0), (4, 0)]));
        assert_eq!(view.leader("orders", PartitionIndex(0)), Some(BrokerId(1)));
        assert_eq!(view.leader("orders", PartitionIndex(1)), Some(BrokerId(4)));
        assert_eq!(view.generation, 2);
    }

    #[test]
    fn partitions_without_a_leader_and_bent_indexes_are_survived() {
        let mut bent = answer(1, &[(-1, 0), (1, 0)]);
        bent.topics[0].partitions[1].partition_index = PartitionIndex(-5);
        let view = ClusterView::default().after(&bent);
        assert_eq!(view.leader("orders", PartitionIndex(0)), None);
        assert_eq!(view.leader("orders", PartitionIndex(1)), None);
        assert_eq!(view.leader("orders", PartitionIndex(-5)), None);
        assert_eq!(view.leader("absent", PartitionIndex(0)), None);
    }
}
