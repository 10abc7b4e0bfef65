//! How much of an active segment is reserved ahead, so that its file changes size rarely.

use keylane_protocol::offset::Offset;

/// The first reservation of a segment: idle partitions cost little.
const CHUNK_BYTES_MIN: u64 = 64 * 1024;
/// The largest reservation.
const CHUNK_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// A new segment reserves at most this part of what the one before it grew to.
const CHUNK_DIVISOR: u64 = 4;

/// What the writer knows of a partition's active segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct ActiveSegment {
    base_offset: Offset,
    written_end: u64,
    allocated_end: u64,
    next_chunk: u64,
}

impl ActiveSegment {
    /// Returns a segment of which so many bytes are written and no more are reserved.
    pub(super) fn new(base_offset: Offset, size_bytes: u64) -> Self {
        Self {
            base_offset,
            written_end: size_bytes,
            allocated_end: size_bytes,
            next_chunk: CHUNK_BYTES_MIN,
        }
    }

    /// Goes on with the segment that is written now: a busy partition begins the next one with large chunks.
    pub(super) fn go_on_with(&mut self, base_offset: Offset) {
        if base_offset != self.base_offset {
            let largest = (self.written_end / CHUNK_DIVISOR).next_power_of_two();
            *self = Self {
                next_chunk: self.next_chunk.min(largest).max(CHUNK_BYTES_MIN),
                ..Self::new(base_offset, 0)
            };
        }
    }

    /// Returns first byte and length of what to reserve before the segment is written up to `end`, if anything: whole
    /// chunks, unless that would exceed what is left of the room for reservations.
    pub(super) fn reserve(&self, end: u64, ahead_bytes_left: &mut u64) -> Option<(u64, u64)> {
        let needed = end
            .checked_sub(self.allocated_end)
            .filter(|&needed| needed > 0)?;
        let length = needed.next_multiple_of(self.next_chunk);
        *ahead_bytes_left = ahead_bytes_left.checked_sub(length - needed)?;
        Some((self.allocated_end, length))
    }

    /// Notes that the segment is written up to `end` with so many bytes reserved before.
    pub(super) fn written(&mut self, end: u64, reserved_bytes: Option<u64>) {
        match reserved_bytes {
            Some(length) => {
                self.allocated_end += length;
                self.next_chunk = (self.next_chunk * 2).min(CHUNK_BYTES_MAX);
            }
            // There was no room, or no need.
            None if end > self.allocated_end => self.next_chunk = CHUNK_BYTES_MIN,
            None => {}
        }
        self.allocated_end = self.allocated_end.max(end);
        self.written_end = end;
    }
}
