//! What is to be sent on one connection of a link, and in which order.
//!
//! ```text
//! 1  acknowledgements: outcomes, credit, pongs, small answers, and what opens, closes, cancels, finishes
//! 2  append frames, filled from the lanes in turn, as far as the credit goes        ┐ alternating,
//! 3  chunks of bodies, from lanes, calls and pushes in turn                         ┘ byte for byte
//! ```
//! Requests and sub-batches are refused when the queue is full, and their lanes told when there is room; a lane then
//! offers the same again before any other. Calls have a bound beyond and are not told. Answers and pushes are not refused: who sends them stops reading while
//! [`Outbox::is_full`]. What was not sent to its end had no effect, for the
//! receiver has not got it whole: it is *never sent*.

mod dialer;
mod entry;
mod flows;
mod listener;
mod room;

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use entry::{Entry, Head};
use flows::{Cut, Flows};
use room::Room;

use super::append::{Appended, Credit, Outcome};
use super::call::{Ping, Pong};
use super::credit::Spending;
use super::lane::{Cancel, Flow, LaneClose};
use super::limits::{
    BODY_BYTES_MAX, ENTRY_COST_BYTES, OUTCOMES_MAX, QUEUE_BYTES_FOR_CALLS, QUEUE_BYTES_MAX,
};
use super::{Correlation, Frame, Lane};
use crate::rising::RisingMap;

/// Something that was not queued, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct NotQueued<T> {
    /// What was not queued.
    pub item: T,
    /// Why.
    pub reason: NoRoom,
}

/// Why something was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// The queue is full; [`Outbox::take_woken`] tells a lane when to try again.
    #[error("the link's queue is full")]
    Full,
    /// The lane is not open.
    #[error("the lane is not open")]
    LaneClosed,
    /// No body is that long.
    #[error("a body has at most {BODY_BYTES_MAX} bytes on the link")]
    TooLong,
}

/// What has become of something that is not wanted any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withdrawn {
    /// It was taken out of the queue: it never had an effect.
    NeverSent,
    /// It was sent: the broker is told.
    Sent,
}

#[derive(Debug, Default)]
struct LaneState {
    /// Whether only what outlives the lane is still to be sent.
    is_closing: bool,
}

/// What is to be sent; see the module's text.
#[derive(Debug)]
pub struct Outbox {
    urgent: VecDeque<Frame>,
    outcomes: VecDeque<Outcome>,
    /// Whether the last acknowledgements were outcomes, so that it is the other frames' turn.
    had_outcomes: bool,
    credit_due: usize,
    flows: Flows,
    /// Bytes of bodies that go before the next append frame.
    bodies_due: usize,
    spending: Spending,
    room: Room,
    lanes: BTreeMap<Lane, LaneState>,
    last_lane: Lane,
    deadlines: RisingMap<(Instant, Correlation), Flow>,
    never_sent: Vec<Correlation>,
}

impl Outbox {
    /// Returns an empty outbox with the credit that the Welcome granted, 0 for the listener's.
    #[must_use]
    pub fn new(credit_bytes: usize) -> Self {
        Self::with_queue_bytes_max(credit_bytes, QUEUE_BYTES_MAX)
    }

    /// Returns an empty outbox with a bound of its own.
    #[must_use]
    pub fn with_queue_bytes_max(credit_bytes: usize, queue_bytes_max: usize) -> Self {
        Self {
            urgent: VecDeque::new(),
            outcomes: VecDeque::new(),
            had_outcomes: false,
            credit_due: 0,
            flows: Flows::default(),
            bodies_due: 0,
            spending: Spending::new(credit_bytes),
            room: Room::new(queue_bytes_max),
            lanes: BTreeMap::new(),
            last_lane: Lane(0),
            deadlines: RisingMap::default(),
            never_sent: Vec::new(),
        }
    }

    /// Asks the peer for a sign of life.
    pub fn ping(&mut self, token: u64) {
        self.put_urgent(Ping { token }.into());
    }

    /// Answers a Ping.
    pub fn pong(&mut self, ping: &Ping) {
        self.put_urgent(Pong { token: ping.token }.into());
    }

    /// Returns the next frame to be written; `None` if there is nothing, or nothing that the credit covers.
    pub fn next_frame(&mut self, now: Instant) -> Option<Frame> {
        self.drop_expired(now);
        if let Some(frame) = self.next_urgent() {
            return Some(frame);
        }
        if self.bodies_due > 0
            && let Some(cut) = self.flows.next_chunk(now)
        {
            self.bodies_due = self.bodies_due.saturating_sub(cut.freed);
            return Some(self.sent(cut));
        }
        if let Some(cut) = self.flows.next_append(now, &mut self.spending) {
            self.bodies_due = cut.freed;
            return Some(self.sent(cut));
        }
        let cut = self.flows.next_chunk(now)?;
        Some(self.sent(cut))
    }

    fn next_urgent(&mut self) -> Option<Frame> {
        if let Ok(bytes) = u32::try_from(self.credit_due)
            && bytes > 0
        {
            self.credit_due = 0;
            return Some(Credit { bytes }.into());
        }
        let is_their_turn = !self.had_outcomes || self.urgent.is_empty();
        self.had_outcomes = is_their_turn && !self.outcomes.is_empty();
        if self.had_outcomes {
            let count = self.outcomes.len().min(OUTCOMES_MAX);
            self.room.give_back(count * ENTRY_COST_BYTES);
            let outcomes = self.outcomes.drain(..count).collect();
            return Some(Appended { outcomes }.into());
        }
        let frame = self.urgent.pop_front()?;
        self.room.give_back(urgent_bytes(&frame));
        Some(frame)
    }

