//! The second half of a request: wait for its outcome, or serve it, and build the answer's frame.

use bytes::Bytes;
use bytestring::ByteString;
use keylane_protocol::api::ApiKey;
use keylane_protocol::frame::{
    decode_request_body, response_frame, unsupported_api_versions_frame,
};
use keylane_protocol::message::create_topics::CreateTopicsRequest;
use keylane_protocol::message::delete_topics::DeleteTopicsRequest;
use keylane_protocol::message::describe_configs::DescribeConfigsRequest;
use keylane_protocol::message::fetch::FetchRequest;
use keylane_protocol::message::find_coordinator::FindCoordinatorRequest;
use keylane_protocol::message::list_offsets::ListOffsetsRequest;
use keylane_protocol::message::metadata::MetadataRequest;
use keylane_protocol::message::{Request, Response};
use keylane_protocol::primitive::Decoder;
use tokio::sync::watch;

use super::begin::{Begun, RefusedRequest, check_items};
use super::{Connection, ConnectionError, Held};
use crate::handler::fetch::Parking;
use crate::handler::topic_changes::Asker;
use crate::handler::{
    api_versions, cluster, describe_configs, fetch, find_coordinator, init_producer_id,
    list_offsets, metadata, topic_changes,
};

/// An answer's frame, and the record bytes it counts.
pub(super) struct Answer {
    pub segments: Vec<Bytes>,
    pub held: Option<Held>,
}

impl Answer {
    fn of(segments: Vec<Bytes>) -> Self {
        Self {
            segments,
            held: None,
        }
    }
}

/// Returns the answer, empty if the client wants none.
pub(super) async fn finish(
    connection: &Connection,
    begun: Begun,
    sequence: u64,
    last_other: watch::Receiver<u64>,
) -> Result<Answer, ConnectionError> {
    match begun {
        Begun::UnknownApiVersions { correlation_id } => {
            Ok(Answer::of(unsupported_api_versions_frame(correlation_id)))
        }
        Begun::Produce {
            version,
            correlation_id,
            underway,
        } => {
            let wants_answer = underway.wants_answer();
            let response = underway.finish().await;
            if wants_answer {
                let frame = response_frame(&response, version, correlation_id)?;
                return Ok(Answer::of(frame));
            }
            match crate::handler::produce::first_fault(&response) {
                Some(reason) => Err(ConnectionError::UnacknowledgedProduce { reason }),
                None => Ok(Answer::of(Vec::new())),
            }
        }
        Begun::Waiting {
            api,
            version,
            correlation_id,
            client_id,
            body,
        } => {
            let exchange = Exchange {
                connection,
                version,
                correlation_id,
                client_id,
            };
            if api == ApiKey::Fetch {
                return exchange.fetch(body, sequence, last_other).await;
            }
            Ok(Answer::of(exchange.serve(api, body).await?))
        }
    }
}

/// One request and its answer.
struct Exchange<'a> {
    connection: &'a Connection,
    version: i16,
    correlation_id: i32,
    client_id: Option<ByteString>,
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
                let request: MetadataRequest = self.decode(body)?;
                check_items(request.topics.as_ref().map_or(0, Vec::len))?;
                let failed = topic_changes::create_missing(broker, &self.asker(), &request).await;
                let image = broker.topics.load();
                let mut response = metadata::answer(&request, self.version, &identity(), &image);
                topic_changes::mark_failed(&mut response, &failed);
                self.answer(&response)
            }
            ApiKey::ListOffsets => {
                let request: ListOffsetsRequest = self.decode(body)?;
                let partitions = request.topics.iter().map(|topic| topic.partitions.len());
                check_items(request.topics.len() + partitions.sum::<usize>())?;
                self.answer(&list_offsets::answer(broker, &request, self.version).await)
            }
            ApiKey::CreateTopics => {
                let request: CreateTopicsRequest = self.decode(body)?;
                check_items(request.topics.len())?;
                let asker = self.asker();
                self.answer(
                    &topic_changes::create_topics(broker, &asker, request, self.version).await,
                )
            }
            ApiKey::DeleteTopics => {
                let request: DeleteTopicsRequest = self.decode(body)?;
                check_items(request.topics.len() + request.topic_names.len())?;
                let asker = self.asker();
                self.answer(
                    &topic_changes::delete_topics(broker, &asker, request, self.version).await,
                )
            }
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
            ApiKey::Produce | ApiKey::Fetch => unreachable!("served by the caller"),
        }
    }

    fn asker(&self) -> Asker {
        Asker {
            client_id: self.client_id.clone(),
            client_host: self.connection.peer.ip().to_string().into(),
        }
    }

    async fn fetch(
        &self,
        body: Decoder,
        sequence: u64,
        last_other: watch::Receiver<u64>,
    ) -> Result<Answer, ConnectionError> {
        let request: FetchRequest = self.decode(body)?;
        let partitions = request.topics.iter().map(|topic| topic.partitions.len());
        check_items(request.topics.len() + partitions.sum::<usize>())?;
        let parking = Parking {
            connection: self.connection.id,
            wake: &self.connection.wake,
            sequence,
            last_other,
        };
        let broker = &self.connection.broker;
        let (response, held) = fetch::answer(broker, &request, self.version, parking).await;
        Ok(Answer {
            segments: self.answer(&response)?,
            held: Some(held),
        })
    }

    fn decode<R: Request>(&self, body: Decoder) -> Result<R, RefusedRequest> {
        Ok(decode_request_body(body, self.version)?)
    }

    fn answer<R: Response>(&self, response: &R) -> Result<Vec<Bytes>, ConnectionError> {
        Ok(response_frame(response, self.version, self.correlation_id)?)
    }
}
