//! The dialer's side of an outbox: lanes, requests, sub-batches and calls, refused while the queue is full.

use std::time::Instant;

use super::entry::{Entry, Head};
use super::{LaneState, NotQueued, Outbox, Withdrawn};
use crate::link::append::{Credit, SubBatch};
use crate::link::call::Call;
use crate::link::credit::CreditViolation;
use crate::link::lane::{Cancel, Finish, Flow, LaneOpen, Request};
use crate::link::{Correlation, Lane};

impl Outbox {
    /// Opens a lane and returns its number; that in `open` is not looked at.
    ///
    /// # Panics
    /// After 2^64 lanes.
    pub fn open_lane(&mut self, open: LaneOpen) -> Lane {
        let last = self.last_lane.0.checked_add(1);
        let lane = Lane(last.expect("2^64 lanes are never reached"));
        self.last_lane = lane;
        self.lanes.insert(lane, LaneState::default());
        self.put_urgent(LaneOpen { lane, ..open }.into());
        lane
    }

    /// Closes a lane: drops and returns what was never sent, except appends that get no answer. Nothing of the lane
    /// follows the LaneClose.
    pub fn close_lane(&mut self, lane: Lane) -> Vec<Correlation> {
        let flow = Flow::Lane(lane);
        self.room.forgo(lane);
        let Some(state) = self.lanes.get_mut(&lane).filter(|state| !state.is_closing) else {
            return Vec::new();
        };
        state.is_closing = true;
        let dropped = self.flows.remove_all(flow, |entry| !entry.outlives_lane());
        for entry in &dropped {
            self.dropped(entry);
        }
        self.close_if_empty(flow);
        dropped.iter().map(Entry::correlation).collect()
    }

    /// Queues a request, whose `chunk` is the whole body; its length and time left are filled in when it is sent.
    ///
    /// # Errors
    /// When it is not queued; the request comes back.
    pub fn request(
        &mut self,
        request: Request,
        deadline: Instant,
    ) -> Result<(), NotQueued<Request>> {
        let size = request.chunk.len();
        match self.admit(request.lane, size, deadline) {
            Ok(()) => self.push(Head::Request(request), Some(deadline)),
            Err(reason) => {
                let item = request;
                return Err(NotQueued { item, reason });
            }
        }
        Ok(())
    }

    /// Queues a sub-batch with all its records.
    ///
    /// # Errors
    /// When it is not queued; the sub-batch comes back.
    pub fn append(
        &mut self,
        sub_batch: SubBatch,
        deadline: Instant,
    ) -> Result<(), NotQueued<SubBatch>> {
        let size = sub_batch.records.len();
        match self.admit(sub_batch.lane, size, deadline) {
            Ok(()) => self.push(Head::SubBatch(sub_batch), Some(deadline)),
            Err(reason) => {
                let item = sub_batch;
                return Err(NotQueued { item, reason });
            }
        }
        Ok(())
    }

    /// Queues a call of this node, with its whole body.
    ///
    /// # Errors
    /// When it is not queued; the call comes back.
    pub fn call(&mut self, call: Call, deadline: Instant) -> Result<(), NotQueued<Call>> {
        match self.admit_call(call.chunk.len()) {
            Ok(()) => self.push(Head::Call(call), Some(deadline)),
            Err(reason) => {
                let item = call;
                return Err(NotQueued { item, reason });
            }
        }
        Ok(())
    }

    /// Takes a request, sub-batch or call back, or tells the broker that its answer is not wanted.
    pub fn cancel(&mut self, flow: Flow, correlation: Correlation) -> Withdrawn {
        if let Some(entry) = self.flows.remove(flow, correlation) {
            self.dropped(&entry);
            self.close_if_empty(flow);
            return Withdrawn::NeverSent;
        }
        if self.is_open(flow) {
            self.put_urgent(Cancel { flow, correlation }.into());
        }
        Withdrawn::Sent
    }

    /// Takes a Fetch back, or tells the broker to answer it at once with what there is.
    pub fn finish(&mut self, lane: Lane, correlation: Correlation) -> Withdrawn {
        let flow = Flow::Lane(lane);
        if let Some(entry) = self.flows.remove(flow, correlation) {
            self.dropped(&entry);
            self.close_if_empty(flow);
            return Withdrawn::NeverSent;
        }
        if self.is_open(flow) {
            self.put_urgent(Finish { lane, correlation }.into());
        }
        Withdrawn::Sent
    }

    /// Counts the credit that a broker grants.
    ///
    /// # Errors
    /// When the broker grants more than was spent; the link must be closed.
    pub fn granted(&mut self, credit: &Credit) -> Result<(), CreditViolation> {
        self.spending.granted(credit.bytes as usize)
    }

    /// Returns the append bytes sent for which no credit came back.
    #[must_use]
    pub fn append_bytes_under_way(&self) -> usize {
        self.spending.under_way()
    }
}
