//! Produce: batches are checked here, on the connection's runtime, then handed to their shards in one message each.
//!
//! [`begin`] fixes the order, [`ProduceUnderway::finish`] waits for the outcome. Record bytes stay slices of the frame.
//! Never UNKNOWN_SERVER_ERROR: Java's client numbers its batches anew after it (KAFKA-14034).

mod check;

use std::collections::{BTreeMap, BTreeSet};

use bytestring::ByteString;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::PartitionIndex;
use keylane_protocol::message::produce::{
    PartitionProduceResponse, ProducePartition, ProduceRequest, ProduceResponse,
    TopicProduceResponse,
};
use keylane_protocol::offset::Offset;
use keylane_protocol::record_batch::RecordBatch;
use tokio::sync::oneshot;

pub(crate) use self::check::{Fault, Way, check};
use super::words;
use crate::handler::fetch::not_led_code;
use crate::log::TopicPartition;
use crate::meters::now;
use crate::partition::AppendError;
use crate::partition::producers::Refusal;
use crate::partition::{producer_state, routed_state};
use crate::server::BrokerState;
use crate::shard::request::{AppendOutcome, AppendRequest, Appended, ShardRequest};
use crate::topics::{NotLed, Topic};

/// Where in the response the outcome of a part belongs: topic and partition by their place in the request.
type Place = (usize, usize);

/// A batch for a shard.
type ShardPart = (TopicPartition, RecordBatch);

/// A Produce whose batches have their order.
pub(crate) struct ProduceUnderway {
    acks: i16,
    response: ProduceResponse,
    replies: Vec<(Vec<Place>, oneshot::Receiver<Vec<AppendOutcome>>)>,
}

/// Checks every batch and hands it to its shard.
pub(crate) async fn begin(
    broker: &BrokerState,
    request: ProduceRequest,
    version: i16,
    frame_bytes: usize,
) -> ProduceUnderway {
    let acks = request.acks;
    let refusal = refuse_whole(&request);
    let mut routes = Routes::new(broker, request.named_twice(), version);
    let mut responses = Vec::with_capacity(request.topic_data.len());
    for (topic_place, topic) in request.topic_data.into_iter().enumerate() {
        let known = routes.topic(&topic.name);
        let mut partition_responses = Vec::with_capacity(topic.partition_data.len());
        for (place, data) in topic.partition_data.into_iter().enumerate() {
            let index = data.index;
            let checked = match &refusal {
                Some(fault) => Err(Fault::new(fault.code, fault.text.clone())),
                None if routes.named_twice.contains(&(topic.name.clone(), index)) => {
                    Err(Fault::new(
                        ErrorCode::InvalidRequest,
                        "the request names this partition more than once",
                    ))
                }
                None => routes.add(known.as_deref(), data, (topic_place, place)),
            };
            partition_responses.push(PartitionProduceResponse {
                index,
                base_offset: Offset(-1),
                ..checked.err().map_or_else(Default::default, fault_response)
            });
        }
        responses.push(TopicProduceResponse {
            name: topic.name,
            partition_responses,
        });
    }
    ProduceUnderway {
        acks,
        response: ProduceResponse {
            responses,
            ..ProduceResponse::default()
        },
        replies: routes.send(broker, frame_bytes).await,
    }
}

fn refuse_whole(request: &ProduceRequest) -> Option<Fault> {
    if !matches!(request.acks, -1..=1) {
        let text = format!("acks is -1, 0 or 1, not {}", request.acks);
        return Some(Fault::new(ErrorCode::InvalidRequiredAcks, text));
    }
    if request.transactional_id.is_some() {
        return Some(Fault::new(
            ErrorCode::TransactionalIdAuthorizationFailed,
            "transactions do not exist here yet",
        ));
    }
    None
}

/// Which batches go to which shard.
struct Routes<'a> {
    broker: &'a BrokerState,
    topics: arc_swap::Guard<std::sync::Arc<crate::topics::TopicsImage>>,
    named_twice: BTreeSet<(ByteString, PartitionIndex)>,
    version: i16,
    by_shard: BTreeMap<usize, (Vec<Place>, Vec<ShardPart>)>,
}

impl<'a> Routes<'a> {
    fn new(
        broker: &'a BrokerState,
        named_twice: BTreeSet<(ByteString, PartitionIndex)>,
        version: i16,
    ) -> Self {
        Self {
            broker,
            topics: broker.topics.load(),
            named_twice,
            version,
            by_shard: BTreeMap::new(),
        }
    }

    fn topic(&self, name: &str) -> Option<std::sync::Arc<Topic>> {
        self.topics.named(name).cloned()
    }

    fn add(
        &mut self,
        topic: Option<&Topic>,
        data: ProducePartition,
        place: Place,
    ) -> Result<(), Fault> {
        let known = topic.ok_or(NotLed::Unknown);
        let led = known.and_then(|topic| {
            topic.check_leader(data.index, self.broker.config.id)?;
            Ok(topic)
        });
        let topic = led.map_err(|error| Fault::new(not_led_code(error), error.to_string()))?;
        let partition = TopicPartition {
            topic_id: topic.id,
            partition: data.index,
        };
        let batch = check(data.records, topic, Way::Plain(self.version))?;
        let shard = self.broker.shard_of(partition);
        let (places, parts) = self.by_shard.entry(shard).or_default();
        places.push(place);
        parts.push((partition, batch));
        Ok(())
    }

