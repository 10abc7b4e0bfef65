//! CreatePartitions: the leading controller decides (KIP-195).

use keylane_protocol::message::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopicResult,
};

use super::for_controller::{ForController, Unanswered, once};

impl ForController for CreatePartitionsRequest {
    const VERSION: i16 = 3;

    fn items(&self) -> usize {
        let topics = self.topics.iter();
        let assigned = topics.map(|topic| topic.assignments.as_ref().map_or(0, Vec::len));
        self.topics.len() + assigned.sum::<usize>()
    }

    fn timeout_ms(&self) -> Option<i32> {
        Some(self.timeout_ms)
    }

    fn unanswered(&self, unanswered: Unanswered) -> CreatePartitionsResponse {
        let names = once(self.topics.iter().map(|topic| &topic.name));
        let result = |name: &bytestring::ByteString| CreatePartitionsTopicResult {
            name: name.clone(),
            error_code: unanswered.code(),
            error_message: unanswered.text(),
        };
        CreatePartitionsResponse {
            throttle_time_ms: 0,
            results: names.into_iter().map(result).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use keylane_protocol::message::create_partitions::{
        CreatePartitionsAssignment, CreatePartitionsTopic,
    };

    use super::super::for_controller::tests::check_unanswered;
    use super::*;

    fn topic(name: &str, assigned: usize) -> CreatePartitionsTopic {
        CreatePartitionsTopic {
            name: name.into(),
            count: 3,
            assignments: Some(vec![CreatePartitionsAssignment::default(); assigned]),
        }
    }

    #[test]
    fn without_a_controller_every_topic_is_told_once_in_every_version() {
        let request = CreatePartitionsRequest {
            topics: vec![topic("b", 0), topic("a", 0), topic("b", 0)],
            ..CreatePartitionsRequest::default()
        };
        let codes = |response: &CreatePartitionsResponse| {
            let topics = response.results.iter();
            topics
                .map(|topic| (topic.error_code, topic.error_message.clone()))
                .collect()
        };
        check_unanswered(&request, 0..=3, codes, 2);
    }

    #[test]
    fn assignments_count_as_items() {
        let request = CreatePartitionsRequest {
            topics: vec![topic("a", 3), topic("b", 0)],
            ..CreatePartitionsRequest::default()
        };
        assert_eq!(request.items(), 5);
    }
}
