//! CreateTopics and DeleteTopics: the leading controller decides, and the client hears of it when this router's image
//! has it.

use std::time::Instant;

use bytes::Bytes;
use keylane_protocol::api::ApiKey;
use keylane_protocol::message::Response;
use keylane_protocol::message::create_topics::{CreateTopicsRequest, CreateTopicsResponse};
use keylane_protocol::message::delete_topics::{DeleteTopicsRequest, DeleteTopicsResponse};
use keylane_protocol::primitive::{DecodeError, Decoder};

use super::answered::body_of;
use super::begin::decode;
use super::queue::Form;
use super::{ConnectionError, Current, Session, now};
use crate::deadline::Deadline;
use crate::mailbox::Event;
use crate::plan::check_items;
use crate::plan::topics::{
    Awaited, CREATE_VERSION, DELETE_VERSION, Unanswered, create_unanswered, created,
    delete_unanswered, deleted, to_delete,
};
use crate::producing::RequestId;

/// What is to be done.
#[derive(Debug)]
enum Change {
    Create(CreateTopicsRequest),
    Delete(DeleteTopicsRequest),
}

/// What the client will be told.
#[derive(Debug)]
enum Outcome {
    Created(CreateTopicsResponse),
    Deleted(DeleteTopicsResponse),
}

/// A change of topics that is not answered.
#[derive(Debug)]
pub(super) struct Underway {
    id: RequestId,
    change: Change,
    /// What the controllers have said, and what the image must have before the client hears of it.
    decided: Option<(Outcome, Awaited)>,
    pub(super) until: Instant,
}

impl Session {
    pub(super) fn begin_create(
        &mut self,
        id: RequestId,
        body: Decoder,
        form: Form,
    ) -> Result<(), ConnectionError> {
        let request: CreateTopicsRequest = decode(body, form)?;
        check_items(request.topics.len())?;
        let deadline = Deadline::own(now(), request.timeout_ms);
        let body = body_of(&request, CREATE_VERSION)?;
        let asked = (ApiKey::CreateTopics, CREATE_VERSION, body);
        self.forward(id, asked, Change::Create(request), deadline)
    }

    pub(super) fn begin_delete(
        &mut self,
        id: RequestId,
        body: Decoder,
        form: Form,
    ) -> Result<(), ConnectionError> {
        let request: DeleteTopicsRequest = decode(body, form)?;
        let request = to_delete(request);
        check_items(request.topics.len())?;
        let deadline = Deadline::own(now(), request.timeout_ms);
        let body = body_of(&request, DELETE_VERSION)?;
        let asked = (ApiKey::DeleteTopics, DELETE_VERSION, body);
        self.forward(id, asked, Change::Delete(request), deadline)
    }

    fn forward(
        &mut self,
        id: RequestId,
        asked: (ApiKey, i16, Bytes),
        change: Change,
        deadline: Deadline,
    ) -> Result<(), ConnectionError> {
        self.current = Current::Topics(Box::new(Underway {
            id,
            change,
            decided: None,
            until: deadline.at,
        }));
        let controllers = self.runtime.shared.controllers.clone();
        let (mailbox, client) = (self.mailbox.clone(), self.forwarded_for());
        // It ends with the request's deadline; what is decided stands even if the client has gone.
        tokio::task::spawn_local(async move {
            let answered = controllers
                .forward(asked, &client, deadline.at.into())
                .await;
            mailbox.put(Event::Forwarded(id, answered));
        });
        Ok(())
    }

    /// Takes what the controllers have said.
    pub(super) fn on_forwarded(
        &mut self,
        id: RequestId,
        answered: Result<Bytes, Unanswered>,
    ) -> Result<(), ConnectionError> {
        let Current::Topics(underway) = &mut self.current else {
            return Ok(());
        };
        if underway.id == id {
            underway.decided = Some(underway.change.decided(answered));
        }
        self.on_topics_known()
    }

    /// Answers if the image has all of it.
    pub(super) fn on_topics_known(&mut self) -> Result<(), ConnectionError> {
        let routing = self.routing();
        match &self.current {
            Current::Topics(underway) => match &underway.decided {
                Some((_, awaited)) if awaited.is_in(routing.image()) => self.finish_topics(),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// Answers with what there is: the time is up, or the image has it.
    pub(super) fn finish_topics(&mut self) -> Result<(), ConnectionError> {
        match std::mem::replace(&mut self.current, Current::Nothing) {
            Current::Topics(underway) => {
                let decided = underway.decided;
                let change = underway.change;
                let decided = decided.unwrap_or_else(|| change.decided(Err(Unanswered::Sent)));
                match decided.0 {
                    Outcome::Created(response) => self.conclude(underway.id, &response),
                    Outcome::Deleted(response) => self.conclude(underway.id, &response),
                }
            }
            other => {
                self.current = other;
                Ok(())
            }
        }
    }
}

impl Change {
    fn decided(&self, answered: Result<Bytes, Unanswered>) -> (Outcome, Awaited) {
        match self {
            Self::Create(request) => {
                let read = answered.and_then(|body| read(body, CREATE_VERSION));
                let response = read.unwrap_or_else(|why| create_unanswered(request, why));
                let awaited = created(&response, request.validate_only);
                (Outcome::Created(response), awaited)
            }
            Self::Delete(request) => {
                let read = answered.and_then(|body| read(body, DELETE_VERSION));
                let response = read.unwrap_or_else(|why| delete_unanswered(request, why));
                let awaited = deleted(&response);
                (Outcome::Deleted(response), awaited)
            }
        }
    }
}

fn read<R: Response>(body: Bytes, version: i16) -> Result<R, Unanswered> {
    let mut decoder = Decoder::new(body);
    let response = R::decode(&mut decoder, version).and_then(|response| {
        decoder.finish()?;
        Ok(response)
    });
    response.map_err(|_: DecodeError| Unanswered::Sent)
}
