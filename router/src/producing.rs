//! The Produces of one client connection between plan and answer: what is held, sent, settled.
//!
//! ```text
//! request ─▶ Send what has a leader ─▶ outcomes ─────────────────────────▶ Answer, when every place is settled
//!         └▶ hold the rest ─▶ a leader: Send · the hold is over: refused ──┘
//! ```
//! A core: times come in, effects go out. Order is kept for each partition: what is held leaves before anything that
//! came after it. Nothing is sent twice, and nothing after its request has been answered: a client that has moved on
//! would find records behind those that it sent later. What was handed to a link counts as perhaps written until the
//! link gives it back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::link::Fate;
use keylane_protocol::link::append::Outcome;
use keylane_protocol::message::produce::{ProduceRequest, ProduceResponse};

use crate::deadline::Deadline;
use crate::holding::{Decision, HeldRequest, Holding};
use crate::lookups::Missing;
use crate::merge::produce::{ProduceMerge, first_fault};
use crate::plan::Place;
use crate::plan::produce::{HeldSubBatch, Refusal, SubBatch, plan};
use crate::routing::{Moment, Route};

/// A request of a connection, by its place among all of them; later ones have higher numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What the shell has to do, in this order.
#[derive(Debug)]
pub enum ProduceEffect {
    /// Hand a sub-batch to the link of its broker: [`Producing::on_taken`], then [`Producing::on_outcome`] or
    /// [`Producing::on_lost`], with the request and the sub-batch's place.
    Send(RequestId, SubBatch),
    /// Ask a controller whether a partition exists: then there is an image with it, or [`Producing::on_unknown`].
    LookUp(Missing),
    /// Cancel what the links still have of a request whose time is up, then say what they made of it:
    /// [`Producing::on_withdrawn`].
    Withdraw(RequestId),
    /// Answer the client.
    Answer(RequestId, ProduceResponse),
    /// The request is done, and the client wants no answer.
    Done(RequestId),
    /// Close the connection: the client wants no answer, so that is how it hears that records were not taken.
    Close {
        /// Why, for the log.
        reason: String,
    },
}

/// A request that is not answered.
#[derive(Debug)]
struct Underway {
    merge: ProduceMerge,
    held: Vec<HeldSubBatch>,
    deadline: Deadline,
    is_waited_for: bool,
    /// Whether its time is up, and the links are asked what has not left.
    is_withdrawn: bool,
}

/// The Produces of one client connection.
#[derive(Debug)]
pub struct Producing {
    holding: Holding,
    requests: BTreeMap<RequestId, Underway>,
}

const UNKNOWN: Refusal = Refusal::new(
    ErrorCode::UnknownTopicOrPartition,
    "there is no such topic or partition",
);

impl Producing {
    /// Returns a connection that has not produced yet.
    #[must_use]
    pub fn new(holding: Holding) -> Self {
        Self {
            holding,
            requests: BTreeMap::new(),
        }
    }

    /// Begins a request.
    ///
    /// # Panics
    /// When there is one of this id.
    pub fn on_request(
        &mut self,
        id: RequestId,
        (request, version): (ProduceRequest, i16),
        moment: Moment<'_>,
        effects: &mut Vec<ProduceEffect>,
    ) {
        // What is held must not be overtaken, should it have a leader by now.
        self.on_waited_for(moment, effects);
        let deadline = Deadline::own(moment.now, request.timeout_ms);
        let plan = plan(request, version, moment.routing);
        let mut underway = Underway {
            merge: plan.merge,
            held: Vec::new(),
            deadline,
            is_waited_for: false,
            is_withdrawn: false,
        };
        for sub_batch in plan.sub_batches {
            underway.send(id, sub_batch, effects);
        }
        for held in plan.held {
            if held.route(moment.routing) == Route::Unknown {
                let missing = (held.topic.clone(), held.partition);
                effects.push(ProduceEffect::LookUp(missing));
            }
            underway.held.push(held);
        }
        let before = self.requests.insert(id, underway);
        assert!(before.is_none(), "every request has its own id");
        self.refuse_overdue(moment);
        self.settle(effects);
    }

