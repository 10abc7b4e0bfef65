//! OffsetForLeaderEpoch: where a leader epoch ends here, so that a client finds out whether what it has read was replaced.
//!
//! The epoch that is asked for may be any; the one that the client takes for the current one is fenced, as in Fetch.

use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::{BrokerId, PartitionIndex};
use keylane_protocol::message::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    OffsetForLeaderTopicResult,
};

use super::fetch::{not_led_code, read_error_code};
use super::list_offsets::{ByShard, find};
use crate::log::TopicPartition;
use crate::partition::read::{OffsetQuery, OffsetSearch};
use crate::server::BrokerState;
use crate::shard::request::{FindOutcome, FindPart};
use crate::topics::{NotLed, TopicsImage};

/// Returns the answer.
pub(crate) async fn answer(
    broker: &BrokerState,
    request: &OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let (mut response, by_shard) = plan(broker, request);
    for ((topic, place), outcome) in find(broker, by_shard).await {
        let answer = &mut response.topics[topic].partitions[place];
        *answer = part_response(answer.partition, &outcome);
    }
    response
}

/// Returns how many topics and partitions are named.
pub(crate) fn items(request: &OffsetForLeaderEpochRequest) -> usize {
    let partitions = request.topics.iter().map(|topic| topic.partitions.len());
    request.topics.len() + partitions.sum::<usize>()
}

fn plan(
    broker: &BrokerState,
    request: &OffsetForLeaderEpochRequest,
) -> (OffsetForLeaderEpochResponse, ByShard) {
    let image = broker.topics.load();
    let mut by_shard = ByShard::new();
    let mut response = OffsetForLeaderEpochResponse::default();
    for (topic_place, asked) in request.topics.iter().enumerate() {
        let mut partitions = Vec::with_capacity(asked.partitions.len());
        for (place, part) in asked.partitions.iter().enumerate() {
            let led = match request.replica_id.0 {
                // A client-facing listener serves no replicas.
                0.. => Err(ErrorCode::ClusterAuthorizationFailed),
                _ => led(&image, (&asked.topic, part.partition), broker.config.id),
            };
            let refusal = match led {
                Ok(partition) => {
                    let shard = by_shard.entry(broker.shard_of(partition)).or_default();
                    shard.0.push((topic_place, place));
                    shard.1.push(FindPart {
                        partition,
                        query: OffsetQuery::EndOfEpoch {
                            epoch: part.leader_epoch,
                        },
                        leader_epoch: part.current_leader_epoch,
                    });
                    ErrorCode::None
                }
                Err(refusal) => refusal,
            };
            partitions.push(EpochEndOffset {
                error_code: refusal,
                partition: part.partition,
                ..EpochEndOffset::default()
            });
        }
        response.topics.push(OffsetForLeaderTopicResult {
            topic: asked.topic.clone(),
            partitions,
        });
    }
    (response, by_shard)
}

/// Returns which partition is named, if this broker leads it.
fn led(
    image: &TopicsImage,
    (topic, partition): (&str, PartitionIndex),
    broker: BrokerId,
) -> Result<TopicPartition, ErrorCode> {
    let topic = image.named(topic).ok_or(NotLed::Unknown);
    let topic = topic.map_err(not_led_code)?;
    topic
        .check_leader(partition, broker)
        .map_err(not_led_code)?;
    Ok(TopicPartition {
        topic_id: topic.id,
        partition,
    })
}

fn part_response(partition: PartitionIndex, outcome: &FindOutcome) -> EpochEndOffset {
    let answer = EpochEndOffset {
        partition,
        ..EpochEndOffset::default()
    };
    match outcome {
        Ok(OffsetSearch::Done(Some(found))) => EpochEndOffset {
            leader_epoch: found.leader_epoch,
            end_offset: found.offset,
            ..answer
        },
        // The epoch is not known here: Kafka answers that without an error.
        Ok(OffsetSearch::Done(None)) => answer,
        Ok(OffsetSearch::OnDisk(_)) => unreachable!("epochs are kept in memory"),
        Err(error) => EpochEndOffset {
            error_code: read_error_code(error),
            ..answer
        },
    }
}
