//! One partition's decisions: which batch is appended where, who may read what. No I/O, no clock.
//!
//! The partition assigns offset and leader epoch and updates its producers when a batch is accepted; the log says where
//! the bytes go and the writer puts them there. Consumers see what lies below the high watermark, which with a single
//! replica is the durable end. Read [`read`], [`producers`], [`waiting`] and [`tail`] next.

pub mod counters;
pub mod producer_state;
pub mod producers;
pub mod read;
pub mod routed_state;
pub mod tail;
#[cfg(test)]
pub(crate) mod tests;
pub mod waiting;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use keylane_protocol::offset::{LeaderEpoch, Offset};
use keylane_protocol::record_batch::{PREFIX_BYTES, RecordBatch};

use self::counters::PartitionCounters;
use self::producers::{Judgement, NumberedBatch, PartitionProducers, Refusal};
use self::routed_state::{Original, Routing};
use self::tail::TailBatch;
use crate::log::epochs::EpochHistory;
use crate::log::segment::Segment;
use crate::log::space::SpaceBudget;
use crate::log::writer::{Append, Durability};
use crate::log::{BatchFacts, Log, RollSettings, TopicPartition};

/// Why a batch was not appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The producer's numbers forbid it.
    #[error("{refusal}")]
    Producer {
        /// Why.
        refusal: Refusal,
        /// The first offset of the log, which tells the client whether its earlier records may be gone.
        log_start_offset: Offset,
    },
    /// The disk has no room left; it may succeed when there is.
    #[error("the disk is full: free space, or delete topics")]
    NoSpace,
    /// The data folder is offline, so whether the batch was written is not known.
    #[error("the data folder is offline")]
    Offline,
    /// The partition is not here, or no longer.
    #[error("there is no such topic or partition")]
    Gone,
    /// Another broker leads the partition, or nobody does.
    #[error("this broker does not lead the partition")]
    NotLeader,
}

/// A batch that is part of the log from now on.
#[derive(Debug)]
pub struct Accepted {
    /// The offset of its first record.
    pub base_offset: Offset,
    /// The offset after its last record.
    pub end_offset: Offset,
    /// What the writer has to do.
    pub append: Append,
    /// The batch as it is stored, for readers at the tail.
    pub recent: TailBatch,
}

/// What became of a batch.
#[derive(Debug)]
pub enum Outcome {
    /// It was appended.
    Accepted(Box<Accepted>),
    /// It was appended before; acknowledged when that was.
    Duplicate(Original),
}

/// A segment whose index can be written beside it: all of it is durable.
#[derive(Clone, Debug)]
pub struct SegmentSeal {
    /// The partition.
    pub partition: TopicPartition,
    /// The segment.
    pub segment: Segment,
    /// The leader epochs of its batches.
    pub epochs: EpochHistory,
    /// The producers as of its end.
    pub producers: Vec<u8>,
}

/// What distinguishes one partition from another, apart from its records.
#[derive(Clone, Debug)]
pub struct PartitionSetup {
    /// Which partition.
    pub id: TopicPartition,
    /// Which shard owns it.
    pub shard: usize,
    /// The epoch in which this broker leads it; `None` if it does not.
    pub leader_epoch: Option<LeaderEpoch>,
    /// When a segment ends.
    pub roll: RollSettings,
    /// When a batch counts as durable.
    pub durability: Durability,
    /// The room that all partitions share.
    pub space: Arc<SpaceBudget>,
    /// Where it counts what is done to it.
    pub counters: Arc<PartitionCounters>,
}

/// A batch on its way to the disk.
#[derive(Clone, Copy, Debug)]
struct Underway {
    end_offset: Offset,
    size_bytes: u64,
    max_timestamp: i64,
}

/// A partition that lies here.
#[derive(Debug)]
pub struct Partition {
    setup: PartitionSetup,
    log: Log,
    producers: PartitionProducers,
    high_watermark: Offset,
    underway: VecDeque<Underway>,
    /// The greatest timestamp below the high watermark; `i64::MIN` without one.
    max_timestamp: i64,
    /// Segments that ended, until all of them is durable.
    closed: VecDeque<SegmentSeal>,
}

impl Partition {
    /// The life of a log; it would rise with each truncation, which a single replica never does.
    pub const GENERATION: u64 = 0;

    /// Returns a partition over a log that was recovered, all of which is durable.
    #[must_use]
    pub fn new(setup: PartitionSetup, log: Log, mut producers: PartitionProducers) -> Self {
        setup.counters.begin(&log, setup.leader_epoch);
        producers.on_durable(log.end_offset());
        let max_timestamp = log
            .locate_max_timestamp()
            .map_or(i64::MIN, |(timestamp, _)| timestamp);
        Self {
            high_watermark: log.end_offset(),
            setup,
            log,
            producers,
            underway: VecDeque::new(),
            max_timestamp,
            closed: VecDeque::new(),
        }
    }

    /// Returns which partition this is.
    #[must_use]
    pub fn id(&self) -> TopicPartition {
        self.setup.id
    }

    /// Returns the log.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Returns the first offset.
    #[must_use]
    pub fn log_start_offset(&self) -> Offset {
        self.log.start_offset()
    }

    /// Returns how far consumers may read.
    #[must_use]
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// Returns the epoch in which this broker leads; `None` if it does not.
    #[must_use]
    pub fn leader_epoch(&self) -> Option<LeaderEpoch> {
        self.setup.leader_epoch
    }

