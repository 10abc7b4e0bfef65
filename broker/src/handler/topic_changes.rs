//! CreateTopics, DeleteTopics, and the topics that Metadata creates on the way.
//!
//! The thread that owns the topics decides and does the disk work; here requests become its commands, and what it says
//! becomes error codes and words.

use std::collections::{BTreeMap, BTreeSet};

use bytestring::ByteString;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::TopicId;
use keylane_protocol::message::create_topics::{
    CreatableTopic, CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};
use keylane_protocol::message::delete_topics::{
    DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
};
use keylane_protocol::message::metadata::{MetadataRequest, MetadataResponse};

use super::{describe_configs, metadata, words};
use crate::server::BrokerState;
use crate::topic_registry::{ChangeTopicError, TopicToDelete};
use crate::topics::Topic;
use crate::topics::rules::{CreateTopicError, NewTopic};

/// The first version of DeleteTopics that names topics by id.
const VERSION_DELETE_BY_ID: i16 = 6;

/// Creates topics, or checks whether they could be created.
pub(crate) async fn create(
    broker: &BrokerState,
    request: CreateTopicsRequest,
) -> CreateTopicsResponse {
    let mut times_named: BTreeMap<ByteString, usize> = BTreeMap::new();
    for topic in &request.topics {
        *times_named.entry(topic.name.clone()).or_default() += 1;
    }
    let mut topics = Vec::with_capacity(times_named.len());
    for topic in request.topics {
        match times_named.remove(&topic.name) {
            Some(1) => topics.push(create_one(broker, topic, request.validate_only).await),
            Some(_) => topics.push(twice(topic.name)),
            // Answered at its first place: clients match answers by name.
            None => {}
        }
    }
    CreateTopicsResponse {
        throttle_time_ms: 0,
        topics,
    }
}

fn twice(name: ByteString) -> CreatableTopicResult {
    CreatableTopicResult {
        name,
        error_code: ErrorCode::InvalidRequest,
        error_message: Some(ByteString::from_static(
            "the request names this topic more than once",
        )),
        ..CreatableTopicResult::default()
    }
}

async fn create_one(
    broker: &BrokerState,
    asked: CreatableTopic,
    validate_only: bool,
) -> CreatableTopicResult {
    let name = asked.name.clone();
    let outcome = broker
        .topic_changes
        .create(new_topic(asked), validate_only)
        .await;
    match outcome {
        Ok(topic) => created(&topic, broker, validate_only),
        Err(error) => CreatableTopicResult {
            name,
            error_code: code(&error),
            error_message: Some(words(error.to_string())),
            configs: None,
            ..CreatableTopicResult::default()
        },
    }
}

fn created(topic: &Topic, broker: &BrokerState, validate_only: bool) -> CreatableTopicResult {
    CreatableTopicResult {
        name: ByteString::from(topic.name.as_str()),
        topic_id: if validate_only {
            TopicId::ZERO
        } else {
            topic.id
        },
        error_code: ErrorCode::None,
        error_message: None,
        num_partitions: topic.partition_count,
        replication_factor: 1,
        configs: Some(describe_configs::of_new_topic(topic, &broker.config)),
        ..CreatableTopicResult::default()
    }
}

fn new_topic(asked: CreatableTopic) -> NewTopic {
    let assignment = |brokers: Vec<keylane_protocol::identifiers::BrokerId>| {
        brokers.into_iter().map(|broker| broker.0).collect()
    };
    NewTopic {
        name: asked.name.to_string(),
        partition_count: asked.num_partitions,
        replication_factor: asked.replication_factor,
        assignments: asked
            .assignments
            .into_iter()
            .map(|of| (of.partition_index, assignment(of.broker_ids)))
            .collect(),
        settings: asked
            .configs
            .into_iter()
            .map(|config| {
                let value = config.value.map(|value| value.to_string());
                (config.name.to_string(), value)
            })
            .collect(),
    }
}

