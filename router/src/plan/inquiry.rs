//! What ListOffsets and OffsetForLeaderEpoch share: questions about single partitions, which go to their leaders.
//!
//! A leader is always asked with a leader epoch: the client's, or that of the image. A partition that a request names
//! twice is asked for once.

use ahash::AHashSet;
use bytestring::ByteString;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::{BrokerId, PartitionIndex};
use keylane_protocol::offset::LeaderEpoch;

use super::Place;
use crate::lookups::Missing;
use crate::merge::inquiry::InquiryMerge;
use crate::routing::{Route, Routing, TopicKey};

/// What is wanted of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// An offset, as ListOffsets asks for it.
    Offset {
        /// The time, or the place if it is negative.
        timestamp: i64,
        /// As in Fetch.
        isolation_level: i8,
    },
    /// The offset after the last record of a leader epoch.
    EpochEnd {
        /// The epoch.
        epoch: LeaderEpoch,
    },
}

/// What a request asks about one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The partition.
    pub partition: PartitionIndex,
    /// The leader epoch that the client takes for the current one; -1 for unknown.
    pub known_epoch: LeaderEpoch,
    /// What is wanted, or why it is refused.
    pub wanted: Result<Wanted, ErrorCode>,
}

/// What a request asks, by topic, in its order.
pub type Inquiry = Vec<(ByteString, Vec<Asked>)>;

/// What is asked about one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Where in the request it stands.
    pub place: Place,
    /// The topic.
    pub topic: ByteString,
    /// The partition.
    pub partition: PartitionIndex,
    /// The leader epoch that the client takes for the current one; -1 for unknown.
    pub known_epoch: LeaderEpoch,
    /// What is wanted.
    pub wanted: Wanted,
}

/// A question on its way to a leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posed {
    /// The question.
    pub question: Question,
    /// The leader epoch to ask in.
    pub leader_epoch: LeaderEpoch,
}

/// What one leader is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InquiryPart {
    /// The broker.
    pub broker: BrokerId,
    /// What it is asked, in order; never empty.
    pub posed: Vec<Posed>,
}

/// What an inquiry becomes.
#[derive(Debug)]
pub struct InquiryPlan {
    /// What to send.
    pub parts: Vec<InquiryPart>,
    /// What cannot be sent yet.
    pub held: Vec<Question>,
    /// The answer, which has the places of what is refused already.
    pub merge: InquiryMerge,
}

/// Splits an inquiry by the leaders of its partitions.
#[must_use]
pub fn plan(inquiry: &Inquiry, routing: &Routing) -> InquiryPlan {
    let mut merge = InquiryMerge::new(inquiry);
    let mut questions = Vec::new();
    let mut seen = AHashSet::new();
    for (topic_place, (topic, partitions)) in inquiry.iter().enumerate() {
        for (partition_place, asked) in partitions.iter().enumerate() {
            let place = Place {
                topic: topic_place,
                partition: partition_place,
            };
            let is_first = seen.insert((topic, asked.partition));
            match asked.wanted {
                Err(code) => merge.on_refused(place, code),
                Ok(_) if !is_first => merge.on_refused(place, ErrorCode::InvalidRequest),
                Ok(wanted) => questions.push(Question {
                    place,
                    topic: topic.clone(),
                    partition: asked.partition,
                    known_epoch: asked.known_epoch,
                    wanted,
                }),
            }
        }
    }
    let (parts, held) = release(questions, routing);
    InquiryPlan { parts, held, merge }
}

/// Returns what can be sent, and what still cannot.
#[must_use]
pub fn release(held: Vec<Question>, routing: &Routing) -> (Vec<InquiryPart>, Vec<Question>) {
    let mut parts: Vec<InquiryPart> = Vec::new();
    let mut still_held = Vec::new();
    for question in held {
        let Route::Leader { broker, epoch } = question.route(routing) else {
            still_held.push(question);
            continue;
        };
        let posed = Posed {
            leader_epoch: match question.known_epoch {
                LeaderEpoch::NONE => epoch,
                known => known,
            },
            question,
        };
        match parts.iter_mut().find(|part| part.broker == broker) {
            Some(part) => part.posed.push(posed),
            None => parts.push(InquiryPart {
                broker,
                posed: vec![posed],
            }),
        }
    }
    (parts, still_held)
}

impl Question {
    /// Returns where the partition is served.
    #[must_use]
    pub fn route(&self, routing: &Routing) -> Route {
        let topic = routing.image().topic_named(&self.topic);
        topic.map_or(Route::Unknown, |topic| routing.route(topic, self.partition))
    }

    /// Returns what to look up if the partition is not known.
    #[must_use]
    pub fn missing(&self) -> Missing {
        let topic = TopicKey::Name(self.topic.clone());
        (topic, self.partition)
    }
}

impl InquiryPart {
    /// Returns the questions, those about one topic that follow one another together.
    pub(crate) fn by_topic(&self) -> impl Iterator<Item = (&ByteString, &[Posed])> {
        let topics = self
            .posed
            .chunk_by(|one, next| one.question.topic == next.question.topic);
        topics.map(|posed| (&posed[0].question.topic, posed))
    }
}
