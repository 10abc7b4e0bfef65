//! CreateTopics and DeleteTopics.
//!
//! A broker passes such requests on to the leading controller ([`forward`]), and answers when its own view has what they
//! changed. There ([`forwarded`]) requests become what the controller is asked, and its answers codes and words.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use bytestring::ByteString;
use keylane_protocol::api::ApiKey;
use keylane_protocol::cluster::call::{ForwardAnswer, ForwardRequest};
use keylane_protocol::cluster::{ClusterImage, MetadataRecord};
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::TopicId;
use keylane_protocol::message::create_topics::{
    CreatableTopic, CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};
use keylane_protocol::message::delete_topics::{
    DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
};
use keylane_protocol::message::{Message, Request};
use keylane_protocol::primitive::{DecodeError, Decoder, Encoder};

use super::{
    alter_configs, controller_calls, create_partitions, describe_configs, on_demand, words,
};
use crate::config::BrokerConfig;
use crate::controller::core::{Answer, Ask, AskError, TopicToDelete};
use crate::controller::new_topic::{CreateTopicError, NewTopic};
use crate::controller::service::ControllerHandle;
use crate::server::BrokerState;
use crate::topics::Topic;

/// What is said where no controller answers.
pub(super) const NO_CONTROLLER: ByteString =
    ByteString::from_static("no controller answers: are enough voters running?");

/// What is said of a topic that is named twice.
pub(super) const NAMED_TWICE: ByteString =
    ByteString::from_static("the request names this topic more than once");

/// Who asks, for the controller.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    pub client_id: Option<ByteString>,
    pub client_host: ByteString,
}

/// Has the leading controller answer a request; returns once this broker's view has what was changed.
///
/// # Errors
/// When no controller answers.
pub(crate) async fn forward<R: Request>(
    broker: &BrokerState,
    asker: &Asker,
    request: &R,
    version: i16,
) -> Result<R::Response, ErrorCode> {
    let failed = |_| ErrorCode::UnknownServerError;
    let forward = ForwardRequest {
        api_key: R::API_KEY.code(),
        api_version: version,
        principal: ByteString::new(),
        client_id: asker.client_id.clone(),
        client_host: asker.client_host.clone(),
        body: Some(body(request, version)),
    };
    let answer: ForwardAnswer = broker.controllers.call(&forward).await?;
    if !answer.error_code.is_none() {
        return Err(answer.error_code);
    }
    broker
        .published(u64::try_from(answer.index).unwrap_or(0))
        .await;
    let mut decoder = Decoder::new(answer.body.unwrap_or_default());
    R::Response::decode(&mut decoder, version).map_err(failed)
}

/// Has topics created.
pub(crate) async fn create_topics(
    broker: &BrokerState,
    asker: &Asker,
    request: CreateTopicsRequest,
    version: i16,
) -> CreateTopicsResponse {
    match forward(broker, asker, &request, version).await {
        Ok(response) => response,
        Err(error_code) => CreateTopicsResponse {
            topics: request
                .topics
                .into_iter()
                .map(|topic| CreatableTopicResult {
                    name: topic.name,
                    error_code,
                    error_message: Some(NO_CONTROLLER),
                    ..CreatableTopicResult::default()
                })
                .collect(),
            ..CreateTopicsResponse::default()
        },
    }
}

/// Has topics deleted.
pub(crate) async fn delete_topics(
    broker: &BrokerState,
    asker: &Asker,
    request: DeleteTopicsRequest,
    version: i16,
) -> DeleteTopicsResponse {
    match forward(broker, asker, &request, version).await {
        Ok(response) => response,
        Err(error_code) => DeleteTopicsResponse {
            responses: asked_to_delete(request, version)
                .into_iter()
                .map(|topic| DeletableTopicResult {
                    name: topic.name,
                    topic_id: topic.topic_id,
                    error_code,
                    error_message: Some(NO_CONTROLLER),
                })
                .collect(),
            ..DeleteTopicsResponse::default()
        },
    }
}

