//! What came too late for its Fetch, or did not fit: kept for the next one.

use std::collections::BTreeMap;

use ahash::AHashMap;
use keylane_protocol::identifiers::{PartitionIndex, TopicId};
use keylane_protocol::message::fetch::{FetchResponse, FetchablePartitionResponse};

use super::{Outstanding, PartId};
use crate::merge::fetch::record_bytes;
use crate::plan::fetch::ReadFrom;

/// Answers and parts of the request before. All of it belongs to that one request, so it is bounded by its bytes, and
/// one batch for each part.
#[derive(Debug, Default)]
pub(super) struct Kept {
    answers: BTreeMap<ReadFrom, FetchablePartitionResponse>,
    late: Vec<Outstanding>,
}

/// What the next request takes over.
#[derive(Debug, Default)]
pub(super) struct Reused {
    pub(super) answers: Vec<(usize, FetchablePartitionResponse)>,
    pub(super) parts: Vec<Outstanding>,
    pub(super) cancelled: Vec<PartId>,
}

impl Kept {
    /// Returns what to keep of an answered request: what did not fit, and the parts that have not come.
    pub(super) fn new(
        left_over: impl Iterator<Item = (ReadFrom, FetchablePartitionResponse)>,
        late: Vec<Outstanding>,
    ) -> Self {
        Self {
            answers: left_over.filter(|(_, answer)| is_kept(answer)).collect(),
            late,
        }
    }

    /// Returns how many record bytes are here or may still come.
    pub(super) fn bytes(&self) -> usize {
        let here = self.answers.values().map(record_bytes);
        let late = self.late.iter().map(|part| part.bytes_max);
        here.chain(late).fold(0, usize::saturating_add)
    }

    /// Takes the answer to a part between two requests.
    pub(super) fn on_answer(&mut self, id: PartId, response: FetchResponse) {
        let Some(part) = self.take(id) else {
            return;
        };
        let mut answers = by_partition(response);
        for (_, read) in part.reads {
            let answer = answers.remove(&(read.topic_id, read.partition));
            if let Some(answer) = answer.filter(is_kept) {
                self.answers.insert(read, answer);
            }
        }
    }

    /// Forgets a part.
    pub(super) fn on_lost(&mut self, id: PartId) {
        self.take(id);
    }

    fn take(&mut self, id: PartId) -> Option<Outstanding> {
        let place = self.late.iter().position(|part| part.id == id)?;
        Some(self.late.swap_remove(place))
    }

    /// Returns what serves a request that is to read these, each at its place. A late part serves it if all of its
    /// reads are wanted.
    pub(super) fn reused(mut self, reads: &[Option<ReadFrom>]) -> Reused {
        let mut reused = Reused::default();
        if self.answers.is_empty() && self.late.is_empty() {
            return reused;
        }
        let mut place_of: AHashMap<ReadFrom, usize> = AHashMap::with_capacity(reads.len());
        for (place, read) in reads.iter().enumerate() {
            let Some(read) = read else {
                continue;
            };
            match self.answers.remove(read) {
                Some(answer) => reused.answers.push((place, answer)),
                None => {
                    place_of.insert(*read, place);
                }
            }
        }
        for part in self.late {
            let placed = part.reads.iter().map(|(_, read)| {
                let place = place_of.get(read)?;
                Some((*place, *read))
            });
            match placed.collect() {
                Some(reads) => reused.parts.push(Outstanding {
                    reads,
                    is_adopted: true,
                    ..part
                }),
                None => reused.cancelled.push(part.id),
            }
        }
        reused
    }
}

/// Errors and watermarks may no longer be so when they are told; records stay what they are.
fn is_kept(answer: &FetchablePartitionResponse) -> bool {
    answer.error_code.is_none() && record_bytes(answer) > 0
}

/// Returns the answers of a broker by what they are for.
pub(super) fn by_partition(
    response: FetchResponse,
) -> AHashMap<(TopicId, PartitionIndex), FetchablePartitionResponse> {
    let topics = response.responses.into_iter();
    let partitions = topics.flat_map(|topic| {
        let topic_id = topic.topic_id;
        let partitions = topic.partitions.into_iter();
        partitions.map(move |answer| ((topic_id, answer.partition_index), answer))
    });
    partitions.collect()
}
