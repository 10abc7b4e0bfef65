//! ListOffsets: what it asks, and what its leaders are asked.
//!
//! Leaders are asked in [`VERSION`], so what depends on the client's version is decided here: a negative timestamp that
//! it does not know is refused, never taken as a time.

use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::BrokerId;
use keylane_protocol::message::list_offsets::{
    EARLIEST_TIMESTAMP, LATEST_TIMESTAMP, ListOffsetsPartition, ListOffsetsRequest,
    ListOffsetsTopic, MAX_TIMESTAMP,
};

use super::inquiry::{Asked, Inquiry, InquiryPart, Posed, Wanted};

/// The version in which leaders are asked.
pub const VERSION: i16 = 7;

/// The first version that asks for the greatest timestamp (KIP-734).
const VERSION_MAX_TIMESTAMP: i16 = 7;

/// Returns what a request asks.
#[must_use]
pub fn inquiry(request: &ListOffsetsRequest, version: i16) -> Inquiry {
    let asked = |partition: &ListOffsetsPartition| Asked {
        partition: partition.partition_index,
        known_epoch: partition.current_leader_epoch,
        wanted: wanted(request, partition, version),
    };
    let topics = request.topics.iter();
    topics
        .map(|topic| {
            let partitions = topic.partitions.iter();
            (topic.name.clone(), partitions.map(asked).collect())
        })
        .collect()
}

fn wanted(
    request: &ListOffsetsRequest,
    asked: &ListOffsetsPartition,
    version: i16,
) -> Result<Wanted, ErrorCode> {
    if request.replica_id.0 >= 0 {
        // A client-facing listener serves no replicas.
        return Err(ErrorCode::ClusterAuthorizationFailed);
    }
    let is_known = match asked.timestamp {
        LATEST_TIMESTAMP | EARLIEST_TIMESTAMP => true,
        MAX_TIMESTAMP => version >= VERSION_MAX_TIMESTAMP,
        timestamp => timestamp >= 0,
    };
    match is_known {
        true => Ok(Wanted::Offset {
            timestamp: asked.timestamp,
            isolation_level: request.isolation_level,
        }),
        false => Err(ErrorCode::UnsupportedVersion),
    }
}

/// Returns what a leader is asked, in [`VERSION`].
#[must_use]
pub fn request(part: &InquiryPart) -> ListOffsetsRequest {
    let mut request = ListOffsetsRequest {
        replica_id: BrokerId::NONE,
        ..ListOffsetsRequest::default()
    };
    for (topic, posed) in part.by_topic() {
        let mut partitions = Vec::with_capacity(posed.len());
        for Posed {
            question,
            leader_epoch,
        } in posed
        {
            if let Wanted::Offset {
                timestamp,
                isolation_level,
            } = question.wanted
            {
                request.isolation_level = isolation_level;
                partitions.push(ListOffsetsPartition {
                    partition_index: question.partition,
                    current_leader_epoch: *leader_epoch,
                    timestamp,
                });
            }
        }
        request.topics.push(ListOffsetsTopic {
            name: topic.clone(),
            partitions,
        });
    }
    request
}

#[cfg(test)]
mod tests;
