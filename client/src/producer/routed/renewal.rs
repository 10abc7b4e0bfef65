//! When a topic begins another session, from the floor: after a pause that grows while nothing comes of it.
//!
//! Each session sends everything from the floor on again. While a partition is away that brings nothing and costs much, so
//! these pauses grow longer than others. They need not be short: the leader that is there again refuses what comes behind
//! what it has missed, and that is the sign.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;

use super::verdict::Setback;
use crate::backoff::{pause, pause_up_to};

/// The longest pause while a partition cannot be reached.
const AWAY_PAUSE_MAX: Duration = Duration::from_secs(5);

/// The next session of a topic.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Renewal {
    at: Option<Instant>,
    whole: Row,
    away: Row,
    behind: Row,
}

/// Sessions in a row that met with the same setback.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    sessions: u32,
    /// Whether this session is among them.
    has_this: bool,
}

impl Renewal {
    /// Returns when a session is to begin, if one is.
    pub(super) fn at(&self) -> Option<Instant> {
        self.at
    }

    /// Returns when a session is to begin, now that this one has met with a setback.
    pub(super) fn on_setback(
        &mut self,
        setback: Setback,
        now: Instant,
        generator: &mut StdRng,
    ) -> Instant {
        let row = match setback {
            Setback::Whole => &mut self.whole,
            Setback::Away => &mut self.away,
            Setback::Behind => &mut self.behind,
        };
        if !std::mem::replace(&mut row.has_this, true) {
            let pause = match setback {
                Setback::Away => pause_up_to(AWAY_PAUSE_MAX, row.sessions, generator),
                Setback::Behind | Setback::Whole => pause(row.sessions, generator),
            };
            row.sessions = row.sessions.saturating_add(1);
            let at = now + pause;
            self.at = Some(self.at.map_or(at, |before| before.min(at)));
        }
        *self.at.get_or_insert(now)
    }

    /// Notes that a session has begun.
    pub(super) fn on_begun(&mut self) {
        self.at = None;
        for row in [&mut self.whole, &mut self.away, &mut self.behind] {
            row.has_this = false;
        }
    }

    /// Notes that something was written that had failed before.
    pub(super) fn on_progress(&mut self) {
        for row in [&mut self.whole, &mut self.away, &mut self.behind] {
            row.sessions = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::limits::{BACKOFF_FIRST, BACKOFF_MAX};

    struct Stage {
        renewal: Renewal,
        now: Instant,
        generator: StdRng,
    }

    impl Stage {
        fn new() -> Self {
            Self {
                renewal: Renewal::default(),
                now: crate::ambient::now(),
                generator: StdRng::seed_from_u64(1),
            }
        }

        /// Returns how long it is until the next session.
        fn meet(&mut self, setback: Setback) -> Duration {
            let (now, generator) = (self.now, &mut self.generator);
            self.renewal.on_setback(setback, now, generator) - now
        }

        fn meet_in_ten_sessions(&mut self, setback: Setback) -> Duration {
            let pauses = [(); 10].map(|()| {
                self.renewal.on_begun();
                self.meet(setback)
            });
            pauses[9]
        }
    }

    #[test]
    fn pauses_grow_with_each_session_and_not_with_each_failure() {
        let mut stage = Stage::new();
        let first = stage.meet(Setback::Whole);
        assert!(first <= BACKOFF_FIRST);
        assert_eq!([(); 20].map(|()| stage.meet(Setback::Whole)), [first; 20]);
        assert!(stage.meet_in_ten_sessions(Setback::Whole) >= BACKOFF_MAX / 2);
    }

    #[test]
    fn a_leader_that_is_there_again_is_heard_however_long_it_was_away() {
        let mut stage = Stage::new();
        assert!(stage.meet_in_ten_sessions(Setback::Away) >= AWAY_PAUSE_MAX / 2);
        assert!(stage.meet(Setback::Behind) <= BACKOFF_FIRST);
        assert!(stage.meet_in_ten_sessions(Setback::Behind) >= BACKOFF_MAX / 2);
    }

    #[test]
    fn pauses_are_short_again_after_progress() {
        let mut stage = Stage::new();
        stage.meet_in_ten_sessions(Setback::Away);
        stage.renewal.on_progress();
        stage.renewal.on_begun();
        assert!(stage.meet(Setback::Away) <= BACKOFF_FIRST);
    }
}
