//! Fetch: parts go to their brokers, answers back, within the bytes that were reserved for them.

use std::collections::VecDeque;
use std::time::Duration;

use keylane_protocol::api::ApiKey;
use keylane_protocol::link::lane::{Answer, Request};
use keylane_protocol::message::fetch::FetchRequest;
use keylane_protocol::transport::HeldBytes;

use super::answered::{body_of, read_answer};
use super::lanes::{Item, Offered, Said};
use super::queue::Form;
use super::{ConnectionError, Current, Session, now};
use crate::fetching::{FetchEffect, Fetching, PartId};
use crate::holding::Holding;
use crate::limits::{FETCH_BYTES_AT_BOUND, FETCH_BYTES_MAX, FETCH_WAIT_MAX, TIME_OUT};
use crate::mailbox::Asked;
use crate::plan::check_items;
use crate::plan::fetch::{FetchPart, VERSION};
use crate::routing::Moment;

/// The Fetches of a session, and what is reserved for their records.
#[derive(Debug)]
pub(super) struct Fetches {
    pub(super) fetching: Fetching,
    reserved: HeldBytes,
}

impl Fetches {
    pub(super) fn new(holding: Holding) -> Self {
        Self {
            fetching: Fetching::new(holding),
            reserved: HeldBytes::default(),
        }
    }

    /// Notes that the client has taken all answers.
    pub(super) fn on_written(&mut self) {
        if self.fetching.next_deadline().is_none() {
            self.reserved.keep(self.fetching.held_bytes());
        }
    }
}

impl Session {
    pub(super) fn begin_fetch(
        &mut self,
        request: &FetchRequest,
        form: Form,
    ) -> Result<(), ConnectionError> {
        let partitions = request.topics.iter().map(|topic| topic.partitions.len());
        check_items(request.topics.len() + partitions.sum::<usize>())?;
        let kept = self.fetches.fetching.held_bytes();
        let wanted = usize::try_from(request.max_bytes).unwrap_or(0);
        let wanted = wanted.min(FETCH_BYTES_MAX).saturating_sub(kept);
        let answers = &self.runtime.shared.answers;
        let bytes = match answers.hold(wanted, &mut self.fetches.reserved) {
            true => wanted,
            false => wanted.min(FETCH_BYTES_AT_BOUND),
        };
        self.current = Current::Fetch;
        let version = form.version;
        self.fetch(|fetching, moment, effects| {
            fetching.on_request((request, version), bytes, moment, effects);
        })
    }

    /// Takes a broker's answer to a part.
    pub(super) fn on_fetched(
        &mut self,
        id: PartId,
        answer: &Answer,
    ) -> Result<(), ConnectionError> {
        let answered = read_answer(answer, VERSION);
        self.fetch(|fetching, moment, effects| match answered {
            Ok(response) => fetching.on_answer(id, response, moment, effects),
            Err(error) => {
                tracing::warn!(%error, "a broker's answer to a Fetch could not be read");
                fetching.on_lost(id, moment.now, effects);
            }
        })
    }

    /// Lets something happen to the core, and does what it wants done.
    pub(super) fn fetch(
        &mut self,
        happen: impl FnOnce(&mut Fetching, Moment<'_>, &mut Vec<FetchEffect>),
    ) -> Result<(), ConnectionError> {
        let routing = self.routing();
        let moment = Moment {
            routing: &routing,
            now: now(),
        };
        let mut effects = Vec::new();
        happen(&mut self.fetches.fetching, moment, &mut effects);
        let mut effects = VecDeque::from(effects);
        let mut more = Vec::new();
        while let Some(effect) = effects.pop_front() {
            self.act_on_fetch(effect, moment, &mut more)?;
            effects.extend(more.drain(..));
        }
        Ok(())
    }

    fn act_on_fetch(
        &mut self,
        effect: FetchEffect,
        moment: Moment<'_>,
        more: &mut Vec<FetchEffect>,
    ) -> Result<(), ConnectionError> {
        let now = moment.now;
        match effect {
            FetchEffect::Ask(id, part) => {
                if self.ask_for_part(id, &part)? == Offered::Lost {
                    self.fetches.fetching.on_lost(id, now, more);
                }
            }
            FetchEffect::Finish(id) => {
                if self.lanes.finish(Asked::Fetch(id)) {
                    self.fetches.fetching.on_lost(id, now, more);
                }
            }
            FetchEffect::Cancel(id) => {
                self.lanes.cancel(Asked::Fetch(id));
            }
            FetchEffect::LookUp(missing) => {
                if self.runtime.look_up(&missing) {
                    let fetching = &mut self.fetches.fetching;
                    fetching.on_unknown(&[missing].into(), moment, more);
                }
            }
            FetchEffect::Answer(response) => {
                if let Current::Fetch = self.current
                    && let Some((id, _)) = self.queue.first()
                {
                    self.current = Current::Nothing;
                    let meters = &self.runtime.shared.meters;
                    let topics = response.responses.iter();
                    for partition in topics.flat_map(|topic| &topic.partitions) {
                        partition
                            .records
                            .iter()
                            .for_each(|records| meters.fetched.pass(records.slices()));
                    }
                    self.answer(id, &response)?;
                }
            }
        }
        Ok(())
    }

    fn ask_for_part(&mut self, id: PartId, part: &FetchPart) -> Result<Offered, ConnectionError> {
        let wait = u64::try_from(part.request.max_wait_ms).unwrap_or(0);
        let wait = Duration::from_millis(wait).min(FETCH_WAIT_MAX);
        let request = Request {
            api_key: ApiKey::Fetch.code(),
            api_version: VERSION,
            chunk: body_of(&part.request, VERSION)?.into(),
            ..Request::default()
        };
        let item = Item {
            asked: Asked::Fetch(id),
            said: Said::Request(request),
            // Beyond its wait it may take as long as any request.
            deadline: now() + wait + TIME_OUT,
        };
        Ok(self.lanes.offer(&self.runtime, part.broker, item))
    }
}
