//! What a router does not know is looked up once before a client is told so.
//!
//! A look-up asks a controller how far the metadata has come. When this router's image is as far, what it does not have
//! does not exist; that is believed for [`UNKNOWN_TOPIC_BELIEVED`]. One question serves all that came before it, so a
//! client that asks for a thousand unknown topics costs a controller one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use keylane_protocol::identifiers::PartitionIndex;

use crate::limits::{UNKNOWN_TOPIC_BELIEVED, UNKNOWN_TOPICS_MAX};
use crate::routing::{Moment, Route, Routing, TopicKey};

/// A partition that the image does not have. [`PartitionIndex`] 0 stands for the topic as a whole, where only that is
/// asked for: every topic has it.
pub type Missing = (TopicKey, PartitionIndex);

/// What to do about something that the image does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookUp {
    /// It does not exist.
    Unknown,
    /// Wait: a question is under way, or will follow it.
    Wait,
    /// Wait, and ask a controller now.
    Ask,
}

/// What is being looked up, and what was not found lately.
#[derive(Debug, Default)]
pub struct Lookups {
    /// What the question under way is about; empty if there is none.
    asked: BTreeSet<Missing>,
    /// What came after it.
    waiting: BTreeSet<Missing>,
    unknown: BTreeMap<Missing, Instant>,
    /// The same by age, the oldest first.
    by_age: VecDeque<(Instant, Missing)>,
}

impl Lookups {
    /// Begins to look something up, unless it is known not to exist. At the bound it counts as unknown.
    pub fn look_up(&mut self, missing: &Missing, now: Instant) -> LookUp {
        self.forget_old(now);
        if self.unknown.contains_key(missing) {
            return LookUp::Unknown;
        }
        if self.asked.contains(missing) || self.waiting.contains(missing) {
            return LookUp::Wait;
        }
        if self.asked.len() + self.waiting.len() >= UNKNOWN_TOPICS_MAX {
            return LookUp::Unknown;
        }
        if self.asked.is_empty() {
            self.asked.insert(missing.clone());
            return LookUp::Ask;
        }
        self.waiting.insert(missing.clone());
        LookUp::Wait
    }

    /// Notes that the image is as far as the controller was when it was asked. Returns what does not exist, and whether
    /// to ask again, for what has come meanwhile.
    pub fn on_caught_up(&mut self, moment: Moment<'_>) -> (BTreeSet<Missing>, bool) {
        self.forget_old(moment.now);
        let asked = std::mem::take(&mut self.asked).into_iter();
        let unknown = asked.filter(|missing| is_missing(missing, moment.routing));
        let unknown: BTreeSet<Missing> = unknown.collect();
        for missing in &unknown {
            if self.unknown.insert(missing.clone(), moment.now).is_none() {
                self.by_age.push_back((moment.now, missing.clone()));
            }
        }
        while self.unknown.len() > UNKNOWN_TOPICS_MAX {
            self.forget_oldest();
        }
        self.asked = std::mem::take(&mut self.waiting);
        (unknown, !self.asked.is_empty())
    }

    /// Notes that no controller has answered. Who waits is not told; the next look-up asks anew.
    pub fn on_failed(&mut self) {
        self.asked.clear();
        self.waiting.clear();
    }

    fn forget_old(&mut self, now: Instant) {
        let is_old = |since: Instant| now >= since + UNKNOWN_TOPIC_BELIEVED;
        while self.by_age.front().is_some_and(|(since, _)| is_old(*since)) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, missing)) = self.by_age.pop_front() {
            self.unknown.remove(&missing);
        }
    }
}

fn is_missing((topic, partition): &Missing, routing: &Routing) -> bool {
    let topic = routing.topic(topic);
    topic.is_none_or(|topic| routing.route(topic, *partition) == Route::Unknown)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::{Cluster, start};

    fn missing(name: &str) -> Missing {
        (TopicKey::Name(name.into()), PartitionIndex(0))
    }

    #[test]
    fn one_question_serves_all_that_came_before_it() {
        let now = start();
        let routing = Cluster::of_brokers(1).with_topic("c", &[1]).routing(now);
        let moment = Moment {
            routing: &routing,
            now,
        };
        let mut lookups = Lookups::default();
        assert_eq!(lookups.look_up(&missing("a"), now), LookUp::Ask);
        assert_eq!(lookups.look_up(&missing("a"), now), LookUp::Wait);
        assert_eq!(lookups.look_up(&missing("b"), now), LookUp::Wait);
        assert_eq!(lookups.look_up(&missing("c"), now), LookUp::Wait);
        assert_eq!(
            lookups.on_caught_up(moment),
            (BTreeSet::from([missing("a")]), true)
        );
        // `c` has come into the image meanwhile.
        assert_eq!(
            lookups.on_caught_up(moment),
            (BTreeSet::from([missing("b")]), false)
        );
    }

    #[test]
    fn what_was_not_found_is_believed_for_a_second() {
        let now = start();
        let routing = Cluster::of_brokers(1).routing(now);
        let mut lookups = Lookups::default();
        lookups.look_up(&missing("a"), now);
        lookups.on_caught_up(Moment {
            routing: &routing,
            now,
        });
        let soon = now + Duration::from_millis(999);
        assert_eq!(lookups.look_up(&missing("a"), soon), LookUp::Unknown);
        let later = now + UNKNOWN_TOPIC_BELIEVED;
        assert_eq!(lookups.look_up(&missing("a"), later), LookUp::Ask);
    }

    #[test]
    fn a_question_without_an_answer_is_asked_again() {
        let now = start();
        let mut lookups = Lookups::default();
        lookups.look_up(&missing("a"), now);
        lookups.on_failed();
        assert_eq!(lookups.look_up(&missing("a"), now), LookUp::Ask);
    }

    #[test]
    fn no_more_is_remembered_than_the_bound() {
        let now = start();
        let routing = Cluster::of_brokers(1).routing(now);
        let moment = Moment {
            routing: &routing,
            now,
        };
        let mut lookups = Lookups::default();
        for round in 0..3 {
            for number in 0..UNKNOWN_TOPICS_MAX {
                lookups.look_up(&missing(&format!("{round}-{number}")), now);
            }
            assert_eq!(lookups.look_up(&missing("more"), now), LookUp::Unknown);
            lookups.on_caught_up(moment);
            lookups.on_caught_up(moment);
        }
        assert_eq!(lookups.unknown.len(), UNKNOWN_TOPICS_MAX);
        assert_eq!(lookups.by_age.len(), UNKNOWN_TOPICS_MAX);
    }
}
