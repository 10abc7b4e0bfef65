//! The Produces of one client connection between plan and answer: what is held, sent, settled. Those that name their
//! partitions and those that were split here go the same way.
//!
//! ```text
//! request ─▶ Send what has a leader ─▶ outcomes ─────────────────────────▶ Answer, when every place is settled
//!         └▶ hold the rest ─▶ a leader: Send · the hold is over: refused ──┘
//! ```
//! Order is kept for each partition: what is held leaves before anything that came after it. Nothing is sent twice, and
//! nothing after its request has been answered: a client that has moved on would find records behind those that it sent
//! later. What was handed to a link counts as perhaps written until the link gives it back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::{PartitionIndex, ProducerId};
use keylane_protocol::link::Fate;
use keylane_protocol::link::append::Outcome;
use keylane_protocol::message::produce::ProduceRequest;
use keylane_protocol::message::routed_produce::RoutedProduceRequest;
use keylane_protocol::rising::{RisingMap, RisingSet};

use crate::deadline::Deadline;
use crate::holding::{Decision, HeldRequest, Holding};
use crate::lookups::Missing;
use crate::merge::produce::{ProduceAnswer, ProduceMerge, first_fault, refused_whole};
use crate::plan::Place;
use crate::plan::produce::{HeldSubBatch, Refusal, SubBatch, plan};
use crate::plan::routed_produce::{self, Checked, Unchecked};
use crate::routed::sessions::Sessions;
use crate::routing::{Moment, Route, Routing, TopicKey};

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
    Answer(RequestId, ProduceAnswer),
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
    /// Until a routed batch has passed the checks of the whole, nothing of it is sent.
    unchecked: Option<Unchecked>,
    deadline: Deadline,
}

/// The Produces of one client connection.
#[derive(Debug)]
pub struct Producing {
    holding: Holding,
    sessions: Sessions,
    requests: RisingMap<RequestId, Underway>,
    /// Those that hold something.
    held: BTreeSet<RequestId>,
    /// When no hold ends before; `None` if nothing is held.
    holds_end: Option<Instant>,
    /// The last request that was begun.
    last: Option<RequestId>,
    /// The last request that another waits behind.
    waited_for: Option<RequestId>,
    /// Those that were not withdrawn when their time was up.
    deadlines: RisingSet<(Instant, RequestId)>,
    /// By which nothing held can be sent.
    routing: Option<Routing>,
}

impl Producing {
    /// Returns a connection that has not produced yet.
    #[must_use]
    pub fn new(holding: Holding) -> Self {
        Self {
            holding,
            sessions: Sessions::default(),
            requests: RisingMap::default(),
            held: BTreeSet::new(),
            holds_end: None,
            last: None,
            waited_for: None,
            deadlines: RisingSet::default(),
            routing: None,
        }
    }

