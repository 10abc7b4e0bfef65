//! The answer to questions about partitions, filled in place by place, in the order of the request.
//!
//! What a leader says is passed on, except that it led in another epoch than this router thought.

use ahash::AHashMap;
use bytestring::ByteString;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::PartitionIndex;
use keylane_protocol::offset::{LeaderEpoch, Offset};

use super::told;
use crate::plan::Place;
use crate::plan::inquiry::{Inquiry, InquiryPart};

/// What was found in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Why nothing could be found, if so.
    pub error_code: ErrorCode,
    /// The offset; -1 for none.
    pub offset: Offset,
    /// The time of its record; -1 for unknown or none.
    pub timestamp: i64,
    /// The leader epoch; -1 for unknown.
    pub leader_epoch: LeaderEpoch,
}

/// What leaders have found, or the client is told, by topic and partition.
pub type Findings = Vec<(ByteString, Vec<(PartitionIndex, Found)>)>;

/// The partitions of a topic, as they are asked for, and what was found in each.
type Places = Vec<(PartitionIndex, Option<Found>)>;

/// An answer on its way.
#[derive(Debug)]
pub struct InquiryMerge {
    topics: Vec<(ByteString, Places)>,
    unsettled: usize,
}

impl Found {
    /// Returns what is told where nothing was found.
    #[must_use]
    pub fn refused(error_code: ErrorCode) -> Self {
        Self {
            error_code,
            offset: Offset(-1),
            timestamp: -1,
            leader_epoch: LeaderEpoch::NONE,
        }
    }
}

impl InquiryMerge {
    /// Returns an answer with a place for every partition of the request.
    #[must_use]
    pub fn new(inquiry: &Inquiry) -> Self {
        let topics = inquiry.iter().map(|(topic, asked)| {
            let places = asked.iter().map(|asked| (asked.partition, None));
            (topic.clone(), places.collect())
        });
        Self {
            topics: topics.collect(),
            unsettled: inquiry.iter().map(|(_, asked)| asked.len()).sum(),
        }
    }

    /// Tells whether every place is filled.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.unsettled == 0
    }

    /// Takes a leader's answer to a part. What it leaves out counts as not answered.
    pub fn on_answer(&mut self, part: &InquiryPart, findings: Findings) {
        let mut answers: AHashMap<(ByteString, PartitionIndex), Found> = findings
            .into_iter()
            .flat_map(|(topic, partitions)| {
                let partitions = partitions.into_iter();
                partitions.map(move |(partition, found)| ((topic.clone(), partition), found))
            })
            .collect();
        for posed in &part.posed {
            let question = &posed.question;
            let found = answers.remove(&(question.topic.clone(), question.partition));
            let found = found.unwrap_or(Found::refused(ErrorCode::RequestTimedOut));
            let error_code = told(found.error_code, question.known_epoch);
            self.settle(
                question.place,
                Found {
                    error_code,
                    ..found
                },
            );
        }
    }

    /// Refuses a partition.
    pub fn on_refused(&mut self, place: Place, error_code: ErrorCode) {
        self.settle(place, Found::refused(error_code));
    }

    /// Returns the answer. The caller has said [`on_refused`](Self::on_refused) of what was never sent; everything else
    /// that is open was not answered.
    #[must_use]
    pub fn finish(self) -> Findings {
        let unanswered = Found::refused(ErrorCode::RequestTimedOut);
        let topics = self.topics.into_iter().map(|(topic, places)| {
            let places = places.into_iter();
            let told = places.map(|(partition, found)| (partition, found.unwrap_or(unanswered)));
            (topic, told.collect())
        });
        topics.collect()
    }

    fn settle(&mut self, place: Place, found: Found) {
        let topic = self.topics.get_mut(place.topic);
        let place = topic.and_then(|(_, places)| places.get_mut(place.partition));
        if let Some((_, place @ None)) = place {
            *place = Some(found);
            self.unsettled -= 1;
        }
    }
}
