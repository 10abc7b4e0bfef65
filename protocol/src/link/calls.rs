//! What a dialer has asked and not been told: found by correlation, by lane, by deadline.
//!
//! When a lane closes, a deadline passes or the link is lost, the [`super::Outbox`] says what was never sent; everything
//! else that is pending is [`Fate::Unknown`]: the broker may have done it.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasherDefault;
use std::time::Instant;

use ahash::AHasher;

use super::lane::Flow;
use super::{Correlation, Lane};
use crate::rising::RisingSet;

/// What may be said of a request that gets no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fate {
    /// The broker has not got it whole, so it had no effect.
    NeverSent,
    /// It was sent: it may have had an effect, or have one yet.
    Unknown,
}

#[derive(Debug)]
struct Pending<T> {
    flow: Flow,
    deadline: Instant,
    asker: T,
}

/// What is pending on one connection of a link, with who asked.
#[derive(Debug)]
pub struct Calls<T> {
    last: Correlation,
    /// This side gives the numbers out, so that nobody can choose those that collide.
    pending: HashMap<Correlation, Pending<T>, BuildHasherDefault<AHasher>>,
    /// Of each lane that has asked something and is not closed.
    lanes: BTreeMap<Lane, RisingSet<Correlation>>,
    deadlines: RisingSet<(Instant, Correlation)>,
}

impl<T> Default for Calls<T> {
    fn default() -> Self {
        Self {
            last: Correlation(0),
            pending: HashMap::default(),
            lanes: BTreeMap::new(),
            deadlines: RisingSet::default(),
        }
    }
}

impl<T> Calls<T> {
    /// Returns a new number for what gets no answer: a sub-batch with acks=0.
    ///
    /// # Panics
    /// After 2^64 numbers.
    pub fn number(&mut self) -> Correlation {
        self.last.0 = self.last.0.checked_add(1).expect("2^64 are never reached");
        self.last
    }

    /// Remembers who asks, and returns the number for a request or sub-batch of a lane.
    pub fn begin(&mut self, lane: Lane, deadline: Instant, asker: T) -> Correlation {
        let correlation = self.number();
        let asked = self.lanes.entry(lane).or_default();
        asked.insert(correlation, ());
        self.insert(correlation, Flow::Lane(lane), deadline, asker)
    }

    /// Remembers who asks, and returns the number for a call of this node.
    pub fn begin_call(&mut self, deadline: Instant, asker: T) -> Correlation {
        let correlation = self.number();
        self.insert(correlation, Flow::Call(correlation), deadline, asker)
    }

    fn insert(
        &mut self,
        correlation: Correlation,
        flow: Flow,
        deadline: Instant,
        asker: T,
    ) -> Correlation {
        let pending = Pending {
            flow,
            deadline,
            asker,
        };
        self.pending.insert(correlation, pending);
        self.deadlines.insert((deadline, correlation), ());
        correlation
    }

    /// Returns who asked, now that the answer is there; `None` if nobody waits for it any more, or not in that flow.
    pub fn answered(&mut self, flow: Flow, correlation: Correlation) -> Option<T> {
        let pending = self.pending.get(&correlation)?;
        (pending.flow == flow).then(|| self.forget(correlation))?
    }

    /// Returns who asked and gives up waiting, for instance after a cancel.
    pub fn forget(&mut self, correlation: Correlation) -> Option<T> {
        let pending = self.pending.remove(&correlation)?;
        if let Flow::Lane(lane) = pending.flow
            && let Some(asked) = self.lanes.get_mut(&lane)
        {
            asked.remove(correlation);
        }
        self.deadlines.remove((pending.deadline, correlation));
        Some(pending.asker)
    }

    /// Returns who asked for what was not taken: the lane may be closed, and is then not remembered.
    pub fn refused(&mut self, correlation: Correlation) -> Option<T> {
        let flow = self.pending.get(&correlation)?.flow;
        let asker = self.forget(correlation);
        if let Flow::Lane(lane) = flow
            && self.lanes.get(&lane).is_some_and(RisingSet::is_empty)
        {
            self.lanes.remove(&lane);
        }
        asker
    }