    /// Begins a request that names its partitions.
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
            held: plan.held,
            unchecked: None,
            deadline,
        };
        for sub_batch in plan.sub_batches {
            underway.send(id, sub_batch, effects);
        }
        self.begin(id, underway, moment, effects);
    }

    /// Begins a request whose batch is split here.
    ///
    /// # Panics
    /// When there is one of this id.
    pub fn on_routed_request(
        &mut self,
        id: RequestId,
        request: RoutedProduceRequest,
        moment: Moment<'_>,
        effects: &mut Vec<ProduceEffect>,
    ) {
        self.on_waited_for(moment, effects);
        let deadline = Deadline::own(moment.now, request.timeout_ms);
        let topic_id = request.topic_id;
        let plan = match routed_produce::plan(request, &mut self.sessions) {
            Ok(plan) => plan,
            Err(refusal) => {
                let topic = moment.routing.image().topic(topic_id);
                let count = topic.map_or(-1, |topic| topic.partition_count());
                let answer = ProduceAnswer::Routed(refused_whole(refusal, count));
                effects.push(ProduceEffect::Answer(id, answer));
                return;
            }
        };
        let mut underway = Underway {
            merge: plan.merge,
            held: plan.held,
            unchecked: Some(plan.unchecked),
            deadline,
        };
        underway.release(id, moment.routing, effects);
        self.begin(id, underway, moment, effects);
    }

    /// Takes a request of which everything that has a leader is sent.
    fn begin(
        &mut self,
        id: RequestId,
        underway: Underway,
        moment: Moment<'_>,
        effects: &mut Vec<ProduceEffect>,
    ) {
        underway.look_up(moment.routing, effects);
        let (is_held, at) = (!underway.held.is_empty(), underway.deadline.at);
        let before = self.requests.insert(id, underway);
        self.last = self.last.max(Some(id));
        assert!(before.is_none(), "every request has its own id");
        self.deadlines.insert((at, id), ());
        if is_held {
            self.held.insert(id);
            self.routing = Some(moment.routing.clone());
            self.refuse_overdue(id, moment, effects);
        }
        self.settle(id, effects);
    }

    /// Takes the next routing: what is held may have a leader.
    pub fn on_routing(&mut self, moment: Moment<'_>, effects: &mut Vec<ProduceEffect>) {
        let held: Vec<RequestId> = self.held.iter().copied().collect();
        for id in held {
            if let Some(underway) = self.requests.get_mut(id) {
                underway.release(id, moment.routing, effects);
            }
            self.settle(id, effects);
        }
        self.routing = Some(moment.routing.clone());
        self.refuse_overdue(RequestId(0), moment, effects);
    }

    /// Notes that a request waits behind all that are here.
    pub fn on_waited_for(&mut self, moment: Moment<'_>, effects: &mut Vec<ProduceEffect>) {
        let before = self.waited_for;
        self.waited_for = self.last.max(before);
        if self.held.is_empty() {
            return;
        }
        if self.is_routing_new(moment) {
            self.on_routing(moment, effects);
        } else if self.waited_for > before {
            // Holds of those before are not any shorter.
            let first = before.map_or(0, |before| before.0 + 1);
            self.refuse_overdue(RequestId(first), moment, effects);
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
    pub fn on_unknown(
        &mut self,
        unknown: &BTreeSet<Missing>,
        moment: Moment<'_>,
        effects: &mut Vec<ProduceEffect>,
    ) {
        let held: Vec<RequestId> = self.held.iter().copied().collect();
        for id in held {
            let Some(underway) = self.requests.get_mut(id) else {
                continue;
            };
            match underway.unchecked {
                Some(unchecked) if unknown.contains(&unchecked.missing()) => {
                    underway.refuse_whole(unchecked.refused_as_unknown(moment.routing));
                    self.sessions.end_this(unchecked.key, unchecked.session);
                }
                Some(_) => {}
                None => underway.refuse_unknown(unknown),
            }
            self.settle(id, effects);
        }
    }

    /// Notes that the client has gone. Nothing of it is sent any more, except what it wanted no word of.
    pub fn on_closed(&mut self) {
        self.requests
            .retain(|_, underway| !underway.merge.wants_answer());
        let requests = &self.requests;
        self.held.retain(|id| requests.get(*id).is_some());
        self.deadlines
            .retain(|(_, id), ()| requests.get(id).is_some());
    }

    /// Tells whether nothing is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.requests.is_empty()
    }

    /// Returns the sessions of routed producers.
    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Returns when a request must have been answered, if it is under way.
    #[must_use]
    pub fn deadline(&self, id: RequestId) -> Option<Instant> {
        self.requests.get(id).map(|underway| underway.deadline.at)
    }

    /// Returns when [`on_deadline`](Self::on_deadline) is to be called.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let deadline = self.deadlines.first().map(|((at, _), ())| at);
        deadline.into_iter().chain(self.holds_end).min()
    }

    /// Notes that the time is up for something. Calling it too early does nothing.
    pub fn on_deadline(&mut self, moment: Moment<'_>, effects: &mut Vec<ProduceEffect>) {
        if self.holds_end.is_some_and(|end| end <= moment.now) {
            match self.is_routing_new(moment) {
                true => self.on_routing(moment, effects),
                false => self.refuse_overdue(RequestId(0), moment, effects),
            }
        }
        while let Some(((at, id), ())) = self.deadlines.first() {
            if at > moment.now {
                return;
            }
            self.deadlines.remove((at, id));
            effects.push(ProduceEffect::Withdraw(id));
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
        if let Some(mut underway) = self.remove(id) {
            for (place, fate) in fates {
                underway.merge.on_lost(*place, *fate);
            }
            conclude(id, underway.merge, effects);
        }
    }

    fn is_routing_new(&self, moment: Moment<'_>) -> bool {
        let known = self.routing.as_ref();
        !known.is_some_and(|known| known.is_same(moment.routing))
    }

    fn decide(
        &self,
        id: RequestId,
        underway: &Underway,
        held: &HeldSubBatch,
        moment: Moment<'_>,
    ) -> (Decision, Route) {
        let is_waited_for = self.waited_for >= Some(id);
        let request = HeldRequest::new(&underway.deadline, is_waited_for);
        let route = match underway.unchecked {
            // Where its parts belong does not matter before that.
            Some(_) => Route::Unknown,
            None => held.route(moment.routing),
        };
        let decision = self.holding.decide_route(request, route, moment.now);
        (decision, route)
    }

    /// Refuses what is not to be held any longer, of this request and later ones, and with it what came after it for the
    /// same partition: the client tries it again, and it would come behind. Routed producers have an order each.
    fn refuse_overdue(
        &mut self,
        first: RequestId,
        moment: Moment<'_>,
        effects: &mut Vec<ProduceEffect>,
    ) {
        let mut refused: BTreeSet<(TopicKey, PartitionIndex, Option<ProducerId>)> = BTreeSet::new();
        let mut overdue: Vec<(RequestId, BTreeMap<Place, Route>)> = Vec::new();
        let mut holds_end = match first {
            RequestId(0) => None,
            _ => self.holds_end,
        };
        for id in self.held.range(first..) {
            let Some(underway) = self.requests.get(*id) else {
                continue;
            };
            let mut places = BTreeMap::new();
            for held in &underway.held {
                let (decision, route) = self.decide(*id, underway, held, moment);
                let is_overdue = decision == Decision::Refuse;
                if is_overdue || !refused.is_empty() && refused.contains(&key_of(held)) {
                    refused.insert(key_of(held));
                    places.insert(held.place, route);
                    continue;
                }
                let end = match decision {
                    Decision::HoldUntil(until) => until,
                    Decision::Send | Decision::Refuse => moment.now,
                };
                holds_end = Some(holds_end.map_or(end, |before| before.min(end)));
            }
            if !places.is_empty() {
                overdue.push((*id, places));
            }
        }
        self.holds_end = holds_end;
        for (id, places) in overdue {
            self.refuse(id, &places, moment.routing);
            self.settle(id, effects);
        }
    }

    fn refuse(&mut self, id: RequestId, places: &BTreeMap<Place, Route>, routing: &Routing) {
        let Some(underway) = self.requests.get_mut(id) else {
            return;
        };
        if let Some(unchecked) = underway.unchecked
            && routing.image().topic(unchecked.key.topic_id).is_none()
        {
            underway.refuse_whole(unchecked.refused_as_unknown(routing));
            self.sessions.end_this(unchecked.key, unchecked.session);
            return;
        }
        let Underway { merge, held, .. } = underway;
        let is_unchecked = underway.unchecked.is_some();
        held.retain(|held| match places.get(&held.place) {
            None => true,
            Some(Route::Unknown) if !is_unchecked => {
                merge.on_refused(held.place, unknown_refusal(&held.topic));
                false
            }
            Some(_) => {
                merge.on_lost(held.place, Fate::NeverSent);
                false
            }
        });
    }

    fn at(
        &mut self,
        id: RequestId,
        effects: &mut Vec<ProduceEffect>,
        change: impl FnOnce(&mut ProduceMerge),
    ) {
        if let Some(underway) = self.requests.get_mut(id) {
            change(&mut underway.merge);
            if underway.merge.is_complete() {
                self.settle(id, effects);
            }
        }
    }

    /// Answers a request if all its places are settled.
    fn settle(&mut self, id: RequestId, effects: &mut Vec<ProduceEffect>) {
        let Some(underway) = self.requests.get(id) else {
            return;
        };
        if underway.merge.is_complete() {
            if let Some(underway) = self.remove(id) {
                conclude(id, underway.merge, effects);
            }
        } else if underway.held.is_empty() {
            self.on_nothing_held(id);
        }
    }

    fn remove(&mut self, id: RequestId) -> Option<Underway> {
        let underway = self.requests.remove(id)?;
        self.deadlines.remove((underway.deadline.at, id));
        self.on_nothing_held(id);
        Some(underway)
    }

    fn on_nothing_held(&mut self, id: RequestId) {
        self.held.remove(&id);
        if self.held.is_empty() {
            self.holds_end = None;
        }
    }
}

