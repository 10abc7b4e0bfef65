//! One partition's decisions: which batch is appended where, who may read what. No I/O, no clock.
//!
//! The partition assigns offset and leader epoch and updates its producers when a batch is accepted; the log says where
//! the bytes go and the writer puts them there. Consumers see what lies below the high watermark, which with a single
//! replica is the durable end. Read [`producer_state`], [`waiting`] and [`tail`] next.

pub mod producer_state;
pub mod tail;
#[cfg(test)]
pub(crate) mod tests;
pub mod waiting;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use keylane_protocol::identifiers::ProducerId;
use keylane_protocol::offset::{LeaderEpoch, Offset};
use keylane_protocol::record_batch::{PREFIX_BYTES, RecordBatch, RecordBatchHeader};

use self::producer_state::{Judgement, Producers, Refusal, RememberedBatch, SequencedBatch};
use self::tail::{ReadLimit, Tail, TailBatch, TailRead};
use crate::limits::TIMESTAMP_WALK_BYTES;
use crate::log::read::ReadRange;
use crate::log::segment::Segment;
use crate::log::space::SpaceBudget;
use crate::log::writer::{Append, Durability};
use crate::log::{BatchFacts, Location, Log, RollSettings, TopicPartition};

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
}

/// Why nothing can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The partition is not here, or no longer.
    #[error("there is no such topic or partition")]
    Gone,
    /// The offset lies outside the log.
    #[error("the offset lies outside the log")]
    OffsetOutOfRange,
    /// The client knows an older leader epoch.
    #[error("the leader epoch has been replaced by a newer one")]
    FencedLeaderEpoch,
    /// The client knows a newer leader epoch.
    #[error("the leader epoch is not known here yet")]
    UnknownLeaderEpoch,
    /// What lies on disk is not what was written.
    #[error("the records are damaged on disk")]
    Damaged,
    /// The data folder cannot be read.
    #[error("the data folder is offline")]
    Offline,
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
    Duplicate(RememberedBatch),
}

/// What a reader gets of a partition.
#[derive(Debug)]
pub struct PartitionRead {
    /// How far consumers may read.
    pub high_watermark: Offset,
    /// The first offset.
    pub log_start_offset: Offset,
    /// Where the records are.
    pub found: ReadFound,
}

/// Where records are that a reader wants.
#[derive(Debug)]
pub enum ReadFound {
    /// There are none yet.
    Nothing,
    /// In memory.
    Recent(TailRead),
    /// On disk.
    OnDisk(ReadPlan),
}

/// What offset a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetQuery {
    /// The first offset.
    Start,
    /// The end of what consumers may read.
    End,
    /// The record with the greatest timestamp, the first of several.
    GreatestTimestamp,
    /// The first record at or after a time.
    AtOrAfter {
        /// Milliseconds since 1970.
        timestamp: i64,
    },
}

/// An offset that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundOffset {
    /// The offset.
    pub offset: Offset,
    /// The record's timestamp; -1 if a place was asked for.
    pub timestamp: i64,
    /// The epoch in which the record was appended; [`LeaderEpoch::NONE`] if it is not known.
    pub leader_epoch: LeaderEpoch,
}

/// How far a search has come.
#[derive(Clone, Debug)]
pub enum OffsetSearch {
    /// It is done; `None` if there is no such record.
    Done(Option<FoundOffset>),
    /// It needs the disk.
    OnDisk(SearchPlan),
}

impl ReadFound {
    /// Returns how many bytes there are, as far as is known without reading them.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Recent(recent) => recent.bytes,
            Self::OnDisk(plan) => plan.bytes(),
        }
    }
}

/// A place on disk to read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadPlan {
    /// The partition.
    pub partition: TopicPartition,
    /// The segment, by its base offset.
    pub segment: Offset,
    /// What to read of it.
    pub range: ReadRange,
}

