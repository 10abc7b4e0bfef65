//! ListOffsets: questions go to the leaders, answers back.

use std::collections::VecDeque;

use keylane_protocol::api::ApiKey;
use keylane_protocol::link::lane::{Answer, Request};
use keylane_protocol::message::list_offsets::ListOffsetsRequest;

use super::answered::{body_of, read_answer};
use super::lanes::{Item, Offered, Said};
use super::queue::Form;
use super::{ConnectionError, Current, Session, now};
use crate::asking::{AskEffect, Asking};
use crate::limits::TIME_OUT;
use crate::mailbox::Asked;
use crate::plan::check_items;
use crate::plan::list_offsets::VERSION;
use crate::producing::RequestId;
use crate::routing::Moment;

/// A ListOffsets that is not answered.
#[derive(Debug)]
pub(super) struct Underway {
    pub(super) id: RequestId,
    pub(super) asking: Asking,
}

impl Session {
    pub(super) fn begin_asking(
        &mut self,
        id: RequestId,
        request: &ListOffsetsRequest,
        form: Form,
    ) -> Result<(), ConnectionError> {
        let partitions = request.topics.iter().map(|topic| topic.partitions.len());
        check_items(request.topics.len() + partitions.sum::<usize>())?;
        let routing = self.routing();
        let moment = Moment {
            routing: &routing,
            now: now(),
        };
        let mut effects = Vec::new();
        let asked = (request, form.version);
        let asking = Asking::begin(asked, self.holding(), moment, &mut effects);
        self.current = Current::Asking(Box::new(Underway { id, asking }));
        self.act_on_all(effects, moment)
    }

    /// Takes a leader's answer to a part.
    pub(super) fn on_asked(&mut self, part: u64, answer: &Answer) -> Result<(), ConnectionError> {
        let answered = read_answer(answer, VERSION);
        self.ask(|asking, moment, effects| match answered {
            Ok(response) => asking.on_answer(part, response, moment, effects),
            Err(error) => {
                tracing::warn!(%error, "a broker's answer to a ListOffsets could not be read");
                asking.on_lost(part, moment, effects);
            }
        })
    }

    /// Lets something happen to the core, and does what it wants done.
    pub(super) fn ask(
        &mut self,
        happen: impl FnOnce(&mut Asking, Moment<'_>, &mut Vec<AskEffect>),
    ) -> Result<(), ConnectionError> {
        let Current::Asking(underway) = &mut self.current else {
            return Ok(());
        };
        let routing = self.runtime.routing.borrow().clone();
        let moment = Moment {
            routing: &routing,
            now: now(),
        };
        let mut effects = Vec::new();
        happen(&mut underway.asking, moment, &mut effects);
        self.act_on_all(effects, moment)
    }

    fn act_on_all(
        &mut self,
        effects: Vec<AskEffect>,
        moment: Moment<'_>,
    ) -> Result<(), ConnectionError> {
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            let Current::Asking(underway) = &mut self.current else {
                return Ok(());
            };
            let id = underway.id;
            let mut more = Vec::new();
            match effect {
                AskEffect::Ask(number, part) => {
                    let request = Request {
                        api_key: ApiKey::ListOffsets.code(),
                        api_version: VERSION,
                        chunk: body_of(&part.request, VERSION)?.into(),
                        ..Request::default()
                    };
                    let item = Item {
                        asked: Asked::Part(id, number),
                        said: Said::Request(request),
                        deadline: moment.now + TIME_OUT,
                    };
                    let offered = self.lanes.offer(&self.runtime, part.broker, item);
                    if offered == Offered::Lost {
                        // The next routing says where to ask.
                        underway.asking.on_lost(number, moment, &mut more);
                    }
                }
                AskEffect::LookUp(missing) => {
                    if self.runtime.look_up(&missing) {
                        let unknown = [missing].into();
                        underway.asking.on_unknown(&unknown, moment, &mut more);
                    }
                }
                AskEffect::Answer(response) => self.conclude(id, &response)?,
            }
            effects.extend(more);
        }
        Ok(())
    }
}
