//! Wire messages of the producer: InitProducerId, InitRoutedProducer, Produce, and what the answers mean.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::PartitionIndex;
use keylane_protocol::identifiers::ProducerId;
use keylane_protocol::message::Request;
use keylane_protocol::message::init_producer_id::InitProducerIdRequest;
use keylane_protocol::message::init_routed_producer::{
    InitRoutedProducerRequest, InitRoutedProducerResponse,
};
use keylane_protocol::message::produce::{
    PartitionProduceResponse, ProducePartition, ProduceRequest, ProduceResponse, ProduceTopic,
};
use keylane_protocol::offset::ProducerEpoch;
use keylane_protocol::routed::{DELIVERY_TIMEOUTS_PER_EXPIRY, is_routed};
use tokio::time::{Instant, sleep};

use super::config::ProducerConfig;
use super::delivery::{Answer, Delivery, Identity, PlannedRequest};
use super::error::BuildProducerError;
use crate::client::Inner;
use crate::connection::Connection;
use crate::limits::BACKOFF_MAX;
use crate::metadata::MetadataError;

/// Asks for a producer id, for as long as a request may take.
pub(super) async fn new_identity(client: &Inner) -> Result<Identity, BuildProducerError> {
    let request = InitProducerIdRequest {
        transactional_id: None,
        ..Default::default()
    };
    patiently(client, || async {
        let response = ask(client, &request).await?;
        match response.error_code {
            ErrorCode::None => Ok(Identity {
                producer_id: response.producer_id,
                epoch: response.producer_epoch,
            }),
            code => Err(BuildProducerError::Refused {
                code,
                message: None,
            }),
        }
    })
    .await
}

/// Asks for the id of a routed producer that gives batches up after `delivery_timeout`, for as long as a request may
/// take.
pub(super) async fn new_routed_identity(
    client: &Inner,
    delivery_timeout: Duration,
) -> Result<(ProducerId, ProducerEpoch), BuildProducerError> {
    let delivery_timeout_ms = i64::try_from(delivery_timeout.as_millis()).unwrap_or(i64::MAX);
    let request = InitRoutedProducerRequest {
        delivery_timeout_ms,
    };
    let read = |response| routed_identity(response, delivery_timeout);
    patiently(client, || async {
        ask(client, &request).await.and_then(read)
    })
    .await
}

fn routed_identity(
    response: InitRoutedProducerResponse,
    delivery_timeout: Duration,
) -> Result<(ProducerId, ProducerEpoch), BuildProducerError> {
    if !response.error_code.is_none() {
        let message = response.error_message.filter(|message| !message.is_empty());
        return Err(BuildProducerError::Refused {
            code: response.error_code,
            message: message.map(|message| Arc::from(&*message)),
        });
    }
    let expiry = Duration::from_millis(u64::try_from(response.expiry_ms).unwrap_or(0));
    let expiries = u32::try_from(DELIVERY_TIMEOUTS_PER_EXPIRY).unwrap_or(u32::MAX);
    if delivery_timeout.saturating_mul(expiries) > expiry {
        let fault = format!(
            "delivery_timeout is {delivery_timeout:?}, but a routed producer is forgotten {expiry:?} after its last batch, \
             and no batch may be sent for longer than a quarter of that: shorten it, or take Path::Partitioned"
        );
        return Err(BuildProducerError::Settings {
            faults: vec![fault],
        });
    }
    if !is_routed(response.producer_id) || response.producer_epoch.0 < 0 {
        return Err(BuildProducerError::Refused {
            code: ErrorCode::InvalidProducerIdMapping,
            message: Some("the id that was given is not one of a routed producer".into()),
        });
    }
    Ok((response.producer_id, response.producer_epoch))
}

/// Returns a connection to any broker or router, for as long as a request may take.
pub(super) async fn any_broker(client: &Inner) -> Result<Connection, BuildProducerError> {
    patiently(client, || async { Ok(client.metadata.any_broker().await?) }).await
}

async fn patiently<T, F>(client: &Inner, attempt: impl Fn() -> F) -> Result<T, BuildProducerError>
where
    F: Future<Output = Result<T, BuildProducerError>>,
{
    let deadline = Instant::now() + client.settings.request_timeout;
    loop {
        let failure = match attempt().await {
            Ok(answer) => return Ok(answer),
            Err(failure) => failure,
        };
        if !failure.is_retriable() || Instant::now() >= deadline {
            return Err(failure);
        }
        sleep(BACKOFF_MAX / 4).await;
    }
}

async fn ask<R: Request>(client: &Inner, request: &R) -> Result<R::Response, BuildProducerError>
where
    R::Response: Default + Send + 'static,
{
    let connection = client.metadata.any_broker().await?;
    let response = connection.call(request).await;
    Ok(response.map_err(|last| MetadataError::Unreachable { last })?)
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
