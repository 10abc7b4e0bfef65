//! What brokers answer, taken to who asked, and what leaves as an answer to the client.

use bytes::Bytes;
use keylane_protocol::frame::response_frame;
use keylane_protocol::link::Fate;
use keylane_protocol::link::lane::Answer;
use keylane_protocol::message::{Message, Response};
use keylane_protocol::primitive::{DecodeError, Decoder, EncodeError, Encoder};

use tracing::debug;

use super::lanes::Offered;
use super::queue::State;
use super::{ConnectionError, Current, Session};
use crate::mailbox::Asked;
use crate::producing::RequestId;

impl Session {
    /// Answers a request.
    pub(super) fn answer<R: Response>(
        &mut self,
        id: RequestId,
        response: &R,
    ) -> Result<(), ConnectionError> {
        if let Some(form) = self.queue.form(id) {
            let segments = response_frame(response, form.version, form.correlation_id)?;
            self.queue.set(id, State::Answered(segments));
        }
        Ok(())
    }

    /// Answers the request that is the first, and is done with it.
    pub(super) fn conclude<R: Response>(
        &mut self,
        id: RequestId,
        response: &R,
    ) -> Result<(), ConnectionError> {
        self.current = Current::Nothing;
        self.lanes.cancel_all(id);
        self.answer(id, response)
    }

    /// Takes a broker's answer.
    pub(super) fn on_answer(
        &mut self,
        asked: Asked,
        answer: &Answer,
    ) -> Result<(), ConnectionError> {
        if !answer.error_code.is_none() {
            let words = answer.words.as_deref().unwrap_or_default();
            debug!(connection = self.id, error = %answer.error_code.name(), words, "a broker has refused a request");
            return self.on_lost(asked, Fate::NeverSent);
        }
        match (asked, &self.current) {
            (Asked::Fetch(part), _) => self.on_fetched(part, answer),
            (Asked::Part(id, part), Current::Asking(underway)) if underway.id == id => {
                self.on_asked(part, answer)
            }
            (Asked::Part(id, part), Current::Configs(underway)) if underway.id == id => {
                self.on_configs(part, Some(answer))
            }
            (Asked::Part(id, _), Current::ProducerId(underway)) if underway.id == id => {
                self.on_producer_id(Some(answer))
            }
            _ => Ok(()),
        }
    }

    /// Notes that there is no answer.
    pub(super) fn on_lost(&mut self, asked: Asked, fate: Fate) -> Result<(), ConnectionError> {
        match (asked, &self.current) {
            (Asked::Append(id, place), _) => self.produce(|producing, _, effects| {
                producing.on_lost((id, place), fate, effects);
            }),
            (Asked::Fetch(part), _) => self.fetch(|fetching, moment, effects| {
                fetching.on_lost(part, moment.now, effects);
            }),
            (Asked::Part(id, part), Current::Asking(underway)) if underway.id == id => {
                self.ask(|asking, moment, effects| asking.on_lost(part, moment, effects))
            }
            (Asked::Part(id, part), Current::Configs(underway)) if underway.id == id => {
                self.on_configs(part, None)
            }
            (Asked::Part(id, _), Current::ProducerId(underway)) if underway.id == id => {
                self.on_producer_id(None)
            }
            _ => Ok(()),
        }
    }

    /// Takes what became of something that was offered to a link.
    pub(super) fn on_offered(
        &mut self,
        asked: Asked,
        offered: Offered,
    ) -> Result<(), ConnectionError> {
        match (asked, offered) {
            (_, Offered::Queued) => Ok(()),
            (Asked::Append(id, place), Offered::Taken) => {
                self.produce(|producing, _, effects| producing.on_taken(id, place, effects))
            }
            (_, Offered::Taken) => Ok(()),
            (asked, Offered::Lost) => self.on_lost(asked, Fate::NeverSent),
        }
    }
}

/// Returns a message's body as bytes.
pub(super) fn body_of<M: Message>(message: &M, version: i16) -> Result<Bytes, EncodeError> {
    let mut encoder = Encoder::new();
    message.encode(version, &mut encoder)?;
    let mut segments = encoder.into_segments();
    Ok(match segments.len() {
        0 => Bytes::new(),
        1 => segments.remove(0),
        _ => segments.concat().into(),
    })
}

/// Reads the body of a broker's answer.
pub(super) fn read_answer<R: Response>(answer: &Answer, version: i16) -> Result<R, DecodeError> {
    let mut decoder = Decoder::over(&answer.chunk);
    let response = R::decode(&mut decoder, version)?;
    decoder.finish()?;
    Ok(response)
}
