//! DeleteTopics: the leading controller decides.

use keylane_protocol::identifiers::TopicId;
use keylane_protocol::message::delete_topics::{
    DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
};

use super::for_controller::{ForController, Unanswered, once};

/// Returns a DeleteTopics as controllers are asked: as in the latest version, whatever the client's.
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

impl ForController for DeleteTopicsRequest {
    const VERSION: i16 = 6;

    fn items(&self) -> usize {
        self.topics.len() + self.topic_names.len()
    }

    fn timeout_ms(&self) -> Option<i32> {
        Some(self.timeout_ms)
    }

    fn unanswered(&self, unanswered: Unanswered) -> DeleteTopicsResponse {
        let topics = self.topics.iter();
        let topics = once(topics.map(|topic| (topic.name.clone(), topic.topic_id)));
        let result = |(name, topic_id)| DeletableTopicResult {
            name,
            topic_id,
            error_code: unanswered.code(),
            error_message: unanswered.text(),
        };
        DeleteTopicsResponse {
            throttle_time_ms: 0,
            responses: topics.into_iter().map(result).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::for_controller::tests::check_unanswered;
    use super::*;

    #[test]
    fn names_of_old_versions_are_asked_for_like_those_of_new_ones() {
        let old = DeleteTopicsRequest {
            topic_names: vec!["a".into(), "b".into()],
            timeout_ms: 7,
            ..DeleteTopicsRequest::default()
        };
        let asked = to_delete(old);
        assert!(asked.topic_names.is_empty());
        let named = |name: &str| DeleteTopicState {
            name: Some(name.into()),
            topic_id: TopicId::ZERO,
        };
        assert_eq!(asked.topics, [named("a"), named("b")]);
        assert_eq!(to_delete(asked.clone()), asked);
    }

    #[test]
    fn without_a_controller_every_topic_is_told_once_in_every_version() {
        let delete = to_delete(DeleteTopicsRequest {
            topic_names: vec!["a".into(), "a".into()],
            ..DeleteTopicsRequest::default()
        });
        let codes = |response: &DeleteTopicsResponse| {
            let topics = response.responses.iter();
            topics
                .map(|topic| (topic.error_code, topic.error_message.clone()))
                .collect()
        };
        check_unanswered(&delete, 1..=6, codes, 1);
    }
}
