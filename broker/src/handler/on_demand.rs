//! The topics that Metadata creates on the way, where the configuration permits it (`auto.create.topics.enable`).
//!
//! A broker that is dialled asks by its own configuration ([`create_missing`]). A router passes the whole question on,
//! and the leading controller decides by its own ([`create`]).

use std::collections::{BTreeMap, BTreeSet};

use bytestring::ByteString;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::TopicId;
use keylane_protocol::message::create_topics::{CreatableTopic, CreateTopicsRequest};
use keylane_protocol::message::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseTopic,
};

use super::metadata;
use super::topic_changes::{Asker, create_one, forward};
use crate::config::BrokerConfig;
use crate::controller::service::ControllerHandle;
use crate::server::BrokerState;

/// The version in which topics are created.
const CREATE_VERSION: i16 = 7;

/// Says which of the topics that a Metadata request names exist, as the controller, after those that did not were
/// created, if that is permitted. Nothing else of them is told.
pub(super) async fn create(
    controller: &ControllerHandle,
    config: &BrokerConfig,
    request: &MetadataRequest,
) -> MetadataResponse {
    let is_permitted = config.auto_create_topics && request.allow_auto_topic_creation;
    let names = request.topics.iter().flatten();
    let names: BTreeSet<&ByteString> = names.filter_map(|topic| topic.name.as_ref()).collect();
    let mut topics = Vec::with_capacity(names.len());
    for name in names {
        topics.push(create_if_missing(controller, config, name, is_permitted).await);
    }
    MetadataResponse {
        topics,
        ..MetadataResponse::default()
    }
}

async fn create_if_missing(
    controller: &ControllerHandle,
    config: &BrokerConfig,
    name: &ByteString,
    is_permitted: bool,
) -> MetadataResponseTopic {
    let present = || {
        let (_, image) = controller.view().image();
        image.topic_named(name).map(|topic| topic.id)
    };
    let (error_code, topic_id) = match present() {
        Some(id) => (ErrorCode::None, id),
        None if is_permitted => {
            let created = create_one(
                controller,
                config,
                CreatableTopic::new(name.clone(), -1),
                false,
            )
            .await;
            match created.error_code {
                // Another client was faster.
                ErrorCode::TopicAlreadyExists => {
                    (ErrorCode::None, present().unwrap_or(TopicId::ZERO))
                }
                code => (code, created.topic_id),
            }
        }
        None => (ErrorCode::UnknownTopicOrPartition, TopicId::ZERO),
    };
    MetadataResponseTopic::untold(Some(name.clone()), topic_id, error_code)
}

/// Creates the topics that a Metadata request asks for and the configuration permits; returns those that could not be.
pub(crate) async fn create_missing(
    broker: &BrokerState,
    asker: &Asker,
    request: &MetadataRequest,
) -> BTreeMap<String, ErrorCode> {
    let mut failed = BTreeMap::new();
    if !broker.config.auto_create_topics {
        return failed;
    }
    let names = metadata::to_create(request, &broker.topics.load());
    if names.is_empty() {
        return failed;
    }
    let names_wanted = names
        .iter()
        .map(|name| CreatableTopic::new(name.as_str(), -1));
    let create = CreateTopicsRequest {
        topics: names_wanted.collect(),
        ..CreateTopicsRequest::default()
    };
    match forward(broker, asker, &create, CREATE_VERSION).await {
        Ok(created) => failed.extend(created.topics.into_iter().filter_map(|topic| {
            // Another client may have been faster.
            let is_there = matches!(
                topic.error_code,
                ErrorCode::None | ErrorCode::TopicAlreadyExists
            );
            (!is_there).then(|| (topic.name.to_string(), topic.error_code))
        })),
        Err(error) => failed.extend(names.into_iter().map(|name| (name, error))),
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