    fn sent(&mut self, cut: Cut) -> Frame {
        self.room.give_back(cut.freed);
        for finished in cut.finished {
            let flow = finished.flow;
            if let Some(deadline) = finished.deadline {
                self.deadlines.remove((deadline, finished.correlation));
            }
            self.close_if_empty(flow);
        }
        cut.frame
    }

    /// Returns what was dropped before it was sent because its deadline has passed.
    pub fn take_never_sent(&mut self, now: Instant) -> Vec<Correlation> {
        self.drop_expired(now);
        std::mem::take(&mut self.never_sent)
    }

    fn drop_expired(&mut self, now: Instant) {
        self.room.expire(now);
        while let Some(((deadline, correlation), &flow)) = self.deadlines.first() {
            if deadline > now {
                return;
            }
            self.deadlines.remove((deadline, correlation));
            if let Some(entry) = self.flows.remove(flow, correlation) {
                self.dropped(&entry);
                self.never_sent.push(correlation);
                self.close_if_empty(flow);
            }
        }
    }

    /// Returns everything that was not sent to its end, now that the link is lost.
    #[must_use]
    pub fn lose(mut self) -> Vec<Correlation> {
        let mut never_sent = std::mem::take(&mut self.never_sent);
        never_sent.extend(self.flows.correlations());
        never_sent
    }

    /// Returns when [`Outbox::take_never_sent`] has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let entries = self.deadlines.first().map(|((deadline, _), _)| deadline);
        entries.into_iter().chain(self.room.next_deadline()).min()
    }

    /// Returns the lanes that were refused for want of room, and have some set aside for them now.
    pub fn take_woken(&mut self) -> Vec<Lane> {
        self.room.take_woken()
    }

    /// Says that a lane that was refused will not try again.
    pub fn forgo(&mut self, lane: Lane) {
        self.room.forgo(lane);
    }

    /// Returns the bytes that wait, entries at their cost, and what is set aside for flows that were woken.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.room.used()
    }

    /// Returns the bytes of the credit that are spent and did not come back.
    #[must_use]
    pub fn credit_used(&self) -> usize {
        self.spending.under_way()
    }

    /// Returns whether the queue is at its bound: the listener reads no further requests until it is not.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.room.is_full()
    }

    /// Returns whether anything of a flow may be sent: a lane is open, calls and streams always are.
    #[must_use]
    pub fn is_open(&self, flow: Flow) -> bool {
        match flow {
            Flow::Lane(lane) => self.lanes.get(&lane).is_some_and(|state| !state.is_closing),
            Flow::Call(_) | Flow::Push(_) => true,
        }
    }

    fn admit(&mut self, lane: Lane, length: usize, deadline: Instant) -> Result<(), NoRoom> {
        if !self.is_open(Flow::Lane(lane)) {
            return Err(NoRoom::LaneClosed);
        }
        if length > BODY_BYTES_MAX {
            return Err(NoRoom::TooLong);
        }
        match self.room.take(lane, length + ENTRY_COST_BYTES, deadline) {
            true => Ok(()),
            false => Err(NoRoom::Full),
        }
    }

    fn admit_call(&mut self, length: usize) -> Result<(), NoRoom> {
        if length > BODY_BYTES_MAX {
            return Err(NoRoom::TooLong);
        }
        let size = length + ENTRY_COST_BYTES;
        match self.room.take_beyond(size, QUEUE_BYTES_FOR_CALLS) {
            true => Ok(()),
            false => Err(NoRoom::Full),
        }
    }

    fn push(&mut self, head: Head, deadline: Option<Instant>) {
        let entry = Entry::new(head, deadline);
        if let Some(deadline) = deadline {
            self.deadlines
                .insert((deadline, entry.correlation()), entry.flow());
        }
        self.flows.push(entry);
    }

    fn put_urgent(&mut self, frame: Frame) {
        self.room.force(urgent_bytes(&frame));
        self.urgent.push_back(frame);
    }

    /// Accounts for an entry that was taken out unsent, and tells the peer if a part of it has gone.
    fn dropped(&mut self, entry: &Entry) {
        let (flow, correlation) = (entry.flow(), entry.correlation());
        self.room.give_back(entry.queued_bytes());
        if let Some(deadline) = entry.deadline {
            self.deadlines.remove((deadline, correlation));
        }
        if let Some(cost) = entry.paid_in_vain() {
            self.spending.refund(cost);
        }
        if entry.is_under_way() {
            self.put_urgent(Cancel { flow, correlation }.into());
        }
    }

    /// Sends the LaneClose of a lane that is closing once nothing of it is left.
    fn close_if_empty(&mut self, flow: Flow) {
        let Flow::Lane(lane) = flow else {
            return;
        };
        let is_closing = |state: &LaneState| state.is_closing;
        if self.lanes.get(&lane).is_some_and(is_closing) && !self.flows.contains(flow) {
            self.lanes.remove(&lane);
            self.put_urgent(LaneClose { lane }.into());
        }
    }
}

/// Returns what a frame takes up of the queue.
fn urgent_bytes(frame: &Frame) -> usize {
    let body = match frame {
        Frame::Answer(answer) => answer.chunk.len(),
        Frame::Reply(reply) => reply.chunk.len(),
        Frame::LaneOpen(open) => {
            let client_id = open.client_id.as_ref().map_or(0, |text| text.len());
            open.principal.len() + client_id + open.client_host.len() + open.listener.len()
        }
        _ => 0,
    };
    body + ENTRY_COST_BYTES
}
