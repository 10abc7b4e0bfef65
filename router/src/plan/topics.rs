//! CreateTopics and DeleteTopics: controllers decide, and the client hears of it when this router's image has it.
//!
//! Requests go on in the latest version, so that answers carry the ids to wait for. A client that is told of a topic may
//! use it at once: this router must not say then that there is none. Waiting ends with the request's deadline; the
//! outcome is told all the same, for it has happened.

use bytestring::ByteString;
use keylane_protocol::cluster::ClusterImage;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::TopicId;
use keylane_protocol::message::create_topics::{
    CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};
use keylane_protocol::message::delete_topics::{
    DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
};

/// The version in which controllers are asked to create.
pub const CREATE_VERSION: i16 = 7;

/// The version in which controllers are asked to delete.
pub const DELETE_VERSION: i16 = 6;

/// What an image must show before a client is answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Awaited {
    created: Vec<(TopicId, i32)>,
    deleted: Vec<TopicId>,
}

/// How far a request got that has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// It was never sent.
    Unsent,
    /// It may have been done.
    Sent,
}

impl Unanswered {
    fn code(self) -> ErrorCode {
        match self {
            Self::Unsent => ErrorCode::NotController,
            Self::Sent => ErrorCode::RequestTimedOut,
        }
    }

    fn text(self) -> Option<ByteString> {
        Some(ByteString::from_static(match self {
            Self::Unsent => "no controller can be reached; nothing was done",
            Self::Sent => "the controller has not answered; it may have been done",
        }))
    }
}

impl Awaited {
    /// Tells whether an image shows all of it.
    #[must_use]
    pub fn is_in(&self, image: &ClusterImage) -> bool {
        let is_whole = |&(id, partitions): &(TopicId, i32)| {
            let topic = image.topic(id);
            topic.is_some_and(|topic| topic.partition_count() >= partitions.max(1))
        };
        let is_gone = |id: &TopicId| image.topic(*id).is_none();
        self.created.iter().all(is_whole) && self.deleted.iter().all(is_gone)
    }
}

/// Returns what a controller's answer to CreateTopics has made.
#[must_use]
pub fn created(response: &CreateTopicsResponse, validate_only: bool) -> Awaited {
    let done = response.topics.iter().filter(|topic| {
        !validate_only && topic.error_code.is_none() && topic.topic_id != TopicId::ZERO
    });
    Awaited {
        created: done
            .map(|topic| (topic.topic_id, topic.num_partitions))
            .collect(),
        deleted: Vec::new(),
    }
}

/// Returns the answer to CreateTopics when there is none from a controller.
#[must_use]
pub fn create_unanswered(
    request: &CreateTopicsRequest,
    unanswered: Unanswered,
) -> CreateTopicsResponse {
    let mut names: Vec<&ByteString> = request.topics.iter().map(|topic| &topic.name).collect();
    names.sort_unstable();
    names.dedup();
    let result = |name: &ByteString| CreatableTopicResult {
        name: name.clone(),
        error_code: unanswered.code(),
        error_message: unanswered.text(),
        configs: None,
        ..CreatableTopicResult::default()
    };
    CreateTopicsResponse {
        throttle_time_ms: 0,
        topics: names.into_iter().map(result).collect(),
    }
}

/// Returns a DeleteTopics as controllers are asked: in [`DELETE_VERSION`], whatever the client's.
#[must_use]
pub fn to_delete(request: DeleteTopicsRequest) -> DeleteTopicsRequest {
    let named = request
        .topic_names
        .into_iter()
        .map(|name| DeleteTopicState {
            name: Some(name),
            topic_id: TopicId::ZERO,
        });
    DeleteTopicsRequest {
        topics: request.topics.into_iter().chain(named).collect(),
        topic_names: Vec::new(),
        timeout_ms: request.timeout_ms,
    }
}

/// Returns what a controller's answer to DeleteTopics has removed.
#[must_use]
pub fn deleted(response: &DeleteTopicsResponse) -> Awaited {
    let topics = response.responses.iter();
    let done = topics.filter(|topic| topic.error_code.is_none());
    Awaited {
        created: Vec::new(),
        deleted: done.map(|topic| topic.topic_id).collect(),
    }
}

/// Returns the answer to DeleteTopics, as [`to_delete`] gave it, when there is none from a controller.
#[must_use]
pub fn delete_unanswered(
    request: &DeleteTopicsRequest,
    unanswered: Unanswered,
) -> DeleteTopicsResponse {
    let mut topics: Vec<&DeleteTopicState> = request.topics.iter().collect();
    topics.sort_unstable_by_key(|topic| (&topic.name, topic.topic_id));
    topics.dedup();
    let result = |topic: &DeleteTopicState| DeletableTopicResult {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        error_code: unanswered.code(),
        error_message: unanswered.text(),
    };
    DeleteTopicsResponse {
        throttle_time_ms: 0,
        responses: topics.into_iter().map(result).collect(),
    }
}

#[cfg(test)]
mod tests;
