//! What the leading controller decides: topics, their partitions and settings. The client hears of it when this router's
//! image is as far as the controller's was.

use std::fmt;
use std::time::Instant;

use bytes::Bytes;
use keylane_protocol::api::ApiKey;
use keylane_protocol::frame::response_frame;
use keylane_protocol::message::Response;
use keylane_protocol::primitive::{DecodeError, Decoder, EncodeError};

use super::answered::body_of;
use super::queue::{Form, State};
use super::{ConnectionError, Current, Session, now};
use crate::control::Forwarded;
use crate::deadline::Deadline;
use crate::mailbox::Event;
use crate::plan::check_items;
use crate::plan::for_controller::{ForController, Unanswered};
use crate::producing::RequestId;

/// Tells whether what follows a request sees another cluster: it is not read before the answer.
pub(super) fn is_change(api: ApiKey) -> bool {
    matches!(
        api,
        ApiKey::CreateTopics
            | ApiKey::DeleteTopics
            | ApiKey::CreatePartitions
            | ApiKey::IncrementalAlterConfigs
    )
}

/// A change that is not answered.
#[derive(Debug)]
pub(super) struct Underway {
    id: RequestId,
    form: Form,
    change: Box<dyn Change>,
    /// The answer, and how far the image must be before the client gets it.
    decided: Option<(Vec<Bytes>, i64)>,
    pub(super) until: Instant,
}

/// A [`ForController`] of any kind.
trait Change: fmt::Debug {
    fn answer(&self, answered: Result<Bytes, Unanswered>, form: Form) -> Encoded;
}

type Encoded = Result<Vec<Bytes>, EncodeError>;

impl<R: ForController + fmt::Debug> Change for R {
    fn answer(&self, answered: Result<Bytes, Unanswered>, form: Form) -> Encoded {
        let read = answered.and_then(|body| read::<R::Response>(body, R::VERSION));
        let response = read.unwrap_or_else(|why| self.unanswered(why));
        response_frame(&response, form.version, form.correlation_id)
    }
}

impl Session {
    pub(super) fn begin_change<R: ForController + fmt::Debug + 'static>(
        &mut self,
        id: RequestId,
        request: R,
        form: Form,
    ) -> Result<(), ConnectionError> {
        check_items(request.items())?;
        let deadline = match request.timeout_ms() {
            Some(timeout_ms) => Deadline::own(now(), timeout_ms),
            None => Deadline::standard(now()),
        };
        self.forward(id, &request, deadline.at)?;
        self.current = Current::Change(Box::new(Underway {
            id,
            form,
            change: Box::new(request),
            decided: None,
            until: deadline.at,
        }));
        Ok(())
    }

    /// Has the leading controller answer a request; what it says, or that it does not, comes by the mailbox.
    pub(super) fn forward<R: ForController>(
        &self,
        id: RequestId,
        request: &R,
        until: Instant,
    ) -> Result<(), ConnectionError> {
        let asked = (R::API_KEY, R::VERSION, body_of(request, R::VERSION)?);
        let controllers = self.runtime.shared.controllers.clone();
        let (mailbox, client) = (self.mailbox.clone(), self.forwarded_for());
        // It ends with the request's deadline; what is decided stands even if the client has gone.
        tokio::task::spawn_local(async move {
            let answered = controllers.forward(asked, &client, until.into()).await;
            mailbox.put(Event::Forwarded(id, answered));
        });
        Ok(())
    }

    /// Takes what the controllers have said.
    pub(super) fn on_forwarded(
        &mut self,
        id: RequestId,
        answered: Result<Forwarded, Unanswered>,
    ) -> Result<(), ConnectionError> {
        match &mut self.current {
            Current::Change(underway) if underway.id == id => {
                let index = answered.as_ref().map_or(0, |forwarded| forwarded.index);
                let body = answered.map(|forwarded| forwarded.body);
                let answer = underway.change.answer(body, underway.form)?;
                underway.decided = Some((answer, index));
                self.on_change_known()
            }
            Current::Metadata(_) => self.on_created(id, answered),
            _ => Ok(()),
        }
    }

    /// Answers if the image has all of it.
    pub(super) fn on_change_known(&mut self) -> Result<(), ConnectionError> {
        match &self.current {
            Current::Change(underway) => match &underway.decided {
                Some((_, index)) if self.runtime.has_reached(*index) => self.finish_change(),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// Answers with what there is: the time is up, or the image has it.
    pub(super) fn finish_change(&mut self) -> Result<(), ConnectionError> {
        match std::mem::replace(&mut self.current, Current::Nothing) {
            Current::Change(underway) => {
                let answer = match underway.decided {
                    Some((answer, _)) => answer,
                    None => {
                        let form = underway.form;
                        underway.change.answer(Err(Unanswered::Sent), form)?
                    }
                };
                self.queue.set(underway.id, State::Answered(answer));
            }
            other => self.current = other,
        }
        Ok(())
    }
}

/// Reads what a controller has answered.
pub(super) fn read<R: Response>(body: Bytes, version: i16) -> Result<R, Unanswered> {
    let mut decoder = Decoder::new(body);
    let response = R::decode(&mut decoder, version).and_then(|response| {
        decoder.finish()?;
        Ok(response)
    });
    response.map_err(|_: DecodeError| Unanswered::Sent)
}
