//! Reads whole batches from a segment and verifies each: header, checksum and that offsets go on without a gap.

use bytes::{Buf, Bytes};
use keylane_protocol::offset::Offset;
use keylane_protocol::record_batch::{
    HEADER_BYTES, RecordBatch, RecordBatchError, RecordBatchHeader,
};

use super::segment::BatchPlace;
use crate::disk::{Disk, DiskError, File};

/// The least that is read at once: small batches are then found with one system call.
const READ_BYTES_MIN: usize = 64 * 1024;

/// What to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadRange {
    /// The batch to begin at, at or before the one that holds `offset`.
    pub start: BatchPlace,
    /// The segment's bytes end here.
    pub end_position: u64,
    /// The first offset wanted.
    pub offset: Offset,
    /// The offset after the last one wanted; a batch that reaches beyond is left out.
    pub end_offset: Offset,
    /// The most bytes wanted; the first batch comes whole even if it is larger.
    pub bytes_max: usize,
}

/// Why batches cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The bytes are not what was written.
    #[error("the batch at byte {position} is damaged")]
    Damaged {
        /// Where the batch begins.
        position: u64,
        /// What is wrong with it.
        #[source]
        source: RecordBatchError,
    },
    /// The batch does not begin where the one before ended.
    #[error("the batch at byte {position} begins at offset {found}")]
    Misplaced {
        /// Where the batch begins.
        position: u64,
        /// Its base offset.
        found: Offset,
    },
}

/// Returns the whole batches of the range, verified, as one slice; empty if none fits.
///
/// # Errors
/// When the disk fails, or a batch is damaged before the first good one wanted; damage behind good ones ends the answer.
pub fn read_batches(disk: &dyn Disk, file: &File, range: &ReadRange) -> Result<Bytes, ReadError> {
    if range.offset >= range.end_offset {
        return Ok(Bytes::new());
    }
    let mut window = Window {
        disk,
        file,
        position: range.start.position,
        end: range.end_position,
        buffer: Bytes::new(),
    };
    let Some(first) = window.find(range)? else {
        return Ok(Bytes::new());
    };
    window.fill(first.size_bytes(), range.bytes_max)?;
    let length = window.sound_bytes(first.base_offset, range)?;
    Ok(window.buffer.slice(..length))
}

/// A part of a segment in memory.
struct Window<'a> {
    disk: &'a dyn Disk,
    file: &'a File,
    /// Where the buffer begins.
    position: u64,
    /// Where the segment ends.
    end: u64,
    buffer: Bytes,
}

impl Window<'_> {
    /// Moves to the first batch that reaches beyond the offset; `None` if the range begins at the segment's end.
    fn find(&mut self, range: &ReadRange) -> Result<Option<RecordBatchHeader>, ReadError> {
        // No checksum covers a base offset: it is right if it follows from the one before, and the first is known.
        let mut expected = range.start.base_offset;
        while self.position < self.end {
            self.fill(HEADER_BYTES, range.bytes_max)?;
            let header = self.header_at(0)?;
            self.check_place(0, &header, expected)?;
            if header.end_offset() > range.offset {
                return Ok(Some(header));
            }
            expected = header.end_offset();
            let size = header.size_bytes();
            self.position += size as u64;
            self.buffer.advance(size.min(self.buffer.len()));
        }
        if expected == range.start.base_offset {
            return Ok(None);
        }
        // The log says that the offset is in this segment.
        let (needed, found) = (HEADER_BYTES, 0);
        Err(self.damaged(0, RecordBatchError::Truncated { needed, found }))
    }

    /// Makes the buffer hold at least `needed` bytes; if it must read, it reads as many as are wanted.
    fn fill(&mut self, needed: usize, wanted: usize) -> Result<(), ReadError> {
        if self.buffer.len() >= needed {
            return Ok(());
        }
        let there = usize::try_from(self.end.saturating_sub(self.position)).unwrap_or(usize::MAX);
        if there >= needed {
            let length = needed.max(wanted).max(READ_BYTES_MIN).min(there);
            self.buffer = self.disk.read(self.file, self.position, length)?;
        }
        let found = self.buffer.len().min(there);
        if found < needed {
            return Err(self.damaged(0, RecordBatchError::Truncated { needed, found }));
        }
        Ok(())
    }

    /// Returns how many bytes of whole, sound batches that are wanted the buffer begins with.
    fn sound_bytes(&self, base_offset: Offset, range: &ReadRange) -> Result<usize, ReadError> {
        let mut length = 0;
        let mut expected = base_offset;
        while self.buffer.len() >= length + HEADER_BYTES {
            let (size, end_offset) = match self.sound_batch(length, expected, range) {
                Ok(Some(batch)) => batch,
                Err(error) if length == 0 => return Err(error),
                Ok(None) | Err(_) => break,
            };
            length += size;
            expected = end_offset;
        }
        Ok(length)
    }

    /// Returns size and end of the batch at a place of the buffer; `None` if it is not wanted, or not all there.
    fn sound_batch(
        &self,
        at: usize,
        expected: Offset,
        range: &ReadRange,
    ) -> Result<Option<(usize, Offset)>, ReadError> {
        let header = self.header_at(at)?;
        self.check_place(at, &header, expected)?;
        let size = header.size_bytes();
        let is_too_much = at > 0 && at.saturating_add(size) > range.bytes_max;
        if is_too_much || self.buffer.len() - at < size {
            return Ok(None);
        }
        let batch = RecordBatch::check_stored(self.buffer.slice(at..at + size))
            .map_err(|source| self.damaged(at, source))?;
        let end_offset = batch.header().end_offset();
        Ok((end_offset <= range.end_offset).then_some((size, end_offset)))
    }

    fn header_at(&self, at: usize) -> Result<RecordBatchHeader, ReadError> {
        RecordBatchHeader::read(&self.buffer[at..]).map_err(|source| self.damaged(at, source))
    }

    fn check_place(
        &self,
        at: usize,
        header: &RecordBatchHeader,
        expected: Offset,
    ) -> Result<(), ReadError> {
        let found = header.base_offset;
        if found == expected {
            return Ok(());
        }
        Err(ReadError::Misplaced {
            position: self.position + at as u64,
            found,
        })
    }

    fn damaged(&self, at: usize, source: RecordBatchError) -> ReadError {
        ReadError::Damaged {
            position: self.position + at as u64,
            source,
        }
    }
}

#[cfg(test)]
mod tests;