    /// Returns who asked for what was never sent, whatever the reason; such as [`super::Outbox::take_never_sent`] says.
    pub fn never_sent(&mut self, never_sent: &[Correlation]) -> Vec<(T, Fate)> {
        let each = never_sent.iter();
        each.filter_map(|&correlation| self.forget(correlation))
            .map(|asker| (asker, Fate::NeverSent))
            .collect()
    }

    /// Gives up on a lane, of which `never_sent` was never sent; such as [`super::Outbox::close_lane`] says.
    pub fn close_lane(&mut self, lane: Lane, never_sent: &[Correlation]) -> Vec<(T, Fate)> {
        let mut fates = self.never_sent(never_sent);
        let sent = self.lanes.remove(&lane).unwrap_or_default();
        let sent: Vec<Correlation> = sent.iter().map(|(correlation, ())| correlation).collect();
        self.give_up(&sent, &mut fates);
        fates
    }

    /// Gives up on what has waited until its deadline, of which `never_sent` was never sent.
    pub fn expire(&mut self, now: Instant, never_sent: &[Correlation]) -> Vec<(T, Fate)> {
        let mut fates = self.never_sent(never_sent);
        while let Some(((deadline, late), ())) = self.deadlines.first()
            && deadline <= now
        {
            self.give_up(&[late], &mut fates);
        }
        fates
    }

    /// Gives up on everything, for the link is lost; `never_sent` was never sent, as [`super::Outbox::lose`] says.
    pub fn lose(&mut self, never_sent: &[Correlation]) -> Vec<(T, Fate)> {
        let mut fates = self.never_sent(never_sent);
        let deadlines = self.deadlines.iter();
        let mut sent: Vec<Correlation> = deadlines.map(|((_, sent), ())| sent).collect();
        sent.sort_unstable();
        self.give_up(&sent, &mut fates);
        fates
    }

    fn give_up(&mut self, sent: &[Correlation], fates: &mut Vec<(T, Fate)>) {
        for &correlation in sent {
            fates.extend(self.forget(correlation).map(|asker| (asker, Fate::Unknown)));
        }
    }

    /// Returns when [`Calls::expire`] has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|((deadline, _), ())| deadline)
    }

    /// Returns how many are pending.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// Returns whether nothing is pending.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::link::Lane;

    #[allow(clippy::disallowed_methods, reason = "a test needs some instant")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn each_asker_learns_one_fate_once() {
        let start = start();
        let second = |count| start + Duration::from_secs(count);
        let mut calls = Calls::default();
        let answered = calls.begin(Lane(1), second(9), "answered");
        let unsent = calls.begin(Lane(1), second(9), "unsent");
        calls.begin(Lane(1), second(9), "sent");
        calls.begin(Lane(2), second(2), "late");
        let call = calls.begin_call(second(9), "call");
        assert_eq!(calls.answered(Flow::Lane(Lane(2)), answered), None);
        assert_eq!(
            calls.answered(Flow::Lane(Lane(1)), answered),
            Some("answered")
        );
        assert_eq!(calls.answered(Flow::Lane(Lane(1)), answered), None);
        assert_eq!(calls.next_deadline(), Some(second(2)));
        assert_eq!(calls.expire(second(1), &[]), []);
        assert_eq!(calls.expire(second(2), &[]), [("late", Fate::Unknown)]);
        assert_eq!(
            calls.close_lane(Lane(1), &[unsent]),
            [("unsent", Fate::NeverSent), ("sent", Fate::Unknown)]
        );
        assert_eq!(calls.lose(&[call]), [("call", Fate::NeverSent)]);
        assert!(calls.is_empty() && calls.next_deadline().is_none());
    }

    #[test]
    fn nothing_is_remembered_of_a_lane_that_is_closed() {
        let mut calls = Calls::default();
        calls.begin(Lane(1), start(), "sent");
        calls.close_lane(Lane(1), &[]);
        let late = calls.begin(Lane(1), start(), "late");
        assert_eq!(calls.refused(late), Some("late"));
        assert!(calls.lanes.is_empty() && calls.is_empty());
    }
}
