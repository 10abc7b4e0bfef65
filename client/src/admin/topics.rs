//! Topics: delete, list, describe. Creating them is in `create_topic`.

use bytestring::ByteString;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::{BrokerId, PartitionIndex, TopicId};
use keylane_protocol::message::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use keylane_protocol::message::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponsePartition, MetadataResponseTopic,
};
use keylane_protocol::offset::LeaderEpoch;

use super::{Admin, AskError, DeleteTopicError};
use crate::metadata::MetadataError;

/// One line of the list of topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicListing {
    /// The topic's name.
    pub name: String,
    /// Its id; `None` from brokers without topic ids.
    pub id: Option<TopicId>,
    /// The number of its partitions.
    pub partitions: usize,
    /// Whether the cluster uses it for itself.
    pub is_internal: bool,
}

/// A topic and where its partitions live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDescription {
    /// The topic's name.
    pub name: String,
    /// Its id; `None` from brokers without topic ids.
    pub id: Option<TopicId>,
    /// Whether the cluster uses it for itself.
    pub is_internal: bool,
    /// Its partitions, in order.
    pub partitions: Vec<PartitionDescription>,
}

/// A partition and where it lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionDescription {
    /// Its index.
    pub partition: PartitionIndex,
    /// Its leader, if there is one.
    pub leader: Option<BrokerId>,
    /// The leader's epoch; `None` from old brokers.
    pub leader_epoch: Option<LeaderEpoch>,
    /// Brokers that hold a replica.
    pub replicas: Vec<BrokerId>,
    /// Brokers whose replica is in sync.
    pub in_sync_replicas: Vec<BrokerId>,
}

impl Admin {
    /// Deletes a topic with all its records.
    ///
    /// # Errors
    /// When there is no such topic, the cluster refuses, or no answer came; see
    /// [`DeleteTopicError::is_outcome_unknown`].
    pub async fn delete_topic(&self, topic: &str) -> Result<(), DeleteTopicError> {
        let name = ByteString::from(topic);
        let cluster = |source| DeleteTopicError::Cluster {
            topic: topic.to_owned(),
            source,
        };
        let mut request = DeleteTopicsRequest {
            timeout_ms: self.timeout_ms(),
            ..Default::default()
        };
        let connection = self.client.inner.metadata.any_broker().await;
        let connection = connection.map_err(cluster)?;
        let unreachable = |last| cluster(MetadataError::Unreachable { last });
        let version = connection.version_of::<DeleteTopicsRequest>();
        if version.map_err(unreachable)? >= 6 {
            request.topics.push(DeleteTopicState {
                name: Some(name.clone()),
                topic_id: TopicId::ZERO,
            });
        } else {
            request.topic_names.push(name.clone());
        }
        let response = connection.call(&request).await.map_err(unreachable)?;
        let mut answers = response.responses.into_iter();
        let answer = answers.find(|answer| answer.name.as_ref() == Some(&name));
        let code = answer.as_ref().map(|answer| answer.error_code);
        match code.unwrap_or(ErrorCode::UnknownServerError) {
            ErrorCode::None => Ok(()),
            ErrorCode::UnknownTopicOrPartition => Err(DeleteTopicError::UnknownTopic {
                topic: topic.to_owned(),
            }),
            code => Err(DeleteTopicError::Refused {
                topic: topic.to_owned(),
                code,
                message: text(answer.and_then(|answer| answer.error_message)),
            }),
        }
    }

    /// Returns every topic of the cluster, by name.
    ///
    /// # Errors
    /// When no broker answers.
    pub async fn list_topics(&self) -> Result<Vec<TopicListing>, AskError> {
        let request = MetadataRequest {
            topics: None,
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        let response = self.ask(&request).await?;
        let usable = response.topics.into_iter();
        let usable = usable.filter(|topic| topic.error_code.is_none());
        let mut topics: Vec<TopicListing> = usable.filter_map(listing).collect();
        topics.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(topics)
    }

    /// Returns a topic and where its partitions live.
    ///
    /// # Errors
    /// When there is no such topic, the cluster refuses, or no broker answers.
    pub async fn describe_topic(&self, topic: &str) -> Result<TopicDescription, AskError> {
        let request = MetadataRequest {
            topics: Some(vec![MetadataRequestTopic {
                name: Some(ByteString::from(topic)),
                ..Default::default()
            }]),
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        let response = self.ask(&request).await?;
        let mut answers = response.topics.into_iter();
        let answer = answers.find(|answer| answer.name.as_deref() == Some(topic));
        let unknown = || AskError::UnknownTopic {
            topic: topic.to_owned(),
        };
        let answer = answer.ok_or_else(unknown)?;
        match answer.error_code {
            ErrorCode::None => Ok(description(topic, answer)),
            ErrorCode::UnknownTopicOrPartition => Err(unknown()),
            code => Err(AskError::Refused {
                subject: format!("topic {topic:?}"),
                code,
                message: None,
            }),
        }
    }

    /// Returns what the broker is told as its own limit, so that it gives up before the client does.
    pub(super) fn timeout_ms(&self) -> i32 {
        let timeout = self.client.inner.settings.request_timeout;
        i32::try_from(timeout.as_millis() * 9 / 10).unwrap_or(i32::MAX)
    }
}

fn listing(topic: MetadataResponseTopic) -> Option<TopicListing> {
    Some(TopicListing {
        name: topic.name?.to_string(),
        id: known(topic.topic_id),
        partitions: topic.partitions.len(),
        is_internal: topic.is_internal,
    })
}

fn description(name: &str, topic: MetadataResponseTopic) -> TopicDescription {
    let partitions = topic.partitions.into_iter().map(partition);
    let mut partitions: Vec<PartitionDescription> = partitions.collect();
    partitions.sort_by_key(|partition| partition.partition);
    TopicDescription {
        name: name.to_owned(),
        id: known(topic.topic_id),
        is_internal: topic.is_internal,
        partitions,
    }
}

fn partition(partition: MetadataResponsePartition) -> PartitionDescription {
    PartitionDescription {
        partition: partition.partition_index,
        leader: (partition.leader_id.0 >= 0).then_some(partition.leader_id),
        leader_epoch: (partition.leader_epoch.0 >= 0).then_some(partition.leader_epoch),
        replicas: partition.replica_nodes,
        in_sync_replicas: partition.isr_nodes,
    }
}

pub(super) fn known(id: TopicId) -> Option<TopicId> {
    (id != TopicId::ZERO).then_some(id)
}

pub(super) fn text(text: Option<ByteString>) -> Option<String> {
    text.filter(|text| !text.is_empty())
        .map(|text| text.to_string())
}
