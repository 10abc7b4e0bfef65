//! The dialing end of a link, whole: what is asked goes out by an [`Outbox`], and every asker is told exactly once what
//! came of it: an answer, or its [`Fate`].
//!
//! The shell passes on what arrives ([`Dialer::on_frame`]), writes what [`Dialer::outbox`] holds, calls
//! [`Dialer::on_time`] when [`Dialer::next_deadline`] has come, and [`Dialer::lose`] when the connection is gone.

use std::time::Instant;

use super::append::{Outcome, SubBatch};
use super::call::{Call, Push, Reply};
use super::handshake::Welcome;
use super::lane::{Answer, Flow, LaneOpen, Request};
use super::{
    Beat, Calls, Correlation, Fate, Frame, Inbox, Lane, LinkViolation, NotQueued, Outbox, Pulse,
    Withdrawn,
};

/// What a dialer has to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told<T> {
    /// A request was answered.
    Answer(T, Answer),
    /// It is known what became of a sub-batch.
    Outcome(T, Outcome),
    /// A call was answered.
    Reply(T, Reply),
    /// A stream goes on.
    Push(Push),
    /// There is no answer, and none will be told.
    Lost(T, Fate),
    /// There is room now for what was refused of a lane.
    Room(Lane),
}

/// The dialing end of one connection of a link; `T` is who asks.
#[derive(Debug)]
pub struct Dialer<T> {
    outbox: Outbox,
    inbox: Inbox,
    calls: Calls<T>,
    pulse: Pulse,
}

impl<T> Dialer<T> {
    /// Returns the end of a link that was welcomed just now.
    #[must_use]
    pub fn new(welcome: &Welcome, now: Instant) -> Self {
        Self {
            outbox: Outbox::new(welcome.credit_bytes as usize),
            inbox: Inbox::dialer(),
            calls: Calls::default(),
            pulse: Pulse::new(now),
        }
    }

    /// Opens a lane and returns its number; that in `open` is not looked at.
    pub fn open_lane(&mut self, open: LaneOpen) -> Lane {
        let lane = self.outbox.open_lane(open);
        self.inbox.open_lane(lane);
        lane
    }

    /// Closes a lane and returns the fate of all that it has pending.
    pub fn close_lane(&mut self, lane: Lane) -> Vec<(T, Fate)> {
        let never_sent = self.outbox.close_lane(lane);
        self.inbox.close_lane(lane);
        self.calls.close_lane(lane, &never_sent)
    }

    /// Queues a request with its whole body, and returns the correlation that is filled in.
    ///
    /// # Errors
    /// When it is not queued; request and asker come back.
    pub fn request(
        &mut self,
        mut request: Request,
        deadline: Instant,
        asker: T,
    ) -> Result<Correlation, NotQueued<(Request, T)>> {
        request.correlation = self.calls.begin(request.lane, deadline, asker);
        let correlation = request.correlation;
        let queued = self.outbox.request(request, deadline);
        self.queued(correlation, queued)
    }

    /// Queues a sub-batch with all its records, and returns the correlation that is filled in.
    ///
    /// # Errors
    /// When it is not queued; sub-batch and asker come back.
    pub fn append(
        &mut self,
        mut sub_batch: SubBatch,
        deadline: Instant,
        asker: T,
    ) -> Result<Correlation, NotQueued<(SubBatch, T)>> {
        sub_batch.correlation = self.calls.begin(sub_batch.lane, deadline, asker);
        let correlation = sub_batch.correlation;
        let queued = self.outbox.append(sub_batch, deadline);
        self.queued(correlation, queued)
    }

    /// Queues a sub-batch with acks=0, of which nothing will be told.
    ///
    /// # Errors
    /// When it is not queued; the sub-batch comes back.
    pub fn append_unanswered(
        &mut self,
        sub_batch: SubBatch,
        deadline: Instant,
    ) -> Result<(), NotQueued<SubBatch>> {
        let correlation = self.calls.number();
        let sub_batch = SubBatch {
            correlation,
            acks: 0,
            ..sub_batch
        };
        self.outbox.append(sub_batch, deadline)
    }

    /// Queues a call of this node with its whole body, and returns the correlation that is filled in.
    ///
    /// # Errors
    /// When it is not queued; call and asker come back.
    pub fn call(
        &mut self,
        mut call: Call,
        deadline: Instant,
        asker: T,
    ) -> Result<Correlation, NotQueued<(Call, T)>> {
        call.correlation = self.calls.begin_call(deadline, asker);
        let correlation = call.correlation;
        let queued = self.outbox.call(call, deadline);
        self.queued(correlation, queued)
    }

