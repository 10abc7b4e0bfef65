//! The listener's side of an outbox: answers, outcomes, pushes and credit, none of which are refused for want of room.

use super::entry::{Entry, Head};
use super::{LaneState, NoRoom, NotQueued, Outbox};
use crate::link::append::Outcome;
use crate::link::call::{Push, Reply};
use crate::link::lane::{Answer, Flow};
use crate::link::limits::{
    BODY_BYTES_MAX, ENTRY_COST_BYTES, SMALL_ANSWER_BYTES_MAX, WORDS_BYTES_MAX,
};
use crate::link::{Correlation, Lane};

impl Outbox {
    /// Lets a lane be answered, after its LaneOpen has arrived.
    pub fn accept_lane(&mut self, lane: Lane) {
        self.lanes.insert(lane, LaneState::default());
    }

    /// Drops all answers of a lane, after its LaneClose has arrived; later ones are ignored.
    pub fn forget_lane(&mut self, lane: Lane) {
        self.lanes.remove(&lane);
        let flow = Flow::Lane(lane);
        for entry in self.flows.remove_all(flow, |_| true) {
            self.room.give_back(entry.queued_bytes());
        }
    }

    /// Queues an answer with its whole body; a lane that has closed is not answered.
    ///
    /// # Errors
    /// When the body is too long for the link; the answer comes back.
    pub fn answer(&mut self, answer: Answer) -> Result<(), NotQueued<Answer>> {
        if !self.is_open(Flow::Lane(answer.lane)) {
            return Ok(());
        }
        self.put_answer(Head::Answer(answer)).map_err(|head| {
            let Head::Answer(item) = head else {
                unreachable!("what was passed comes back");
            };
            let reason = NoRoom::TooLong;
            NotQueued { item, reason }
        })
    }

    /// Drops an answer or reply that is not wanted any more, after a Cancel has arrived.
    pub fn drop_answer(&mut self, flow: Flow, correlation: Correlation) {
        if let Some(entry) = self.flows.remove(flow, correlation) {
            self.dropped(&entry);
        }
    }

    /// Queues the reply to a call, with its whole body.
    ///
    /// # Errors
    /// When the body is too long for the link; the reply comes back.
    pub fn reply(&mut self, reply: Reply) -> Result<(), NotQueued<Reply>> {
        self.put_answer(Head::Reply(reply)).map_err(|head| {
            let Head::Reply(item) = head else {
                unreachable!("what was passed comes back");
            };
            let reason = NoRoom::TooLong;
            NotQueued { item, reason }
        })
    }

    /// Queues the next item of a stream, with its whole body.
    ///
    /// # Errors
    /// When the body is too long for the link; the item comes back.
    pub fn push_item(&mut self, push: Push) -> Result<(), NotQueued<Push>> {
        if push.chunk.len() > BODY_BYTES_MAX {
            let (item, reason) = (push, NoRoom::TooLong);
            return Err(NotQueued { item, reason });
        }
        self.room.force(push.chunk.len() + ENTRY_COST_BYTES);
        self.push(Head::Push(push), None);
        Ok(())
    }

    /// Drops what a stream has not sent; an item under way ends with a Cancel.
    pub fn end_stream(&mut self, stream: u32) {
        for entry in self.flows.remove_all(Flow::Push(stream), |_| true) {
            self.dropped(&entry);
        }
    }

    /// Queues what became of a sub-batch; a lane that has closed is not answered.
    pub fn outcome(&mut self, mut outcome: Outcome) {
        if !self.is_open(Flow::Lane(outcome.lane)) {
            return;
        }
        if let Some(words) = &mut outcome.words
            && words.len() > WORDS_BYTES_MAX
        {
            let mut ends = (0..=WORDS_BYTES_MAX).rev();
            let end = ends.find(|&end| words.is_char_boundary(end)).unwrap_or(0);
            *words = words[..end].into();
        }
        self.room.force(ENTRY_COST_BYTES);
        self.outcomes.push_back(outcome);
    }

    /// Grants append bytes, as [`crate::link::credit::Granting::take_grant`] says.
    pub fn grant(&mut self, bytes: usize) {
        self.credit_due += bytes;
    }

    /// Queues a short answer before, a long one among the bodies.
    fn put_answer(&mut self, head: Head) -> Result<(), Head> {
        let length = head.body().len();
        if length > BODY_BYTES_MAX {
            return Err(head);
        }
        self.room.force(length + ENTRY_COST_BYTES);
        if length > SMALL_ANSWER_BYTES_MAX {
            self.push(head, None);
            return Ok(());
        }
        let frame = Entry::new(head, None).into_answer();
        self.urgent.push_back(frame);
        Ok(())
    }
}
