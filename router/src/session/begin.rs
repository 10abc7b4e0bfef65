//! How a request begins: its header is read, and it is refused, queued, or handed to its core.
//!
//! What is refused ends the connection after the answers before it have left.

use std::time::Instant;

use bytes::Bytes;
use keylane_protocol::api::ApiKey;
use keylane_protocol::frame::{decode_request_body, unsupported_api_versions_frame};
use keylane_protocol::header::{RequestHeader, UnsupportedRequest};
use keylane_protocol::message::Request;
use keylane_protocol::message::api_versions::ApiVersionsRequest;
use keylane_protocol::message::create_partitions::CreatePartitionsRequest;
use keylane_protocol::message::create_topics::CreateTopicsRequest;
use keylane_protocol::message::describe_cluster::DescribeClusterRequest;
use keylane_protocol::message::find_coordinator::FindCoordinatorRequest;
use keylane_protocol::message::incremental_alter_configs::IncrementalAlterConfigsRequest;
use keylane_protocol::message::produce::ProduceRequest;
use keylane_protocol::message::routed_produce::RoutedProduceRequest;
use keylane_protocol::primitive::Decoder;

use super::changes::is_change;
use super::queue::{Entry, Form, State};
use super::{ConnectionError, Current, Session, now};
use crate::budget::Charge;
use crate::merge::produce::refused_whole;
use crate::plan::delete_topics::to_delete;
use crate::plan::routed_produce::{NO_ROOM, parts_bytes};
use crate::plan::{self, api_versions, check_items};
use crate::producing::RequestId;

impl Session {
    /// Takes a whole request.
    pub(super) fn take(
        &mut self,
        (frame, read_at): (Bytes, Instant),
        charge: Charge,
    ) -> Result<(), ConnectionError> {
        let bytes = u64::try_from(frame.len()).expect("a size fits 64 bits");
        self.runtime.shared.meters.received_bytes.increment(bytes);
        if let Err(refused) = self.queue_up(frame, read_at, charge) {
            match refused {
                // This one does not wait for what came before.
                refused @ ConnectionError::UnacknowledgedProduce { .. } => return Err(refused),
                refused => self.refused = Some(refused),
            }
        }
        Ok(())
    }

    fn queue_up(
        &mut self,
        frame: Bytes,
        read_at: Instant,
        charge: Charge,
    ) -> Result<(), ConnectionError> {
        let (header, body) = RequestHeader::decode(frame)?;
        let (version, correlation_id) = (header.api_version, header.correlation_id);
        let (api, state) = match header.supported() {
            Ok(api) if api_versions::is_offered(api.key) => (api.key, State::Waiting(body)),
            Ok(_) => {
                let api_key = header.api_key;
                return Err(UnsupportedRequest::UnknownApi { api_key }.into());
            }
            Err(UnsupportedRequest::UnsupportedVersion {
                api: ApiKey::ApiVersions,
                ..
            }) => {
                let segments = unsupported_api_versions_frame(correlation_id);
                (ApiKey::ApiVersions, State::Answered(segments))
            }
            Err(refused) => return Err(refused.into()),
        };
        if self.client.client_id != header.client_id {
            self.client.client_id = header.client_id;
            self.lanes.name(self.client.client_id.as_ref());
        }
        let form = Form {
            api,
            version,
            correlation_id,
        };
        let entry = Entry {
            form,
            read_at,
            state,
            _charge: charge,
            parts: None,
        };
        match api {
            ApiKey::Produce => self.take_produce(entry),
            ApiKey::RoutedProduce => self.take_routed_produce(entry),
            _ => self.take_later(entry),
        }
    }

    /// Takes a request that begins when it is the first.
    fn take_later(&mut self, entry: Entry) -> Result<(), ConnectionError> {
        let (api, is_behind) = (entry.form.api, self.queue.has_ordered());
        let id = self.queue.push(entry);
        if is_change(api) {
            self.change = Some(id);
        }
        match is_behind {
            true => self.on_waited_for(api),
            false => Ok(()),
        }
    }

    fn take_produce(&mut self, mut entry: Entry) -> Result<(), ConnectionError> {
        let State::Waiting(body) = std::mem::replace(&mut entry.state, State::Underway) else {
            return Ok(());
        };
        let (form, read_at) = (entry.form, entry.read_at);
        let request: ProduceRequest = decode(body, form)?;
        let partitions = request.topic_data.iter();
        let partitions = partitions.map(|topic| topic.partition_data.len());
        check_items(request.topic_data.len() + partitions.sum::<usize>())?;
        let is_behind = self.queue.has_ordered();
        let id = self.queue.push(entry);
        if is_behind {
            self.on_waited_for(form.api)?;
        }
        self.begin_produce((id, read_at), request, form.version)
    }