    /// Takes the next routing: what is held may have a leader.
    pub fn on_routing(&mut self, moment: Moment<'_>, effects: &mut Vec<ProduceEffect>) {
        for (id, underway) in &mut self.requests {
            for held in std::mem::take(&mut underway.held) {
                match held.released(moment.routing) {
                    Ok(sub_batch) => underway.send(*id, sub_batch, effects),
                    Err(held) => underway.held.push(held),
                }
            }
        }
        self.refuse_overdue(moment);
        self.settle(effects);
    }

    /// Notes that a request waits behind all that are here.
    pub fn on_waited_for(&mut self, moment: Moment<'_>, effects: &mut Vec<ProduceEffect>) {
        for underway in self.requests.values_mut() {
            underway.is_waited_for = true;
        }
        if self
            .requests
            .values()
            .any(|underway| !underway.held.is_empty())
        {
            self.on_routing(moment, effects);
        }
    }

    /// Notes that a link has taken a sub-batch. Where no acknowledgement is wanted that is all there is to know: the link
    /// sends it even when the client has gone.
    pub fn on_taken(&mut self, id: RequestId, place: Place, effects: &mut Vec<ProduceEffect>) {
        self.at(id, effects, |merge| merge.on_taken(place));
    }

    /// Takes what a leader says of a sub-batch.
    pub fn on_outcome(
        &mut self,
        (id, place): (RequestId, Place),
        outcome: Outcome,
        effects: &mut Vec<ProduceEffect>,
    ) {
        self.at(id, effects, |merge| merge.on_outcome(place, outcome));
    }

    /// Notes that there will be no word on a sub-batch: its link has gone, or has closed the lane.
    pub fn on_lost(
        &mut self,
        (id, place): (RequestId, Place),
        fate: Fate,
        effects: &mut Vec<ProduceEffect>,
    ) {
        self.at(id, effects, |merge| merge.on_lost(place, fate));
    }

    /// Notes that partitions do not exist: a controller has said so.
    pub fn on_unknown(&mut self, unknown: &BTreeSet<Missing>, effects: &mut Vec<ProduceEffect>) {
        for underway in self.requests.values_mut() {
            let merge = &mut underway.merge;
            underway.held.retain(|held| {
                let is_unknown = unknown.contains(&(held.topic.clone(), held.partition));
                if is_unknown {
                    merge.on_refused(held.place, UNKNOWN);
                }
                !is_unknown
            });
        }
        self.settle(effects);
    }

    /// Notes that the client has gone. Nothing of it is sent any more, except what it wanted no word of.
    pub fn on_closed(&mut self) {
        self.requests
            .retain(|_, underway| !underway.merge.wants_answer());
    }

