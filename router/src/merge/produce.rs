//! The answer to a Produce or RoutedProduce, filled in place by place, in the order of the request or of partitions.
//!
//! What a leader says is passed on. Only a refusal of the leader epoch becomes NOT_LEADER_OR_FOLLOWER, since a Produce
//! names none: librdkafka takes FENCED_LEADER_EPOCH for final and drops the records. Never UNKNOWN_SERVER_ERROR: Java's
//! client numbers its batches anew after it (KAFKA-14034).

use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::PartitionIndex;
use keylane_protocol::link;
use keylane_protocol::link::append::Outcome;
use keylane_protocol::message::produce::{
    PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse,
};
use keylane_protocol::message::routed_produce::{RoutedProducePartition, RoutedProduceResponse};
use keylane_protocol::offset::{LeaderEpoch, Offset};

use super::told;
use crate::plan::Place;
use crate::plan::produce::Refusal;

/// What is known of one partition's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// They were not handed on.
    Unsent,
    /// They may be with a broker.
    Sent,
    /// The client's answer has its place filled.
    Settled,
}

const UNSENT: Refusal = Refusal::new(
    ErrorCode::NotLeaderOrFollower,
    "the partition has no leader that can be reached; nothing was written",
);

const UNANSWERED: Refusal = Refusal::new(
    ErrorCode::RequestTimedOut,
    "the partition's leader has not answered; the records may have been written",
);

/// What a client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProduceAnswer {
    /// That it named the partitions of.
    Partitioned(ProduceResponse),
    /// That was split here.
    Routed(RoutedProduceResponse),
}

/// An answer on its way.
#[derive(Debug)]
pub struct ProduceMerge {
    acks: i16,
    answer: ProduceAnswer,
    /// Of all places, topic by topic.
    fates: Vec<Fate>,
    /// Where the fates of each topic but the first begin.
    later_firsts: Vec<usize>,
    unsettled: usize,
}

impl ProduceMerge {
    /// Returns an answer with a place for every partition of the request.
    #[must_use]
    pub fn new(request: &ProduceRequest) -> Self {
        let counts = request
            .topic_data
            .iter()
            .map(|topic| topic.partition_data.len());
        let ends = counts.scan(0, |end, count| {
            *end += count;
            Some(*end)
        });
        let mut later_firsts: Vec<usize> = ends.collect();
        let count = later_firsts.pop().unwrap_or(0);
        let partitions = |topic: &keylane_protocol::message::produce::ProduceTopic| {
            let indexes = topic.partition_data.iter().map(|data| data.index);
            let place = |index| PartitionProduceResponse {
                index,
                base_offset: Offset(-1),
                ..PartitionProduceResponse::default()
            };
            indexes.map(place).collect()
        };
        let topics = request.topic_data.iter();
        Self {
            acks: request.acks,
            unsettled: count,
            fates: vec![Fate::Unsent; count],
            later_firsts,
            answer: ProduceAnswer::Partitioned(ProduceResponse {
                responses: topics
                    .map(|topic| TopicProduceResponse {
                        name: topic.name.clone(),
                        partition_responses: partitions(topic),
                    })
                    .collect(),
                ..ProduceResponse::default()
            }),
        }
    }

    /// Returns an answer with a place for every partition of a batch that was split; its topic counts as the first.
    #[must_use]
    pub fn routed(partitions: impl ExactSizeIterator<Item = PartitionIndex>) -> Self {
        let count = partitions.len();
        let places = partitions.map(|partition| RoutedProducePartition {
            partition,
            ..RoutedProducePartition::default()
        });
        Self {
            acks: -1,
            unsettled: count,
            fates: vec![Fate::Unsent; count],
            later_firsts: Vec::new(),
            answer: ProduceAnswer::Routed(RoutedProduceResponse {
                partitions: places.collect(),
                ..RoutedProduceResponse::default()
            }),
        }
    }

    /// Notes how many partitions the topic of a routed batch has.
    pub fn on_partition_count(&mut self, partition_count: i32) {
        if let ProduceAnswer::Routed(response) = &mut self.answer {
            response.partition_count = partition_count;
        }
    }

    /// Refuses a routed batch of which nothing was sent.
    pub fn on_refused_whole(&mut self, refusal: Refusal) {
        if let ProduceAnswer::Routed(response) = &mut self.answer {
            *response = refused_whole(refusal, response.partition_count);
            self.unsettled = 0;
            self.fates.clear();
        }
    }

