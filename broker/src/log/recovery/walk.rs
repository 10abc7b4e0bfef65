//! Walks the batches of a segment's file, in pieces of bounded size.

use bytes::Bytes;
use keylane_protocol::offset::LeaderEpoch;
use keylane_protocol::record_batch::{HEADER_BYTES, RecordBatch, RecordBatchHeader};

use crate::disk::{Disk, DiskError, File};
use crate::log::BatchFacts;
use crate::log::segment::Segment;

/// How much is read at once; a larger batch is read by itself.
const PIECE_BYTES: usize = 1024 * 1024;

/// Where a walk begins.
#[derive(Clone, Copy)]
pub(super) struct Walk {
    /// A batch begins at this byte, or the log ends there.
    pub(super) position: u64,
    /// The leader epoch of the batch before it.
    pub(super) leader_epoch: LeaderEpoch,
}

/// Adds to the segment every batch that follows its end soundly; returns the last leader epoch.
pub(super) fn walk_checked(
    disk: &dyn Disk,
    file: &File,
    from: Walk,
    segment: &mut Segment,
) -> Result<LeaderEpoch, DiskError> {
    let mut leader_epoch = from.leader_epoch;
    let mut pieces = Pieces {
        disk,
        file,
        end: disk.size(file)?,
        position: from.position,
        buffer: Bytes::new(),
    };
    while let Some(batch) = pieces.next()? {
        let Ok(batch) = RecordBatch::check_stored(batch) else {
            break;
        };
        let header = batch.header();
        if header.base_offset != segment.end_offset() || header.leader_epoch < leader_epoch {
            break;
        }
        leader_epoch = header.leader_epoch;
        segment.push(&facts(header), 0);
    }
    Ok(leader_epoch)
}

/// Shows the header of every batch between two bytes; ends early at one that cannot be read.
pub(super) fn walk_headers(
    disk: &dyn Disk,
    file: &File,
    position: u64,
    end: u64,
    visit: &mut dyn FnMut(&RecordBatchHeader),
) -> Result<(), DiskError> {
    let mut pieces = Pieces {
        disk,
        file,
        end,
        position,
        buffer: Bytes::new(),
    };
    while let Some(batch) = pieces.next()? {
        let Ok(header) = RecordBatchHeader::read(&batch) else {
            break;
        };
        visit(&header);
    }
    Ok(())
}

fn facts(header: &RecordBatchHeader) -> BatchFacts {
    BatchFacts {
        offset_count: i64::from(header.last_offset_delta) + 1,
        size_bytes: header.size_bytes() as u64,
        max_timestamp: header.max_timestamp,
    }
}

/// Cuts a file into what its headers say are batches.
struct Pieces<'a> {
    disk: &'a dyn Disk,
    file: &'a File,
    end: u64,
    /// Where the buffer begins.
    position: u64,
    buffer: Bytes,
}

impl Pieces<'_> {
    /// Returns the bytes of the next batch, unchecked; `None` at the end or where no batch can be.
    fn next(&mut self) -> Result<Option<Bytes>, DiskError> {
        if !self.fill(HEADER_BYTES)? {
            return Ok(None);
        }
        let Ok(header) = RecordBatchHeader::read(&self.buffer) else {
            return Ok(None);
        };
        let size = header.size_bytes();
        if header.last_offset_delta < 0 || !self.fill(size)? {
            return Ok(None);
        }
        self.position += size as u64;
        Ok(Some(self.buffer.split_to(size)))
    }

    /// Makes the buffer hold at least so many bytes; tells whether the file has them.
    fn fill(&mut self, needed: usize) -> Result<bool, DiskError> {
        if self.buffer.len() >= needed {
            return Ok(true);
        }
        let there = usize::try_from(self.end.saturating_sub(self.position)).unwrap_or(usize::MAX);
        if there < needed {
            return Ok(false);
        }
        self.buffer =
            self.disk
                .read(self.file, self.position, needed.max(PIECE_BYTES).min(there))?;
        Ok(self.buffer.len() >= needed)
    }
}