    /// Tells whether nothing is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.requests.is_empty()
    }

    /// Returns when [`on_deadline`](Self::on_deadline) is to be called.
    #[must_use]
    pub fn next_deadline(&self, moment: Moment<'_>) -> Option<Instant> {
        let requests = self.requests.values();
        let waiting = requests.filter(|underway| !underway.is_withdrawn);
        waiting
            .map(|underway| {
                let held = underway.held.iter();
                let decisions = held.map(|held| self.decide(underway, held, moment));
                let ends = decisions.map(|decision| match decision {
                    Decision::HoldUntil(until) => until,
                    Decision::Send | Decision::Refuse => moment.now,
                });
                ends.fold(underway.deadline.at, Instant::min)
            })
            .min()
    }

    /// Notes that the time is up for something. Calling it too early does nothing.
    pub fn on_deadline(&mut self, moment: Moment<'_>, effects: &mut Vec<ProduceEffect>) {
        self.refuse_overdue(moment);
        self.settle(effects);
        for (id, underway) in &mut self.requests {
            if underway.deadline.is_over(moment.now) && !underway.is_withdrawn {
                underway.is_withdrawn = true;
                effects.push(ProduceEffect::Withdraw(*id));
            }
        }
    }

    /// Takes what the links say of a request whose time is up, and answers it: only of what never left can be said that
    /// it was not written.
    pub fn on_withdrawn(
        &mut self,
        id: RequestId,
        fates: &[(Place, Fate)],
        effects: &mut Vec<ProduceEffect>,
    ) {
        if let Some(mut underway) = self.requests.remove(&id) {
            for (place, fate) in fates {
                underway.merge.on_lost(*place, *fate);
            }
            conclude(id, underway.merge, effects);
        }
    }

    fn decide(&self, underway: &Underway, held: &HeldSubBatch, moment: Moment<'_>) -> Decision {
        let request = HeldRequest::new(&underway.deadline, underway.is_waited_for);
        let route = held.route(moment.routing);
        self.holding.decide_route(request, route, moment.now)
    }

    /// Refuses what is not to be held any longer, and with it what came after it for the same partition: the client
    /// tries it again, and it would come behind.
    fn refuse_overdue(&mut self, moment: Moment<'_>) {
        let mut refused = BTreeSet::new();
        let mut overdue: Vec<(RequestId, BTreeMap<Place, Route>)> = Vec::new();
        for (id, underway) in &self.requests {
            let mut places = BTreeMap::new();
            for held in &underway.held {
                let key = (&held.topic, held.partition);
                let is_overdue = self.decide(underway, held, moment) == Decision::Refuse;
                if is_overdue || refused.contains(&key) {
                    refused.insert(key);
                    places.insert(held.place, held.route(moment.routing));
                }
            }
            overdue.push((*id, places));
        }
        for (id, places) in overdue.into_iter().filter(|(_, places)| !places.is_empty()) {
            let Some(underway) = self.requests.get_mut(&id) else {
                continue;
            };
            underway
                .held
                .retain(|held| !places.contains_key(&held.place));
            for (place, route) in places {
                match route {
                    Route::Unknown => underway.merge.on_refused(place, UNKNOWN),
                    Route::Lost { .. } | Route::Leader { .. } => {
                        underway.merge.on_lost(place, Fate::NeverSent)
                    }
                }
            }
        }
    }

    fn at(
        &mut self,
        id: RequestId,
        effects: &mut Vec<ProduceEffect>,
        change: impl FnOnce(&mut ProduceMerge),
    ) {
        let Some(underway) = self.requests.get_mut(&id) else {
            return;
        };
        change(&mut underway.merge);
        if underway.merge.is_complete()
            && let Some(underway) = self.requests.remove(&id)
        {
            conclude(id, underway.merge, effects);
        }
    }

    /// Answers every request whose places are all settled.
    fn settle(&mut self, effects: &mut Vec<ProduceEffect>) {
        let complete = self.requests.iter();
        let complete = complete.filter(|(_, underway)| underway.merge.is_complete());
        let complete: Vec<RequestId> = complete.map(|(id, _)| *id).collect();
        for id in complete {
            if let Some(underway) = self.requests.remove(&id) {
                conclude(id, underway.merge, effects);
            }
        }
    }
}

impl Underway {
    fn send(&mut self, id: RequestId, sub_batch: SubBatch, effects: &mut Vec<ProduceEffect>) {
        self.merge.on_sent(sub_batch.place);
        effects.push(ProduceEffect::Send(id, sub_batch));
    }
}

fn conclude(id: RequestId, merge: ProduceMerge, effects: &mut Vec<ProduceEffect>) {
    let wants_answer = merge.wants_answer();
    let response = merge.finish();
    effects.push(if wants_answer {
        ProduceEffect::Answer(id, response)
    } else {
        match first_fault(&response) {
            Some(reason) => ProduceEffect::Close { reason },
            None => ProduceEffect::Done(id),
        }
    });
}

#[cfg(test)]
mod tests;
