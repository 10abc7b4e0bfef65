//! Who leads a partition: after a broker was fenced, unfenced or registered anew.
//!
//! A core. Only replicas in sync are elected, in the order of the assignment; without one of them that takes part the
//! partition has no leader. Every change raises the leader epoch, so that what an earlier leader still does is refused.

use keylane_protocol::cluster::{ClusterImage, MetadataRecord, PartitionChanged, PartitionImage};
use keylane_protocol::identifiers::{BrokerId, PartitionIndex, TopicId};
use keylane_protocol::offset::{LeaderEpoch, PartitionEpoch};

/// Returns what changes when `broker` no longer takes part: others lead its partitions, or nobody does.
pub(super) fn without(image: &ClusterImage, broker: BrokerId) -> Vec<MetadataRecord> {
    each(image, |id, index, partition| {
        if partition.leader != Some(broker) {
            return None;
        }
        let leader = electable(image, partition, |candidate| candidate != broker);
        Some(led(id, index, partition, leader))
    })
}

/// Returns what changes when `broker` takes part again: it leads what nobody else can.
pub(super) fn with(image: &ClusterImage, broker: BrokerId) -> Vec<MetadataRecord> {
    each(image, |id, index, partition| {
        let is_possible = partition.leader.is_none() && partition.in_sync.contains(&broker);
        is_possible.then(|| led(id, index, partition, Some(broker)))
    })
}

/// Returns what changes when a new process of `broker` has registered: it leads nothing until it has caught up, and
/// where its records cannot be relied on it is no longer in sync.
pub(super) fn registered(
    image: &ClusterImage,
    broker: BrokerId,
    is_suspect: impl Fn(TopicId, PartitionIndex) -> bool,
) -> Vec<MetadataRecord> {
    each(image, |id, index, partition| {
        if !partition.replicas.contains(&broker) {
            return None;
        }
        let is_suspect = is_suspect(id, index);
        let was_trusted =
            partition.in_sync.contains(&broker) || partition.eligible.contains(&broker);
        if partition.leader != Some(broker) && !(is_suspect && was_trusted) {
            return None;
        }
        let mut record = match partition.leader {
            Some(leader) if leader == broker => {
                let others = |candidate| candidate != broker;
                led(id, index, partition, electable(image, partition, others))
            }
            leader => led(id, index, partition, leader),
        };
        if is_suspect {
            record.in_sync.retain(|&member| member != broker);
            record.eligible.retain(|&member| member != broker);
            if !record.last_known.contains(&broker) {
                record.last_known.push(broker);
            }
        }
        Some(record)
    })
}

/// Returns the first replica in sync that takes part.
fn electable(
    image: &ClusterImage,
    partition: &PartitionImage,
    is_candidate: impl Fn(BrokerId) -> bool,
) -> Option<BrokerId> {
    let takes_part = |id| image.broker(id).is_some_and(|broker| !broker.is_fenced);
    let mut replicas = partition.replicas.iter().copied();
    replicas.find(|&id| is_candidate(id) && partition.in_sync.contains(&id) && takes_part(id))
}

/// Returns the partition with a leader in a new epoch; with the same leader, the same epoch.
fn led(
    topic_id: TopicId,
    index: PartitionIndex,
    partition: &PartitionImage,
    leader: Option<BrokerId>,
) -> PartitionChanged {
    let mut record = partition.to_record(topic_id, index);
    record.partition_epoch = PartitionEpoch(partition.partition_epoch.0 + 1);
    if leader != partition.leader {
        record.leader = leader.unwrap_or(BrokerId::NONE);
        record.leader_epoch = LeaderEpoch(partition.leader_epoch.0 + 1);
    }
    record
}

fn each(
    image: &ClusterImage,
    change: impl Fn(TopicId, PartitionIndex, &PartitionImage) -> Option<PartitionChanged>,
) -> Vec<MetadataRecord> {
    let mut records = Vec::new();
    for topic in image.topics() {
        for (index, partition) in topic.partitions() {
            records.extend(change(topic.id, index, partition).map(MetadataRecord::from));
        }
    }
    records
}
