//! The answer to a Fetch: every requested partition once, in the order whose turn it is, within the request's bytes.
//!
//! A partition without an answer carries no error, no records, and -1 for its watermarks; never remembered ones, for a
//! high watermark that has moved on makes a reader that stops at the end stop early. Only the first partition with
//! records may exceed the bytes (KIP-74). Addresses of brokers never pass.

use keylane_protocol::identifiers::PartitionIndex;
use keylane_protocol::message::fetch::{
    FetchResponse, FetchablePartitionResponse, FetchableTopicResponse, LeaderIdAndEpoch,
};
use keylane_protocol::offset::Offset;
use keylane_protocol::primitive::Records;

use super::told;
use crate::plan::fetch::Requested;

/// What a merge gives.
#[derive(Debug)]
pub struct Merged {
    /// The client's answer.
    pub response: FetchResponse,
    /// What did not fit, with its place among the requested partitions.
    pub left_over: Vec<(usize, FetchablePartitionResponse)>,
}

/// Returns what stands for a partition of which nothing is known.
#[must_use]
pub fn without_records(partition_index: PartitionIndex) -> FetchablePartitionResponse {
    FetchablePartitionResponse {
        partition_index,
        high_watermark: Offset(-1),
        ..FetchablePartitionResponse::default()
    }
}

/// Returns how many record bytes a partition's answer has.
#[must_use]
pub fn record_bytes(answer: &FetchablePartitionResponse) -> usize {
    answer.records.as_ref().map_or(0, Records::len)
}

/// Joins answers, one for each requested partition; `None` where there is none.
#[must_use]
pub fn merge(
    requested: Vec<Requested>,
    answers: Vec<Option<FetchablePartitionResponse>>,
    bytes_max: usize,
) -> Merged {
    let mut bytes: usize = 0;
    let mut left_over = Vec::new();
    let places = requested.into_iter().zip(answers).enumerate();
    let fitting = places.map(|(place, (requested, answer))| {
        let partition = requested.from.partition;
        let answer = match answer {
            Some(answer) if fits(bytes, record_bytes(&answer), bytes_max) => {
                bytes += record_bytes(&answer);
                FetchablePartitionResponse {
                    partition_index: partition,
                    error_code: told(answer.error_code, requested.from.current_leader_epoch),
                    current_leader: LeaderIdAndEpoch::default(),
                    ..answer
                }
            }
            Some(answer) => {
                left_over.push((place, answer));
                without_records(partition)
            }
            None => without_records(partition),
        };
        (requested, answer)
    });
    let response = FetchResponse {
        responses: grouped(fitting),
        ..FetchResponse::default()
    };
    Merged {
        response,
        left_over,
    }
}

/// Tells whether so many bytes may follow those before them.
fn fits(before: usize, bytes: usize, bytes_max: usize) -> bool {
    before == 0 || bytes == 0 || before.saturating_add(bytes) <= bytes_max
}

/// Puts the partitions of a topic that follow one another together.
pub(crate) fn grouped(
    answers: impl Iterator<Item = (Requested, FetchablePartitionResponse)>,
) -> Vec<FetchableTopicResponse> {
    let mut topics: Vec<FetchableTopicResponse> = Vec::new();
    for (requested, answer) in answers {
        let is_same = |topic: &FetchableTopicResponse| {
            topic.topic == requested.topic && topic.topic_id == requested.topic_id
        };
        match topics.last_mut() {
            Some(topic) if is_same(topic) => topic.partitions.push(answer),
            _ => topics.push(FetchableTopicResponse {
                topic: requested.topic,
                topic_id: requested.topic_id,
                partitions: vec![answer],
            }),
        }
    }
    topics
}

#[cfg(test)]
mod tests;
