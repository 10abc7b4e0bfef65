//! Where records wait: one open batch per partition, closed ones behind it, until the sender takes them.
//!
//! A core: no I/O, no clock, no lock of its own. Memory is asked for through a closure and counted by capacity, so that
//! the bound is that of the process. What was taken from here belongs to `delivery`.

mod taking;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use keylane_protocol::identifiers::PartitionIndex;
use keylane_protocol::partitioner::partition_for_key;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::time::Instant;

use super::batch::{OpenBatch, RecordFields, SealedBatch, record_bytes_max};
use super::error::{DeliveryError, SendError};
use super::receipt::{BatchOutcome, Receipt};
use crate::limits::BATCH_BYTES_FIRST;

/// A (topic, partition) of one producer, in the order in which they were met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LaneId(pub(crate) usize);

/// Counts the batches of one producer, in the order in which they were opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BatchSerial(pub(crate) u64);

/// What the accumulator needs of the producer's settings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AccumulatorSettings {
    pub(crate) batch_size_bytes: usize,
    pub(crate) max_record_bytes: usize,
    pub(crate) linger: Duration,
    pub(crate) delivery_timeout: Duration,
}

/// What became of an attempt to place a record.
#[derive(Debug)]
pub(crate) enum Placing {
    /// It is in a batch.
    Placed {
        receipt: Receipt,
        /// Whether the sender has something to do that it does not know of yet.
        wakes_sender: bool,
    },
    /// The topic's partitions must be made known first.
    NeedsTopic,
    /// So many bytes of memory must be free first.
    NeedsMemory(usize),
}

/// Records and their batches before they are sent.
#[derive(Debug)]
pub(crate) struct Accumulator {
    settings: AccumulatorSettings,
    generator: StdRng,
    topics: HashMap<Arc<str>, Topic, ahash::RandomState>,
    lanes: Vec<Lane>,
    /// Lanes with a closed batch.
    sealed: BTreeSet<LaneId>,
    /// Lanes with an open batch, by when it is to be sent even if it is not full.
    lingering: BTreeSet<(Instant, LaneId)>,
    /// Every batch that is not settled; all have the same time-out, so the first is the first to expire.
    unsettled: BTreeMap<BatchSerial, Unsettled>,
    next_serial: BatchSerial,
    is_closed: bool,
    failed: Option<(u64, DeliveryError)>,
}

#[derive(Debug)]
struct Topic {
    lanes: Vec<LaneId>,
    /// Where records without a key go until that batch is closed.
    sticky: usize,
}

#[derive(Debug)]
struct Lane {
    topic: Arc<str>,
    partition: PartitionIndex,
    open: Option<OpenBatch>,
    sealed: VecDeque<SealedBatch>,
    next_capacity: usize,
}

#[derive(Debug)]
struct Unsettled {
    deadline: Instant,
    outcome: Arc<BatchOutcome>,
    /// Known once the batch is closed.
    record_count: u32,
}

impl Accumulator {
    pub(crate) fn new(settings: AccumulatorSettings, seed: u64) -> Self {
        Self {
            settings,
            generator: StdRng::seed_from_u64(seed),
            topics: HashMap::default(),
            lanes: Vec::new(),
            sealed: BTreeSet::new(),
            lingering: BTreeSet::new(),
            unsettled: BTreeMap::new(),
            next_serial: BatchSerial(0),
            is_closed: false,
            failed: None,
        }
    }

    /// Makes a topic's partitions known; a topic never shrinks.
    pub(crate) fn set_partitions(&mut self, topic: &Arc<str>, count: usize) {
        let entry = self
            .topics
            .entry(Arc::clone(topic))
            .or_insert_with(|| Topic {
                lanes: Vec::new(),
                sticky: 0,
            });
        for index in entry.lanes.len()..count {
            entry.lanes.push(LaneId(self.lanes.len()));
            self.lanes.push(Lane {
                topic: Arc::clone(topic),
                partition: PartitionIndex(i32::try_from(index).unwrap_or(i32::MAX)),
                open: None,
                sealed: VecDeque::new(),
                next_capacity: BATCH_BYTES_FIRST,
            });
        }
    }

    /// Adds partitions to a topic that is in use.
    pub(crate) fn grow_topic(&mut self, topic: &Arc<str>, count: usize) {
        let is_known = self.topics.get(topic).map(|topic| topic.lanes.len());
        if is_known.is_some_and(|known| known < count) {
            self.set_partitions(topic, count);
        }
    }

    /// Returns the lanes met since there were `known`, as topic and partition.
    pub(crate) fn lanes_after(&self, known: usize) -> Vec<(Arc<str>, PartitionIndex)> {
        let named = |lane: &Lane| (Arc::clone(&lane.topic), lane.partition);
        self.lanes[known..].iter().map(named).collect()
    }

