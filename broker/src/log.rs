//! The log of one partition as its shard knows it: which segments there are, where each batch lies, what comes next.
//!
//! A core: it decides places and never touches a file. The shard asks [`Log::append`] for the place of a batch and hands
//! it to the [`writer`]; [`Log::locate`] says where a reader has to look. Rebuilt by [`recovery`] at each start.
//!
//! ```text
//! log start offset          high watermark (durable)      log end offset
//!       |--- segment 0 ---|--- segment 1 ---|--- active segment ---|
//! ```

pub mod epochs;
pub mod index_file;
mod proof;
pub mod read;
pub mod recovery;
pub mod segment;
pub mod space;
pub mod writer;

#[cfg(test)]
mod tests;

use keylane_protocol::identifiers::{PartitionIndex, TopicId};
use keylane_protocol::offset::{LeaderEpoch, Offset};

use epochs::EpochHistory;
use segment::{BatchPlace, Segment};

/// Which partition, by the id of its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic_id: TopicId,
    /// The partition's index.
    pub partition: PartitionIndex,
}

/// When a segment is closed and the next one begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RollSettings {
    /// A batch that would make the segment larger than this goes into a new one (`segment.bytes`).
    pub segment_bytes_max: u64,
    /// A batch that comes so long after the segment's first goes into a new one (`segment.ms`).
    pub segment_ms_max: u64,
}

/// What a log must know of a batch to place it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchFacts {
    /// How many offsets the batch takes, at least 1.
    pub offset_count: i64,
    /// The size of the whole batch.
    pub size_bytes: u64,
    /// The largest timestamp of its records, in milliseconds; -1 means none.
    pub max_timestamp: i64,
}

/// Where a batch goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The batch's base offset.
    pub base_offset: Offset,
    /// The segment, by its base offset.
    pub segment: Offset,
    /// The byte in the segment.
    pub position: u64,
    /// The segment that ends with this placement, if a new one begins.
    pub closed: Option<ClosedSegment>,
}

/// A segment that takes no more batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClosedSegment {
    /// Its base offset.
    pub base_offset: Offset,
    /// Its size.
    pub size_bytes: u64,
}

/// Where to begin reading, and where the segment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// The segment, by its base offset.
    pub segment: Offset,
    /// A batch at or before the one looked for.
    pub place: BatchPlace,
    /// The segment's bytes end here.
    pub end_position: u64,
    /// The offset after the segment's last record.
    pub end_offset: Offset,
}

/// A range of offsets whose bytes were proven durable once and are damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DamagedRange {
    /// The first offset that may be damaged.
    pub start: Offset,
    /// The offset after the last.
    pub end: Offset,
}

/// The segments of one partition.
#[derive(Debug)]
pub struct Log {
    /// In order of their offsets, without gaps; never empty, the last one is active.
    segments: Vec<Segment>,
    end: Offset,
    epochs: EpochHistory,
    damaged: Vec<DamagedRange>,
}

impl Log {
    /// Returns a log without records whose first batch gets `start` as offset.
    #[must_use]
    pub fn empty(start: Offset) -> Self {
        Self {
            segments: vec![Segment::new(start)],
            end: start,
            epochs: EpochHistory::default(),
            damaged: Vec::new(),
        }
    }

    pub(crate) fn recovered(
        segments: Vec<Segment>,
        epochs: EpochHistory,
        damaged: Vec<DamagedRange>,
    ) -> Self {
        let end = segments
            .last()
            .expect("a log has an active segment")
            .end_offset();
        Self {
            segments,
            end,
            epochs,
            damaged,
        }
    }

    /// Returns the offset of the first record.
    #[must_use]
    pub fn start_offset(&self) -> Offset {
        self.segments[0].base_offset()
    }

    /// Returns the offset that the next record gets.
    #[must_use]
    pub fn end_offset(&self) -> Offset {
        self.end
    }

    /// Returns the leader epoch of the last batch; -1 without one.
    #[must_use]
    pub fn last_leader_epoch(&self) -> LeaderEpoch {
        self.epochs.last()
    }

