//! ListOffsets and OffsetForLeaderEpoch: questions go to the leaders, answers back.

use std::collections::VecDeque;

use keylane_protocol::api::ApiKey;
use keylane_protocol::link::lane::{Answer, Request};
use keylane_protocol::message::list_offsets::ListOffsetsRequest;
use keylane_protocol::message::offset_for_leader_epoch::OffsetForLeaderEpochRequest;
use keylane_protocol::primitive::{DecodeError, EncodeError};

use super::answered::{body_of, read_answer};
use super::lanes::{Item, Offered, Said};
use super::queue::Form;
use super::{ConnectionError, Current, Session, now};
use crate::asking::{AskEffect, Asking};
use crate::limits::TIME_OUT;
use crate::mailbox::Asked;
use crate::merge::inquiry::Findings;
use crate::plan::check_items;
use crate::plan::inquiry::{Inquiry, InquiryPart};
use crate::producing::RequestId;
use crate::routing::Moment;
use crate::{merge, plan};

/// A request for offsets that is not answered.
#[derive(Debug)]
pub(super) struct Underway {
    pub(super) id: RequestId,
    /// What it came as.
    form: Form,
    pub(super) asking: Asking,
}

impl Session {
    pub(super) fn begin_list_offsets(
        &mut self,
        id: RequestId,
        request: &ListOffsetsRequest,
        form: Form,
    ) -> Result<(), ConnectionError> {
        let partitions = request.topics.iter().map(|topic| topic.partitions.len());
        check_items(request.topics.len() + partitions.sum::<usize>())?;
        let inquiry = plan::list_offsets::inquiry(request, form.version);
        self.begin_asking(id, &inquiry, form)
    }

    pub(super) fn begin_epoch_ends(
        &mut self,
        id: RequestId,
        request: &OffsetForLeaderEpochRequest,
        form: Form,
    ) -> Result<(), ConnectionError> {
        let partitions = request.topics.iter().map(|topic| topic.partitions.len());
        check_items(request.topics.len() + partitions.sum::<usize>())?;
        let inquiry = plan::offset_for_leader_epoch::inquiry(request);
        self.begin_asking(id, &inquiry, form)
    }

    fn begin_asking(
        &mut self,
        id: RequestId,
        inquiry: &Inquiry,
        form: Form,
    ) -> Result<(), ConnectionError> {
        let routing = self.routing();
        let moment = Moment {
            routing: &routing,
            now: now(),
        };
        let mut effects = Vec::new();
        let asking = Asking::begin(inquiry, self.holding(), moment, &mut effects);
        self.current = Current::Asking(Box::new(Underway { id, form, asking }));
        self.act_on_all(effects, moment)
    }

    /// Takes a leader's answer to a part.
    pub(super) fn on_asked(&mut self, part: u64, answer: &Answer) -> Result<(), ConnectionError> {
        let Current::Asking(underway) = &self.current else {
            return Ok(());
        };
        let answered = read_findings(underway.form.api, answer);
        self.ask(|asking, moment, effects| match answered {
            Ok(findings) => asking.on_answer(part, findings, moment, effects),
            Err(error) => {
                tracing::warn!(%error, "a broker's answer about offsets could not be read");
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
            let (id, form) = (underway.id, underway.form);
            let mut more = Vec::new();
            match effect {
                AskEffect::Ask(number, part) => {
                    let request = request_of(form.api, &part)?;
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
                AskEffect::Answer(findings) if form.api == ApiKey::ListOffsets => {
                    let response = merge::list_offsets::response(findings, form.version);
                    self.conclude(id, &response)?;
                }
                AskEffect::Answer(findings) => {
                    let response = merge::offset_for_leader_epoch::response(findings);
                    self.conclude(id, &response)?;
                }
            }
            effects.extend(more);
        }
        Ok(())
    }
}

/// Returns what a leader is asked.
fn request_of(api: ApiKey, part: &InquiryPart) -> Result<Request, EncodeError> {
    let (api_version, body) = if api == ApiKey::ListOffsets {
        let version = plan::list_offsets::VERSION;
        let request = plan::list_offsets::request(part);
        (version, body_of(&request, version)?)
    } else {
        let version = plan::offset_for_leader_epoch::VERSION;
        let request = plan::offset_for_leader_epoch::request(part);
        (version, body_of(&request, version)?)
    };
    Ok(Request {
        api_key: api.code(),
        api_version,
        chunk: body.into(),
        ..Request::default()
    })
}

/// Reads what a leader has answered.
fn read_findings(api: ApiKey, answer: &Answer) -> Result<Findings, DecodeError> {
    Ok(if api == ApiKey::ListOffsets {
        let response = read_answer(answer, plan::list_offsets::VERSION)?;
        merge::list_offsets::findings(response)
    } else {
        let response = read_answer(answer, plan::offset_for_leader_epoch::VERSION)?;
        merge::offset_for_leader_epoch::findings(response)
    })
}
