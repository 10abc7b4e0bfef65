//! Metadata: routers as nodes, the cluster's topics, and one router as the leader of every partition.
//!
//! A function of the image and of what the client is told of addresses, so two routers on one image answer alike, byte
//! for byte. Replicas and in-sync replicas carry the ids of brokers, so that tools see the real factor. A partition
//! without leader is told with the same leader and its last epoch: a router holds requests for it, and a client that
//! saw leaders come and go would move off. What no living broker keeps stands among the offline replicas.

use std::collections::BTreeMap;

use bytestring::ByteString;
use keylane_protocol::cluster::{ClusterImage, PartitionImage, TopicImage};
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::{BrokerId, PartitionIndex, TopicId, TopicName};
use keylane_protocol::message::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
    MetadataResponsePartition, MetadataResponseTopic,
};

use crate::advertise::{Advertised, Node};
use crate::plan::for_controller::{ForController, Unanswered};
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

/// Returns the request by which the controllers are to create what is asked for by name, may be created, and is not in
/// the image; `None` if there is nothing such. They know whether the cluster permits it.
#[must_use]
pub fn to_create(request: &MetadataRequest, image: &ClusterImage) -> Option<MetadataRequest> {
    if !request.allow_auto_topic_creation {
        return None;
    }
    let topics: Vec<MetadataRequestTopic> = missing(request, image)
        .into_iter()
        .filter_map(|topic| match topic {
            TopicKey::Name(name) => Some(MetadataRequestTopic {
                name: Some(name),
                ..MetadataRequestTopic::default()
            }),
            TopicKey::Id(_) => None,
        })
        .collect();
    (!topics.is_empty()).then(|| MetadataRequest {
        topics: Some(topics),
        allow_auto_topic_creation: true,
        ..MetadataRequest::default()
    })
}

impl ForController for MetadataRequest {
    const VERSION: i16 = 12;

    fn items(&self) -> usize {
        self.topics.as_ref().map_or(0, Vec::len)
    }

    fn timeout_ms(&self) -> Option<i32> {
        None
    }

    fn unanswered(&self, _: Unanswered) -> MetadataResponse {
        let topics = self.topics.iter().flatten();
        let topic = |topic: &MetadataRequestTopic| {
            MetadataResponseTopic::untold(
                topic.name.clone(),
                topic.topic_id,
                ErrorCode::LeaderNotAvailable,
            )
        };
        MetadataResponse {
            topics: topics.map(topic).collect(),
            ..MetadataResponse::default()
        }
    }
}

/// Returns which topics of [`to_create`] could not be created, by what the controller says.
#[must_use]
pub fn failed(
    wanted: &MetadataRequest,
    response: &MetadataResponse,
) -> BTreeMap<ByteString, ErrorCode> {
    let told = response.topics.iter();
    let told: BTreeMap<&ByteString, ErrorCode> = told
        .filter_map(|topic| Some((topic.name.as_ref()?, topic.error_code)))
        .collect();
    let wanted = wanted.topics.iter().flatten();
    let wanted = wanted.filter_map(|topic| topic.name.clone());
    wanted
        .filter_map(|name| {
            let code = told.get(&name).copied();
            let code = code.unwrap_or(ErrorCode::UnknownTopicOrPartition);
            (!code.is_none()).then_some((name, code))
        })
        .collect()
}

/// Returns the topics of [`to_create`] when it is not known whether they were created: clients ask again.
#[must_use]
pub fn not_created(wanted: &MetadataRequest) -> BTreeMap<ByteString, ErrorCode> {
    failed(wanted, &wanted.unanswered(Unanswered::Sent))
}

/// Tells whether the cluster does not create topics on demand: all of them stay unknown.
#[must_use]
pub fn is_refused(failed: &BTreeMap<ByteString, ErrorCode>) -> bool {
    let mut codes = failed.values();
    !failed.is_empty() && codes.all(|code| *code == ErrorCode::UnknownTopicOrPartition)
}

/// Says in an answer why topics could not be created.
pub fn mark_failed(response: &mut MetadataResponse, failed: &BTreeMap<ByteString, ErrorCode>) {
    for topic in &mut response.topics {
        let error = topic.name.as_ref().and_then(|name| failed.get(name));
        if let Some(error) = error.filter(|_| !topic.error_code.is_none()) {
            topic.error_code = *error;
        }
    }
}

/// Returns the answer.
#[must_use]
pub fn answer(
    request: &MetadataRequest,
    version: i16,
    advertised: &Advertised,
    image: &ClusterImage,
) -> MetadataResponse {
    let leader = advertised.leader().id;
    let topics: Vec<MetadataResponseTopic> = if request.asks_for_all(version) {
        let whole = image.topics().filter(|topic| !topic.partitions.is_empty());
        whole.map(|topic| found(topic, leader, image)).collect()
    } else {
        let asked = request.distinct_topics();
        asked
            .map(|topic| one(topic, version, leader, image))
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
    version: i16,
    leader: BrokerId,
    image: &ClusterImage,
) -> MetadataResponseTopic {
    match find(asked, image) {
        Some(topic) if topic.partitions.is_empty() => {
            let name = Some(ByteString::from(topic.name.as_str()));
            MetadataResponseTopic::untold(name, topic.id, ErrorCode::LeaderNotAvailable)
        }
        Some(topic) => found(topic, leader, image),
        None => asked.not_found(version),
    }
}

fn found(topic: &TopicImage, leader: BrokerId, image: &ClusterImage) -> MetadataResponseTopic {
    let partitions = topic.partitions();
    let partitions = partitions.map(|(index, partition)| told(index, partition, leader, image));
    MetadataResponseTopic::found(&topic.name, topic.id, partitions.collect())
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