    /// Returns which leader epoch begins where.
    #[must_use]
    pub fn epochs(&self) -> &EpochHistory {
        &self.epochs
    }

    /// Returns the leader epochs of a segment's batches.
    #[must_use]
    pub fn epochs_of(&self, segment: &Segment) -> EpochHistory {
        self.epochs
            .within(segment.base_offset(), segment.end_offset())
    }

    /// Returns what was durable and is damaged.
    #[must_use]
    pub fn damaged(&self) -> &[DamagedRange] {
        &self.damaged
    }

    /// Returns the active segment.
    #[must_use]
    pub fn active(&self) -> &Segment {
        self.segments.last().expect("a log has an active segment")
    }

    /// Returns the segment that begins at the offset.
    #[must_use]
    pub fn segment(&self, base_offset: Offset) -> Option<&Segment> {
        self.segments
            .binary_search_by_key(&base_offset, Segment::base_offset)
            .ok()
            .map(|index| &self.segments[index])
    }

    /// Returns the sum of the segments' sizes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.segments.iter().map(Segment::size_bytes).sum()
    }

    /// Places a batch behind all others. The caller writes it there, or takes the partition offline.
    pub fn append(
        &mut self,
        batch: &BatchFacts,
        leader_epoch: LeaderEpoch,
        settings: &RollSettings,
        now_ms: u64,
    ) -> Placement {
        assert!(batch.offset_count > 0 && leader_epoch >= self.last_leader_epoch());
        let closed = self.roll_for(batch, settings, now_ms);
        let base_offset = self.end;
        let active = self
            .segments
            .last_mut()
            .expect("a log has an active segment");
        let position = active.push(batch, now_ms);
        self.end = base_offset.plus(batch.offset_count);
        self.epochs.note(leader_epoch, base_offset);
        Placement {
            base_offset,
            segment: active.base_offset(),
            position,
            closed,
        }
    }

    fn roll_for(
        &mut self,
        batch: &BatchFacts,
        settings: &RollSettings,
        now_ms: u64,
    ) -> Option<ClosedSegment> {
        let end = self.end;
        let active = self
            .segments
            .last_mut()
            .expect("a log has an active segment");
        if active.size_bytes() == 0 {
            return None;
        }
        let is_full = active.size_bytes() + batch.size_bytes > settings.segment_bytes_max;
        let is_old = active.age_ms(now_ms) >= settings.segment_ms_max;
        if !is_full && !is_old {
            return None;
        }
        let closed = ClosedSegment {
            base_offset: active.base_offset(),
            size_bytes: active.size_bytes(),
        };
        active.close();
        self.segments.push(Segment::new(end));
        Some(closed)
    }

    /// Returns where a reader finds the batch that holds the offset; `None` outside the log.
    #[must_use]
    pub fn locate(&self, offset: Offset) -> Option<Location> {
        if offset < self.start_offset() || offset >= self.end {
            return None;
        }
        let index = self
            .segments
            .partition_point(|segment| segment.base_offset() <= offset)
            - 1;
        let segment = &self.segments[index];
        Some(location(segment, segment.place_before(offset)))
    }

    /// Returns where to begin looking for the first record whose timestamp is at least this; `None` if all are older.
    #[must_use]
    pub fn locate_timestamp(&self, timestamp: i64) -> Option<Location> {
        let segment = self
            .segments
            .iter()
            .find(|segment| segment.max_timestamp() >= timestamp && segment.size_bytes() > 0)?;
        Some(location(segment, segment.place_before_timestamp(timestamp)))
    }

    /// Returns the largest timestamp below which no record with it can lie, and where to look for it.
    #[must_use]
    pub fn locate_max_timestamp(&self) -> Option<(i64, Location)> {
        let largest = self.segments.iter().map(Segment::max_timestamp).max()?;
        Some((largest, self.locate_timestamp(largest)?))
    }
}

fn location(segment: &Segment, place: BatchPlace) -> Location {
    Location {
        segment: segment.base_offset(),
        place,
        end_position: segment.size_bytes(),
        end_offset: segment.end_offset(),
    }
}