    /// Takes a request that waits behind none, so that a parked Fetch is not disturbed either.
    fn take_routed_produce(&mut self, mut entry: Entry) -> Result<(), ConnectionError> {
        let State::Waiting(body) = std::mem::replace(&mut entry.state, State::Underway) else {
            return Ok(());
        };
        let (form, read_at) = (entry.form, entry.read_at);
        let request: RoutedProduceRequest = decode(body, form)?;
        let bytes = parts_bytes(&request);
        if bytes > 0 {
            entry.parts = self.budget.try_charge_besides(bytes);
        }
        let has_room = bytes == 0 || entry.parts.is_some();
        let id = self.queue.push_overtaking(entry);
        match has_room {
            true => self.begin_routed_produce((id, read_at), request),
            false => self.answer(id, &refused_whole(NO_ROOM, -1)),
        }
    }

    /// Notes that a request waits behind those that are here.
    fn on_waited_for(&mut self, api: ApiKey) -> Result<(), ConnectionError> {
        self.produce(|producing, moment, effects| producing.on_waited_for(moment, effects))?;
        match &self.current {
            Current::Fetch if api != ApiKey::Fetch => {
                self.fetch(|fetching, moment, effects| fetching.on_waited_for(moment.now, effects))
            }
            Current::Asking(_) => {
                self.ask(|asking, moment, effects| asking.on_waited_for(moment, effects))
            }
            _ => Ok(()),
        }
    }

    /// Begins a request that has become the first.
    pub(super) fn begin(
        &mut self,
        id: RequestId,
        form: Form,
        body: Decoder,
    ) -> Result<(), ConnectionError> {
        let routing = self.routing();
        match form.api {
            ApiKey::Fetch => self.begin_fetch(&decode(body, form)?, form)?,
            ApiKey::ListOffsets => self.begin_list_offsets(id, &decode(body, form)?, form)?,
            ApiKey::OffsetForLeaderEpoch => {
                self.begin_epoch_ends(id, &decode(body, form)?, form)?;
            }
            ApiKey::Metadata => self.begin_metadata(id, decode(body, form)?)?,
            ApiKey::InitProducerId => self.begin_producer_id(id, body, form)?,
            ApiKey::InitRoutedProducer => self.begin_routed_producer(id, body, form)?,
            ApiKey::CreateTopics => {
                self.begin_change::<CreateTopicsRequest>(id, decode(body, form)?, form)?;
            }
            ApiKey::DeleteTopics => {
                self.begin_change(id, to_delete(decode(body, form)?), form)?;
            }
            ApiKey::CreatePartitions => {
                self.begin_change::<CreatePartitionsRequest>(id, decode(body, form)?, form)?;
            }
            ApiKey::IncrementalAlterConfigs => {
                let request: IncrementalAlterConfigsRequest = decode(body, form)?;
                self.begin_change(id, request, form)?;
            }
            ApiKey::DescribeConfigs => self.begin_configs(id, &decode(body, form)?)?,
            ApiKey::ApiVersions => {
                let request: ApiVersionsRequest = decode(body, form)?;
                self.answer(id, &api_versions::answer(&request, form.version))?;
            }
            ApiKey::FindCoordinator => {
                let _: FindCoordinatorRequest = decode(body, form)?;
                let advertised = self.advertised(&routing);
                self.answer(id, &plan::find_coordinator::answer(&advertised))?;
            }
            ApiKey::DescribeCluster => {
                let request: DescribeClusterRequest = decode(body, form)?;
                let advertised = self.advertised(&routing);
                let image = routing.image();
                let answer = plan::describe_cluster::answer(&request, &advertised, image);
                self.answer(id, &answer)?;
            }
            // Produce and RoutedProduce are begun when they are read, and others are not offered.
            other => {
                let api_key = other.code();
                return Err(UnsupportedRequest::UnknownApi { api_key }.into());
            }
        }
        let now = now();
        match &self.current {
            Current::Fetch if self.queue.has_others_behind() => {
                self.fetch(|fetching, _, effects| fetching.on_waited_for(now, effects))
            }
            Current::Asking(_) if self.queue.has_any_behind() => {
                self.ask(|asking, moment, effects| asking.on_waited_for(moment, effects))
            }
            _ => Ok(()),
        }
    }
}

/// Reads the whole body of a request.
pub(super) fn decode<R: Request>(body: Decoder, form: Form) -> Result<R, ConnectionError> {
    Ok(decode_request_body(body, form.version)?)
}
