//! Walks the batches of a segment's file, in pieces of bounded size.

use bytes::{Buf, Bytes};
use keylane_protocol::offset::Offset;
use keylane_protocol::record_batch::{HEADER_BYTES, RecordBatch, RecordBatchHeader};

use crate::disk::{Disk, DiskError, File};
use crate::log::BatchFacts;
use crate::log::epochs::EpochHistory;
use crate::log::segment::Segment;

/// How much is read at once; a larger batch is read by itself.
const PIECE_BYTES: usize = 1024 * 1024;

/// Adds to the segment every batch that follows its end soundly, and shows its header.
pub(super) fn walk_checked(
    disk: &dyn Disk,
    file: &File,
    segment: &mut Segment,
    epochs: &mut EpochHistory,
    visit: &mut dyn FnMut(&RecordBatchHeader),
) -> Result<(), DiskError> {
    let mut pieces = Pieces {
        disk,
        file,
        end: disk.size(file)?,
        position: segment.size_bytes(),
        buffer: Bytes::new(),
    };
    while let Some(header) = pieces.header()? {
        let follows =
            header.base_offset == segment.end_offset() && header.leader_epoch >= epochs.last();
        // Looked at before the batch is read: what is no header must not make memory follow its length.
        if !follows {
            break;
        }
        let batch = pieces.batch(&header)?.map(RecordBatch::check_stored);
        let Some(Ok(batch)) = batch else {
            break;
        };
        epochs.note(header.leader_epoch, header.base_offset);
        segment.push(&facts(batch.header()), 0);
        visit(batch.header());
    }
    Ok(())
}

/// Shows the header of every batch before a byte; ends early at one that cannot be read, or that does not begin where
/// the one before ended: checksums are not looked at here.
pub(super) fn walk_headers(
    disk: &dyn Disk,
    file: &File,
    base_offset: Offset,
    end: u64,
    visit: &mut dyn FnMut(&RecordBatchHeader),
) -> Result<(), DiskError> {
    let mut pieces = Pieces {
        disk,
        file,
        end,
        position: 0,
        buffer: Bytes::new(),
    };
    let mut expected = base_offset;
    while let Some(header) = pieces
        .header()?
        .filter(|header| header.base_offset == expected)
    {
        visit(&header);
        pieces.skip(&header);
        expected = header.end_offset();
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
    /// Returns the next header; `None` at the end or where no batch can be.
    fn header(&mut self) -> Result<Option<RecordBatchHeader>, DiskError> {
        if !self.fill(HEADER_BYTES)? {
            return Ok(None);
        }
        let header = RecordBatchHeader::read(&self.buffer).ok();
        Ok(header.filter(|header| {
            header.record_count >= 0 && header.last_offset_delta >= header.record_count - 1
        }))
    }

    /// Returns the bytes of the batch that begins with the header, unchecked; `None` if the file ends before it.
    fn batch(&mut self, header: &RecordBatchHeader) -> Result<Option<Bytes>, DiskError> {
        let size = header.size_bytes();
        if !self.fill(size)? {
            return Ok(None);
        }
        self.position += size as u64;
        Ok(Some(self.buffer.split_to(size)))
    }

    /// Goes on behind the batch that begins with the header.
    fn skip(&mut self, header: &RecordBatchHeader) {
        let size = header.size_bytes();
        self.position += size as u64;
        self.buffer.advance(size.min(self.buffer.len()));
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
        let length = needed.max(PIECE_BYTES).min(there);
        self.buffer = self.disk.read(self.file, self.position, length)?;
        Ok(self.buffer.len() >= needed)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use keylane_protocol::offset::LeaderEpoch;
    use keylane_protocol::record_batch::stamp;

    use super::*;
    use crate::disk::OpenMode;
    use crate::disk::simulated::SimulatedDisk;
    use crate::partition::tests::batch;

    /// Shows the headers of three batches of two records, of which the bytes were bent; returns their base offsets.
    fn shown(bend: impl Fn(&mut [u8])) -> Vec<i64> {
        let mut bytes = Vec::new();
        for base_offset in [10, 12, 14] {
            let mut one = batch(None, 2).into_bytes().to_vec();
            stamp(&mut one, Offset(base_offset), LeaderEpoch(1));
            bytes.extend(one);
        }
        bend(&mut bytes);
        let disk = SimulatedDisk::new(1);
        let file = disk.open(Path::new("/segment"), OpenMode::Create);
        let file = file.expect("a new file");
        let end = bytes.len() as u64;
        disk.write(&file, 0, &[bytes.into()]).expect("room");
        let mut shown = Vec::new();
        walk_headers(&disk, &file, Offset(10), end, &mut |header| {
            shown.push(header.base_offset.0);
        })
        .expect("readable");
        shown
    }

    #[test]
    fn headers_are_shown_up_to_the_first_that_cannot_be_one() {
        let size = batch(None, 2).bytes().len();
        assert_eq!(shown(|_| {}), [10, 12, 14]);
        // Its base offset, its last offset delta, its count of records.
        assert_eq!(shown(|bytes| bytes[size] = 0x7f), [10]);
        assert_eq!(shown(|bytes| bytes[size + 23] = 0x7f), [10, 12]);
        assert_eq!(shown(|bytes| bytes[size + 57] = 0x80), [10]);
    }
}
