//! InitProducerId: any broker that can be reached gives an id; another is asked where one does not.

use std::time::Instant;

use bytes::Bytes;
use keylane_protocol::api::ApiKey;
use keylane_protocol::link::lane::{Answer, Request};
use keylane_protocol::message::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use keylane_protocol::primitive::Decoder;

use super::answered::{body_of, read_answer};
use super::begin::decode;
use super::lanes::{Item, Offered, Said};
use super::queue::Form;
use super::{ConnectionError, Current, Session, now};
use crate::limits::{ATTEMPTS_MAX, TIME_OUT};
use crate::mailbox::Asked;
use crate::plan::init_producer_id::{InitProducerIdPlan, plan, unanswered};
use crate::producing::RequestId;

/// An InitProducerId that is not answered.
#[derive(Debug)]
pub(super) struct Underway {
    pub(super) id: RequestId,
    body: Bytes,
    version: i16,
    attempts: usize,
    /// Half of the time-out: then the client can still try again.
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
            InitProducerIdPlan::AnyBroker => {
                self.current = Current::ProducerId(Box::new(Underway {
                    id,
                    body: body_of(&request, form.version)?,
                    version: form.version,
                    attempts: 0,
                    until: now() + TIME_OUT / 2,
                }));
                self.ask_for_producer_id()
            }
        }
    }

    fn ask_for_producer_id(&mut self) -> Result<(), ConnectionError> {
        while let Current::ProducerId(underway) = &mut self.current
            && underway.attempts < ATTEMPTS_MAX
        {
            let attempt = u64::try_from(underway.attempts).unwrap_or(0);
            underway.attempts += 1;
            let Some(broker) = self.runtime.any_broker(self.id.wrapping_add(attempt)) else {
                break;
            };
            let request = Request {
                api_key: ApiKey::InitProducerId.code(),
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

    /// Takes a broker's answer, or asks another if there is none.
    pub(super) fn on_producer_id(
        &mut self,
        answer: Option<&Answer>,
    ) -> Result<(), ConnectionError> {
        let Current::ProducerId(underway) = &self.current else {
            return Ok(());
        };
        let answered: Option<InitProducerIdResponse> =
            answer.and_then(|answer| read_answer(answer, underway.version).ok());
        match answered {
            Some(response) => self.conclude(underway.id, &response),
            None => self.ask_for_producer_id(),
        }
    }

    pub(super) fn give_up_producer_id(&mut self) -> Result<(), ConnectionError> {
        match &self.current {
            Current::ProducerId(underway) => self.conclude(underway.id, &unanswered()),
            _ => Ok(()),
        }
    }
}
