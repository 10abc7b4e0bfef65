//! How long a request lives: fixed when it arrives, handed on as time left, never extended.
//!
//! Its own time-out where it names one, [`TIME_OUT`] where it does not. A client that has timed out moves on; what was
//! delivered afterwards would be written behind its back.

use std::time::{Duration, Instant};

use crate::limits::{FETCH_WAIT_MAX, TIME_OUT, TIME_OUT_MAX, TIME_OUT_MIN};

/// The life of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// When it arrived.
    pub arrived: Instant,
    /// When it must have been answered.
    pub at: Instant,
}

impl Deadline {
    /// Returns the deadline of a request without a time-out of its own.
    #[must_use]
    pub fn standard(arrived: Instant) -> Self {
        Self::after(arrived, TIME_OUT)
    }

    /// Returns the deadline of a request with a time-out in milliseconds, as in Produce, CreateTopics and DeleteTopics.
    /// One below [`TIME_OUT_MIN`] counts as that, one above [`TIME_OUT_MAX`] as that.
    #[must_use]
    pub fn own(arrived: Instant, timeout_ms: i32) -> Self {
        Self::after(
            arrived,
            milliseconds(timeout_ms).clamp(TIME_OUT_MIN, TIME_OUT_MAX),
        )
    }

    /// Returns the deadline of a Fetch: its max wait, at most [`FETCH_WAIT_MAX`].
    #[must_use]
    pub fn fetch(arrived: Instant, max_wait_ms: i32) -> Self {
        Self::after(arrived, milliseconds(max_wait_ms).min(FETCH_WAIT_MAX))
    }

    fn after(arrived: Instant, time_out: Duration) -> Self {
        Self {
            arrived,
            at: arrived + time_out,
        }
    }

    /// Returns when half of the time is over: nothing that was never sent is kept longer, so that the client hears of
    /// it in time to try again.
    #[must_use]
    pub fn half(&self) -> Instant {
        self.arrived + (self.at - self.arrived) / 2
    }

    /// Returns how much is left at a time; zero when it is over.
    #[must_use]
    pub fn left(&self, now: Instant) -> Duration {
        self.at.saturating_duration_since(now)
    }

    /// Returns the same in whole milliseconds, rounded down: what internal frames carry.
    #[must_use]
    pub fn left_ms(&self, now: Instant) -> u32 {
        u32::try_from(self.left(now).as_millis()).unwrap_or(u32::MAX)
    }

    /// Tells whether it is over.
    #[must_use]
    pub fn is_over(&self, now: Instant) -> bool {
        now >= self.at
    }
}

/// Returns a client's number of milliseconds; a negative one counts as 0.
fn milliseconds(number: i32) -> Duration {
    Duration::from_millis(u64::try_from(number).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::start;

    #[test]
    fn time_outs_are_taken_within_bounds() {
        let now = start();
        let length = |deadline: Deadline| deadline.at - now;
        assert_eq!(length(Deadline::standard(now)), Duration::from_secs(30));
        assert_eq!(
            length(Deadline::own(now, 1500)),
            Duration::from_millis(1500)
        );
        assert_eq!(length(Deadline::own(now, 0)), TIME_OUT_MIN);
        assert_eq!(length(Deadline::own(now, -1)), TIME_OUT_MIN);
        assert_eq!(length(Deadline::own(now, i32::MAX)), TIME_OUT_MAX);
        assert_eq!(length(Deadline::fetch(now, i32::MAX)), FETCH_WAIT_MAX);
    }

    #[test]
    fn what_is_left_never_grows_and_ends_at_zero() {
        let now = start();
        let deadline = Deadline::own(now, 1000);
        assert_eq!(deadline.left_ms(now), 1000);
        assert_eq!(deadline.left_ms(now + Duration::from_micros(999_500)), 0);
        assert_eq!(deadline.left_ms(now + Duration::from_secs(9)), 0);
        assert!(!deadline.is_over(now) && deadline.is_over(deadline.at));
        assert_eq!(deadline.half(), now + Duration::from_millis(500));
    }
}
