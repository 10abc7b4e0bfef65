//! The answer to a ListOffsets, filled in place by place, in the order of the request.
//!
//! What a leader says is passed on. A version before 4 cannot tell the epoch of what was found.

use ahash::AHashMap;
use bytestring::ByteString;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::PartitionIndex;
use keylane_protocol::message::list_offsets::{
    ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use keylane_protocol::offset::LeaderEpoch;

use super::told;
use crate::plan::Place;
use crate::plan::list_offsets::ListOffsetsPart;

/// The first version that tells the epoch of what was found (KIP-320).
const VERSION_LEADER_EPOCH: i16 = 4;

/// An answer on its way.
#[derive(Debug)]
pub struct ListOffsetsMerge {
    version: i16,
    response: ListOffsetsResponse,
    is_settled: Vec<Vec<bool>>,
    unsettled: usize,
}

impl ListOffsetsMerge {
    /// Returns an answer with a place for every partition of the request.
    #[must_use]
    pub fn new(request: &ListOffsetsRequest, version: i16) -> Self {
        let counts = request.topics.iter().map(|topic| topic.partitions.len());
        let topics = request.topics.iter().map(|topic| ListOffsetsTopicResponse {
            name: topic.name.clone(),
            partitions: topic
                .partitions
                .iter()
                .map(|asked| ListOffsetsPartitionResponse {
                    partition_index: asked.partition_index,
                    ..ListOffsetsPartitionResponse::default()
                })
                .collect(),
        });
        Self {
            version,
            unsettled: counts.clone().sum(),
            is_settled: counts.map(|count| vec![false; count]).collect(),
            response: ListOffsetsResponse {
                topics: topics.collect(),
                ..ListOffsetsResponse::default()
            },
        }
    }

    /// Tells whether every place is filled.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.unsettled == 0
    }

    /// Takes a leader's answer to a part. What it leaves out counts as not answered.
    pub fn on_answer(&mut self, part: &ListOffsetsPart, response: ListOffsetsResponse) {
        let topics = response.topics.into_iter();
        let mut answers: AHashMap<(ByteString, PartitionIndex), ListOffsetsPartitionResponse> =
            topics
                .flat_map(|topic| {
                    let name = topic.name;
                    let partitions = topic.partitions.into_iter();
                    partitions.map(move |answer| ((name.clone(), answer.partition_index), answer))
                })
                .collect();
        for question in &part.questions {
            let key = (question.topic.clone(), question.asked.partition_index);
            match answers.remove(&key) {
                Some(answer) => {
                    let known = question.asked.current_leader_epoch;
                    let error_code = told(answer.error_code, known);
                    self.settle(
                        question.place,
                        ListOffsetsPartitionResponse {
                            error_code,
                            ..answer
                        },
                    );
                }
                None => self.on_refused(question.place, ErrorCode::RequestTimedOut),
            }
        }
    }

    /// Refuses a partition.
    pub fn on_refused(&mut self, place: Place, error_code: ErrorCode) {
        let refused = ListOffsetsPartitionResponse {
            error_code,
            ..ListOffsetsPartitionResponse::default()
        };
        self.settle(place, refused);
    }

    /// Returns the answer. The caller has said [`on_refused`](Self::on_refused) of what was never sent; everything else
    /// that is open was not answered.
    #[must_use]
    pub fn finish(mut self) -> ListOffsetsResponse {
        let topics = self.response.topics.iter().enumerate();
        let places = topics.flat_map(|(topic, response)| {
            let partitions = 0..response.partitions.len();
            partitions.map(move |partition| Place { topic, partition })
        });
        for place in places.collect::<Vec<_>>() {
            self.on_refused(place, ErrorCode::RequestTimedOut);
        }
        self.response
    }

    fn settle(&mut self, place: Place, mut answer: ListOffsetsPartitionResponse) {
        let topic = self.is_settled.get_mut(place.topic);
        match topic.and_then(|topic| topic.get_mut(place.partition)) {
            Some(is_settled) if !*is_settled => *is_settled = true,
            _ => return,
        }
        self.unsettled -= 1;
        let place = &mut self.response.topics[place.topic].partitions[place.partition];
        answer.partition_index = place.partition_index;
        if self.version < VERSION_LEADER_EPOCH {
            answer.leader_epoch = LeaderEpoch::NONE;
        }
        *place = answer;
    }
}