fn code(error: &ChangeTopicError) -> ErrorCode {
    match error {
        ChangeTopicError::Create(error) => match error {
            CreateTopicError::Name(_) | CreateTopicError::Collision { .. } => {
                ErrorCode::InvalidTopicException
            }
            CreateTopicError::Exists { .. } => ErrorCode::TopicAlreadyExists,
            CreateTopicError::PartitionCount { .. } => ErrorCode::InvalidPartitions,
            CreateTopicError::TooManyPartitions { .. } => ErrorCode::PolicyViolation,
            CreateTopicError::ReplicationFactor { .. } => ErrorCode::InvalidReplicationFactor,
            CreateTopicError::Assignment { .. } => ErrorCode::InvalidReplicaAssignment,
            CreateTopicError::Setting(_) | CreateTopicError::SettingValue { .. } => {
                ErrorCode::InvalidConfig
            }
        },
        ChangeTopicError::UnknownName { .. } => ErrorCode::UnknownTopicOrPartition,
        ChangeTopicError::UnknownId { .. } => ErrorCode::UnknownTopicId,
        ChangeTopicError::NoSpace | ChangeTopicError::Disk { .. } => ErrorCode::KafkaStorageError,
        ChangeTopicError::Stopping => ErrorCode::RequestTimedOut,
    }
}

/// Deletes topics with their records.
pub(crate) async fn delete(
    broker: &BrokerState,
    request: DeleteTopicsRequest,
    version: i16,
) -> DeleteTopicsResponse {
    let by_name = |name| DeleteTopicState {
        name: Some(name),
        topic_id: TopicId::ZERO,
    };
    let asked: Vec<DeleteTopicState> = if version < VERSION_DELETE_BY_ID {
        request.topic_names.into_iter().map(by_name).collect()
    } else {
        request.topics
    };
    let mut responses = Vec::with_capacity(asked.len());
    let mut seen = BTreeSet::new();
    for topic in asked {
        // Named twice, answered once: the second would not find it.
        if seen.insert((topic.name.clone(), topic.topic_id)) {
            responses.push(delete_one(broker, topic).await);
        }
    }
    DeleteTopicsResponse {
        throttle_time_ms: 0,
        responses,
    }
}

async fn delete_one(broker: &BrokerState, asked: DeleteTopicState) -> DeletableTopicResult {
    let topic = match (&asked.name, asked.topic_id) {
        (Some(name), TopicId::ZERO) => TopicToDelete::Named(name.to_string()),
        (None, id) if id != TopicId::ZERO => TopicToDelete::WithId(id),
        _ => {
            return DeletableTopicResult {
                name: asked.name,
                topic_id: asked.topic_id,
                error_code: ErrorCode::InvalidRequest,
                error_message: Some(ByteString::from_static(
                    "a topic is named by its name or by its id, not by both or neither",
                )),
            };
        }
    };
    match broker.topic_changes.delete(topic).await {
        Ok(topic) => DeletableTopicResult {
            name: Some(ByteString::from(topic.name.as_str())),
            topic_id: topic.id,
            error_code: ErrorCode::None,
            error_message: None,
        },
        Err(error) => DeletableTopicResult {
            name: asked.name,
            topic_id: asked.topic_id,
            error_code: code(&error),
            error_message: Some(words(error.to_string())),
        },
    }
}

/// Creates the topics that a Metadata request asks for and the configuration permits; returns those that could not be.
pub(crate) async fn create_missing(
    broker: &BrokerState,
    request: &MetadataRequest,
) -> BTreeMap<String, ErrorCode> {
    let mut failed = BTreeMap::new();
    if !broker.config.auto_create_topics {
        return failed;
    }
    let names = metadata::to_create(request, &broker.topics.load());
    for name in names {
        let new = NewTopic {
            name: name.clone(),
            partition_count: -1,
            replication_factor: -1,
            assignments: Vec::new(),
            settings: Vec::new(),
        };
        match broker.topic_changes.create(new, false).await {
            // Another client may have been faster.
            Ok(_) | Err(ChangeTopicError::Create(CreateTopicError::Exists { .. })) => {}
            Err(error) => {
                failed.insert(name, code(&error));
            }
        }
    }
    failed
}

/// Says in an answer why topics could not be created.
pub(crate) fn mark_failed(response: &mut MetadataResponse, failed: &BTreeMap<String, ErrorCode>) {
    for topic in &mut response.topics {
        let error = topic.name.as_deref().and_then(|name| failed.get(name));
        if let Some(error) = error.filter(|_| !topic.error_code.is_none()) {
            topic.error_code = *error;
        }
    }
}