    /// Places a record into the open batch of its partition, opening one if need be.
    pub(crate) fn append(
        &mut self,
        record: &RecordFields<'_>,
        now: impl Fn() -> Instant,
        mut reserve: impl FnMut(usize) -> bool,
    ) -> Result<Placing, SendError> {
        if self.is_closed {
            return Err(SendError::Closed);
        }
        let size = record_bytes_max(&record.record);
        let size_max = self.settings.max_record_bytes;
        if size > size_max {
            return Err(SendError::TooLarge {
                size_bytes: size,
                size_bytes_max: size_max,
            });
        }
        let mut wakes_sender = false;
        loop {
            let Some(id) = self.choose(record)? else {
                return Ok(Placing::NeedsTopic);
            };
            let lane = &mut self.lanes[id.0];
            let Some(open) = &mut lane.open else {
                let capacity = lane.next_capacity.min(self.settings.batch_size_bytes);
                let capacity = capacity.max(OpenBatch::capacity_for(size));
                if !reserve(capacity) {
                    return Ok(Placing::NeedsMemory(capacity));
                }
                wakes_sender |= self.open(id, capacity, now());
                continue;
            };
            if open.has_room(size) || open.grow(size, self.settings.batch_size_bytes, &mut reserve)
            {
                let receipt = open.append(&record.record);
                return Ok(Placing::Placed {
                    receipt,
                    wakes_sender,
                });
            }
            wakes_sender |= self.seal(id);
        }
    }

    /// Returns the lane a record goes to; `None` if its topic is not known.
    fn choose(&mut self, record: &RecordFields<'_>) -> Result<Option<LaneId>, SendError> {
        let Some(topic) = self.topics.get_mut(record.topic) else {
            return Ok(None);
        };
        let count = topic.lanes.len();
        if let Some(partition) = record.partition {
            let index = usize::try_from(partition.0).ok();
            let lane = index.and_then(|index| topic.lanes.get(index).copied());
            return lane.map(Some).ok_or_else(|| SendError::UnknownPartition {
                topic: record.topic.to_owned(),
                partition,
                count,
            });
        }
        if let Some(key) = record.record.key {
            let count = i32::try_from(count).unwrap_or(i32::MAX);
            let index = usize::try_from(partition_for_key(key, count).0).unwrap_or(0);
            return Ok(topic.lanes.get(index).copied());
        }
        if self.lanes[topic.lanes[topic.sticky].0].open.is_none() {
            // Of two partitions drawn, the one with less in front: one whose leader is away fills up and is avoided.
            let mut draw = || self.generator.random_range(0..count);
            let (one, other) = (draw(), draw());
            let waiting = |index: usize| self.lanes[topic.lanes[index].0].sealed.len();
            topic.sticky = if waiting(one) <= waiting(other) {
                one
            } else {
                other
            };
        }
        Ok(Some(topic.lanes[topic.sticky]))
    }

    /// Opens a batch and returns whether the sender must learn when it is due.
    fn open(&mut self, id: LaneId, capacity: usize, now: Instant) -> bool {
        let serial = self.next_serial;
        self.next_serial.0 += 1;
        let lane = &mut self.lanes[id.0];
        let outcome = Arc::new(BatchOutcome::new(lane.partition));
        let deadline = now + self.settings.delivery_timeout;
        let is_due = now + self.settings.linger;
        self.unsettled.insert(
            serial,
            Unsettled {
                deadline,
                outcome: Arc::clone(&outcome),
                record_count: 0,
            },
        );
        lane.open = Some(OpenBatch::new(
            serial,
            outcome,
            capacity,
            (is_due, deadline),
        ));
        // Else the sender looks again before this one is due. What is overdue waits for a leader, and wakes nobody.
        let sleeps_longer = self.next_due(now).is_none();
        self.lingering.insert((is_due, id));
        sleeps_longer
    }

    /// Closes the open batch of a lane and returns whether the sender has something new to do.
    fn seal(&mut self, id: LaneId) -> bool {
        let lane = &mut self.lanes[id.0];
        let Some(open) = lane.open.take() else {
            return false;
        };
        self.lingering.remove(&(open.is_due(), id));
        if let Some(unsettled) = self.unsettled.get_mut(&open.serial()) {
            unsettled.record_count = open.record_count();
        }
        lane.next_capacity = open.len().max(BATCH_BYTES_FIRST);
        if open.is_cut_by_size() {
            lane.next_capacity = self.settings.batch_size_bytes;
        }
        lane.sealed.push_back(open.seal());
        self.sealed.insert(id)
    }

    /// Closes every open batch, so that all of them are due.
    pub(crate) fn seal_all(&mut self) {
        while let Some(&(_, id)) = self.lingering.first() {
            self.seal(id);
        }
    }
}
