//! What to fetch next from whom, and what has arrived: the reader's decisions, without I/O and clock.
//!
//! Each partition has one fetch under way at most, from where the last one ended, so records arrive in order. A seek
//! raises the partition's `seeks`: what was fetched for an earlier count is dropped. A partition that failed for good
//! yields its error once and rests until a seek.

mod answer;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::{BrokerId, PartitionIndex, TopicId};
use keylane_protocol::offset::{LeaderEpoch, Offset};
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::time::Instant;

use super::ReadError;
use super::config::ReaderConfig;
use crate::metadata::ClusterView;

/// One partition and where its reading stands.
#[derive(Debug)]
pub(crate) struct Position {
    pub(crate) topic: Arc<str>,
    topic_id: TopicId,
    pub(crate) partition: PartitionIndex,
    leader: Option<BrokerId>,
    leader_epoch: LeaderEpoch,
    /// What to fetch next.
    fetch_offset: Offset,
    /// What the application gets next.
    pub(crate) next_offset: Offset,
    pub(crate) high_watermark: Option<Offset>,
    pub(crate) seeks: u64,
    state: State,
    failures: u32,
    /// How many of the latest answers in a row said that there is no such topic.
    unknown_answers: u32,
    not_before: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Fetching,
    /// The policy for offsets out of range asks where to go on.
    Resetting,
    Failed,
}

/// One partition of a fetch.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) index: usize,
    pub(crate) seeks: u64,
    pub(crate) topic: Arc<str>,
    pub(crate) topic_id: TopicId,
    pub(crate) partition: PartitionIndex,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) offset: Offset,
}

/// One request.
#[derive(Debug)]
pub(crate) struct PlannedFetch {
    pub(crate) broker: BrokerId,
    pub(crate) max_bytes: usize,
    pub(crate) partitions: Vec<Wanted>,
}

/// What a broker says about one partition.
#[derive(Clone, Debug)]
pub(crate) struct PartitionAnswer {
    pub(crate) code: ErrorCode,
    pub(crate) high_watermark: Offset,
    pub(crate) log_start_offset: Offset,
    pub(crate) records: Bytes,
}

/// Something for the application.
#[derive(Debug)]
pub(crate) enum Arrived {
    Batches {
        index: usize,
        seeks: u64,
        high_watermark: Offset,
        bytes: Bytes,
    },
    Failed {
        index: usize,
        seeks: u64,
        error: ReadError,
    },
}

/// All partitions of a reader and what has arrived.
#[derive(Debug)]
pub(crate) struct Positions {
    pub(crate) config: ReaderConfig,
    pub(crate) all: Vec<Position>,
    arrived: VecDeque<Arrived>,
    buffered_bytes: usize,
    /// How many bytes the fetch under way to each broker may bring.
    under_way: BTreeMap<BrokerId, usize>,
    generator: StdRng,
    pub(crate) is_metadata_stale: bool,
    /// Who waits for something to arrive.
    pub(crate) waker: Option<Waker>,
}

impl Position {
    pub(crate) fn new(
        topic: Arc<str>,
        topic_id: TopicId,
        partition: PartitionIndex,
        offset: Offset,
    ) -> Self {
        Self {
            topic,
            topic_id,
            partition,
            leader: None,
            leader_epoch: LeaderEpoch::NONE,
            fetch_offset: offset,
            next_offset: offset,
            high_watermark: None,
            seeks: 0,
            state: State::Idle,
            failures: 0,
            unknown_answers: 0,
            not_before: None,
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.state == State::Idle && self.is_rested(now)
    }

    fn is_rested(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|until| until <= now)
    }
}

impl Positions {
    pub(crate) fn new(config: ReaderConfig, all: Vec<Position>, seed: u64) -> Self {
        Self {
            config,
            all,
            arrived: VecDeque::new(),
            buffered_bytes: 0,
            under_way: BTreeMap::new(),
            generator: StdRng::seed_from_u64(seed),
            is_metadata_stale: false,
            waker: None,
        }
    }