fn body<M: Message>(message: &M, version: i16) -> Bytes {
    let mut encoder = Encoder::new();
    let encoded = message.encode(version, &mut encoder);
    encoded.expect("what was decoded in a version can be encoded in it");
    encoder.into_segments().concat().into()
}

/// Answers a request that a broker passed on, as the controller.
///
/// # Errors
/// When the body is not a request of that API and version.
pub(crate) async fn forwarded(
    controller: &ControllerHandle,
    config: &BrokerConfig,
    request: ForwardRequest,
) -> Result<ForwardAnswer, DecodeError> {
    let answer = ForwardAnswer {
        controller_id: controller.leader(),
        ..ForwardAnswer::default()
    };
    if !controller.leads() {
        return Ok(ForwardAnswer {
            error_code: ErrorCode::NotController,
            ..answer
        });
    }
    let version = request.api_version;
    let mut decoder = Decoder::new(request.body.unwrap_or_default());
    let body = match ApiKey::from_code(request.api_key) {
        Some(ApiKey::CreateTopics) => {
            let request = CreateTopicsRequest::decode(&mut decoder, version)?;
            body(&create(controller, config, request).await, version)
        }
        Some(ApiKey::DeleteTopics) => {
            let request = DeleteTopicsRequest::decode(&mut decoder, version)?;
            body(&delete(controller, request, version).await, version)
        }
        Some(ApiKey::CreatePartitions) => {
            let request = Message::decode(&mut decoder, version)?;
            body(
                &create_partitions::create(controller, request).await,
                version,
            )
        }
        Some(ApiKey::IncrementalAlterConfigs) => {
            let request = Message::decode(&mut decoder, version)?;
            body(&alter_configs::alter(controller, request).await, version)
        }
        Some(ApiKey::Metadata) => {
            let request = Message::decode(&mut decoder, version)?;
            body(
                &on_demand::create(controller, config, &request).await,
                version,
            )
        }
        _ => {
            return Ok(ForwardAnswer {
                error_code: ErrorCode::UnsupportedVersion,
                ..answer
            });
        }
    };
    Ok(ForwardAnswer {
        index: i64::try_from(controller.view().image().0).unwrap_or(i64::MAX),
        body: Some(body),
        ..answer
    })
}

/// The first version of DeleteTopics that names topics by id.
const VERSION_DELETE_BY_ID: i16 = 6;