    /// Sends one message to each shard; waits while a mailbox is full.
    async fn send(
        self,
        broker: &BrokerState,
        frame_bytes: usize,
    ) -> Vec<(Vec<Place>, oneshot::Receiver<Vec<AppendOutcome>>)> {
        let mut replies = Vec::with_capacity(self.by_shard.len());
        for (shard, (places, parts)) in self.by_shard {
            let (reply, replied) = oneshot::channel();
            let append = AppendRequest {
                parts,
                frame_bytes,
                sent_at: now(),
                reply,
            };
            // A shard that has gone drops the message, and with it the reply: the waiting half sees it.
            let _ = broker.shards[shard]
                .send(ShardRequest::Append(append))
                .await;
            replies.push((places, replied));
        }
        replies
    }
}

fn fault_response(fault: Fault) -> PartitionProduceResponse {
    PartitionProduceResponse {
        error_code: fault.code,
        error_message: Some(words(fault.text)),
        ..PartitionProduceResponse::default()
    }
}

impl ProduceUnderway {
    /// Tells whether the client waits for an answer.
    pub(crate) fn wants_answer(&self) -> bool {
        self.acks != 0
    }

    /// Waits for the outcome of every batch.
    pub(crate) async fn finish(self) -> ProduceResponse {
        let mut response = self.response;
        for (places, replied) in self.replies {
            let outcomes = replied.await.ok();
            for (at, (topic, partition)) in places.into_iter().enumerate() {
                let outcome = outcomes
                    .as_ref()
                    .map_or(Err(AppendError::Offline), |outcomes| outcomes[at]);
                let answer = &mut response.responses[topic].partition_responses[partition];
                let index = answer.index;
                *answer = PartitionProduceResponse {
                    index,
                    ..outcome_response(outcome)
                };
            }
        }
        response
    }
}

/// Returns what a client is told of one batch.
pub(crate) fn outcome_response(outcome: AppendOutcome) -> PartitionProduceResponse {
    let error = match outcome {
        Ok(Appended {
            base_offset,
            log_start_offset,
        }) => {
            return PartitionProduceResponse {
                base_offset,
                log_start_offset,
                ..PartitionProduceResponse::default()
            };
        }
        Err(error) => error,
    };
    let (code, log_start_offset) = match error {
        AppendError::Producer {
            refusal,
            log_start_offset,
        } => (refusal_code(refusal), log_start_offset),
        AppendError::NoSpace | AppendError::Offline => (ErrorCode::KafkaStorageError, Offset(-1)),
        AppendError::Gone => (ErrorCode::UnknownTopicOrPartition, Offset(-1)),
        AppendError::NotLeader => (ErrorCode::NotLeaderOrFollower, Offset(-1)),
    };
    PartitionProduceResponse {
        base_offset: Offset(-1),
        // Without it Java's client repeats a batch of an unknown producer until its time is up.
        log_start_offset,
        ..fault_response(Fault::new(code, error.to_string()))
    }
}

fn refusal_code(refusal: Refusal) -> ErrorCode {
    match refusal {
        Refusal::Plain(refusal) => plain_refusal_code(refusal),
        Refusal::Routed(refusal) => routed_refusal_code(refusal),
    }
}

fn plain_refusal_code(refusal: producer_state::Refusal) -> ErrorCode {
    use producer_state::Refusal;
    match refusal {
        Refusal::Fenced { .. } => ErrorCode::InvalidProducerEpoch,
        Refusal::OutOfOrder { .. } => ErrorCode::OutOfOrderSequenceNumber,
        Refusal::Unknown { .. } => ErrorCode::UnknownProducerId,
        // Retriable in every client, unlike the codes for quotas.
        Refusal::TooMany { .. } => ErrorCode::KafkaStorageError,
    }
}

fn routed_refusal_code(refusal: routed_state::Refusal) -> ErrorCode {
    use routed_state::Refusal;
    match refusal {
        Refusal::Fenced { .. } => ErrorCode::InvalidProducerEpoch,
        Refusal::OutOfOrder { .. } => ErrorCode::OutOfOrderSequenceNumber,
        Refusal::OtherContent { .. } => ErrorCode::DuplicateSequenceNumber,
        Refusal::TooMany { .. } => ErrorCode::KafkaStorageError,
    }
}

/// Returns why a partition's records were not taken, if there is such a partition.
pub(crate) fn first_fault(response: &ProduceResponse) -> Option<String> {
    let partitions = response
        .responses
        .iter()
        .flat_map(|topic| &topic.partition_responses);
    partitions
        .filter(|partition| !partition.error_code.is_none())
        .map(|partition| {
            let text = partition.error_message.as_deref().unwrap_or_default();
            format!("{}: {text}", partition.error_code.name())
        })
        .next()
}
