//! One client connection's Fetch in flight, and what came too late for the one before.
//!
//! ```text
//! request ─▶ Ask each leader ─▶ first records, an error, or the time is up ─▶ Finish the others ─▶ ≤ 10 ms ─▶ Answer
//!   what did not come by then, or did not fit, is kept: for the next request if that asks for the same, else dropped
//! ```
//! A core: times come in, effects go out. The connection has one Fetch at a time. What a broker answered with an error
//! or without records is never kept, for it may no longer be so.

mod kept;

use std::collections::BTreeSet;
use std::time::Instant;

use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::message::fetch::{FetchRequest, FetchResponse, FetchablePartitionResponse};

use self::kept::Kept;
use crate::deadline::Deadline;
use crate::holding::Holding;
use crate::limits::{FETCH_BYTES_MAX, FETCH_GRACE};
use crate::lookups::Missing;
use crate::merge::fetch::{merge, record_bytes};
use crate::plan::fetch::{
    FetchPart, FetchTerms, ReadFrom, Requested, parts, refuse, refused, requested,
};
use crate::routing::{Moment, Route, Routing};

/// A part that a broker was asked, counted per connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartId(pub u64);

/// What the shell has to do.
#[derive(Debug)]
pub enum FetchEffect {
    /// Send a part to its broker.
    Ask(PartId, FetchPart),
    /// Have the broker answer a part at once with what it has.
    Finish(PartId),
    /// Tell the broker that a part is not wanted any more, and forget it.
    Cancel(PartId),
    /// Ask a controller whether a partition exists: then there is an image with it, or [`Fetching::on_unknown`].
    LookUp(Missing),
    /// Answer the client.
    Answer(FetchResponse),
}

/// How one requested partition stands.
#[derive(Debug)]
enum Slot {
    /// Nobody can be asked: it has been lost since then, or is not known.
    Open { lost_at: Option<Instant> },
    /// A broker is asked.
    Asked,
    /// A broker has answered, or this router for it.
    Answered(FetchablePartitionResponse),
}

/// A part that a broker has not answered.
#[derive(Debug)]
struct Outstanding {
    id: PartId,
    /// What was asked, each with its place among the requested partitions.
    reads: Vec<(usize, ReadFrom)>,
    bytes_max: usize,
    /// Whether it was asked for the request before: then the broker may answer sooner than this one wants.
    is_adopted: bool,
}

/// The request in flight.
#[derive(Debug)]
struct Current {
    requested: Vec<Requested>,
    slots: Vec<Slot>,
    /// What a broker was last asked for each.
    reads: Vec<Option<ReadFrom>>,
    outstanding: Vec<Outstanding>,
    terms: FetchTerms,
    deadline: Deadline,
    /// When it is answered with what there is, once the others are to finish.
    closing: Option<Instant>,
}

/// The Fetches of one client connection.
#[derive(Debug)]
pub struct Fetching {
    holding: Holding,
    turn: usize,
    parts: u64,
    current: Option<Current>,
    kept: Kept,
}

impl Fetching {
    /// Returns a connection that has not fetched yet.
    #[must_use]
    pub fn new(holding: Holding) -> Self {
        Self {
            holding,
            turn: 0,
            parts: 0,
            current: None,
            kept: Kept::default(),
        }
    }

    /// Begins a request. `bytes` is what is reserved for the record bytes of its answer, besides
    /// [`held_bytes`](Self::held_bytes).
    ///
    /// # Panics
    /// When the request before has not been answered.
    pub fn on_request(
        &mut self,
        (request, version): (&FetchRequest, i16),
        bytes: usize,
        moment: Moment<'_>,
        effects: &mut Vec<FetchEffect>,
    ) {
        assert!(self.current.is_none(), "one Fetch at a time");
        if let Some(refused) = refuse(request, version) {
            effects.push(FetchEffect::Answer(refused));
            return;
        }
        let requested = requested(request, version, self.turn);
        self.turn = self.turn.wrapping_add(1);
        let reserved = bytes.saturating_add(self.held_bytes());
        let asked = usize::try_from(request.max_bytes).unwrap_or(0);
        let slots = requested.iter().map(|_| Slot::Open { lost_at: None });
        let mut current = Current {
            slots: slots.collect(),
            reads: vec![None; requested.len()],
            requested,
            outstanding: Vec::new(),
            terms: FetchTerms {
                wait_ms: 0,
                bytes_min: request.min_bytes.max(0),
                bytes_max: asked.min(reserved).min(FETCH_BYTES_MAX),
                isolation_level: request.isolation_level,
                rack_id: request.rack_id.clone(),
            },
            deadline: Deadline::fetch(moment.now, request.max_wait_ms),
            closing: None,
        };
        self.reuse(&mut current, moment.routing, effects);
        if current.is_due() || request.max_wait_ms <= 0 {
            // Brokers are asked for what they have at once.
            current.closing = Some(moment.now + FETCH_GRACE);
        }
        self.ask(&mut current, moment, effects);
        look_up(&current, moment.routing, effects);
        self.current = Some(current);
        self.answer_if_settled(moment.now, effects);
    }