impl ReadPlan {
    /// Returns how many bytes there are at most.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let there = self.range.end_position.saturating_sub(self.range.position);
        usize::try_from(there).map_or(self.range.bytes_max, |there| {
            there.min(self.range.bytes_max)
        })
    }
}

/// A search on disk for the first record at or after a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SearchPlan {
    /// Where to begin; every batch up to the end of the range counts.
    pub plan: ReadPlan,
    /// The time, in milliseconds since 1970.
    pub timestamp: i64,
}

/// A segment whose index can be written beside it: all of it is durable.
#[derive(Clone, Debug)]
pub struct SegmentSeal {
    /// The partition.
    pub partition: TopicPartition,
    /// The segment.
    pub segment: Segment,
    /// The leader epoch of its last batch.
    pub last_leader_epoch: LeaderEpoch,
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
    /// The epoch in which this broker leads it.
    pub leader_epoch: LeaderEpoch,
    /// When a segment ends.
    pub roll: RollSettings,
    /// When a batch counts as durable.
    pub durability: Durability,
    /// The room that all partitions share.
    pub space: Arc<SpaceBudget>,
}

/// A batch on its way to the disk.
#[derive(Clone, Copy, Debug)]
struct Underway {
    end_offset: Offset,
    size_bytes: u64,
    max_timestamp: i64,
}

