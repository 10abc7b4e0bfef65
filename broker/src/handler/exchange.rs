//! One request and its answer, whatever it came by: decoded, bounded, served, encoded.
//!
//! Produce is not served here: its batches have their order before anything is answered.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use keylane_protocol::api::ApiKey;
use keylane_protocol::frame::{decode_request_body, response_frame};
use keylane_protocol::header::UnsupportedRequest;
use keylane_protocol::message::create_partitions::CreatePartitionsRequest;
use keylane_protocol::message::create_topics::CreateTopicsRequest;
use keylane_protocol::message::delete_topics::DeleteTopicsRequest;
use keylane_protocol::message::describe_configs::DescribeConfigsRequest;
use keylane_protocol::message::fetch::FetchRequest;
use keylane_protocol::message::find_coordinator::FindCoordinatorRequest;
use keylane_protocol::message::incremental_alter_configs::IncrementalAlterConfigsRequest;
use keylane_protocol::message::list_offsets::ListOffsetsRequest;
use keylane_protocol::message::metadata::MetadataRequest;
use keylane_protocol::message::offset_for_leader_epoch::OffsetForLeaderEpochRequest;
use keylane_protocol::message::{Request, Response};
use keylane_protocol::primitive::{DecodeError, Decoder, EncodeError, Encoder};
use keylane_protocol::transport::HeldBytes;

use super::fetch::Parking;
use super::topic_changes::Asker;
use super::{
    alter_configs, api_versions, cluster, create_partitions, describe_configs, fetch,
    find_coordinator, init_producer_id, list_offsets, metadata, offset_for_leader_epoch, on_demand,
    topic_changes,
};
use crate::limits::REQUEST_ITEMS_MAX;
use crate::server::BrokerState;

/// A request that ends the connection: the client and this broker do not understand each other.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RefusedRequest {
    #[error("the bytes are not a request")]
    Undecodable(#[from] DecodeError),
    #[error(transparent)]
    Unsupported(#[from] UnsupportedRequest),
    #[error(
        "the request names {count} topics, partitions or resources, at most {REQUEST_ITEMS_MAX} are served"
    )]
    TooManyItems { count: usize },
}

impl RefusedRequest {
    /// Refuses a request of an API that is not served.
    fn unknown(api: ApiKey) -> Self {
        let api_key = api.code();
        Self::Unsupported(UnsupportedRequest::UnknownApi { api_key })
    }
}