    /// Tells whether the client waits for an answer. If not, a refusal closes its connection.
    #[must_use]
    pub fn wants_answer(&self) -> bool {
        self.acks != 0
    }

    /// Tells whether every place is filled.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.unsettled == 0
    }

    /// Notes that the records at a place were handed on: from now on they may be written.
    pub fn on_sent(&mut self, place: Place) {
        if let Some(fate @ Fate::Unsent) = self.fate(place) {
            *fate = Fate::Sent;
        }
    }

    /// Notes that a link has taken the records at a place. Without acknowledgement that is all there is to know.
    pub fn on_taken(&mut self, place: Place) {
        if self.acks == 0 {
            self.settle(place, None);
        }
    }

    /// Takes what a leader says of the records at a place. A second word on one place is ignored.
    pub fn on_outcome(&mut self, place: Place, outcome: Outcome) {
        self.settle(place, Some(passed_on(outcome)));
    }

    /// Refuses the records at a place, which were not sent.
    pub fn on_refused(&mut self, place: Place, refusal: Refusal) {
        self.settle(place, Some(refused(refusal)));
    }

    /// Notes that there will be no word on a place.
    pub fn on_lost(&mut self, place: Place, fate: link::Fate) {
        let refusal = match fate {
            link::Fate::NeverSent => UNSENT,
            link::Fate::Unknown => UNANSWERED,
        };
        self.settle(place, Some(refused(refusal)));
    }

    /// Returns the answer; what is not settled was either never sent or not answered.
    #[must_use]
    pub fn finish(mut self) -> ProduceAnswer {
        let topics = match self.unsettled {
            0 => 0,
            _ => 1 + self.later_firsts.len(),
        };
        for topic in 0..topics {
            for partition in 0.. {
                let place = Place { topic, partition };
                match self.fate(place) {
                    Some(Fate::Unsent) => self.on_lost(place, link::Fate::NeverSent),
                    Some(Fate::Sent) => self.on_lost(place, link::Fate::Unknown),
                    Some(Fate::Settled) => {}
                    None => break,
                }
            }
        }
        self.answer
    }

    fn fate(&mut self, place: Place) -> Option<&mut Fate> {
        let first = match place.topic {
            0 => 0,
            topic => *self.later_firsts.get(topic - 1)?,
        };
        let end = self.later_firsts.get(place.topic);
        let end = end.copied().unwrap_or(self.fates.len());
        self.fates[first..end].get_mut(place.partition)
    }

    fn settle(&mut self, place: Place, outcome: Option<PartitionProduceResponse>) {
        match self.fate(place) {
            Some(fate) if *fate != Fate::Settled => *fate = Fate::Settled,
            _ => return,
        }
        self.unsettled -= 1;
        let Some(outcome) = outcome else {
            return;
        };
        match &mut self.answer {
            ProduceAnswer::Partitioned(response) => {
                let topic = &mut response.responses[place.topic];
                let answer = &mut topic.partition_responses[place.partition];
                *answer = PartitionProduceResponse {
                    index: answer.index,
                    ..outcome
                };
            }
            ProduceAnswer::Routed(response) => {
                let answer = &mut response.partitions[place.partition];
                *answer = RoutedProducePartition {
                    partition: answer.partition,
                    error_code: outcome.error_code,
                    error_message: outcome.error_message,
                    base_offset: outcome.base_offset,
                    log_start_offset: outcome.log_start_offset,
                };
            }
        }
    }
}

/// Returns the answer to a routed batch that is refused as a whole.
#[must_use]
pub fn refused_whole(refusal: Refusal, partition_count: i32) -> RoutedProduceResponse {
    RoutedProduceResponse {
        error_code: refusal.code,
        error_message: Some(refusal.text),
        partition_count,
        ..RoutedProduceResponse::default()
    }
}

/// Returns a leader's words without the address of another broker.
fn passed_on(outcome: Outcome) -> PartitionProduceResponse {
    PartitionProduceResponse {
        error_code: told(outcome.error_code, LeaderEpoch::NONE),
        base_offset: outcome.base_offset,
        log_append_time_ms: outcome.log_append_time_ms,
        log_start_offset: outcome.log_start_offset,
        error_message: outcome.words,
        ..PartitionProduceResponse::default()
    }
}

fn refused(refusal: Refusal) -> PartitionProduceResponse {
    PartitionProduceResponse {
        error_code: refusal.code,
        base_offset: Offset(-1),
        error_message: Some(refusal.text),
        ..PartitionProduceResponse::default()
    }
}