    pub(crate) fn find(&self, topic: &str, partition: PartitionIndex) -> Option<usize> {
        let is_it =
            |position: &Position| position.partition == partition && &*position.topic == topic;
        self.all.iter().position(is_it)
    }

    /// Takes up who leads what.
    pub(crate) fn follow(&mut self, view: &ClusterView) {
        for index in 0..self.all.len() {
            let position = &mut self.all[index];
            let Some(topic) = view.topics.get(&position.topic) else {
                continue;
            };
            let is_other = topic.id != TopicId::ZERO
                && position.topic_id != TopicId::ZERO
                && topic.id != position.topic_id;
            if is_other && position.state != State::Failed {
                let error = ReadError::TopicRecreated {
                    topic: position.topic.to_string(),
                    partition: position.partition,
                };
                position.topic_id = topic.id;
                self.fail(index, error);
                continue;
            }
            if let Some(partition) = view.partition(&position.topic, position.partition) {
                position.leader = partition.leader;
                position.leader_epoch = partition.leader_epoch;
            }
        }
    }

    fn push(&mut self, arrived: Arrived) {
        self.arrived.push_back(arrived);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Stops reading a partition and tells the application why.
    pub(crate) fn fail(&mut self, index: usize, error: ReadError) {
        let position = &mut self.all[index];
        position.state = State::Failed;
        let seeks = position.seeks;
        self.push(Arrived::Failed {
            index,
            seeks,
            error,
        });
    }

    /// Stops reading a partition whose batches turned out to be damaged; the application was told.
    pub(crate) fn halt(&mut self, index: usize) {
        let position = &mut self.all[index];
        position.seeks += 1;
        position.state = State::Failed;
    }

    /// Takes the next thing for the application, unless a seek has made it worthless.
    pub(crate) fn take(&mut self) -> Option<Arrived> {
        while let Some(arrived) = self.arrived.pop_front() {
            let (index, seeks) = match &arrived {
                Arrived::Batches {
                    index,
                    seeks,
                    bytes,
                    ..
                } => {
                    self.buffered_bytes -= bytes.len();
                    (*index, *seeks)
                }
                Arrived::Failed { index, seeks, .. } => (*index, *seeks),
            };
            if self.all[index].seeks == seeks {
                return Some(arrived);
            }
        }
        None
    }

    /// Goes on at another offset and forgets what was fetched before.
    pub(crate) fn seek(&mut self, index: usize, offset: Offset) {
        let position = &mut self.all[index];
        position.seeks += 1;
        position.fetch_offset = offset;
        position.next_offset = offset;
        position.state = State::Idle;
        position.failures = 0;
        position.unknown_answers = 0;
        position.not_before = None;
    }

    /// Returns the partitions that the policy for offsets out of range has to move now.
    pub(crate) fn resetting(&self, now: Instant) -> Vec<(usize, u64)> {
        let all = self.all.iter().enumerate();
        all.filter(|(_, position)| position.state == State::Resetting && position.is_rested(now))
            .map(|(index, position)| (index, position.seeks))
            .collect()
    }

    /// Goes on at the offset that was found for a partition out of range.
    pub(crate) fn on_reset(&mut self, index: usize, seeks: u64, offset: Offset) {
        if self.is_resetting(index, seeks) {
            self.seek(index, offset);
        }
    }

    /// Says that no offset was found to go on at; it is asked for again after a pause.
    pub(crate) fn on_reset_failed(&mut self, index: usize, seeks: u64, now: Instant) {
        if self.is_resetting(index, seeks) {
            self.try_again(index, now);
        }
    }

    /// Tells whether a partition is out of range still: it may have been moved, or have failed, meanwhile.
    fn is_resetting(&self, index: usize, seeks: u64) -> bool {
        let position = &self.all[index];
        position.seeks == seeks && position.state == State::Resetting
    }

    /// Returns when a pause after a failure ends.
    pub(crate) fn next_attempt(&self, now: Instant) -> Option<Instant> {
        let pausing = self.all.iter();
        let pausing =
            pausing.filter(|position| matches!(position.state, State::Idle | State::Resetting));
        let pauses = pausing.filter_map(|position| position.not_before);
        pauses.filter(|&until| until > now).min()
    }
}
