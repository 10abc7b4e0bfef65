//! InitProducerId and InitRoutedProducer: any broker that can be reached gives an id; another is asked where one does not.

use std::time::Instant;

use bytes::Bytes;
use keylane_protocol::api::ApiKey;
use keylane_protocol::link::lane::{Answer, Request};
use keylane_protocol::message::Message;
use keylane_protocol::message::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use keylane_protocol::message::init_routed_producer::{
    InitRoutedProducerRequest, InitRoutedProducerResponse,
};
use keylane_protocol::primitive::Decoder;

use super::answered::{body_of, read_answer};
use super::begin::decode;
use super::lanes::{Item, Offered, Said};
use super::queue::Form;
use super::{ConnectionError, Current, Session, now};
use crate::limits::{ATTEMPTS_MAX, TIME_OUT};
use crate::mailbox::Asked;
use crate::plan::init_producer_id::{InitProducerIdPlan, plan, unanswered, unanswered_routed};
use crate::producing::RequestId;

/// A request for an id that is not answered.
#[derive(Debug)]
pub(super) struct Underway {
    pub(super) id: RequestId,
    api: ApiKey,
    version: i16,
    body: Bytes,
    attempts: usize,
    /// Whether no broker can be reached, and one is waited for.
    is_held: bool,
    /// Half of the time-out at most: then the client can still try again.
    pub(super) until: Instant,
}

impl Session {
    pub(super) fn begin_producer_id(
        &mut self,
        id: RequestId,
        body: Decoder,
        form: Form,
    ) -> Result<(), ConnectionError> {
        let request: InitProducerIdRequest = decode(body, form)?;
        match plan(&request) {
            InitProducerIdPlan::Answered(response) => self.answer(id, &response),
            InitProducerIdPlan::AnyBroker => self.begin_asking_for_id(id, &request, form),
        }
    }

    pub(super) fn begin_routed_producer(
        &mut self,
        id: RequestId,
        body: Decoder,
        form: Form,
    ) -> Result<(), ConnectionError> {
        let request: InitRoutedProducerRequest = decode(body, form)?;
        self.begin_asking_for_id(id, &request, form)
    }

    fn begin_asking_for_id<R: Message>(
        &mut self,
        id: RequestId,
        request: &R,
        form: Form,
    ) -> Result<(), ConnectionError> {
        self.current = Current::ProducerId(Box::new(Underway {
            id,
            api: form.api,
            version: form.version,
            body: body_of(request, form.version)?,
            attempts: 0,
            is_held: false,
            until: now() + TIME_OUT / 2,
        }));
        self.ask_for_producer_id()
    }

    fn ask_for_producer_id(&mut self) -> Result<(), ConnectionError> {
        while let Current::ProducerId(underway) = &mut self.current
            && underway.attempts < ATTEMPTS_MAX
        {
            let attempt = u64::try_from(underway.attempts).unwrap_or(0);
            let Some(broker) = self.runtime.any_broker(self.id.wrapping_add(attempt)) else {
                // As at the start of a router: a link may be up in a moment.
                if !underway.is_held {
                    underway.is_held = true;
                    underway.until = underway.until.min(now() + self.runtime.shared.config.hold);
                }
                return Ok(());
            };
            underway.attempts += 1;
            underway.is_held = false;
            let request = Request {
                api_key: underway.api.code(),
                api_version: underway.version,
                chunk: underway.body.clone().into(),
                ..Request::default()
            };
            let item = Item {
                asked: Asked::Part(underway.id, attempt),
                said: Said::Request(request),
                deadline: underway.until,
            };
            if self.lanes.offer(&self.runtime, broker, item) != Offered::Lost {
                return Ok(());
            }
        }
        self.give_up_producer_id()
    }

    /// Asks if none could be asked before.
    pub(super) fn on_producer_id_routing(&mut self) -> Result<(), ConnectionError> {
        match &self.current {
            Current::ProducerId(underway) if underway.is_held => self.ask_for_producer_id(),
            _ => Ok(()),
        }
    }

    /// Takes a broker's answer, or asks another if there is none.
    pub(super) fn on_producer_id(
        &mut self,
        answer: Option<&Answer>,
    ) -> Result<(), ConnectionError> {
        let Current::ProducerId(underway) = &self.current else {
            return Ok(());
        };
        let (id, api, version) = (underway.id, underway.api, underway.version);
        let passed_on = match answer {
            None => None,
            Some(answer) if api == ApiKey::InitRoutedProducer => {
                let response = read_answer::<InitRoutedProducerResponse>(answer, version);
                response.ok().map(|response| self.conclude(id, &response))
            }
            Some(answer) => {
                let response = read_answer::<InitProducerIdResponse>(answer, version);
                response.ok().map(|response| self.conclude(id, &response))
            }
        };
        passed_on.unwrap_or_else(|| self.ask_for_producer_id())
    }

    pub(super) fn give_up_producer_id(&mut self) -> Result<(), ConnectionError> {
        match &self.current {
            Current::ProducerId(underway) => {
                let id = underway.id;
                match underway.api {
                    ApiKey::InitRoutedProducer => self.conclude(id, &unanswered_routed()),
                    _ => self.conclude(id, &unanswered()),
                }
            }
            _ => Ok(()),
        }
    }
}