    /// Takes the next routing: partitions that had no leader may have one.
    pub fn on_routing(&mut self, moment: Moment<'_>, effects: &mut Vec<FetchEffect>) {
        if let Some(mut current) = self.current.take() {
            if current.closing.is_none() {
                self.ask(&mut current, moment, effects);
            }
            self.current = Some(current);
        }
    }

    /// Takes a broker's answer. One to a part that is not known, because it was cancelled, is ignored.
    pub fn on_answer(
        &mut self,
        id: PartId,
        response: FetchResponse,
        moment: Moment<'_>,
        effects: &mut Vec<FetchEffect>,
    ) {
        let Some(mut current) = self.current.take() else {
            self.kept.on_answer(id, response);
            return;
        };
        let Some(part) = current.take_part(id) else {
            self.current = Some(current);
            return;
        };
        let asks_again = part.is_adopted && current.closing.is_none();
        let is_due = current.fill(part, response, asks_again);
        if asks_again && !is_due {
            self.ask(&mut current, moment, effects);
        }
        self.current = Some(current);
        if is_due {
            self.close(moment.now, effects);
        }
        self.answer_if_settled(moment.now, effects);
    }

    /// Notes that a part will not be answered: its link has gone.
    pub fn on_lost(&mut self, id: PartId, now: Instant, effects: &mut Vec<FetchEffect>) {
        self.kept.on_lost(id);
        let Some(current) = &mut self.current else {
            return;
        };
        if let Some(part) = current.take_part(id) {
            for (place, _) in part.reads {
                current.slots[place] = Slot::Open { lost_at: Some(now) };
            }
        }
        self.answer_if_settled(now, effects);
    }

    /// Notes that partitions do not exist: a controller has said so.
    pub fn on_unknown(
        &mut self,
        unknown: &BTreeSet<Missing>,
        moment: Moment<'_>,
        effects: &mut Vec<FetchEffect>,
    ) {
        let Some(current) = &mut self.current else {
            return;
        };
        let mut is_due = false;
        for (requested, slot) in current.requested.iter().zip(&mut current.slots) {
            if matches!(slot, Slot::Open { .. }) && unknown.contains(&requested.missing()) {
                let code = requested.unknown_code(moment.routing);
                *slot = Slot::Answered(refused(requested.from.partition, code));
                is_due = true;
            }
        }
        if is_due {
            self.close(moment.now, effects);
            self.answer_if_settled(moment.now, effects);
        }
    }

    /// Notes that another kind of request waits behind this one on the connection.
    pub fn on_waited_for(&mut self, now: Instant, effects: &mut Vec<FetchEffect>) {
        self.close(now, effects);
        self.answer_if_settled(now, effects);
    }

