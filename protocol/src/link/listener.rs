//! The listening end of a link, whole: what arrives is passed up, what is answered goes out by an [`Outbox`].
//!
//! The shell passes on what arrives ([`Listener::on_frame`]) unless [`Listener::is_full`], writes what
//! [`Listener::outbox`] holds, and calls [`Listener::on_time`] when [`Listener::next_deadline`] has come. Every
//! sub-batch that was passed up is released once, with [`Listener::release`].

use std::time::Instant;

use super::handshake::Welcome;
use super::{Beat, Frame, Inbox, LinkViolation, Outbox, Pulse};

/// The listening end of one connection of a link.
#[derive(Debug)]
pub struct Listener {
    outbox: Outbox,
    inbox: Inbox,
    pulse: Pulse,
}

impl Listener {
    /// Returns the end of a link that was welcomed just now.
    #[must_use]
    pub fn new(welcome: &Welcome, now: Instant) -> Self {
        Self {
            outbox: Outbox::new(0),
            inbox: Inbox::listener(welcome.credit_bytes as usize),
            pulse: Pulse::new(now),
        }
    }

    /// Takes a frame that has arrived, and returns what is to be done: LaneOpen, LaneClose, Request, Append, Cancel,
    /// Finish or Call, bodies and records whole. After a LaneClose the lane's answers are ignored; after a Cancel what
    /// is queued of the answer is gone.
    ///
    /// # Errors
    /// When the dialer has broken the rules of the link, which must be closed.
    pub fn on_frame(&mut self, frame: Frame, now: Instant) -> Result<Option<Frame>, LinkViolation> {
        self.pulse.heard(now);
        let whole = self.inbox.on_frame(frame)?;
        match &whole {
            Some(Frame::LaneOpen(open)) => self.outbox.accept_lane(open.lane),
            Some(Frame::LaneClose(close)) => self.outbox.forget_lane(close.lane),
            Some(Frame::Cancel(cancel)) => {
                self.outbox.drop_answer(cancel.flow, cancel.correlation);
            }
            Some(Frame::Ping(ping)) => {
                self.outbox.pong(ping);
                return Ok(None);
            }
            Some(Frame::Pong(_)) => return Ok(None),
            _ => {}
        }
        // A body that was given up while it arrived gives its credit back.
        self.grant();
        Ok(whole)
    }

    /// Says that a part of a frame has arrived.
    pub fn on_bytes(&mut self, now: Instant) {
        self.pulse.heard(now);
    }

    /// Grants again what a sub-batch took of the credit, now that its records are durable, refused or dropped: the
    /// credit bounds what a link has in memory.
    ///
    /// # Panics
    /// When a sub-batch is released twice.
    pub fn release(&mut self, records_length: usize) {
        self.inbox.release(records_length);
        self.grant();
    }

    fn grant(&mut self) {
        if let Some(bytes) = self.inbox.take_grant() {
            self.outbox.grant(bytes);
        }
    }

    /// Returns whether the dialer is alive; if not, the link must be closed.
    pub fn on_time(&mut self, now: Instant) -> bool {
        match self.pulse.on_time(now) {
            Beat::Quiet => true,
            Beat::Ping(token) => {
                self.outbox.ping(token);
                true
            }
            Beat::Dead => false,
        }
    }

    /// Returns when [`Listener::on_time`] has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Instant {
        self.pulse.next_deadline()
    }

    /// Returns whether so much is to be written that nothing more is to be read.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.outbox.is_full()
    }

    /// Returns how many bytes of the credit are under way: held here, or not granted again yet.
    #[must_use]
    pub fn credit_used(&self) -> usize {
        self.inbox.credit_used()
    }

    /// Returns where answers, outcomes, replies and pushes go, and what is to be written.
    pub fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }
}
