//! DescribeConfigs: topics from any broker, brokers from themselves, this router from here.

use std::collections::BTreeMap;
use std::time::Instant;

use keylane_protocol::api::ApiKey;
use keylane_protocol::identifiers::BrokerId;
use keylane_protocol::link::lane::{Answer, Request};
use keylane_protocol::message::describe_configs::{
    CONFIG_TYPE_LONG, DescribeConfigsRequest, NodeSetting,
};

use super::answered::{body_of, read_answer};
use super::lanes::{Item, Offered, Said};
use super::{ConnectionError, Current, Session, now};
use crate::advertise::{Advertise, Advertised, ClientIdentity, router_id};
use crate::limits::{HOLD, TIME_OUT};
use crate::mailbox::Asked;
use crate::merge::describe_configs::DescribeConfigsMerge;
use crate::plan::check_items;
use crate::plan::describe_configs::{DescribeConfigsPart, Destination, OwnSettings, VERSION, plan};
use crate::producing::RequestId;
use crate::routing::Routing;

/// A DescribeConfigs that is not answered.
#[derive(Debug)]
pub(super) struct Underway {
    pub(super) id: RequestId,
    merge: DescribeConfigsMerge,
    parts: BTreeMap<u64, DescribeConfigsPart>,
    pub(super) until: Instant,
}

impl Session {
    pub(super) fn begin_configs(
        &mut self,
        id: RequestId,
        request: &DescribeConfigsRequest,
    ) -> Result<(), ConnectionError> {
        check_items(request.resources.len())?;
        let routing = self.routing();
        let settings = self.own_settings();
        let own = OwnSettings {
            id: self.own_id(&routing),
            settings: &settings,
        };
        let planned = plan(request, own, &routing);
        let until = now() + TIME_OUT / 2;
        let mut underway = Underway {
            id,
            merge: planned.merge,
            parts: BTreeMap::new(),
            until,
        };
        for (number, part) in (0..).zip(planned.parts) {
            let broker = match part.to {
                Destination::AnyBroker => self.runtime.any_broker(self.id),
                Destination::Broker(broker) => Some(broker),
            };
            let request = Request {
                api_key: ApiKey::DescribeConfigs.code(),
                api_version: VERSION,
                chunk: body_of(&part.request, VERSION)?.into(),
                ..Request::default()
            };
            let item = Item {
                asked: Asked::Part(id, number),
                said: Said::Request(request),
                deadline: until,
            };
            let offered = broker.map(|broker| self.lanes.offer(&self.runtime, broker, item));
            match offered {
                None | Some(Offered::Lost) => underway.merge.on_unanswered(&part),
                Some(Offered::Queued | Offered::Taken) => {
                    underway.parts.insert(number, part);
                }
            }
        }
        let is_complete = underway.merge.is_complete();
        self.current = Current::Configs(Box::new(underway));
        match is_complete {
            true => self.finish_configs(),
            false => Ok(()),
        }
    }

    /// Takes a broker's answer to a part, or notes that there is none.
    pub(super) fn on_configs(
        &mut self,
        number: u64,
        answer: Option<&Answer>,
    ) -> Result<(), ConnectionError> {
        let Current::Configs(underway) = &mut self.current else {
            return Ok(());
        };
        let Some(part) = underway.parts.remove(&number) else {
            return Ok(());
        };
        match answer.and_then(|answer| read_answer(answer, VERSION).ok()) {
            Some(response) => underway.merge.on_answer(&part, response),
            None => underway.merge.on_unanswered(&part),
        }
        match underway.merge.is_complete() {
            true => self.finish_configs(),
            false => Ok(()),
        }
    }

    /// Answers with what there is.
    pub(super) fn finish_configs(&mut self) -> Result<(), ConnectionError> {
        match std::mem::replace(&mut self.current, Current::Nothing) {
            Current::Configs(underway) => {
                let underway = *underway;
                self.conclude(underway.id, &underway.merge.finish())
            }
            other => {
                self.current = other;
                Ok(())
            }
        }
    }

    /// Returns the id under which the client knows this router.
    fn own_id(&self, routing: &Routing) -> BrokerId {
        match &self.config().advertise {
            Some(advertise) => router_id(advertise, routing.image()),
            None => {
                let client = ClientIdentity {
                    client_id: None,
                    address: self.client.peer.ip(),
                };
                let (image, local) = (routing.image(), &self.client.local);
                let told = Advertised::to_client(&Advertise::Dialled, image, client, local);
                told.leader().id
            }
        }
    }

    fn own_settings(&self) -> Vec<NodeSetting> {
        vec![NodeSetting {
            key: "router.hold.ms",
            config_type: CONFIG_TYPE_LONG,
            value: self.config().hold.as_millis().to_string(),
            standard: HOLD.as_millis().to_string(),
            documentation: "How long a partition without leader is waited for, from when it was lost.",
        }]
    }
}