    /// Takes the epoch in which this broker leads from now on, or `None` if it no longer does: records that were accepted
    /// stay, and further ones are refused.
    pub fn lead(&mut self, leader_epoch: Option<LeaderEpoch>) {
        self.setup.leader_epoch = leader_epoch;
        self.setup.counters.lead(leader_epoch);
    }

    /// Takes when segments end from now on.
    pub fn roll(&mut self, roll: RollSettings) {
        self.setup.roll = roll;
    }

    /// Gives a batch its offsets, or finds that it has them already.
    ///
    /// # Errors
    /// When this broker does not lead, its producer's numbers forbid it, or there is no room; nothing has changed then.
    pub fn append(
        &mut self,
        batch: &RecordBatch,
        routing: Routing,
        now_ms: u64,
    ) -> Result<Outcome, AppendError> {
        let leader_epoch = self.setup.leader_epoch.ok_or(AppendError::NotLeader)?;
        let numbered = NumberedBatch::of(batch.header(), routing);
        if let Some(numbered) = &numbered {
            match self.producers.judge(numbered, now_ms) {
                Judgement::Append => {}
                Judgement::Duplicate(original) => return Ok(Outcome::Duplicate(original)),
                Judgement::Refused(refusal) => {
                    return Err(AppendError::Producer {
                        refusal,
                        log_start_offset: self.log_start_offset(),
                    });
                }
            }
        }
        let size_bytes = u64::try_from(batch.bytes().len()).expect("a size fits 64 bits");
        self.setup
            .space
            .take(size_bytes)
            .map_err(|_| AppendError::NoSpace)?;
        let accepted = self.place(batch, leader_epoch, size_bytes, now_ms);
        if let Some(numbered) = &numbered {
            let base_offset = accepted.base_offset;
            self.producers.remember(numbered, base_offset, now_ms);
        }
        Ok(Outcome::Accepted(Box::new(accepted)))
    }

    /// Gives the batch its place behind all others.
    fn place(
        &mut self,
        batch: &RecordBatch,
        leader_epoch: LeaderEpoch,
        size_bytes: u64,
        now_ms: u64,
    ) -> Accepted {
        let header = batch.header();
        let facts = BatchFacts {
            offset_count: i64::from(header.record_count),
            size_bytes,
            max_timestamp: header.max_timestamp,
        };
        let setup = &self.setup;
        let placement = self.log.append(&facts, leader_epoch, &setup.roll, now_ms);
        let end_offset = self.log.end_offset();
        let records = u64::from(header.record_count.unsigned_abs());
        setup.counters.appended(size_bytes, records, end_offset);
        if let Some(closed) = placement.closed {
            let segment = self.log.segment(closed.base_offset);
            let segment = segment.expect("it was active just now").clone();
            self.closed.push_back(SegmentSeal {
                partition: setup.id,
                epochs: self.log.epochs_of(&segment),
                segment,
                producers: self.producers.encode(),
            });
        }
        self.underway.push_back(Underway {
            end_offset,
            size_bytes,
            max_timestamp: header.max_timestamp,
        });
        let base_offset = placement.base_offset;
        let head = Bytes::copy_from_slice(&batch.stamped_prefix(base_offset, leader_epoch));
        let rest = batch.bytes().slice(PREFIX_BYTES..);
        Accepted {
            base_offset,
            end_offset,
            append: Append {
                partition: setup.id,
                generation: Self::GENERATION,
                shard: setup.shard,
                durability: setup.durability,
                segment: placement.segment,
                position: placement.position,
                closed: placement.closed,
                end_offset,
                prefix: head.clone(),
                rest: rest.clone(),
            },
            recent: TailBatch {
                base_offset,
                end_offset,
                head,
                rest,
            },
        }
    }

    /// Notes that everything below `end` is durable; returns how many bytes became visible to consumers, and adds to
    /// `seals` the segments that ended below.
    pub fn on_durable(&mut self, end: Offset, seals: &mut Vec<SegmentSeal>) -> u64 {
        let durable = self
            .underway
            .partition_point(|batch| batch.end_offset <= end);
        let mut bytes = 0;
        for batch in self.underway.drain(..durable) {
            bytes += batch.size_bytes;
            self.max_timestamp = self.max_timestamp.max(batch.max_timestamp);
        }
        self.producers.on_durable(end);
        self.high_watermark = self.high_watermark.max(end);
        self.setup.counters.reach(self.high_watermark);
        let sealed = self
            .closed
            .partition_point(|seal| seal.segment.end_offset() <= end);
        seals.extend(self.closed.drain(..sealed.min(self.sealable())));
        bytes
    }

    /// Returns how many of the segments that ended may be sealed, which syncs them: a page-cache topic's youngest waits for
    /// the next to end, and the system has written most of it by itself.
    fn sealable(&self) -> usize {
        match self.setup.durability {
            Durability::Fsync => self.closed.len(),
            Durability::PageCache => self.closed.len().saturating_sub(1),
        }
    }

    /// Ends the partition, all of which is durable; returns the seals that are due.
    #[must_use]
    pub fn into_seals(self) -> Vec<SegmentSeal> {
        let mut seals: Vec<SegmentSeal> = self.closed.into();
        if self.log.active().size_bytes() > 0 {
            seals.push(SegmentSeal {
                partition: self.setup.id,
                segment: self.log.active().clone(),
                epochs: self.log.epochs_of(self.log.active()),
                producers: self.producers.encode(),
            });
        }
        seals
    }
}
