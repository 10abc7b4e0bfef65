//! Chooses what to fetch from whom, as far as there is room for the answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use keylane_protocol::identifiers::BrokerId;
use rand::RngExt;
use std::time::Instant;

use super::{PlannedFetch, Positions, State, Wanted};

impl Positions {
    /// Chooses what to fetch now: one request for each broker that has none, as far as there is room for the answer.
    ///
    /// Brokers that should be dialled are added to `unreached`.
    pub(crate) fn plan(
        &mut self,
        now: Instant,
        is_ready: impl Fn(BrokerId) -> bool,
        unreached: &mut BTreeSet<BrokerId>,
    ) -> Vec<PlannedFetch> {
        let mut by_broker: BTreeMap<BrokerId, Vec<usize>> = BTreeMap::new();
        for (index, position) in self.all.iter().enumerate() {
            if !position.is_due(now) {
                continue;
            }
            match position.leader {
                None => self.is_metadata_stale = true,
                Some(broker) if self.under_way.contains_key(&broker) => {}
                Some(broker) if !is_ready(broker) => {
                    unreached.insert(broker);
                }
                Some(broker) => by_broker.entry(broker).or_default().push(index),
            }
        }
        let mut planned = Vec::new();
        for (broker, indexes) in by_broker {
            let Some(max_bytes) = self.room() else { break };
            self.under_way.insert(broker, max_bytes);
            planned.push(PlannedFetch {
                broker,
                max_bytes,
                partitions: self.wanted(&indexes),
            });
        }
        planned
    }

    /// Returns how much a fetch may bring; `None` if it is better to wait until more was taken.
    fn room(&self) -> Option<usize> {
        let promised: usize = self.under_way.values().sum();
        let held = self.buffered_bytes + promised;
        let free = self.config.prefetch_bytes.saturating_sub(held);
        let enough = self.config.max_bytes.min(self.config.prefetch_bytes / 4);
        (free > 0 && free >= enough).then(|| free.min(self.config.max_bytes))
    }

    fn wanted(&mut self, indexes: &[usize]) -> Vec<Wanted> {
        // The broker serves in this order: whoever was served first is last the next time.
        let turn = self.generator.random_range(0..indexes.len().max(1));
        let (later, first) = indexes.split_at(turn);
        let mut wanted = Vec::with_capacity(indexes.len());
        for &index in first.iter().chain(later) {
            let position = &mut self.all[index];
            position.state = State::Fetching;
            wanted.push(Wanted {
                index,
                seeks: position.seeks,
                topic: Arc::clone(&position.topic),
                topic_id: position.topic_id,
                partition: position.partition,
                leader_epoch: position.leader_epoch,
                offset: position.fetch_offset,
            });
        }
        wanted
    }
}
