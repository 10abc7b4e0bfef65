//! Notices a dead peer: after some silence it is asked for a sign of life, after more it is taken for dead.

use std::time::Instant;

use super::limits::{SILENCE_BEFORE_DEATH, SILENCE_BEFORE_PING};

/// What is to be done about a peer's silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// Nothing yet.
    Quiet,
    /// A Ping with this token is to be sent.
    Ping(u64),
    /// The link is to be closed.
    Dead,
}

/// How long a peer has been silent.
#[derive(Clone, Debug)]
pub struct Pulse {
    heard: Instant,
    is_asked: bool,
    token: u64,
}

impl Pulse {
    /// Returns the pulse of a peer that was heard just now.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            heard: now,
            is_asked: false,
            token: 0,
        }
    }

    /// Counts bytes that arrived, whatever they are; part of a long frame is a sign of life too.
    pub fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.is_asked = false;
    }

    /// Returns what is to be done.
    pub fn on_time(&mut self, now: Instant) -> Beat {
        let silence = now.saturating_duration_since(self.heard);
        if silence >= SILENCE_BEFORE_DEATH {
            return Beat::Dead;
        }
        if silence < SILENCE_BEFORE_PING || self.is_asked {
            return Beat::Quiet;
        }
        self.is_asked = true;
        self.token = self.token.wrapping_add(1);
        Beat::Ping(self.token)
    }

    /// Returns when [`Pulse::on_time`] has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Instant {
        self.heard
            + if self.is_asked {
                SILENCE_BEFORE_DEATH
            } else {
                SILENCE_BEFORE_PING
            }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a test needs some instant")]
    fn a_silent_peer_is_asked_once_and_then_dead() {
        let start = Instant::now();
        let mut pulse = Pulse::new(start);
        assert_eq!(pulse.on_time(start + Duration::from_secs(1)), Beat::Quiet);
        let asked = pulse.next_deadline();
        assert_eq!(pulse.on_time(asked), Beat::Ping(1));
        assert_eq!(pulse.on_time(asked), Beat::Quiet);
        let dead = pulse.next_deadline();
        let mut alive = pulse.clone();
        alive.heard(asked);
        assert_eq!(pulse.on_time(dead), Beat::Dead);
        assert_eq!(alive.on_time(dead), Beat::Ping(2));
    }
}
