//! Metadata: brokers, topics, and who leads their partitions.
//!
//! Pure: which topics are to be created first is found by [`to_create`], done by the caller, and [`answer`] then reads
//! the next image.

use keylane_protocol::cluster::PartitionImage;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::{BrokerId, PartitionIndex, TopicName};
use keylane_protocol::message::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
    MetadataResponsePartition, MetadataResponseTopic,
};

use super::cluster::{Identity, Node, nodes};
use crate::topics::{Topic, TopicsImage};

/// Returns the names that are asked for, permitted to be created, and do not exist.
pub(crate) fn to_create(request: &MetadataRequest, image: &TopicsImage) -> Vec<String> {
    if !request.allow_auto_topic_creation {
        return Vec::new();
    }
    let mut names: Vec<String> = request
        .topics
        .iter()
        .flatten()
        .filter_map(|topic| topic.name.as_deref())
        .filter(|name| image.named(name).is_none() && TopicName::new(name).is_ok())
        .map(str::to_owned)
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Returns the answer.
pub(crate) fn answer(
    request: &MetadataRequest,
    version: i16,
    identity: &Identity,
    image: &TopicsImage,
) -> MetadataResponse {
    let mut nodes = nodes(image.cluster(), identity);
    nodes.retain(|node| !node.is_fenced);
    let topics: Vec<MetadataResponseTopic> = if request.asks_for_all(version) {
        image.topics().map(|topic| found(topic, &nodes)).collect()
    } else {
        let asked = request.distinct_topics();
        asked
            .map(|topic| one(topic, version, &nodes, image))
            .collect()
    };
    MetadataResponse {
        brokers: nodes
            .into_iter()
            .map(|node| MetadataResponseBroker {
                node_id: node.id,
                host: node.host,
                port: node.port,
                rack: node.rack,
            })
            .collect(),
        cluster_id: Some(identity.cluster_id.clone()),
        controller_id: identity.broker_id,
        topics,
        ..MetadataResponse::default()
    }
}

fn one(
    asked: &MetadataRequestTopic,
    version: i16,
    nodes: &[Node],
    image: &TopicsImage,
) -> MetadataResponseTopic {
    let topic = match &asked.name {
        Some(name) => image.named(name),
        None => image.with_id(asked.topic_id),
    };
    topic.map_or_else(|| asked.not_found(version), |topic| found(topic, nodes))
}

fn found(topic: &Topic, nodes: &[Node]) -> MetadataResponseTopic {
    let partitions = topic.partitions();
    let partitions = partitions.map(|(index, image)| partition(index, image, nodes));
    MetadataResponseTopic::found(&topic.name, topic.id, partitions.collect())
}

fn partition(
    partition_index: PartitionIndex,
    image: &PartitionImage,
    nodes: &[Node],
) -> MetadataResponsePartition {
    let takes_part = |id: BrokerId| nodes.iter().any(|node| node.id == id);
    let leader = image.leader.filter(|&leader| takes_part(leader));
    MetadataResponsePartition {
        error_code: match leader {
            Some(_) => ErrorCode::None,
            None => ErrorCode::LeaderNotAvailable,
        },
        partition_index,
        leader_id: leader.unwrap_or(BrokerId::NONE),
        leader_epoch: image.leader_epoch,
        replica_nodes: image.replicas.clone(),
        isr_nodes: image.in_sync.clone(),
        offline_replicas: {
            let replicas = image.replicas.iter().copied();
            replicas.filter(|&id| !takes_part(id)).collect()
        },
    }
}
