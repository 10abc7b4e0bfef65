//! OffsetForLeaderEpoch: what it asks, and what its leaders are asked (KIP-320).

use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::BrokerId;
use keylane_protocol::message::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};

use super::inquiry::{Asked, Inquiry, InquiryPart, Posed, Wanted};

/// The version in which leaders are asked.
pub const VERSION: i16 = 4;

/// Returns what a request asks.
#[must_use]
pub fn inquiry(request: &OffsetForLeaderEpochRequest) -> Inquiry {
    let asked = |partition: &OffsetForLeaderPartition| Asked {
        partition: partition.partition,
        known_epoch: partition.current_leader_epoch,
        wanted: match request.replica_id.0 {
            // A client-facing listener serves no replicas.
            0.. => Err(ErrorCode::ClusterAuthorizationFailed),
            _ => Ok(Wanted::EpochEnd {
                epoch: partition.leader_epoch,
            }),
        },
    };
    let topics = request.topics.iter();
    topics
        .map(|topic| {
            let partitions = topic.partitions.iter();
            (topic.topic.clone(), partitions.map(asked).collect())
        })
        .collect()
}

/// Returns what a leader is asked, in [`VERSION`].
#[must_use]
pub fn request(part: &InquiryPart) -> OffsetForLeaderEpochRequest {
    let asked = |posed: &Posed| match posed.question.wanted {
        Wanted::EpochEnd { epoch } => Some(OffsetForLeaderPartition {
            partition: posed.question.partition,
            current_leader_epoch: posed.leader_epoch,
            leader_epoch: epoch,
        }),
        Wanted::Offset { .. } => None,
    };
    let topics = part.by_topic().map(|(topic, posed)| OffsetForLeaderTopic {
        topic: topic.clone(),
        partitions: posed.iter().filter_map(asked).collect(),
    });
    OffsetForLeaderEpochRequest {
        replica_id: BrokerId::NONE,
        topics: topics.collect(),
    }
}

#[cfg(test)]
mod tests;
