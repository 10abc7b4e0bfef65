//! One ListOffsets or OffsetForLeaderEpoch on its way: what is asked, held, answered.
//!
//! A core: times come in, effects go out. Nothing is changed by asking, so a question whose link has gone is asked again
//! where its leader is then.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use keylane_protocol::error_code::ErrorCode;

use crate::deadline::Deadline;
use crate::holding::{Decision, HeldRequest, Holding};
use crate::lookups::Missing;
use crate::merge::inquiry::{Findings, InquiryMerge};
use crate::plan::inquiry::{Inquiry, InquiryPart, Question, plan, release};
use crate::routing::{Moment, Route};

/// What the shell has to do.
#[derive(Debug)]
pub enum AskEffect {
    /// Send a part to its broker; the number comes back with its answer.
    Ask(u64, InquiryPart),
    /// Ask a controller whether a partition exists: then there is an image with it, or [`Asking::on_unknown`].
    LookUp(Missing),
    /// Answer the client; nothing that is still asked matters any more.
    Answer(Findings),
}

/// A request that is not answered.
#[derive(Debug)]
pub struct Asking {
    holding: Holding,
    deadline: Deadline,
    /// `None` once the client is answered.
    merge: Option<InquiryMerge>,
    held: Vec<Question>,
    asked: BTreeMap<u64, InquiryPart>,
    parts: u64,
    is_waited_for: bool,
}

impl Asking {
    /// Begins a request.
    #[must_use]
    pub fn begin(
        inquiry: &Inquiry,
        holding: Holding,
        moment: Moment<'_>,
        effects: &mut Vec<AskEffect>,
    ) -> Self {
        let plan = plan(inquiry, moment.routing);
        let unknown = plan.held.iter();
        let unknown = unknown.filter(|held| held.route(moment.routing) == Route::Unknown);
        effects.extend(unknown.map(|held| AskEffect::LookUp(held.missing())));
        let mut asking = Self {
            holding,
            deadline: Deadline::standard(moment.now),
            merge: Some(plan.merge),
            held: plan.held,
            asked: BTreeMap::new(),
            parts: 0,
            is_waited_for: false,
        };
        for part in plan.parts {
            asking.ask(part, effects);
        }
        asking.settle(moment, effects);
        asking
    }

    /// Takes the next routing: what is held may have a leader.
    pub fn on_routing(&mut self, moment: Moment<'_>, effects: &mut Vec<AskEffect>) {
        let held = std::mem::take(&mut self.held);
        let (parts, held) = release(held, moment.routing);
        self.held = held;
        for part in parts {
            self.ask(part, effects);
        }
        self.settle(moment, effects);
    }

    /// Takes a leader's answer to a part; one to a part that is not known is ignored.
    pub fn on_answer(
        &mut self,
        part: u64,
        findings: Findings,
        moment: Moment<'_>,
        effects: &mut Vec<AskEffect>,
    ) {
        if let (Some(part), Some(merge)) = (self.asked.remove(&part), &mut self.merge) {
            merge.on_answer(&part, findings);
        }
        self.settle(moment, effects);
    }

    /// Notes that a part will not be answered: its link has gone. Its questions wait for the next routing.
    pub fn on_lost(&mut self, part: u64, moment: Moment<'_>, effects: &mut Vec<AskEffect>) {
        if let Some(part) = self.asked.remove(&part) {
            let questions = part.posed.into_iter().map(|posed| posed.question);
            self.held.extend(questions);
        }
        self.settle(moment, effects);
    }

    /// Notes that partitions do not exist: a controller has said so.
    pub fn on_unknown(
        &mut self,
        unknown: &BTreeSet<Missing>,
        moment: Moment<'_>,
        effects: &mut Vec<AskEffect>,
    ) {
        if let Some(merge) = &mut self.merge {
            self.held.retain(|held| {
                let is_unknown = unknown.contains(&held.missing());
                if is_unknown {
                    merge.on_refused(held.place, ErrorCode::UnknownTopicOrPartition);
                }
                !is_unknown
            });
        }
        self.settle(moment, effects);
    }

    /// Notes that a request waits behind this one on its connection.
    pub fn on_waited_for(&mut self, moment: Moment<'_>, effects: &mut Vec<AskEffect>) {
        self.is_waited_for = true;
        self.settle(moment, effects);
    }

    /// Returns when [`on_deadline`](Self::on_deadline) is to be called.
    #[must_use]
    pub fn next_deadline(&self, moment: Moment<'_>) -> Option<Instant> {
        self.merge.as_ref()?;
        let decisions = self.held.iter().map(|held| self.decide(held, moment));
        let ends = decisions.filter_map(|decision| match decision {
            Decision::HoldUntil(until) => Some(until),
            Decision::Refuse => Some(moment.now),
            Decision::Send => None,
        });
        Some(ends.fold(self.deadline.at, Instant::min))
    }

    /// Notes that the time is up for something. Calling it too early does nothing.
    pub fn on_deadline(&mut self, moment: Moment<'_>, effects: &mut Vec<AskEffect>) {
        self.settle(moment, effects);
    }

    fn decide(&self, held: &Question, moment: Moment<'_>) -> Decision {
        let request = HeldRequest::new(&self.deadline, self.is_waited_for);
        let route = held.route(moment.routing);
        self.holding.decide_route(request, route, moment.now)
    }

    fn ask(&mut self, part: InquiryPart, effects: &mut Vec<AskEffect>) {
        let number = self.parts;
        self.parts += 1;
        self.asked.insert(number, part.clone());
        effects.push(AskEffect::Ask(number, part));
    }

    /// Refuses what is not to be held any longer, and answers if that was all or the time is up.
    fn settle(&mut self, moment: Moment<'_>, effects: &mut Vec<AskEffect>) {
        let is_over = self.deadline.is_over(moment.now);
        let held = std::mem::take(&mut self.held);
        let (overdue, held): (Vec<_>, Vec<_>) = held
            .into_iter()
            .partition(|held| is_over || self.decide(held, moment) == Decision::Refuse);
        self.held = held;
        let Some(merge) = &mut self.merge else {
            return;
        };
        for held in overdue {
            let code = match held.route(moment.routing) {
                Route::Unknown => ErrorCode::UnknownTopicOrPartition,
                Route::Lost { .. } | Route::Leader { .. } => ErrorCode::NotLeaderOrFollower,
            };
            merge.on_refused(held.place, code);
        }
        if is_over || merge.is_complete() {
            let merge = self.merge.take();
            effects.extend(merge.map(|merge| AskEffect::Answer(merge.finish())));
        }
    }
}

#[cfg(test)]
mod tests;
