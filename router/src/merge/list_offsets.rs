//! What leaders and the client are told of a ListOffsets. A version before 4 cannot tell the epoch of what was found.

use keylane_protocol::message::list_offsets::{
    ListOffsetsPartitionResponse, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use keylane_protocol::offset::LeaderEpoch;

use super::inquiry::{Findings, Found};

/// The first version that tells the epoch of what was found (KIP-320).
const VERSION_LEADER_EPOCH: i16 = 4;

/// Returns what a leader has answered.
#[must_use]
pub fn findings(response: ListOffsetsResponse) -> Findings {
    let found = |answer: ListOffsetsPartitionResponse| {
        let found = Found {
            error_code: answer.error_code,
            offset: answer.offset,
            timestamp: answer.timestamp,
            leader_epoch: answer.leader_epoch,
        };
        (answer.partition_index, found)
    };
    let topics = response.topics.into_iter();
    topics
        .map(|topic| {
            let partitions = topic.partitions.into_iter();
            (topic.name, partitions.map(found).collect())
        })
        .collect()
}

/// Returns what the client is told.
#[must_use]
pub fn response(findings: Findings, version: i16) -> ListOffsetsResponse {
    let told = |(partition_index, found): (_, Found)| ListOffsetsPartitionResponse {
        partition_index,
        error_code: found.error_code,
        timestamp: found.timestamp,
        offset: found.offset,
        leader_epoch: match version {
            VERSION_LEADER_EPOCH.. => found.leader_epoch,
            _ => LeaderEpoch::NONE,
        },
    };
    let topics = findings.into_iter();
    let topics = topics.map(|(name, partitions)| ListOffsetsTopicResponse {
        name,
        partitions: partitions.into_iter().map(told).collect(),
    });
    ListOffsetsResponse {
        topics: topics.collect(),
        ..ListOffsetsResponse::default()
    }
}