/// Refuses a request that names too much: its answer would be much larger than itself.
pub(crate) fn check_items(count: usize) -> Result<(), RefusedRequest> {
    if count > REQUEST_ITEMS_MAX {
        return Err(RefusedRequest::TooManyItems { count });
    }
    Ok(())
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    #[error(transparent)]
    Refused(#[from] RefusedRequest),
    #[error("an answer could not be encoded")]
    Encode(#[from] EncodeError),
}

/// One request and its answer.
pub(crate) struct Exchange<'a> {
    pub broker: &'a Arc<BrokerState>,
    /// Where the client has reached this broker.
    pub local: SocketAddr,
    pub asker: Asker,
    pub version: i16,
    /// What a whole frame repeats; without it there is only the body.
    pub correlation_id: Option<i32>,
}

impl Exchange<'_> {
    /// Answers a request.
    ///
    /// # Errors
    /// When it is none, or asks too much.
    ///
    /// # Panics
    /// For Produce and Fetch, which the caller serves.
    pub(crate) async fn serve(
        &self,
        api: ApiKey,
        body: Decoder,
    ) -> Result<Vec<Bytes>, ExchangeError> {
        let broker = &**self.broker;
        let identity = || broker.identity(self.local);
        match api {
            ApiKey::ApiVersions => {
                let request = self.decode(body)?;
                self.answer(&api_versions::answer(&request, self.version))
            }
            ApiKey::Metadata => {
                let request: MetadataRequest = self.decode(body)?;
                check_items(request.topics.as_ref().map_or(0, Vec::len))?;
                let failed = on_demand::create_missing(broker, &self.asker, &request).await;
                let image = broker.topics.load();
                let mut response = metadata::answer(&request, self.version, &identity(), &image);
                on_demand::mark_failed(&mut response, &failed);
                self.answer(&response)
            }
            ApiKey::ListOffsets => {
                let request: ListOffsetsRequest = self.decode(body)?;
                let partitions = request.topics.iter().map(|topic| topic.partitions.len());
                check_items(request.topics.len() + partitions.sum::<usize>())?;
                self.answer(&list_offsets::answer(broker, &request, self.version).await)
            }
            ApiKey::OffsetForLeaderEpoch => {
                let request: OffsetForLeaderEpochRequest = self.decode(body)?;
                check_items(offset_for_leader_epoch::items(&request))?;
                self.answer(&offset_for_leader_epoch::answer(broker, &request).await)
            }
            ApiKey::CreateTopics
            | ApiKey::DeleteTopics
            | ApiKey::CreatePartitions
            | ApiKey::IncrementalAlterConfigs => self.change(api, body).await,
            ApiKey::FindCoordinator => {
                let _: FindCoordinatorRequest = self.decode(body)?;
                self.answer(&find_coordinator::answer(&identity()))
            }
            ApiKey::InitProducerId => {
                let request = self.decode(body)?;
                self.answer(&init_producer_id::answer(&request, &broker.producer_ids))
            }
            ApiKey::DescribeConfigs => {
                let request: DescribeConfigsRequest = self.decode(body)?;
                check_items(request.resources.len())?;
                let image = broker.topics.load();
                self.answer(&describe_configs::answer(&request, &broker.config, &image))
            }
            ApiKey::DescribeCluster => {
                let request = self.decode(body)?;
                let image = broker.topics.load();
                self.answer(&cluster::answer(&request, &identity(), image.cluster()))
            }
            ApiKey::InitRoutedProducer => {
                let request = self.decode(body)?;
                let expiry = broker.config.limits.producer_expiry;
                let ids = &broker.producer_ids;
                self.answer(&init_producer_id::answer_routed(&request, ids, expiry))
            }
            ApiKey::Produce | ApiKey::Fetch | ApiKey::RoutedProduce => {
                unreachable!("served by the caller")
            }
            // Decoded and not offered, so it is refused where the header is read.
            other => Err(RefusedRequest::unknown(other).into()),
        }
    }

    /// Answers a request that changes topics.
    async fn change(&self, api: ApiKey, body: Decoder) -> Result<Vec<Bytes>, ExchangeError> {
        let (broker, asker, version) = (&**self.broker, &self.asker, self.version);
        match api {
            ApiKey::CreateTopics => {
                let request: CreateTopicsRequest = self.decode(body)?;
                check_items(request.topics.len())?;
                self.answer(&topic_changes::create_topics(broker, asker, request, version).await)
            }
            ApiKey::DeleteTopics => {
                let request: DeleteTopicsRequest = self.decode(body)?;
                check_items(request.topics.len() + request.topic_names.len())?;
                self.answer(&topic_changes::delete_topics(broker, asker, request, version).await)
            }
            ApiKey::CreatePartitions => {
                let request: CreatePartitionsRequest = self.decode(body)?;
                check_items(create_partitions::items(&request))?;
                self.answer(&create_partitions::answer(broker, asker, request, version).await)
            }
            ApiKey::IncrementalAlterConfigs => {
                let request: IncrementalAlterConfigsRequest = self.decode(body)?;
                check_items(alter_configs::items(&request))?;
                self.answer(&alter_configs::answer(broker, asker, request, version).await)
            }
            _ => unreachable!("no other request changes topics"),
        }
    }

    /// Answers a Fetch; the record bytes of the answer count as held until it was taken.
    ///
    /// # Errors
    /// When it asks too much.
    pub(crate) async fn fetch(
        &self,
        request: FetchRequest,
        parking: Parking<'_>,
    ) -> Result<(Vec<Bytes>, HeldBytes), ExchangeError> {
        let partitions = request.topics.iter().map(|topic| topic.partitions.len());
        check_items(request.topics.len() + partitions.sum::<usize>())?;
        let (response, held) = fetch::answer(self.broker, &request, self.version, parking).await;
        Ok((self.answer(&response)?, held))
    }

    /// Reads a request.
    ///
    /// # Errors
    /// When the bytes are none.
    pub(crate) fn decode<R: Request>(&self, body: Decoder) -> Result<R, RefusedRequest> {
        Ok(decode_request_body(body, self.version)?)
    }

    fn answer<R: Response>(&self, response: &R) -> Result<Vec<Bytes>, ExchangeError> {
        let Some(correlation_id) = self.correlation_id else {
            let mut encoder = Encoder::new();
            response.encode(self.version, &mut encoder)?;
            return Ok(encoder.into_segments());
        };
        Ok(response_frame(response, self.version, correlation_id)?)
    }
}
