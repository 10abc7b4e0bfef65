//! Metadata: brokers, topics, and who leads their partitions.
//!
//! Pure: which topics are to be created first is found by [`to_create`], done by the caller, and [`answer`] then reads
//! the next image.

use ahash::AHashSet;
use bytestring::ByteString;
use keylane_protocol::cluster::PartitionImage;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::{BrokerId, PartitionIndex, TopicId, TopicName};
use keylane_protocol::message::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
    MetadataResponsePartition, MetadataResponseTopic,
};

use super::cluster::{Identity, Node, nodes};
use crate::topics::{Topic, TopicsImage};

/// The first version in which an answer may leave out the name; a question may from version 10 on.
const VERSION_WITHOUT_NAME: i16 = 12;

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
    let all_asked = match &request.topics {
        None => true,
        Some(topics) => version == 0 && topics.is_empty(),
    };
    let mut nodes = nodes(image.cluster(), identity);
    nodes.retain(|node| !node.is_fenced);
    let topics: Vec<MetadataResponseTopic> = if all_asked {
        image.topics().map(|topic| found(topic, &nodes)).collect()
    } else {
        // Each once: a short name repeated could stand for a topic of many partitions. Beside a name the id says nothing.
        let mut seen = AHashSet::new();
        let key = |topic: &MetadataRequestTopic| match &topic.name {
            Some(name) => (Some(name.clone()), TopicId::ZERO),
            None => (None, topic.topic_id),
        };
        let asked = request.topics.iter().flatten();
        asked
            .filter(|topic| seen.insert(key(topic)))
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
    match &asked.name {
        Some(name) => match image.named(name) {
            Some(topic) => found(topic, nodes),
            None => not_found(Some(name.clone()), TopicId::ZERO, missing_name(name)),
        },
        None => match image.with_id(asked.topic_id) {
            Some(topic) => found(topic, nodes),
            None => {
                let name = (version < VERSION_WITHOUT_NAME).then(ByteString::new);
                not_found(name, asked.topic_id, ErrorCode::UnknownTopicId)
            }
        },
    }
}

fn missing_name(name: &str) -> ErrorCode {
    match TopicName::new(name) {
        Ok(_) => ErrorCode::UnknownTopicOrPartition,
        Err(_) => ErrorCode::InvalidTopicException,
    }
}

fn not_found(
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

fn found(topic: &Topic, nodes: &[Node]) -> MetadataResponseTopic {
    let partitions = topic.partitions();
    MetadataResponseTopic {
        error_code: ErrorCode::None,
        name: Some(ByteString::from(topic.name.as_str())),
        topic_id: topic.id,
        is_internal: false,
        partitions: partitions
            .map(|(index, image)| partition(index, image, nodes))
            .collect(),
        ..MetadataResponseTopic::default()
    }
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
