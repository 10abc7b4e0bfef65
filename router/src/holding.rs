//! How long a request waits for a leader or coordinator: failover is latency, briefly.
//!
//! Counted from when the leader was lost, not from when the request came: one dead broker costs a connection one hold,
//! and the healthy partitions behind it no more. After that, requests are refused at once, until there is a leader. What
//! nobody waits behind may wait longer. Nothing waits longer than half its time-out, so that the client still has the
//! time to try again.

use std::time::{Duration, Instant};

use crate::deadline::Deadline;
use crate::limits::UNKNOWN_TOPIC_WAIT;
use crate::routing::Route;

/// How long this router holds requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holding {
    hold: Duration,
}

/// A request with something that cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldRequest {
    /// When it came.
    arrived: Instant,
    /// Until when it may be held at most.
    longest: Instant,
    /// Whether a request of the same connection waits behind it.
    is_waited_for: bool,
}

/// What to do with the part of a request that is for one partition or group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Send it.
    Send,
    /// Hold it until then, unless it can be sent before or something comes to wait behind it: then decide anew.
    HoldUntil(Instant),
    /// Refuse it now.
    Refuse,
}

impl HeldRequest {
    /// Returns a request that may be held for half of its time-out.
    #[must_use]
    pub fn new(deadline: &Deadline, is_waited_for: bool) -> Self {
        Self {
            arrived: deadline.arrived,
            longest: deadline.half(),
            is_waited_for,
        }
    }

    /// Returns a Fetch, which may be held for as long as it waits for records anyway.
    #[must_use]
    pub fn fetch(deadline: &Deadline, is_waited_for: bool) -> Self {
        Self {
            arrived: deadline.arrived,
            longest: deadline.at,
            is_waited_for,
        }
    }
}

impl Holding {
    /// Returns a router's holding: `hold` is `router.hold.ms`.
    #[must_use]
    pub fn new(hold: Duration) -> Self {
        Self { hold }
    }

    /// Decides about a partition, or about a group's coordinator, that has had no leader since `lost_at`.
    #[must_use]
    pub fn decide(&self, request: HeldRequest, lost_at: Instant, now: Instant) -> Decision {
        let until = if request.is_waited_for {
            request.longest.min(lost_at + self.hold)
        } else {
            request.longest
        };
        hold(until, now)
    }

    /// Decides about a partition by its route. One that the image does not have is being looked up, and waited for as
    /// long as that may take.
    #[must_use]
    pub fn decide_route(&self, request: HeldRequest, route: Route, now: Instant) -> Decision {
        match route {
            Route::Leader { .. } => Decision::Send,
            Route::Lost { since } => self.decide(request, since, now),
            Route::Unknown => {
                let until = request.arrived + UNKNOWN_TOPIC_WAIT;
                hold(request.longest.min(until), now)
            }
        }
    }

    /// Tells whether a loss is older than any hold: what is refused for it may be told as an error.
    #[must_use]
    pub fn is_over(&self, lost_at: Instant, now: Instant) -> bool {
        now >= lost_at + self.hold
    }
}

fn hold(until: Instant, now: Instant) -> Decision {
    if now < until {
        Decision::HoldUntil(until)
    } else {
        Decision::Refuse
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::HOLD;
    use crate::testing::start;

    const SECOND: Duration = Duration::from_secs(1);

    fn decide(arrived: u32, time_out_ms: i32, is_waited_for: bool) -> Decision {
        let lost_at = start();
        let now = lost_at + arrived * SECOND;
        let request = HeldRequest::new(&Deadline::own(now, time_out_ms), is_waited_for);
        match Holding::new(HOLD).decide(request, lost_at, now) {
            // Shown as seconds after the loss.
            Decision::HoldUntil(until) => Decision::HoldUntil(at(until - lost_at)),
            decision => decision,
        }
    }

    /// A fixed zero, so that decisions can be compared.
    fn at(after: Duration) -> Instant {
        static ZERO: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        *ZERO.get_or_init(start) + after
    }

    #[test]
    fn a_hold_counts_from_the_loss_and_not_from_the_request() {
        let end_of_hold = Decision::HoldUntil(at(3 * SECOND));
        assert_eq!(decide(0, 30_000, true), end_of_hold);
        assert_eq!(decide(1, 30_000, true), end_of_hold);
        assert_eq!(decide(2, 30_000, true), end_of_hold);
        assert_eq!(decide(3, 30_000, true), Decision::Refuse);
        assert_eq!(decide(100, 30_000, true), Decision::Refuse);
    }

    #[test]
    fn nothing_is_held_longer_than_half_its_time_out() {
        assert_eq!(decide(0, 1000, true), Decision::HoldUntil(at(SECOND / 2)));
        assert_eq!(decide(0, 1000, false), Decision::HoldUntil(at(SECOND / 2)));
        let no_wait = Deadline::fetch(start(), 0);
        let fetch = HeldRequest::fetch(&no_wait, false);
        let decided = Holding::new(HOLD).decide(fetch, no_wait.arrived, no_wait.arrived);
        assert_eq!(decided, Decision::Refuse);
    }

    #[test]
    fn what_nobody_waits_behind_is_held_longer() {
        assert_eq!(
            decide(0, 30_000, false),
            Decision::HoldUntil(at(15 * SECOND))
        );
        assert_eq!(
            decide(100, 30_000, false),
            Decision::HoldUntil(at(115 * SECOND))
        );
    }

    #[test]
    fn a_fetch_is_held_for_its_max_wait() {
        let now = start();
        let deadline = Deadline::fetch(now, 500);
        let decided = Holding::new(HOLD).decide(HeldRequest::fetch(&deadline, false), now, now);
        assert_eq!(decided, Decision::HoldUntil(deadline.at));
    }

    #[test]
    fn a_route_with_a_leader_is_taken_and_an_unknown_one_waits_for_its_look_up() {
        let now = start();
        let request = HeldRequest::new(&Deadline::standard(now), true);
        let decide = |route| Holding::new(HOLD).decide_route(request, route, now);
        let leader = Route::Leader {
            broker: keylane_protocol::identifiers::BrokerId(1),
            epoch: keylane_protocol::offset::LeaderEpoch(0),
        };
        assert_eq!(decide(leader), Decision::Send);
        let looked_up = Decision::HoldUntil(now + UNKNOWN_TOPIC_WAIT);
        assert_eq!(decide(Route::Unknown), looked_up);
        let later = now + UNKNOWN_TOPIC_WAIT;
        let decided = Holding::new(HOLD).decide_route(request, Route::Unknown, later);
        assert_eq!(decided, Decision::Refuse);
        assert_eq!(decide(Route::Lost { since: now - HOLD }), Decision::Refuse);
        assert_eq!(
            decide(Route::Lost { since: now }),
            Decision::HoldUntil(now + HOLD)
        );
    }
}
