//! Wire messages of the producer: InitProducerId, Produce, and what the answers mean.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::PartitionIndex;
use keylane_protocol::message::init_producer_id::InitProducerIdRequest;
use keylane_protocol::message::produce::{
    PartitionProduceResponse, ProducePartition, ProduceRequest, ProduceResponse, ProduceTopic,
};
use tokio::time::{Instant, sleep};

use super::config::ProducerConfig;
use super::delivery::{Answer, Delivery, Identity, PlannedRequest};
use super::error::BuildProducerError;
use crate::client::Inner;
use crate::limits::BACKOFF_MAX;
use crate::metadata::MetadataError;

/// Asks for a producer id, for as long as a request may take.
pub(super) async fn new_identity(client: &Inner) -> Result<Identity, BuildProducerError> {
    let request = InitProducerIdRequest {
        transactional_id: None,
        ..Default::default()
    };
    let deadline = Instant::now() + client.settings.request_timeout;
    loop {
        let failure = match ask(client, &request).await {
            Ok(identity) => return Ok(identity),
            Err(failure) => failure,
        };
        if !failure.is_retriable() || Instant::now() >= deadline {
            return Err(failure);
        }
        sleep(BACKOFF_MAX / 4).await;
    }
}

async fn ask(
    client: &Inner,
    request: &InitProducerIdRequest,
) -> Result<Identity, BuildProducerError> {
    let connection = client.metadata.any_broker().await?;
    let response = connection.call(request).await;
    let response = response.map_err(|last| MetadataError::Unreachable { last })?;
    match response.error_code {
        ErrorCode::None => Ok(Identity {
            producer_id: response.producer_id,
            epoch: response.producer_epoch,
        }),
        code => Err(BuildProducerError::Refused { code }),
    }
}

/// Returns the request that carries the planned batches.
pub(super) fn produce_request(
    planned: &PlannedRequest,
    delivery: &Delivery,
    config: &ProducerConfig,
    timeout_ms: i32,
) -> ProduceRequest {
    let mut topics: BTreeMap<&Arc<str>, Vec<ProducePartition>> = BTreeMap::new();
    for batch in &planned.batches {
        let (topic, index) = delivery.name(batch.batch.lane);
        let records: Option<Bytes> = Some(batch.bytes.clone());
        let partition = ProducePartition { index, records };
        topics.entry(topic).or_default().push(partition);
    }
    let topic = |(name, partition_data): (&Arc<str>, _)| ProduceTopic {
        name: ByteString::from(&**name),
        partition_data,
    };
    ProduceRequest {
        transactional_id: None,
        acks: config.acks.code(),
        timeout_ms,
        topic_data: topics.into_iter().map(topic).collect(),
    }
}

/// Returns what an answer says about one partition; `None` if it says nothing, as to a request with acks 0.
pub(super) fn answer_for(
    response: &ProduceResponse,
    topic: &str,
    partition: PartitionIndex,
) -> Option<Answer> {
    let mut topics = response.responses.iter();
    let topic = topics.find(|answer| &*answer.name == topic)?;
    let mut partitions = topic.partition_responses.iter();
    let answer = partitions.find(|answer| answer.index == partition)?;
    Some(answer_of(answer))
}

fn answer_of(answer: &PartitionProduceResponse) -> Answer {
    match answer.error_code {
        ErrorCode::None => {
            let offset = answer.base_offset;
            Answer::Written((offset.0 >= 0).then_some(offset))
        }
        code => {
            let message = answer.error_message.as_ref();
            let message = message.filter(|message| !message.is_empty());
            Answer::Refused {
                code,
                message: message.map(|message| Arc::from(&**message)),
            }
        }
    }
}