impl Underway {
    fn send(&mut self, id: RequestId, sub_batch: SubBatch, effects: &mut Vec<ProduceEffect>) {
        self.merge.on_sent(sub_batch.place);
        effects.push(ProduceEffect::Send(id, sub_batch));
    }

    /// Sends what has a leader, once the whole has passed its checks.
    fn release(&mut self, id: RequestId, routing: &Routing, effects: &mut Vec<ProduceEffect>) {
        if let Some(unchecked) = self.unchecked {
            match unchecked.check(&self.held, routing) {
                Checked::Passed { partition_count } => {
                    self.unchecked = None;
                    self.merge.on_partition_count(partition_count);
                }
                Checked::Refused(refusal) => return self.refuse_whole(refusal),
                Checked::Missing => return,
            }
        }
        for held in std::mem::take(&mut self.held) {
            match held.released(routing) {
                Ok(sub_batch) => self.send(id, sub_batch, effects),
                Err(held) => self.held.push(held),
            }
        }
    }

    /// Asks about what the image does not have.
    fn look_up(&self, routing: &Routing, effects: &mut Vec<ProduceEffect>) {
        if let Some(unchecked) = self.unchecked {
            if !self.held.is_empty() {
                effects.push(ProduceEffect::LookUp(unchecked.missing()));
            }
            return;
        }
        for held in &self.held {
            if held.route(routing) == Route::Unknown {
                let missing = (held.topic.clone(), held.partition);
                effects.push(ProduceEffect::LookUp(missing));
            }
        }
    }

