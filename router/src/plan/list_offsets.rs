//! ListOffsets: one request for each leader, with a leader epoch always: the client's, or that of the image.
//!
//! Leaders are asked in [`VERSION`], so what depends on the client's version is decided here: a negative timestamp that
//! it does not know is refused, never taken as a time.

use ahash::AHashSet;
use bytestring::ByteString;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::BrokerId;
use keylane_protocol::message::list_offsets::{
    EARLIEST_TIMESTAMP, LATEST_TIMESTAMP, ListOffsetsPartition, ListOffsetsRequest,
    ListOffsetsTopic, MAX_TIMESTAMP,
};
use keylane_protocol::offset::LeaderEpoch;

use super::Place;
use crate::lookups::Missing;
use crate::merge::list_offsets::ListOffsetsMerge;
use crate::routing::{Route, Routing, TopicKey};

/// The version in which leaders are asked.
pub const VERSION: i16 = 7;

/// The first version that asks for the greatest timestamp (KIP-734).
const VERSION_MAX_TIMESTAMP: i16 = 7;

/// What one leader is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListOffsetsPart {
    /// The broker.
    pub broker: BrokerId,
    /// The request, in [`VERSION`].
    pub request: ListOffsetsRequest,
    /// What it asks, in order.
    pub questions: Vec<Question>,
}

/// What is asked about one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Where in the request it stands.
    pub place: Place,
    /// The topic.
    pub topic: ByteString,
    /// What is asked.
    pub asked: ListOffsetsPartition,
}

/// What a ListOffsets becomes.
#[derive(Debug)]
pub struct ListOffsetsPlan {
    /// What to send.
    pub parts: Vec<ListOffsetsPart>,
    /// What cannot be sent yet.
    pub held: Vec<Question>,
    /// The answer, which has the places of what is refused already.
    pub merge: ListOffsetsMerge,
}

/// Splits a ListOffsets by the leaders of its partitions.
#[must_use]
pub fn plan(request: &ListOffsetsRequest, version: i16, routing: &Routing) -> ListOffsetsPlan {
    let mut merge = ListOffsetsMerge::new(request, version);
    let mut questions = Vec::new();
    let mut seen = AHashSet::new();
    for (topic_place, topic) in request.topics.iter().enumerate() {
        for (partition_place, asked) in topic.partitions.iter().enumerate() {
            let place = Place {
                topic: topic_place,
                partition: partition_place,
            };
            let refusal = if seen.insert((&topic.name, asked.partition_index)) {
                refusal(request, asked, version)
            } else {
                Some(ErrorCode::InvalidRequest)
            };
            match refusal {
                Some(code) => merge.on_refused(place, code),
                None => questions.push(Question {
                    place,
                    topic: topic.name.clone(),
                    asked: asked.clone(),
                }),
            }
        }
    }
    let (parts, held) = release(questions, request.isolation_level, routing);
    ListOffsetsPlan { parts, held, merge }
}

fn refusal(
    request: &ListOffsetsRequest,
    asked: &ListOffsetsPartition,
    version: i16,
) -> Option<ErrorCode> {
    if request.replica_id.0 >= 0 {
        // A client-facing listener serves no replicas.
        return Some(ErrorCode::ClusterAuthorizationFailed);
    }
    match asked.timestamp {
        LATEST_TIMESTAMP | EARLIEST_TIMESTAMP => None,
        MAX_TIMESTAMP if version >= VERSION_MAX_TIMESTAMP => None,
        timestamp if timestamp >= 0 => None,
        _ => Some(ErrorCode::UnsupportedVersion),
    }
}

/// Returns what can be sent, and what still cannot.
#[must_use]
pub fn release(
    held: Vec<Question>,
    isolation_level: i8,
    routing: &Routing,
) -> (Vec<ListOffsetsPart>, Vec<Question>) {
    let mut parts: Vec<ListOffsetsPart> = Vec::new();
    let mut still_held = Vec::new();
    for question in held {
        let Route::Leader { broker, epoch } = question.route(routing) else {
            still_held.push(question);
            continue;
        };
        let known = parts.iter().position(|part| part.broker == broker);
        let part = known.unwrap_or_else(|| {
            parts.push(ListOffsetsPart {
                broker,
                request: ListOffsetsRequest {
                    replica_id: BrokerId::NONE,
                    isolation_level,
                    topics: Vec::new(),
                },
                questions: Vec::new(),
            });
            parts.len() - 1
        });
        parts[part].add(question, epoch);
    }
    (parts, still_held)
}

impl Question {
    /// Returns where the partition is served.
    #[must_use]
    pub fn route(&self, routing: &Routing) -> Route {
        let topic = routing.image().topic_named(&self.topic);
        topic.map_or(Route::Unknown, |topic| {
            routing.route(topic, self.asked.partition_index)
        })
    }

    /// Returns what to look up if the partition is not known.
    #[must_use]
    pub fn missing(&self) -> Missing {
        let topic = TopicKey::Name(self.topic.clone());
        (topic, self.asked.partition_index)
    }
}

impl ListOffsetsPart {
    fn add(&mut self, question: Question, epoch: LeaderEpoch) {
        let name = &question.topic;
        let topics = &mut self.request.topics;
        if topics.last().is_none_or(|topic| topic.name != *name) {
            topics.push(ListOffsetsTopic {
                name: name.clone(),
                ..ListOffsetsTopic::default()
            });
        }
        let topic = topics.last_mut().expect("one was pushed");
        let known = question.asked.current_leader_epoch;
        topic.partitions.push(ListOffsetsPartition {
            current_leader_epoch: if known == LeaderEpoch::NONE {
                epoch
            } else {
                known
            },
            ..question.asked.clone()
        });
        self.questions.push(question);
    }
}

#[cfg(test)]
mod tests;
