//! Metadata: routers as nodes, the cluster's topics, and one router as the leader of every partition.
//!
//! A function of the image and of what the client is told of addresses, so two routers on one image answer alike, byte
//! for byte. Replicas and in-sync replicas carry the ids of brokers, so that tools see the real factor. A partition
//! without leader is told with the same leader and its last epoch: a router holds requests for it, and a client that
//! saw leaders come and go would move off. What no living broker keeps stands among the offline replicas.

use ahash::AHashSet;
use bytestring::ByteString;
use keylane_protocol::cluster::{ClusterImage, PartitionImage, TopicImage};
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::{BrokerId, PartitionIndex, TopicId, TopicName};
use keylane_protocol::message::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
    MetadataResponsePartition, MetadataResponseTopic,
};

use crate::advertise::{Advertised, Node};
use crate::routing::TopicKey;

/// Returns the topics that are asked for and not in the image, each once: to be looked up at the controller, and to be
/// created there if [`MetadataRequest::allow_auto_topic_creation`] and the configuration permit, before the answer.
/// Names that no topic can have are not among them.
#[must_use]
pub fn missing(request: &MetadataRequest, image: &ClusterImage) -> Vec<TopicKey> {
    let asked = request.topics.iter().flatten();
    let mut missing: Vec<TopicKey> = asked
        .filter(|topic| find(topic, image).is_none())
        .filter_map(|topic| match &topic.name {
            Some(name) => {
                let is_possible = TopicName::new(name).is_ok();
                is_possible.then(|| TopicKey::Name(name.clone()))
            }
            None => (topic.topic_id != TopicId::ZERO).then_some(TopicKey::Id(topic.topic_id)),
        })
        .collect();
    missing.sort_unstable();
    missing.dedup();
    missing
}

/// Returns the answer.
#[must_use]
pub fn answer(
    request: &MetadataRequest,
    version: i16,
    advertised: &Advertised,
    image: &ClusterImage,
) -> MetadataResponse {
    let all_asked = match &request.topics {
        None => true,
        Some(topics) => version == 0 && topics.is_empty(),
    };
    let leader = advertised.leader().id;
    let topics: Vec<MetadataResponseTopic> = if all_asked {
        let whole = image.topics().filter(|topic| !topic.partitions.is_empty());
        whole.map(|topic| found(topic, leader, image)).collect()
    } else {
        // Each once: a short name repeated could stand for a topic of many partitions.
        let mut seen = AHashSet::new();
        let asked = request.topics.iter().flatten();
        asked
            .filter(|topic| seen.insert((topic.name.as_deref(), topic.topic_id)))
            .map(|topic| one(topic, leader, image))
            .collect()
    };
    MetadataResponse {
        brokers: advertised.nodes().iter().map(node).collect(),
        cluster_id: image.cluster_id().map(|id| id.to_string().into()),
        controller_id: leader,
        topics,
        ..MetadataResponse::default()
    }
}

fn node(node: &Node) -> MetadataResponseBroker {
    MetadataResponseBroker {
        node_id: node.id,
        host: node.host(),
        port: node.port(),
        rack: None,
    }
}

fn find<'a>(asked: &MetadataRequestTopic, image: &'a ClusterImage) -> Option<&'a TopicImage> {
    let topic = match &asked.name {
        Some(name) => image.topic_named(name),
        None => image.topic(asked.topic_id),
    };
    topic.map(|topic| &**topic)
}

fn one(
    asked: &MetadataRequestTopic,
    leader: BrokerId,
    image: &ClusterImage,
) -> MetadataResponseTopic {
    match find(asked, image) {
        Some(topic) if topic.partitions.is_empty() => {
            let name = Some(ByteString::from(topic.name.as_str()));
            not_told(name, topic.id, ErrorCode::LeaderNotAvailable)
        }
        Some(topic) => found(topic, leader, image),
        None => match &asked.name {
            Some(name) => not_told(Some(name.clone()), TopicId::ZERO, missing_name(name)),
            None => not_told(None, asked.topic_id, ErrorCode::UnknownTopicId),
        },
    }
}

fn missing_name(name: &str) -> ErrorCode {
    match TopicName::new(name) {
        Ok(_) => ErrorCode::UnknownTopicOrPartition,
        Err(_) => ErrorCode::InvalidTopicException,
    }
}

fn not_told(
    name: Option<ByteString>,
    topic_id: TopicId,
    error_code: ErrorCode,
) -> MetadataResponseTopic {
    MetadataResponseTopic {
        error_code,
        name,
        topic_id,
        ..MetadataResponseTopic::default()
    }
}

fn found(topic: &TopicImage, leader: BrokerId, image: &ClusterImage) -> MetadataResponseTopic {
    let partitions = topic.partitions();
    MetadataResponseTopic {
        error_code: ErrorCode::None,
        name: Some(ByteString::from(topic.name.as_str())),
        topic_id: topic.id,
        is_internal: false,
        partitions: partitions
            .map(|(index, partition)| told(index, partition, leader, image))
            .collect(),
        ..MetadataResponseTopic::default()
    }
}

fn told(
    partition_index: PartitionIndex,
    partition: &PartitionImage,
    leader_id: BrokerId,
    image: &ClusterImage,
) -> MetadataResponsePartition {
    let is_offline = |id: &BrokerId| image.broker(*id).is_none_or(|broker| broker.is_fenced);
    let offline = partition.replicas.iter().copied().filter(is_offline);
    MetadataResponsePartition {
        error_code: ErrorCode::None,
        partition_index,
        leader_id,
        leader_epoch: partition.leader_epoch,
        replica_nodes: partition.replicas.clone(),
        isr_nodes: partition.in_sync.clone(),
        offline_replicas: offline.collect(),
    }
}

#[cfg(test)]
pub(super) mod tests;
