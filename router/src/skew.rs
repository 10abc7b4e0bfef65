//! Which keys are hot, which partitions are fuller than others, and which producers place keys differently: sampled.
//!
//! Each runtime watches what it sends to leaders, in bounded memory and for a few nanoseconds a record: now and then it
//! looks at the key of one record of an uncompressed batch. Compressed batches are not decompressed; their bytes are
//! counted. Nothing depends on what is seen here. A core: no clock, and randomness by a seed (`draw.rs`).
//! Read [`topic`] next, then [`heavy`]; `probe.rs` shows it.

mod draw;
pub mod heavy;
pub mod topic;

use std::collections::BTreeMap;

use keylane_protocol::identifiers::{PartitionIndex, TopicId};

use self::draw::Gaps;
use self::topic::TopicWatch;

/// How many topics are watched.
pub const TOPICS_MAX: usize = 500;

/// The sum of their partitions, as far as they got records: each takes eight bytes.
const PARTITIONS_MAX: usize = 1 << 18;

/// At a bound the topic that was used least recently makes room for a new one, once in so many batches of topics that are
/// not watched: it is looked for among all.
const BATCHES_PER_EVICTION: u64 = 256;

/// A batch on its way to the leader of its partition.
#[derive(Clone, Copy, Debug)]
pub struct Passed<'a> {
    /// The topic.
    pub topic_id: TopicId,
    /// The partition, which has a leader, so that it exists.
    pub partition: PartitionIndex,
    /// Who has chosen it.
    pub placed_by: PlacedBy<'a>,
    /// The batch, of which nothing was checked.
    pub batch: &'a [u8],
}

/// Who chooses the partition of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlacedBy<'a> {
    /// A router, by the key.
    Router,
    /// The client.
    Client {
        /// How it calls itself; empty if it does not.
        id: &'a str,
        /// How many partitions the topic has, if that is known.
        partition_count: Option<i32>,
    },
}

/// What a runtime has seen.
#[derive(Debug)]
pub struct Skew {
    topics: BTreeMap<TopicId, Watched>,
    /// Partitions of all of them.
    partitions: usize,
    gaps: Gaps,
    /// Batches that have passed.
    passed: u64,
    /// Those of topics that are not watched.
    unwatched: u64,
}

#[derive(Debug)]
struct Watched {
    topic: TopicWatch,
    /// Which batch was its last.
    used: u64,
}

impl Skew {
    /// Returns one that has seen nothing; the seed chooses which records it looks at.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            topics: BTreeMap::new(),
            partitions: 0,
            gaps: Gaps::new(seed),
            passed: 0,
            unwatched: 0,
        }
    }

    /// Sees a batch.
    pub fn on_batch(&mut self, passed: &Passed<'_>) {
        self.passed += 1;
        if !self.has_room(passed) {
            self.unwatched += 1;
            if self.unwatched.is_multiple_of(BATCHES_PER_EVICTION) {
                self.evict(passed.topic_id);
            }
            return;
        }
        let watched = self.topics.entry(passed.topic_id).or_insert(Watched {
            topic: TopicWatch::default(),
            used: 0,
        });
        watched.used = self.passed;
        let before = watched.topic.partition_bytes.len();
        watched.topic.on_batch(passed, &mut self.gaps);
        self.partitions += watched.topic.partition_bytes.len() - before;
    }

    /// Tells whether the batch can be seen within the bounds.
    fn has_room(&self, passed: &Passed<'_>) -> bool {
        let needed =
            usize::try_from(passed.partition.0).map_or(usize::MAX, |at| at.saturating_add(1));
        match self.topics.get(&passed.topic_id) {
            Some(watched) => {
                let more = needed.saturating_sub(watched.topic.partition_bytes.len());
                more <= PARTITIONS_MAX - self.partitions
            }
            None => self.topics.len() < TOPICS_MAX && needed <= PARTITIONS_MAX - self.partitions,
        }
    }

    /// Forgets the topic that was used least recently, but not this one.
    fn evict(&mut self, but: TopicId) {
        let others = self.topics.iter().filter(|(id, _)| **id != but);
        let least = others.min_by_key(|(_, watched)| watched.used);
        let least = least.map(|(id, _)| *id);
        if let Some(watched) = least.and_then(|id| self.topics.remove(&id)) {
            self.partitions -= watched.topic.partition_bytes.len();
        }
    }

    /// Returns what was seen of a topic.
    #[must_use]
    pub fn topic(&self, id: TopicId) -> Option<&TopicWatch> {
        Some(&self.topics.get(&id)?.topic)
    }

    /// Returns the topics of which something was seen.
    pub fn topics(&self) -> impl Iterator<Item = TopicId> {
        self.topics.keys().copied()
    }
}

#[cfg(test)]
mod tests;
