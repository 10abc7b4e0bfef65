//! What leaders and the client are told of an OffsetForLeaderEpoch.

use keylane_protocol::message::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochResponse, OffsetForLeaderTopicResult,
};

use super::inquiry::{Findings, Found};

/// Returns what a leader has answered.
#[must_use]
pub fn findings(response: OffsetForLeaderEpochResponse) -> Findings {
    let found = |answer: EpochEndOffset| {
        let found = Found {
            error_code: answer.error_code,
            offset: answer.end_offset,
            timestamp: -1,
            leader_epoch: answer.leader_epoch,
        };
        (answer.partition, found)
    };
    let topics = response.topics.into_iter();
    topics
        .map(|topic| {
            let partitions = topic.partitions.into_iter();
            (topic.topic, partitions.map(found).collect())
        })
        .collect()
}

/// Returns what the client is told.
#[must_use]
pub fn response(findings: Findings) -> OffsetForLeaderEpochResponse {
    let told = |(partition, found): (_, Found)| EpochEndOffset {
        error_code: found.error_code,
        partition,
        leader_epoch: found.leader_epoch,
        end_offset: found.offset,
    };
    let topics = findings.into_iter();
    let topics = topics.map(|(topic, partitions)| OffsetForLeaderTopicResult {
        topic,
        partitions: partitions.into_iter().map(told).collect(),
    });
    OffsetForLeaderEpochResponse {
        topics: topics.collect(),
        ..OffsetForLeaderEpochResponse::default()
    }
}