    fn refuse_whole(&mut self, refusal: Refusal) {
        self.unchecked = None;
        self.held.clear();
        self.merge.on_refused_whole(refusal);
    }

    fn refuse_unknown(&mut self, unknown: &BTreeSet<Missing>) {
        let Self { merge, held, .. } = self;
        held.retain(|held| {
            let is_unknown = unknown.contains(&(held.topic.clone(), held.partition));
            if is_unknown {
                merge.on_refused(held.place, unknown_refusal(&held.topic));
            }
            !is_unknown
        });
    }
}

/// Returns whose order a part belongs to.
fn key_of(held: &HeldSubBatch) -> (TopicKey, PartitionIndex, Option<ProducerId>) {
    let producer_id = held.order.map(|order| order.producer_id);
    (held.topic.clone(), held.partition, producer_id)
}

fn unknown_refusal(topic: &TopicKey) -> Refusal {
    match topic {
        TopicKey::Name(_) => Refusal::new(
            ErrorCode::UnknownTopicOrPartition,
            "there is no such topic or partition",
        ),
        TopicKey::Id(_) => {
            Refusal::new(ErrorCode::UnknownTopicId, "the topic has just been deleted")
        }
    }
}

fn conclude(id: RequestId, merge: ProduceMerge, effects: &mut Vec<ProduceEffect>) {
    let wants_answer = merge.wants_answer();
    let answer = merge.finish();
    effects.push(if wants_answer {
        ProduceEffect::Answer(id, answer)
    } else {
        match first_fault(&answer) {
            Some(reason) => ProduceEffect::Close { reason },
            None => ProduceEffect::Done(id),
        }
    });
}

#[cfg(test)]
mod tests;