/// Creates topics, or checks whether they could be created.
async fn create(
    controller: &ControllerHandle,
    config: &BrokerConfig,
    request: CreateTopicsRequest,
) -> CreateTopicsResponse {
    let mut times_named: BTreeMap<ByteString, usize> = BTreeMap::new();
    for topic in &request.topics {
        *times_named.entry(topic.name.clone()).or_default() += 1;
    }
    let mut topics = Vec::with_capacity(times_named.len());
    for topic in request.topics {
        match times_named.remove(&topic.name) {
            Some(1) => {
                topics.push(create_one(controller, config, topic, request.validate_only).await)
            }
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
        error_message: Some(NAMED_TWICE),
        ..CreatableTopicResult::default()
    }
}

/// Creates a topic, or checks whether it could be created.
pub(super) async fn create_one(
    controller: &ControllerHandle,
    config: &BrokerConfig,
    asked: CreatableTopic,
    validate_only: bool,
) -> CreatableTopicResult {
    let name = asked.name.clone();
    let decided = controller
        .create_topic(new_topic(asked), validate_only)
        .await;
    let error = match decided {
        Ok(Answer::Created(records)) => match created(&records, config, validate_only) {
            Some(created) => return created,
            None => AskError::Unknown,
        },
        Ok(_) => AskError::Unknown,
        Err(error) => error,
    };
    CreatableTopicResult {
        name,
        error_code: controller_calls::code(&error),
        error_message: Some(words(error.to_string())),
        configs: None,
        ..CreatableTopicResult::default()
    }
}

fn created(
    records: &[MetadataRecord],
    config: &BrokerConfig,
    validate_only: bool,
) -> Option<CreatableTopicResult> {
    let image = ClusterImage::default().with(records).ok()?;
    let topic = Topic::new(image.topics().next()?, &config.topic_defaults).ok()?;
    Some(CreatableTopicResult {
        name: ByteString::from(topic.name.as_str()),
        topic_id: if validate_only {
            TopicId::ZERO
        } else {
            topic.id
        },
        error_code: ErrorCode::None,
        error_message: None,
        num_partitions: topic.partition_count(),
        replication_factor: topic.partitions().next().map_or(1, |(_, partition)| {
            i16::try_from(partition.replicas.len()).unwrap_or(i16::MAX)
        }),
        configs: Some(describe_configs::of_new_topic(&topic, config)),
        ..CreatableTopicResult::default()
    })
}

fn new_topic(asked: CreatableTopic) -> NewTopic {
    NewTopic {
        name: asked.name.to_string(),
        partition_count: asked.num_partitions,
        replication_factor: asked.replication_factor,
        assignments: asked
            .assignments
            .into_iter()
            .map(|of| (of.partition_index, of.broker_ids))
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

/// Returns the code for a topic that cannot be created.
pub(crate) fn create_topic_code(error: &CreateTopicError) -> ErrorCode {
    match error {
        CreateTopicError::Name(_) | CreateTopicError::Collision { .. } => {
            ErrorCode::InvalidTopicException
        }
        CreateTopicError::Exists { .. } => ErrorCode::TopicAlreadyExists,
        CreateTopicError::PartitionCount { .. } => ErrorCode::InvalidPartitions,
        CreateTopicError::TooManyPartitions { .. } => ErrorCode::PolicyViolation,
        CreateTopicError::ReplicationFactor { .. } | CreateTopicError::NoBroker => {
            ErrorCode::InvalidReplicationFactor
        }
        CreateTopicError::Assignment { .. } => ErrorCode::InvalidReplicaAssignment,
        CreateTopicError::Setting(_) | CreateTopicError::SettingValue { .. } => {
            ErrorCode::InvalidConfig
        }
    }
}

/// Deletes topics with their records.
async fn delete(
    controller: &ControllerHandle,
    request: DeleteTopicsRequest,
    version: i16,
) -> DeleteTopicsResponse {
    let asked = asked_to_delete(request, version);
    let mut responses = Vec::with_capacity(asked.len());
    let mut seen = BTreeSet::new();
    for topic in asked {
        // Named twice, answered once: the second would not find it.
        if seen.insert((topic.name.clone(), topic.topic_id)) {
            responses.push(delete_one(controller, topic).await);
        }
    }
    DeleteTopicsResponse {
        throttle_time_ms: 0,
        responses,
    }
}

fn asked_to_delete(request: DeleteTopicsRequest, version: i16) -> Vec<DeleteTopicState> {
    let by_name = |name| DeleteTopicState {
        name: Some(name),
        topic_id: TopicId::ZERO,
    };
    if version < VERSION_DELETE_BY_ID {
        request.topic_names.into_iter().map(by_name).collect()
    } else {
        request.topics
    }
}

async fn delete_one(
    controller: &ControllerHandle,
    asked: DeleteTopicState,
) -> DeletableTopicResult {
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
    let error = match controller.ask(Ask::DeleteTopic(topic)).await {
        Ok(Answer::Deleted { name, id }) => {
            return DeletableTopicResult {
                name: Some(name.into()),
                topic_id: id,
                error_code: ErrorCode::None,
                error_message: None,
            };
        }
        Ok(_) => AskError::Unknown,
        Err(error) => error,
    };
    DeletableTopicResult {
        name: asked.name,
        topic_id: asked.topic_id,
        error_code: controller_calls::code(&error),
        error_message: Some(words(error.to_string())),
    }
}