    /// Returns when [`on_deadline`](Self::on_deadline) is to be called.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let current = self.current.as_ref()?;
        Some(current.closing.unwrap_or(current.deadline.at))
    }

    /// Notes that the time is up. Calling it too early does nothing.
    pub fn on_deadline(&mut self, now: Instant, effects: &mut Vec<FetchEffect>) {
        let Some(current) = &self.current else {
            return;
        };
        match current.closing {
            Some(at) if now >= at => self.answer(now, effects),
            None if current.deadline.is_over(now) => {
                self.close(now, effects);
                self.answer_if_settled(now, effects);
            }
            _ => {}
        }
    }

    /// Returns how many record bytes are kept for the next request or may still come for it.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.kept.bytes()
    }

    /// Serves the request with what is kept, as far as it asks for the same; drops the rest.
    fn reuse(&mut self, current: &mut Current, routing: &Routing, effects: &mut Vec<FetchEffect>) {
        let isolation_level = current.terms.isolation_level;
        let reads = current.requested.iter().map(|requested| {
            let read = requested.read_from(routing, isolation_level);
            read.map(|(_, read)| read)
        });
        current.reads = reads.collect();
        let reused = std::mem::take(&mut self.kept).reused(&current.reads);
        for (place, answer) in reused.answers {
            current.slots[place] = Slot::Answered(answer);
        }
        for part in reused.parts {
            for (place, _) in &part.reads {
                current.slots[*place] = Slot::Asked;
            }
            current.outstanding.push(part);
        }
        effects.extend(reused.cancelled.into_iter().map(FetchEffect::Cancel));
    }

    /// Asks for what is open and has a leader.
    fn ask(&mut self, current: &mut Current, moment: Moment<'_>, effects: &mut Vec<FetchEffect>) {
        let Moment { routing, now } = moment;
        let mut reads = Vec::new();
        for (place, requested) in current.requested.iter().enumerate() {
            let Slot::Open { lost_at } = &mut current.slots[place] else {
                continue;
            };
            match requested.read_from(routing, current.terms.isolation_level) {
                Some((broker, read)) => reads.push((place, broker, read)),
                None => {
                    *lost_at = match requested.route(routing) {
                        Route::Lost { since } => Some(since),
                        Route::Leader { .. } | Route::Unknown => None,
                    };
                }
            }
        }
        let wait_ms = match current.closing {
            Some(_) => 0,
            None => i32::try_from(current.deadline.left_ms(now)).unwrap_or(i32::MAX),
        };
        let terms = FetchTerms {
            wait_ms,
            bytes_max: current.bytes_left(),
            ..current.terms.clone()
        };
        for part in parts(&reads, &terms) {
            let id = PartId(self.parts);
            self.parts += 1;
            for (place, read) in &part.reads {
                current.slots[*place] = Slot::Asked;
                current.reads[*place] = Some(*read);
            }
            current.outstanding.push(Outstanding {
                id,
                reads: part.reads.clone(),
                bytes_max: usize::try_from(part.request.max_bytes).unwrap_or(0),
                is_adopted: false,
            });
            effects.push(FetchEffect::Ask(id, part));
        }
    }

    /// Waits for the others only a little longer.
    fn close(&mut self, now: Instant, effects: &mut Vec<FetchEffect>) {
        if let Some(current) = self
            .current
            .as_mut()
            .filter(|current| current.closing.is_none())
        {
            current.closing = Some(now + FETCH_GRACE);
            let finished = current
                .outstanding
                .iter()
                .map(|part| FetchEffect::Finish(part.id));
            effects.extend(finished);
        }
    }

    /// Answers if nothing can come any more that would be waited for.
    fn answer_if_settled(&mut self, now: Instant, effects: &mut Vec<FetchEffect>) {
        let Some(current) = &self.current else {
            return;
        };
        let waits_for_leader = current.closing.is_none() && current.has_open();
        if current.outstanding.is_empty() && !waits_for_leader {
            self.answer(now, effects);
        }
    }

    fn answer(&mut self, now: Instant, effects: &mut Vec<FetchEffect>) {
        let Some(current) = self.current.take() else {
            return;
        };
        let holding = self.holding;
        let answers = current.requested.iter().zip(current.slots);
        let answers = answers.map(|(requested, slot)| match slot {
            Slot::Answered(answer) => Some(answer),
            Slot::Asked | Slot::Open { lost_at: None } => None,
            Slot::Open {
                lost_at: Some(lost_at),
            } => holding
                .is_over(lost_at, now)
                .then(|| refused(requested.from.partition, ErrorCode::NotLeaderOrFollower)),
        });
        let answers = answers.collect();
        let merged = merge(current.requested, answers, current.terms.bytes_max);
        let reads = current.reads;
        let left_over = merged.left_over.into_iter();
        let left_over = left_over.filter_map(|(place, answer)| Some((reads[place]?, answer)));
        self.kept = Kept::new(left_over, current.outstanding);
        effects.push(FetchEffect::Answer(merged.response));
    }
}

/// Has controllers asked for what the image does not have.
fn look_up(current: &Current, routing: &Routing, effects: &mut Vec<FetchEffect>) {
    let places = current.requested.iter().zip(&current.slots);
    let open = places.filter(|(_, slot)| matches!(slot, Slot::Open { .. }));
    let unknown = open.filter(|(requested, _)| requested.route(routing) == Route::Unknown);
    effects.extend(unknown.map(|(requested, _)| FetchEffect::LookUp(requested.missing())));
}

impl Current {
    fn take_part(&mut self, id: PartId) -> Option<Outstanding> {
        let place = self.outstanding.iter().position(|part| part.id == id)?;
        Some(self.outstanding.swap_remove(place))
    }

    /// Takes what a broker answered to a part; returns whether the client is to be answered for it. What it asks again
    /// stays open where there are no records.
    fn fill(&mut self, part: Outstanding, response: FetchResponse, asks_again: bool) -> bool {
        let mut is_due = false;
        let mut answers = kept::by_partition(response);
        for (place, read) in part.reads {
            let answer = answers.remove(&(read.topic_id, read.partition));
            let has_news = |answer: &FetchablePartitionResponse| {
                !answer.error_code.is_none() || record_bytes(answer) > 0
            };
            let is_news = answer.as_ref().is_some_and(has_news);
            is_due |= is_news;
            self.slots[place] = match answer {
                Some(answer) if is_news || !asks_again => Slot::Answered(answer),
                // A broker that leaves something out must not make the client ask again at once.
                _ => Slot::Open { lost_at: None },
            };
        }
        is_due
    }

    fn has_open(&self) -> bool {
        self.slots
            .iter()
            .any(|slot| matches!(slot, Slot::Open { .. }))
    }

    /// Tells whether there is something to answer with.
    fn is_due(&self) -> bool {
        let answered = |slot: &Slot| matches!(slot, Slot::Answered(_));
        self.slots.iter().any(answered)
    }

    /// Returns how many bytes are neither there nor asked for.
    fn bytes_left(&self) -> usize {
        let there = self.slots.iter().map(|slot| match slot {
            Slot::Answered(answer) => record_bytes(answer),
            _ => 0,
        });
        let asked = self.outstanding.iter().map(|part| part.bytes_max);
        let taken = there.chain(asked).fold(0, usize::saturating_add);
        self.terms.bytes_max.saturating_sub(taken)
    }
}

#[cfg(test)]
mod tests;
