//! One file of a log as its shard knows it: base offset, size, and sparse indexes by offset and by timestamp.

use keylane_protocol::offset::Offset;

use super::BatchFacts;

/// Bytes between two entries of the active segment's index: a reader skips at most so much and one batch.
pub const INDEX_INTERVAL_BYTES: u64 = 4096;

/// The same for segments that take no more batches, of which there may be many: half a MiB of memory for each GiB.
pub const CLOSED_INDEX_INTERVAL_BYTES: u64 = 32 * 1024;

/// No segment is larger than this, whatever a file says.
const SEGMENT_BYTES_MAX: u64 = 1 << 40;

/// An entry of a segment's index: a batch begins here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// The batch's base offset, counted from the segment's.
    pub offset_delta: u32,
    /// The byte at which the batch begins.
    pub position: u32,
    /// The largest timestamp of all batches before this one; `i64::MIN` without one.
    pub max_timestamp_before: i64,
}

/// Where in a segment a batch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchPlace {
    /// The byte.
    pub position: u64,
    /// Its base offset.
    pub base_offset: Offset,
}

/// A segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    base_offset: Offset,
    end_offset: Offset,
    size_bytes: u64,
    /// The largest timestamp; `i64::MIN` without records.
    max_timestamp: i64,
    /// The shard's clock at the first append of this process; 0 means none yet.
    first_append_ms: u64,
    index: Vec<IndexEntry>,
}

impl Segment {
    /// Returns a segment without batches.
    #[must_use]
    pub fn new(base_offset: Offset) -> Self {
        Self {
            base_offset,
            end_offset: base_offset,
            size_bytes: 0,
            max_timestamp: i64::MIN,
            first_append_ms: 0,
            index: Vec::new(),
        }
    }

    /// Returns a segment whose index was read from disk; `None` if its parts contradict each other.
    #[must_use]
    pub(crate) fn restored(
        base_offset: Offset,
        end_offset: Offset,
        size_bytes: u64,
        max_timestamp: i64,
        index: Vec<IndexEntry>,
    ) -> Option<Self> {
        let is_ordered = index.windows(2).all(|pair| {
            pair[0].offset_delta < pair[1].offset_delta
                && pair[0].position < pair[1].position
                && pair[0].max_timestamp_before <= pair[1].max_timestamp_before
        });
        let offset_count = end_offset.0.checked_sub(base_offset.0)?;
        let is_within = index.last().is_none_or(|last| {
            u64::from(last.position) < size_bytes && i64::from(last.offset_delta) < offset_count
        });
        let is_possible = base_offset.0 >= 0
            && offset_count >= 0
            && end_offset.0 < i64::MAX
            && size_bytes <= SEGMENT_BYTES_MAX;
        let is_sound = is_ordered && is_within && is_possible;
        is_sound.then_some(Self {
            base_offset,
            end_offset,
            size_bytes,
            max_timestamp,
            first_append_ms: 0,
            index,
        })
    }

    /// Returns the offset of the first record, which names the file.
    #[must_use]
    pub fn base_offset(&self) -> Offset {
        self.base_offset
    }

    /// Returns the offset after the last record.
    #[must_use]
    pub fn end_offset(&self) -> Offset {
        self.end_offset
    }

    /// Returns the bytes of all batches; the file may be longer.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Returns the largest timestamp; `i64::MIN` without records.
    #[must_use]
    pub fn max_timestamp(&self) -> i64 {
        self.max_timestamp
    }

    /// Returns the index, in order.
    #[must_use]
    pub fn index(&self) -> &[IndexEntry] {
        &self.index
    }

    /// Lets the segment reach to the offset although its batches do not: what is missing is damaged.
    pub(super) fn stretch(&mut self, end_offset: Offset) {
        self.end_offset = end_offset;
        // A reader that gets here finds no sound batch.
        self.size_bytes += 1;
    }

    /// Gives back memory when the segment takes no more batches.
    pub(super) fn close(&mut self) {
        let mut next_position = 0;
        self.index.retain(|entry| {
            let is_kept = u64::from(entry.position) >= next_position;
            if is_kept {
                next_position = u64::from(entry.position) + CLOSED_INDEX_INTERVAL_BYTES;
            }
            is_kept
        });
        self.index.shrink_to_fit();
    }

    /// Returns an offset at or before the first batch that does not end before the byte.
    pub(super) fn offset_before(&self, position: u64) -> Offset {
        let entries = self
            .index
            .partition_point(|entry| u64::from(entry.position) <= position);
        let last = entries.checked_sub(1).map(|last| self.index[last]);
        self.base_offset
            .plus(last.map_or(0, |entry| i64::from(entry.offset_delta)))
    }

    pub(super) fn age_ms(&self, now_ms: u64) -> u64 {
        if self.first_append_ms == 0 {
            0
        } else {
            now_ms.saturating_sub(self.first_append_ms)
        }
    }

    /// Adds a batch at the end and returns the byte at which it begins.
    pub(crate) fn push(&mut self, batch: &BatchFacts, now_ms: u64) -> u64 {
        let position = self.size_bytes;
        let last_indexed = self.index.last().map(|entry| u64::from(entry.position));
        if last_indexed.is_none_or(|last| position - last >= INDEX_INTERVAL_BYTES) {
            // A segment ends before 2^31 bytes and 2^32 offsets; what lies beyond is found from the last entry.
            let offset_delta = u32::try_from(self.end_offset.0 - self.base_offset.0);
            if let (Ok(offset_delta), Ok(position)) = (offset_delta, u32::try_from(position)) {
                let max_timestamp_before = self.max_timestamp;
                self.index.push(IndexEntry {
                    offset_delta,
                    position,
                    max_timestamp_before,
                });
            }
        }
        if self.first_append_ms == 0 {
            self.first_append_ms = now_ms;
        }
        self.size_bytes += batch.size_bytes;
        self.end_offset = self.end_offset.plus(batch.offset_count);
        self.max_timestamp = self.max_timestamp.max(batch.max_timestamp);
        position
    }

    /// Returns the beginning of a batch at or before the one that holds the offset.
    pub(super) fn place_before(&self, offset: Offset) -> BatchPlace {
        let delta = offset.0 - self.base_offset.0;
        self.place_of(
            self.index
                .partition_point(|entry| i64::from(entry.offset_delta) <= delta),
        )
    }

    /// Returns the beginning of a batch at or before the first one with a timestamp of at least this.
    pub(super) fn place_before_timestamp(&self, timestamp: i64) -> BatchPlace {
        self.place_of(
            self.index
                .partition_point(|entry| entry.max_timestamp_before < timestamp),
        )
    }

    fn place_of(&self, entries_before: usize) -> BatchPlace {
        let entry = entries_before.checked_sub(1).map(|last| self.index[last]);
        BatchPlace {
            position: entry.map_or(0, |entry| u64::from(entry.position)),
            base_offset: self
                .base_offset
                .plus(entry.map_or(0, |entry| i64::from(entry.offset_delta))),
        }
    }
}
