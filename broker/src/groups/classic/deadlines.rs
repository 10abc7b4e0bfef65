//! When what is to happen next in a group: every timer of the group is an entry here, and nowhere else.

use std::collections::{BTreeMap, BTreeSet};

use bytestring::ByteString;

/// What happens at a deadline.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// Those who have not joined by now are not waited for.
    Join,
    /// Those who have not asked for their assignment by now are removed.
    Sync,
    /// This member, or the member to be that was given this id, was silent for too long.
    Member(ByteString),
}

/// The deadlines of a group, at most one for each timer.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    ordered: BTreeSet<(u64, Timer)>,
    by_timer: BTreeMap<Timer, u64>,
}

impl Deadlines {
    /// Sets the deadline of a timer, whatever it was before.
    pub(super) fn set(&mut self, timer: Timer, at_ms: u64) {
        if let Some(before) = self.by_timer.insert(timer.clone(), at_ms) {
            self.ordered.remove(&(before, timer.clone()));
        }
        self.ordered.insert((at_ms, timer));
    }

    /// Sets the deadline of a timer unless it has a later one.
    pub(super) fn defer(&mut self, timer: Timer, at_ms: u64) {
        if self
            .by_timer
            .get(&timer)
            .is_none_or(|before| *before < at_ms)
        {
            self.set(timer, at_ms);
        }
    }

    /// Stops a timer.
    pub(super) fn clear(&mut self, timer: Timer) {
        if let Some(at_ms) = self.by_timer.remove(&timer) {
            self.ordered.remove(&(at_ms, timer));
        }
    }

    /// Returns the first deadline.
    pub(super) fn next_ms(&self) -> Option<u64> {
        self.ordered.first().map(|(at_ms, _)| *at_ms)
    }

    /// Takes the first timer whose deadline has come.
    pub(super) fn take_due(&mut self, now_ms: u64) -> Option<Timer> {
        if self.next_ms()? > now_ms {
            return None;
        }
        let (_, timer) = self.ordered.pop_first()?;
        self.by_timer.remove(&timer);
        Some(timer)
    }
}
