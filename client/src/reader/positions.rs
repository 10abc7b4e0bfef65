//! What to fetch next from whom, and what has arrived: the reader's decisions, without I/O and clock.
//!
//! Each partition has one fetch under way at most, from where the last one ended, so records arrive in order. A seek
//! raises the partition's `seeks`: what was fetched for an earlier count is dropped. A partition that failed for good
//! yields its error once and rests until a seek.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::{BrokerId, PartitionIndex, TopicId};
use keylane_protocol::offset::{LeaderEpoch, Offset};
use keylane_protocol::record_batch::RecordBatchHeader;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::Instant;

use super::ReadError;
use super::config::{OutOfRange, ReaderConfig};
use crate::backoff::pause;
use crate::metadata::ClusterView;

/// After so many answers in a row a topic that no broker knows counts as deleted: about 20 seconds.
const UNKNOWN_TOPIC_ANSWERS_MAX: u32 = 25;

/// After so many failures in a row the log says that a partition stands still.
const FAILURES_BEFORE_WARNING: u32 = 5;

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
            not_before: None,
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.state == State::Idle && self.not_before.is_none_or(|until| until <= now)
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
        let turn = self.generator_turn(indexes.len());
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

    fn generator_turn(&mut self, count: usize) -> usize {
        use rand::RngExt;
        self.generator.random_range(0..count.max(1))
    }

    /// Says that a request was answered, or never will be; its partitions are reported one by one.
    pub(crate) fn on_fetch_done(&mut self, broker: BrokerId) {
        self.under_way.remove(&broker);
    }

    /// Takes what a broker says about a partition; `None` if there is no answer.
    pub(crate) fn on_answer(
        &mut self,
        wanted: &Wanted,
        answer: Option<PartitionAnswer>,
        now: Instant,
    ) {
        let position = &mut self.all[wanted.index];
        if position.seeks != wanted.seeks || position.state != State::Fetching {
            return;
        }
        position.state = State::Idle;
        let Some(answer) = answer else {
            self.is_metadata_stale = true;
            self.try_again(wanted.index, now);
            return;
        };
        match answer.code {
            ErrorCode::None => self.arrive(wanted.index, &answer, now),
            ErrorCode::OffsetOutOfRange => self.out_of_range(wanted.index, &answer),
            ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId
                if position.failures >= UNKNOWN_TOPIC_ANSWERS_MAX =>
            {
                let error = ReadError::UnknownTopic {
                    topic: position.topic.to_string(),
                    partition: position.partition,
                };
                self.fail(wanted.index, error);
            }
            code if code.is_retriable() || code == ErrorCode::UnknownServerError => {
                self.is_metadata_stale = true;
                self.try_again(wanted.index, now);
            }
            code => {
                let error = ReadError::Refused {
                    topic: position.topic.to_string(),
                    partition: position.partition,
                    code,
                };
                self.fail(wanted.index, error);
            }
        }
    }

    fn arrive(&mut self, index: usize, answer: &PartitionAnswer, now: Instant) {
        let position = &mut self.all[index];
        position.failures = 0;
        position.not_before = None;
        position.high_watermark = Some(answer.high_watermark);
        let (whole, end, fault) = whole_batches(&answer.records);
        if let Some(end) = end.filter(|&end| end > position.fetch_offset) {
            position.fetch_offset = end;
            self.buffered_bytes += whole;
            let batches = Arrived::Batches {
                index,
                seeks: position.seeks,
                high_watermark: answer.high_watermark,
                bytes: answer.records.slice(..whole),
            };
            self.push(batches);
        } else if let Some(reason) = fault {
            let error = ReadError::Corrupt {
                topic: position.topic.to_string(),
                partition: position.partition,
                offset: position.fetch_offset,
                reason,
            };
            self.fail(index, error);
        } else if whole > 0 {
            // Only records before the offset: asking again at once would bring the same.
            self.try_again(index, now);
        }
    }

    fn out_of_range(&mut self, index: usize, answer: &PartitionAnswer) {
        let position = &mut self.all[index];
        if self.config.out_of_range != OutOfRange::Fail {
            position.state = State::Resetting;
            return;
        }
        let error = ReadError::OffsetOutOfRange {
            topic: position.topic.to_string(),
            partition: position.partition,
            offset: position.fetch_offset,
            first: answer.log_start_offset,
            end: answer.high_watermark,
        };
        self.fail(index, error);
    }

    fn try_again(&mut self, index: usize, now: Instant) {
        let position = &mut self.all[index];
        position.not_before = Some(now + pause(position.failures, &mut self.generator));
        position.failures = position.failures.saturating_add(1);
        if position.failures == FAILURES_BEFORE_WARNING {
            tracing::warn!(
                topic = &*position.topic,
                partition = %position.partition,
                offset = %position.fetch_offset,
                "partition cannot be read at the moment; the reader goes on trying"
            );
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
        position.not_before = None;
    }

    /// Returns the partitions that the policy for offsets out of range has to move.
    pub(crate) fn resetting(&self) -> Vec<(usize, u64)> {
        let all = self.all.iter().enumerate();
        all.filter(|(_, position)| position.state == State::Resetting)
            .map(|(index, position)| (index, position.seeks))
            .collect()
    }

    /// Returns when a pause after a failure ends.
    pub(crate) fn next_attempt(&self, now: Instant) -> Option<Instant> {
        let idle = self.all.iter();
        let idle = idle.filter(|position| position.state == State::Idle);
        let pauses = idle.filter_map(|position| position.not_before);
        pauses.filter(|&until| until > now).min()
    }
}

/// Returns how many bytes hold whole batches, the offset after the last of them, and what is wrong with the next.
fn whole_batches(records: &Bytes) -> (usize, Option<Offset>, Option<String>) {
    let mut whole = 0;
    let mut end = None;
    while whole < records.len() {
        let rest = &records[whole..];
        let header = match RecordBatchHeader::read(rest) {
            Ok(header) => header,
            // A broker may cut the last batch short; only if it is the first, nothing can ever be read.
            Err(error) => return (whole, end, Some(error.to_string())),
        };
        if header.size_bytes() > rest.len() {
            let reason = format!(
                "a batch of {} bytes was sent cut to {}",
                header.size_bytes(),
                rest.len()
            );
            return (whole, end, Some(reason));
        }
        whole += header.size_bytes();
        end = end.max(Some(header.end_offset()));
    }
    (whole, end, None)
}