    fn queued<I>(
        &mut self,
        correlation: Correlation,
        queued: Result<(), NotQueued<I>>,
    ) -> Result<Correlation, NotQueued<(I, T)>> {
        let Err(NotQueued { item, reason }) = queued else {
            return Ok(correlation);
        };
        let asker = self.calls.refused(correlation);
        let asker = asker.expect("it was begun just now");
        let item = (item, asker);
        Err(NotQueued { item, reason })
    }

    /// Gives up on a request, sub-batch or call, and returns its fate; `None` if it is not pending any more.
    pub fn cancel(&mut self, flow: Flow, correlation: Correlation) -> Option<(T, Fate)> {
        let asker = self.calls.answered(flow, correlation)?;
        let fate = match self.outbox.cancel(flow, correlation) {
            Withdrawn::NeverSent => Fate::NeverSent,
            Withdrawn::Sent => Fate::Unknown,
        };
        Some((asker, fate))
    }

    /// Wants a Fetch answered at once with what there is; returns who asked if it was never sent, and none comes.
    pub fn finish(&mut self, lane: Lane, correlation: Correlation) -> Option<T> {
        match self.outbox.finish(lane, correlation) {
            Withdrawn::NeverSent => self.calls.forget(correlation),
            Withdrawn::Sent => None,
        }
    }

    /// Takes a frame that has arrived.
    ///
    /// # Errors
    /// When the broker has broken the rules of the link, which must be closed.
    pub fn on_frame(
        &mut self,
        frame: Frame,
        now: Instant,
        told: &mut Vec<Told<T>>,
    ) -> Result<(), LinkViolation> {
        self.pulse.heard(now);
        match self.inbox.on_frame(frame)? {
            Some(Frame::Answer(answer)) => {
                let flow = Flow::Lane(answer.lane);
                let asker = self.calls.answered(flow, answer.correlation);
                told.extend(asker.map(|asker| Told::Answer(asker, answer)));
            }
            Some(Frame::Appended(appended)) => {
                for outcome in appended.outcomes {
                    let flow = Flow::Lane(outcome.lane);
                    let asker = self.calls.answered(flow, outcome.correlation);
                    told.extend(asker.map(|asker| Told::Outcome(asker, outcome)));
                }
            }
            Some(Frame::Reply(reply)) => {
                let flow = Flow::Call(reply.correlation);
                let asker = self.calls.answered(flow, reply.correlation);
                told.extend(asker.map(|asker| Told::Reply(asker, reply)));
            }
            Some(Frame::Push(push)) => told.push(Told::Push(push)),
            Some(Frame::Credit(credit)) => self.outbox.granted(&credit)?,
            Some(Frame::Ping(ping)) => self.outbox.pong(&ping),
            _ => {}
        }
        Ok(())
    }

    /// Says that a part of a frame has arrived.
    pub fn on_bytes(&mut self, now: Instant) {
        self.pulse.heard(now);
    }

    /// Tells what has waited too long and who has room, and returns whether the broker is alive; if not, the link must
    /// be closed. To be called after frames were written, too: they make room.
    pub fn on_time(&mut self, now: Instant, told: &mut Vec<Told<T>>) -> bool {
        let never_sent = self.outbox.take_never_sent(now);
        let fates = self.calls.expire(now, &never_sent);
        told.extend(
            fates
                .into_iter()
                .map(|(asker, fate)| Told::Lost(asker, fate)),
        );
        told.extend(self.outbox.take_woken().into_iter().map(Told::Room));
        match self.pulse.on_time(now) {
            Beat::Quiet => true,
            Beat::Ping(token) => {
                self.outbox.ping(token);
                true
            }
            Beat::Dead => false,
        }
    }

    /// Returns when [`Dialer::on_time`] has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Instant {
        let queued = self.outbox.next_deadline();
        let pending = self.calls.next_deadline();
        let pulse = self.pulse.next_deadline();
        queued.into_iter().chain(pending).fold(pulse, Instant::min)
    }

    /// Says that what was refused of a lane will not be tried again.
    pub fn forgo(&mut self, lane: Lane) {
        self.outbox.forgo(lane);
    }

    /// Returns what is to be written, for [`crate::transport::link::LinkWriter::fill`].
    pub fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    /// Returns how many append bytes were sent and not given back.
    #[must_use]
    pub fn credit_used(&self) -> usize {
        self.outbox.credit_used()
    }

    /// Returns the bytes that wait to be written.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.outbox.queued_bytes()
    }

    /// Returns how many wait to be told.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.calls.len()
    }

    /// Returns the fate of everything pending, now that the connection is gone.
    #[must_use]
    pub fn lose(mut self) -> Vec<(T, Fate)> {
        let never_sent = self.outbox.lose();
        self.calls.lose(&never_sent)
    }
}

#[cfg(test)]
mod tests;
