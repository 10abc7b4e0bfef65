//! One session of a topic: which numbers were sent on a connection since it began at the floor.
//!
//! It sends floor, floor + 1, … without a hole and each once, also those that are acknowledged already. Any failure ends
//! it; the next one starts at the floor again.

use keylane_protocol::offset::Sequence;

/// What has been sent, and not answered yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Session {
    /// Tells it from earlier ones of the same topic.
    pub(super) serial: u64,
    /// On which connection it is.
    pub(super) connection: u64,
    last: Option<Sequence>,
    unanswered: usize,
}

impl Session {
    pub(super) fn new(serial: u64, connection: u64) -> Self {
        Self {
            serial,
            connection,
            last: None,
            unanswered: 0,
        }
    }

    /// Returns which number is next: the floor first, later the one after the last, unless the floor has passed it.
    pub(super) fn next(&self, floor: Sequence) -> Sequence {
        self.last
            .map_or(floor, |last| floor.max(Sequence(last.0 + 1)))
    }

    pub(super) fn has_sent_nothing(&self) -> bool {
        self.last.is_none()
    }

    pub(super) fn unanswered(&self) -> usize {
        self.unanswered
    }

    pub(super) fn on_sent(&mut self, number: Sequence) {
        self.last = Some(number);
        self.unanswered += 1;
    }

    pub(super) fn on_answered(&mut self) {
        self.unanswered = self.unanswered.saturating_sub(1);
    }
}
