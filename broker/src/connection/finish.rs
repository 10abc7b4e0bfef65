//! The second half of a request: wait for its outcome, or serve it, and build the answer's frame.

use bytes::Bytes;
use keylane_protocol::api::ApiKey;
use keylane_protocol::frame::{
    decode_request_body, response_frame, unsupported_api_versions_frame,
};
use keylane_protocol::message::{Request, Response};
use keylane_protocol::primitive::Decoder;
use tokio::sync::watch;

use super::begin::{Begun, RefusedRequest};
use super::{Connection, ConnectionError};
use crate::handler::fetch::Parking;
use crate::handler::{
    api_versions, cluster, describe_configs, fetch, find_coordinator, init_producer_id,
    list_offsets, metadata, topic_changes,
};

/// Returns the slices of the answer, none if the client wants none.
pub(super) async fn finish(
    connection: &Connection,
    begun: Begun,
    sequence: u64,
    last_other: watch::Receiver<u64>,
) -> Result<Vec<Bytes>, ConnectionError> {
    match begun {
        Begun::UnknownApiVersions { correlation_id } => {
            Ok(unsupported_api_versions_frame(correlation_id))
        }
        Begun::Produce {
            version,
            correlation_id,
            underway,
        } => {
            let wants_answer = underway.wants_answer();
            let response = underway.finish().await;
            if wants_answer {
                return Ok(response_frame(&response, version, correlation_id)?);
            }
            match crate::handler::produce::first_fault(&response) {
                Some(reason) => Err(ConnectionError::UnacknowledgedProduce { reason }),
                None => Ok(Vec::new()),
            }
        }
        Begun::Waiting {
            api,
            version,
            correlation_id,
            body,
        } => {
            let exchange = Exchange {
                connection,
                version,
                correlation_id,
            };
            if api == ApiKey::Fetch {
                return exchange.fetch(body, sequence, last_other).await;
            }
            exchange.serve(api, body).await
        }
    }
}

/// One request and its answer.
struct Exchange<'a> {
    connection: &'a Connection,
    version: i16,
    correlation_id: i32,
}

impl Exchange<'_> {
    async fn serve(&self, api: ApiKey, body: Decoder) -> Result<Vec<Bytes>, ConnectionError> {
        let broker = &*self.connection.broker;
        let identity = || broker.identity(self.connection.local);
        match api {
            ApiKey::ApiVersions => {
                let request = self.decode(body)?;
                self.answer(&api_versions::answer(&request, self.version))
            }
            ApiKey::Metadata => {
                let request = self.decode(body)?;
                let failed = topic_changes::create_missing(broker, &request).await;
                let image = broker.topics.load();
                let mut response = metadata::answer(&request, self.version, &identity(), &image);
                topic_changes::mark_failed(&mut response, &failed);
                self.answer(&response)
            }
            ApiKey::ListOffsets => {
                let request = self.decode(body)?;
                self.answer(&list_offsets::answer(broker, &request, self.version).await)
            }
            ApiKey::CreateTopics => {
                let request = self.decode(body)?;
                self.answer(&topic_changes::create(broker, request).await)
            }
            ApiKey::DeleteTopics => {
                let request = self.decode(body)?;
                self.answer(&topic_changes::delete(broker, request, self.version).await)
            }
            ApiKey::FindCoordinator => {
                let request = self.decode(body)?;
                self.answer(&find_coordinator::answer(&request))
            }
            ApiKey::InitProducerId => {
                let request = self.decode(body)?;
                self.answer(&init_producer_id::answer(&request, &broker.producer_ids))
            }
            ApiKey::DescribeConfigs => {
                let request = self.decode(body)?;
                let image = broker.topics.load();
                self.answer(&describe_configs::answer(&request, &broker.config, &image))
            }
            ApiKey::DescribeCluster => {
                let request = self.decode(body)?;
                self.answer(&cluster::answer(&request, &identity()))
            }
            ApiKey::Produce | ApiKey::Fetch => unreachable!("served by the caller"),
        }
    }

    async fn fetch(
        &self,
        body: Decoder,
        sequence: u64,
        last_other: watch::Receiver<u64>,
    ) -> Result<Vec<Bytes>, ConnectionError> {
        let request = self.decode(body)?;
        let parking = Parking {
            connection: self.connection.id,
            wake: &self.connection.wake,
            sequence,
            last_other,
        };
        let broker = &self.connection.broker;
        self.answer(&fetch::answer(broker, &request, self.version, parking).await)
    }

    fn decode<R: Request>(&self, body: Decoder) -> Result<R, RefusedRequest> {
        Ok(decode_request_body(body, self.version)?)
    }

    fn answer<R: Response>(&self, response: &R) -> Result<Vec<Bytes>, ConnectionError> {
        Ok(response_frame(response, self.version, self.correlation_id)?)
    }
}
