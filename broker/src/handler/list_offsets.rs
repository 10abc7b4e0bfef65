//! ListOffsets: the first offset, the end, the greatest timestamp, or the first record at or after a time.
//!
//! A negative timestamp that the version does not know is refused, never taken as a time.

use std::collections::BTreeMap;

use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::{BrokerId, PartitionIndex};
use keylane_protocol::message::list_offsets::{
    EARLIEST_TIMESTAMP, LATEST_TIMESTAMP, ListOffsetsPartition, ListOffsetsPartitionResponse,
    ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse, MAX_TIMESTAMP,
};
use keylane_protocol::offset::LeaderEpoch;
use tokio::sync::oneshot;

use super::fetch::{not_led_code, read_error_code};
use crate::log::TopicPartition;
use crate::partition::read::{FoundOffset, OffsetQuery, OffsetSearch, ReadError};
use crate::server::BrokerState;
use crate::shard::request::{FindOutcome, FindPart, FindRequest, ShardRequest};
use crate::topics::NotLed;

/// The first version that tells the epoch of what was found (KIP-320).
const VERSION_LEADER_EPOCH: i16 = 4;

/// The first version that asks for the greatest timestamp (KIP-734).
const VERSION_MAX_TIMESTAMP: i16 = 7;

/// Where in the response the outcome of a part belongs: which topic, and which of its partitions.
pub(super) type Place = (usize, usize);

/// Returns the answer.
pub(crate) async fn answer(
    broker: &BrokerState,
    request: &ListOffsetsRequest,
    version: i16,
) -> ListOffsetsResponse {
    let (mut response, by_shard) = plan(broker, request, version);
    for ((topic, place), outcome) in find(broker, by_shard).await {
        let answer = &mut response.topics[topic].partitions[place];
        let found = search(broker, outcome).await;
        *answer = part_response(answer.partition_index, found, version);
    }
    response
}

/// What each shard has to find, and where its outcomes belong.
pub(super) type ByShard = BTreeMap<usize, (Vec<Place>, Vec<FindPart>)>;

/// Asks the shards.
pub(super) async fn find(broker: &BrokerState, by_shard: ByShard) -> Vec<(Place, FindOutcome)> {
    let mut found = Vec::new();
    for (shard, (places, parts)) in by_shard {
        let (reply, replied) = oneshot::channel();
        let find = FindRequest { parts, reply };
        let _ = broker.shards[shard].send(ShardRequest::Find(find)).await;
        match replied.await {
            Ok(outcomes) => found.extend(places.into_iter().zip(outcomes)),
            Err(_) => {
                let offline = places.into_iter();
                found.extend(offline.map(|place| (place, Err(ReadError::Offline))));
            }
        }
    }
    found
}

fn plan(
    broker: &BrokerState,
    request: &ListOffsetsRequest,
    version: i16,
) -> (ListOffsetsResponse, ByShard) {
    let image = broker.topics.load();
    let mut by_shard = ByShard::new();
    let mut response = ListOffsetsResponse::default();
    for (topic_place, asked) in request.topics.iter().enumerate() {
        let known = image.named(&asked.name);
        let mut partitions = Vec::with_capacity(asked.partitions.len());
        for (place, part) in asked.partitions.iter().enumerate() {
            let planned = known
                .ok_or(NotLed::Unknown)
                .and_then(|topic| {
                    topic.check_leader(part.partition_index, broker.config.id)?;
                    Ok(topic.id)
                })
                .map_err(not_led_code)
                .and_then(|topic| Ok((topic, query(request, part, version)?)));
            let error_code = match planned {
                Ok((topic, query)) => {
                    let partition = TopicPartition {
                        topic_id: topic,
                        partition: part.partition_index,
                    };
                    let shard = by_shard.entry(broker.shard_of(partition)).or_default();
                    shard.0.push((topic_place, place));
                    shard.1.push(FindPart {
                        partition,
                        query,
                        leader_epoch: part.current_leader_epoch,
                    });
                    ErrorCode::None
                }
                Err(error_code) => error_code,
            };
            partitions.push(ListOffsetsPartitionResponse {
                partition_index: part.partition_index,
                error_code,
                ..ListOffsetsPartitionResponse::default()
            });
        }
        response.topics.push(ListOffsetsTopicResponse {
            name: asked.name.clone(),
            partitions,
        });
    }
    (response, by_shard)
}

fn query(
    request: &ListOffsetsRequest,
    part: &ListOffsetsPartition,
    version: i16,
) -> Result<OffsetQuery, ErrorCode> {
    if request.replica_id != BrokerId::NONE {
        // A client-facing listener serves no replicas.
        return Err(ErrorCode::ClusterAuthorizationFailed);
    }
    match part.timestamp {
        LATEST_TIMESTAMP => Ok(OffsetQuery::End),
        EARLIEST_TIMESTAMP => Ok(OffsetQuery::Start),
        MAX_TIMESTAMP if version >= VERSION_MAX_TIMESTAMP => Ok(OffsetQuery::GreatestTimestamp),
        timestamp if timestamp >= 0 => Ok(OffsetQuery::AtOrAfter { timestamp }),
        _ => Err(ErrorCode::UnsupportedVersion),
    }
}

/// Finishes a search that needs the disk.
async fn search(
    broker: &BrokerState,
    outcome: FindOutcome,
) -> Result<Option<FoundOffset>, ReadError> {
    match outcome? {
        OffsetSearch::Done(found) => Ok(found),
        OffsetSearch::OnDisk(search) => broker.readers.search(search).await,
    }
}

fn part_response(
    partition_index: PartitionIndex,
    found: Result<Option<FoundOffset>, ReadError>,
    version: i16,
) -> ListOffsetsPartitionResponse {
    let answer = ListOffsetsPartitionResponse {
        partition_index,
        ..ListOffsetsPartitionResponse::default()
    };
    match found {
        Ok(Some(found)) => ListOffsetsPartitionResponse {
            timestamp: found.timestamp,
            offset: found.offset,
            leader_epoch: if version >= VERSION_LEADER_EPOCH {
                found.leader_epoch
            } else {
                LeaderEpoch::NONE
            },
            ..answer
        },
        // No record is that late.
        Ok(None) => answer,
        Err(error) => ListOffsetsPartitionResponse {
            error_code: read_error_code(&error),
            ..answer
        },
    }
}
