//! Who has been heard of lately: kept by every voter, used by the one that leads.
//!
//! A core. Times are this process's own, in milliseconds, and are never compared with another machine's. A voter that
//! was itself stalled has heard of nobody meanwhile, and starts all clocks anew instead of blaming others.

use std::collections::BTreeMap;

use keylane_protocol::identifiers::BrokerId;
use keylane_protocol::offset::BrokerEpoch;

/// When nodes were last heard of.
#[derive(Clone, Debug)]
pub(crate) struct Liveness {
    session_ms: u64,
    heard: BTreeMap<BrokerId, Heard>,
    looked_ms: u64,
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    epoch: BrokerEpoch,
    at_ms: u64,
}

impl Liveness {
    /// Returns what has heard of nobody; a node is silent when a session has passed without a word of it.
    pub(crate) fn new(session_ms: u64, now_ms: u64) -> Self {
        Self {
            session_ms,
            heard: BTreeMap::new(),
            looked_ms: now_ms,
        }
    }

    /// Notes a word of a node in one of its registrations.
    pub(crate) fn hear(&mut self, node: BrokerId, epoch: BrokerEpoch, now_ms: u64) {
        let heard = self.heard.entry(node).or_insert(Heard {
            epoch,
            at_ms: now_ms,
        });
        if epoch >= heard.epoch {
            *heard = Heard {
                epoch,
                at_ms: now_ms,
            };
        }
    }

    /// Returns how often to look, so that a stall of this process is told from silence.
    pub(crate) fn look_interval_ms(&self) -> u64 {
        (self.session_ms / 8).max(1)
    }

    /// Looks at the clock: a pause of half a session since the last look means that this process was stalled.
    pub(crate) fn look(&mut self, now_ms: u64) {
        if now_ms.saturating_sub(self.looked_ms) > self.session_ms / 2 {
            for heard in self.heard.values_mut() {
                heard.at_ms = now_ms;
            }
        }
        self.looked_ms = now_ms;
    }

    /// Returns which of these nodes have been silent for a session. One never heard of begins its session here.
    pub(crate) fn silent(
        &mut self,
        nodes: impl Iterator<Item = (BrokerId, BrokerEpoch)>,
        now_ms: u64,
    ) -> Vec<(BrokerId, BrokerEpoch)> {
        let mut silent = Vec::new();
        for (node, epoch) in nodes {
            let new = Heard {
                epoch,
                at_ms: now_ms,
            };
            let heard = self.heard.entry(node).or_insert(new);
            if heard.epoch < epoch {
                *heard = new;
            } else if now_ms.saturating_sub(heard.at_ms) >= self.session_ms {
                silent.push((node, epoch));
            }
        }
        silent
    }

    /// Forgets nodes that exist no longer.
    pub(crate) fn retain(&mut self, exists: impl Fn(BrokerId) -> bool) {
        self.heard.retain(|&node, _| exists(node));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: (BrokerId, BrokerEpoch) = (BrokerId(1), BrokerEpoch(5));

    fn silent(liveness: &mut Liveness, now_ms: u64) -> bool {
        liveness.look(now_ms);
        !liveness.silent([ONE].into_iter(), now_ms).is_empty()
    }

    #[test]
    fn a_node_is_silent_a_session_after_its_last_word() {
        let mut liveness = Liveness::new(1_000, 0);
        liveness.hear(ONE.0, ONE.1, 100);
        for now_ms in (100..1_100).step_by(100) {
            assert!(!silent(&mut liveness, now_ms), "{now_ms}");
        }
        assert!(silent(&mut liveness, 1_100));
        liveness.hear(ONE.0, ONE.1, 1_150);
        assert!(!silent(&mut liveness, 1_200));
    }

    #[test]
    fn a_node_never_heard_of_has_a_session_to_speak() {
        let mut liveness = Liveness::new(1_000, 0);
        for now_ms in (500..1_500).step_by(100) {
            assert!(!silent(&mut liveness, now_ms), "{now_ms}");
        }
        assert!(silent(&mut liveness, 1_500));
    }

    #[test]
    fn a_voter_that_was_stalled_blames_nobody() {
        let mut liveness = Liveness::new(1_000, 0);
        liveness.hear(ONE.0, ONE.1, 0);
        assert!(!silent(&mut liveness, 100));
        assert!(!silent(&mut liveness, 9_000), "after the stall");
        for now_ms in (9_100..10_000).step_by(100) {
            assert!(!silent(&mut liveness, now_ms), "{now_ms}");
        }
        assert!(silent(&mut liveness, 10_000));
    }

    #[test]
    fn words_of_a_process_that_is_over_do_not_count() {
        let mut liveness = Liveness::new(1_000, 0);
        liveness.hear(ONE.0, ONE.1, 100);
        for now_ms in (200..1_100).step_by(100) {
            liveness.hear(ONE.0, BrokerEpoch(4), now_ms);
            assert!(!silent(&mut liveness, now_ms));
        }
        assert!(silent(&mut liveness, 1_100));
    }
}
