//! CreateTopics: the leading controller decides.

use keylane_protocol::message::create_topics::{
    CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};

use super::for_controller::{ForController, Unanswered, once};

impl ForController for CreateTopicsRequest {
    const VERSION: i16 = 7;

    fn items(&self) -> usize {
        self.topics.len()
    }

    fn timeout_ms(&self) -> Option<i32> {
        Some(self.timeout_ms)
    }

    fn unanswered(&self, unanswered: Unanswered) -> CreateTopicsResponse {
        let names = once(self.topics.iter().map(|topic| &topic.name));
        let result = |name: &bytestring::ByteString| CreatableTopicResult {
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
}

#[cfg(test)]
mod tests {
    use keylane_protocol::message::create_topics::CreatableTopic;

    use super::super::for_controller::tests::check_unanswered;
    use super::*;

    #[test]
    fn without_a_controller_every_topic_is_told_once_in_every_version() {
        let topic = |name: &str| CreatableTopic {
            name: name.into(),
            ..CreatableTopic::default()
        };
        let create = CreateTopicsRequest {
            topics: vec![topic("a"), topic("b"), topic("a")],
            ..CreateTopicsRequest::default()
        };
        let codes = |response: &CreateTopicsResponse| {
            let topics = response.topics.iter();
            topics
                .map(|topic| (topic.error_code, topic.error_message.clone()))
                .collect()
        };
        check_unanswered(&create, 2..=7, codes, 2);
    }
}