/// Returns why a partition's records were not taken, if there is such a partition: for a client that wants no answer.
#[must_use]
pub fn first_fault(answer: &ProduceAnswer) -> Option<String> {
    let ProduceAnswer::Partitioned(response) = answer else {
        return None;
    };
    let topics = response.responses.iter();
    let mut partitions = topics.flat_map(|topic| &topic.partition_responses);
    let fault = partitions.find(|partition| !partition.error_code.is_none())?;
    let text = fault.error_message.as_deref().unwrap_or_default();
    Some(format!("{}: {text}", fault.error_code.name()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use keylane_protocol::identifiers::{BrokerId, PartitionIndex};
    use keylane_protocol::message::produce::{ProducePartition, ProduceTopic};

    const PLACES: [Place; 3] = [place(0, 0), place(0, 1), place(1, 0)];

    const fn place(topic: usize, partition: usize) -> Place {
        Place { topic, partition }
    }

    /// Two topics, three partitions.
    fn merge(acks: i16) -> ProduceMerge {
        let topic = |name: &str, partitions: &[i32]| ProduceTopic {
            name: name.into(),
            partition_data: partitions
                .iter()
                .map(|&index| ProducePartition {
                    index: PartitionIndex(index),
                    ..ProducePartition::default()
                })
                .collect(),
        };
        ProduceMerge::new(&ProduceRequest {
            acks,
            topic_data: vec![topic("a", &[5, 3]), topic("b", &[0])],
            ..ProduceRequest::default()
        })
    }

    fn written(base_offset: i64) -> Outcome {
        Outcome {
            base_offset: Offset(base_offset),
            ..Outcome::default()
        }
    }

    /// Returns topic, partition, error and offset of each place.
    fn codes(answer: &ProduceAnswer) -> Vec<(&str, i32, ErrorCode, i64)> {
        let ProduceAnswer::Partitioned(response) = answer else {
            panic!("it names partitions: {answer:?}");
        };
        let topics = response.responses.iter();
        topics
            .flat_map(|topic| {
                let partitions = topic.partition_responses.iter();
                partitions.map(|told| {
                    let offset = told.base_offset.0;
                    (&*topic.name, told.index.0, told.error_code, offset)
                })
            })
            .collect()
    }

    #[test]
    fn answers_stand_in_the_order_of_the_request_whatever_order_they_come_in() {
        let mut merge = merge(-1);
        for (place, offset) in PLACES.into_iter().zip([10, 20, 30]).rev() {
            assert!(!merge.is_complete());
            merge.on_sent(place);
            merge.on_outcome(place, written(offset));
        }
        assert!(merge.is_complete());
        assert_eq!(
            codes(&merge.finish()),
            [
                ("a", 5, ErrorCode::None, 10),
                ("a", 3, ErrorCode::None, 20),
                ("b", 0, ErrorCode::None, 30)
            ]
        );
    }

    #[test]
    fn never_sent_is_not_leader_and_sent_without_answer_is_timed_out() {
        let mut merge = merge(-1);
        merge.on_sent(PLACES[1]);
        merge.on_sent(PLACES[2]);
        merge.on_outcome(PLACES[2], written(7));
        let codes: Vec<ErrorCode> = codes(&merge.finish()).iter().map(|told| told.2).collect();
        let expected = [
            ErrorCode::NotLeaderOrFollower,
            ErrorCode::RequestTimedOut,
            ErrorCode::None,
        ];
        assert_eq!(codes, expected);
    }

    #[test]
    fn what_a_leader_refuses_is_passed_on_without_its_address() {
        let mut merge = merge(1);
        let refused = Outcome {
            error_code: ErrorCode::OutOfOrderSequenceNumber,
            log_start_offset: Offset(3),
            words: Some("out of order".into()),
            leader_id: BrokerId(2),
            leader_epoch: LeaderEpoch(9),
            ..Outcome::default()
        };
        merge.on_sent(PLACES[0]);
        merge.on_outcome(PLACES[0], refused);
        merge.on_outcome(PLACES[0], written(1));
        let ProduceAnswer::Partitioned(response) = merge.finish() else {
            panic!("it names partitions");
        };
        let told = &response.responses[0].partition_responses[0];
        assert_eq!(told.index, PartitionIndex(5));
        assert_eq!(told.error_code, ErrorCode::OutOfOrderSequenceNumber);
        assert_eq!(told.log_start_offset, Offset(3));
        assert_eq!(told.error_message.as_deref(), Some("out of order"));
        assert!(!told.current_leader.is_known());
    }

    #[test]
    fn a_refused_leader_epoch_is_no_final_error_for_a_client_that_named_none() {
        for code in [ErrorCode::FencedLeaderEpoch, ErrorCode::UnknownLeaderEpoch] {
            let mut merge = merge(1);
            let fenced = Outcome {
                error_code: code,
                ..Outcome::default()
            };
            merge.on_outcome(PLACES[0], fenced);
            let told = codes(&merge.finish())[0].2;
            assert_eq!(told, ErrorCode::NotLeaderOrFollower);
        }
    }

    #[test]
    fn without_acknowledgement_taken_is_all_there_is_to_know() {
        let mut merge = merge(0);
        assert!(!merge.wants_answer());
        for place in PLACES {
            merge.on_sent(place);
            assert!(!merge.is_complete());
            merge.on_taken(place);
        }
        assert!(merge.is_complete());
        assert_eq!(first_fault(&merge.finish()), None);
    }

    #[test]
    fn only_records_that_never_left_are_told_as_not_written() {
        let mut merge = merge(-1);
        merge.on_sent(PLACES[0]);
        merge.on_lost(PLACES[0], link::Fate::NeverSent);
        merge.on_sent(PLACES[1]);
        merge.on_taken(PLACES[1]);
        let codes: Vec<ErrorCode> = codes(&merge.finish()).iter().map(|told| told.2).collect();
        let (unsent, unanswered) = (ErrorCode::NotLeaderOrFollower, ErrorCode::RequestTimedOut);
        assert_eq!(codes, [unsent, unanswered, unsent]);
    }

    #[test]
    fn a_refusal_without_acknowledgement_is_found() {
        let mut merge = merge(0);
        merge.on_sent(PLACES[0]);
        merge.on_taken(PLACES[0]);
        merge.on_refused(PLACES[1], UNSENT);
        let fault = first_fault(&merge.finish()).expect("refused");
        assert!(fault.starts_with("NOT_LEADER_OR_FOLLOWER: "), "{fault}");
    }

    #[test]
    fn a_place_that_does_not_exist_is_ignored() {
        let mut merge = merge(1);
        merge.on_outcome(place(0, 2), written(1));
        merge.on_outcome(place(9, 0), written(1));
        merge.on_sent(place(9, 9));
        assert!(!merge.is_complete());
    }

    /// Returns partition, error and offset of each place.
    fn routed(answer: ProduceAnswer) -> Vec<(i32, ErrorCode, i64)> {
        let ProduceAnswer::Routed(response) = answer else {
            panic!("it was split here: {answer:?}");
        };
        assert_eq!(response.error_code, ErrorCode::None);
        let partitions = response.partitions.iter();
        partitions
            .map(|told| (told.partition.0, told.error_code, told.base_offset.0))
            .collect()
    }

    #[test]
    fn a_routed_answer_tells_of_each_partition_that_was_touched() {
        let mut merge = ProduceMerge::routed([4, 7, 9].map(PartitionIndex).into_iter());
        assert!(merge.wants_answer());
        merge.on_partition_count(12);
        merge.on_sent(place(0, 1));
        merge.on_sent(place(0, 2));
        merge.on_outcome(place(0, 2), written(30));
        assert!(!merge.is_complete());
        let answer = merge.finish();
        let ProduceAnswer::Routed(response) = &answer else {
            panic!("it was split here: {answer:?}");
        };
        assert_eq!(response.partition_count, 12);
        let expected = [
            (4, ErrorCode::NotLeaderOrFollower, -1),
            (7, ErrorCode::RequestTimedOut, -1),
            (9, ErrorCode::None, 30),
        ];
        assert_eq!(routed(answer), expected);
    }

    #[test]
    fn a_batch_that_is_refused_as_a_whole_has_no_partitions() {
        let mut merge = ProduceMerge::routed([4, 7].map(PartitionIndex).into_iter());
        merge.on_partition_count(12);
        merge.on_refused_whole(UNSENT);
        assert!(merge.is_complete());
        merge.on_outcome(place(0, 0), written(1));
        let expected = refused_whole(UNSENT, 12);
        assert!(expected.partitions.is_empty() && !expected.error_code.is_none());
        assert_eq!(merge.finish(), ProduceAnswer::Routed(expected));
    }
}