/// A partition that this broker leads.
#[derive(Debug)]
pub struct Partition {
    setup: PartitionSetup,
    log: Log,
    producers: Producers,
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
    pub fn new(setup: PartitionSetup, log: Log, producers: Producers) -> Self {
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

    /// Gives a batch its offsets, or finds that it has them already.
    ///
    /// # Errors
    /// When its producer's numbers forbid it, or there is no room; nothing has changed then.
    pub fn append(&mut self, batch: &RecordBatch, now_ms: u64) -> Result<Outcome, AppendError> {
        let sequenced = sequenced(batch.header());
        if let Some(sequenced) = &sequenced {
            match self.producers.judge(sequenced, now_ms) {
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
        let accepted = self.place(batch, size_bytes, now_ms);
        if let Some(sequenced) = &sequenced {
            let base_offset = accepted.base_offset;
            self.producers.remember(sequenced, base_offset, now_ms);
        }
        Ok(Outcome::Accepted(Box::new(accepted)))
    }

    /// Gives the batch its place behind all others.
    fn place(&mut self, batch: &RecordBatch, size_bytes: u64, now_ms: u64) -> Accepted {
        let header = batch.header();
        let facts = BatchFacts {
            offset_count: i64::from(header.record_count),
            size_bytes,
            max_timestamp: header.max_timestamp,
        };
        let epoch_before = self.log.last_leader_epoch();
        let setup = &self.setup;
        let placement = self
            .log
            .append(&facts, setup.leader_epoch, &setup.roll, now_ms);
        let end_offset = self.log.end_offset();
        if let Some(closed) = placement.closed {
            let segment = self.log.segment(closed.base_offset);
            self.closed.push_back(SegmentSeal {
                partition: setup.id,
                segment: segment.expect("it was active just now").clone(),
                last_leader_epoch: epoch_before,
                producers: self.producers.encode(),
            });
        }
        self.underway.push_back(Underway {
            end_offset,
            size_bytes,
            max_timestamp: header.max_timestamp,
        });
        let base_offset = placement.base_offset;
        let head = Bytes::copy_from_slice(&batch.stamped_prefix(base_offset, setup.leader_epoch));
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
        self.high_watermark = self.high_watermark.max(end);
        let sealed = self
            .closed
            .partition_point(|seal| seal.segment.end_offset() <= end);
        seals.extend(self.closed.drain(..sealed));
        bytes
    }

    /// Ends the partition, all of which is durable; returns the seals that are due.
    #[must_use]
    pub fn into_seals(self) -> Vec<SegmentSeal> {
        let mut seals: Vec<SegmentSeal> = self.closed.into();
        if self.log.active().size_bytes() > 0 {
            seals.push(SegmentSeal {
                partition: self.setup.id,
                segment: self.log.active().clone(),
                last_leader_epoch: self.log.last_leader_epoch(),
                producers: self.producers.encode(),
            });
        }
        seals
    }

    /// Finds what a consumer wants, below the high watermark.
    ///
    /// # Errors
    /// When the offset lies outside the log or the client's leader epoch is another.
    pub fn read(
        &self,
        tail: &Tail<TopicPartition>,
        offset: Offset,
        leader_epoch: LeaderEpoch,
        limit: ReadLimit,
    ) -> Result<PartitionRead, ReadError> {
        self.check_epoch(leader_epoch)?;
        let log_start_offset = self.log_start_offset();
        if offset < log_start_offset || offset > self.high_watermark {
            return Err(ReadError::OffsetOutOfRange);
        }
        let end = self.high_watermark;
        let found = if offset == end {
            ReadFound::Nothing
        } else if let Some(recent) = tail.read(self.setup.id, offset, end, limit) {
            ReadFound::Recent(recent)
        } else {
            let location = self.log.locate(offset).ok_or(ReadError::OffsetOutOfRange)?;
            ReadFound::OnDisk(self.plan(&location, offset, limit.bytes_max))
        };
        Ok(PartitionRead {
            high_watermark: end,
            log_start_offset,
            found,
        })
    }

    fn plan(&self, location: &Location, offset: Offset, bytes_max: usize) -> ReadPlan {
        ReadPlan {
            partition: self.setup.id,
            segment: location.segment,
            range: ReadRange {
                position: location.position,
                end_position: location.end_position,
                offset,
                end_offset: self.high_watermark,
                bytes_max,
            },
        }
    }

    /// Finds an offset, or where on disk to search for it.
    ///
    /// # Errors
    /// When the client's leader epoch is another.
    pub fn find(
        &self,
        query: OffsetQuery,
        leader_epoch: LeaderEpoch,
    ) -> Result<OffsetSearch, ReadError> {
        self.check_epoch(leader_epoch)?;
        let at = |offset, leader_epoch| {
            OffsetSearch::Done(Some(FoundOffset {
                offset,
                timestamp: -1,
                leader_epoch,
            }))
        };
        Ok(match query {
            OffsetQuery::End => at(self.high_watermark, self.setup.leader_epoch),
            OffsetQuery::Start => at(self.log_start_offset(), LeaderEpoch::NONE),
            OffsetQuery::GreatestTimestamp => self.search(self.max_timestamp),
            OffsetQuery::AtOrAfter { timestamp } => self.search(timestamp),
        })
    }

    fn search(&self, timestamp: i64) -> OffsetSearch {
        if timestamp > self.max_timestamp || self.high_watermark == self.log_start_offset() {
            return OffsetSearch::Done(None);
        }
        match self.log.locate_timestamp(timestamp) {
            None => OffsetSearch::Done(None),
            Some(location) => OffsetSearch::OnDisk(SearchPlan {
                plan: self.plan(&location, location.segment, TIMESTAMP_WALK_BYTES),
                timestamp,
            }),
        }
    }

    fn check_epoch(&self, known: LeaderEpoch) -> Result<(), ReadError> {
        match known {
            LeaderEpoch::NONE => Ok(()),
            older if older < self.setup.leader_epoch => Err(ReadError::FencedLeaderEpoch),
            newer if newer > self.setup.leader_epoch => Err(ReadError::UnknownLeaderEpoch),
            _ => Ok(()),
        }
    }
}

/// Returns the numbers of a batch whose producer numbers its batches.
pub(crate) fn sequenced(header: &RecordBatchHeader) -> Option<SequencedBatch> {
    (header.producer_id != ProducerId::NONE).then_some(SequencedBatch {
        producer_id: header.producer_id,
        epoch: header.producer_epoch,
        base_sequence: header.base_sequence,
        record_count: header.record_count,
    })
}
