//! What readers ask of a partition and what they are told: a place in memory or on disk, never the bytes themselves.
//!
//! A core, as its parent: whoever got a [`ReadPlan`] or [`SearchPlan`] carries it out elsewhere, so that a slow disk
//! stalls nobody else.

use std::sync::Arc;

use keylane_protocol::offset::{LeaderEpoch, Offset};

use super::Partition;
use super::counters::PartitionCounters;
use super::tail::{ReadLimit, Tail, TailRead};
use crate::limits::TIMESTAMP_WALK_BYTES;
use crate::log::read::ReadRange;
use crate::log::{Location, TopicPartition};

/// Why nothing can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The partition is not here, or no longer.
    #[error("there is no such topic or partition")]
    Gone,
    /// Another broker leads the partition, or nobody does.
    #[error("this broker does not lead the partition")]
    NotLeader,
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

/// What a reader gets of a partition.
#[derive(Debug)]
pub struct PartitionRead {
    /// How far consumers may read.
    pub high_watermark: Offset,
    /// The first offset.
    pub log_start_offset: Offset,
    /// Where the records are.
    pub found: ReadFound,
    /// Where what the reader gets is counted.
    pub counters: Arc<PartitionCounters>,
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
    /// The offset after the last record of a leader epoch.
    EndOfEpoch {
        /// The epoch.
        epoch: LeaderEpoch,
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

    /// Returns whether there is more than the reader's limit let through, or may be.
    #[must_use]
    pub fn has_more(&self) -> bool {
        match self {
            Self::Nothing => false,
            Self::Recent(recent) => recent.is_cut,
            Self::OnDisk(_) => true,
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
        let there = self
            .range
            .end_position
            .saturating_sub(self.range.start.position);
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

impl Partition {
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
        self.leading_epoch(leader_epoch)?;
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
            counters: Arc::clone(&self.setup.counters),
        })
    }

    fn plan(&self, location: &Location, offset: Offset, bytes_max: usize) -> ReadPlan {
        ReadPlan {
            partition: self.setup.id,
            segment: location.segment,
            range: ReadRange {
                start: location.place,
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
        let leading_epoch = self.leading_epoch(leader_epoch)?;
        let at = |offset, leader_epoch| {
            OffsetSearch::Done(Some(FoundOffset {
                offset,
                timestamp: -1,
                leader_epoch,
            }))
        };
        Ok(match query {
            OffsetQuery::End => at(self.high_watermark, leading_epoch),
            OffsetQuery::Start => at(self.log_start_offset(), LeaderEpoch::NONE),
            OffsetQuery::GreatestTimestamp => self.search(self.max_timestamp),
            OffsetQuery::AtOrAfter { timestamp } => self.search(timestamp),
            // As Kafka, up to the end of the log: a new leader may not know yet how far consumers have read.
            OffsetQuery::EndOfEpoch { epoch } => {
                let log_end = self.log.end_offset();
                let end = self.log.epochs().end_of(epoch, leading_epoch, log_end);
                end.map_or(OffsetSearch::Done(None), |end| {
                    at(end.end_offset, end.epoch)
                })
            }
        })
    }

    fn search(&self, timestamp: i64) -> OffsetSearch {
        if timestamp > self.max_timestamp || self.high_watermark == self.log_start_offset() {
            return OffsetSearch::Done(None);
        }
        match self.log.locate_timestamp(timestamp) {
            None => OffsetSearch::Done(None),
            Some(location) => OffsetSearch::OnDisk(SearchPlan {
                plan: self.plan(&location, location.place.base_offset, TIMESTAMP_WALK_BYTES),
                timestamp,
            }),
        }
    }

    /// Returns the epoch in which this broker leads, if the client knows no other.
    fn leading_epoch(&self, known: LeaderEpoch) -> Result<LeaderEpoch, ReadError> {
        let leading = self.setup.leader_epoch.ok_or(ReadError::NotLeader)?;
        match known {
            LeaderEpoch::NONE => Ok(leading),
            older if older < leading => Err(ReadError::FencedLeaderEpoch),
            newer if newer > leading => Err(ReadError::UnknownLeaderEpoch),
            _ => Ok(leading),
        }
    }
}
