//! Reads whole batches from a segment and verifies each: header, checksum and that offsets go on without a gap.

use bytes::Bytes;
use keylane_protocol::offset::Offset;
use keylane_protocol::record_batch::{
    HEADER_BYTES, RecordBatch, RecordBatchError, RecordBatchHeader,
};

use crate::disk::{Disk, DiskError, File};

/// The least that is read at once: small batches are then found with one system call.
const READ_BYTES_MIN: usize = 64 * 1024;

/// What to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadRange {
    /// A batch begins at this byte, at or before the one that holds `offset`.
    pub position: u64,
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
    let mut position = range.position;
    let mut length = range.bytes_max.max(READ_BYTES_MIN);
    loop {
        let buffer = read(disk, file, position, range.end_position, length)?;
        match choose(&buffer, position, range)? {
            Chosen::Batches { start, end } => return Ok(buffer.slice(start..end)),
            Chosen::Nothing => return Ok(Bytes::new()),
            // As much as it needs was asked for already: the file is shorter than it was.
            Chosen::GoOnFrom { at: 0, needed } if needed <= length => {
                let source = RecordBatchError::Truncated {
                    needed,
                    found: buffer.len(),
                };
                return Err(ReadError::Damaged { position, source });
            }
            Chosen::GoOnFrom { at, needed } => {
                position += at as u64;
                length = needed.max(READ_BYTES_MIN);
            }
        }
    }
}

fn read(
    disk: &dyn Disk,
    file: &File,
    position: u64,
    end: u64,
    length: usize,
) -> Result<Bytes, DiskError> {
    let there = usize::try_from(end.saturating_sub(position)).unwrap_or(usize::MAX);
    disk.read(file, position, length.min(there))
}

enum Chosen {
    Batches {
        start: usize,
        end: usize,
    },
    Nothing,
    /// The batch at `at` is wanted and needs so many bytes.
    GoOnFrom {
        at: usize,
        needed: usize,
    },
}

fn choose(buffer: &Bytes, position: u64, range: &ReadRange) -> Result<Chosen, ReadError> {
    let mut at = 0;
    let mut start = None;
    let mut expected = None;
    loop {
        let is_at_end = position + at as u64 >= range.end_position;
        let next = if is_at_end {
            None
        } else {
            Some(look(buffer, at, position))
        };
        let header = match (next, start) {
            (None, Some(start)) | (Some(Err(_)) | Some(Ok(None)), Some(start)) => {
                return Ok(Chosen::Batches { start, end: at });
            }
            (None, None) => return Ok(Chosen::Nothing),
            (Some(Err(error)), None) => return Err(error),
            (Some(Ok(None)), None) if at == 0 && buffer.len() < HEADER_BYTES => {
                let needed = HEADER_BYTES;
                let source = RecordBatchError::Truncated {
                    needed,
                    found: buffer.len(),
                };
                return Err(ReadError::Damaged { position, source });
            }
            (Some(Ok(None)), None) => {
                return Ok(Chosen::GoOnFrom {
                    at,
                    needed: READ_BYTES_MIN,
                });
            }
            (Some(Ok(Some(header))), _) => header,
        };
        let size = header.size_bytes();
        let end = at + size;
        let is_first = start.is_none();
        if header.end_offset() > range.offset {
            let is_beyond = header.end_offset() > range.end_offset;
            let is_too_much = !is_first && end - start.unwrap_or(at) > range.bytes_max;
            if is_beyond || is_too_much {
                return Ok(
                    start.map_or(Chosen::Nothing, |start| Chosen::Batches { start, end: at })
                );
            }
            if end > buffer.len() {
                return match start {
                    Some(start) => Ok(Chosen::Batches { start, end: at }),
                    None if at == 0 => too_long(buffer, position, range, size),
                    None => Ok(Chosen::GoOnFrom { at, needed: size }),
                };
            }
            if let Err(error) = verify(buffer, at, end, position, expected) {
                return start.map_or(Err(error), |start| Ok(Chosen::Batches { start, end: at }));
            }
            start.get_or_insert(at);
        } else if end >= buffer.len() {
            return Ok(Chosen::GoOnFrom {
                at: end,
                needed: READ_BYTES_MIN,
            });
        }
        expected = Some(header.end_offset());
        at = end;
    }
}

/// The first batch is larger than what was read: either there is more to read, or its length is a lie.
fn too_long(
    buffer: &Bytes,
    position: u64,
    range: &ReadRange,
    size: usize,
) -> Result<Chosen, ReadError> {
    if position + size as u64 > range.end_position {
        let source = RecordBatchError::Truncated {
            needed: size,
            found: buffer.len(),
        };
        return Err(ReadError::Damaged { position, source });
    }
    if buffer.len() >= size {
        return Ok(Chosen::Nothing);
    }
    Ok(Chosen::GoOnFrom {
        at: 0,
        needed: size,
    })
}

fn look(buffer: &Bytes, at: usize, position: u64) -> Result<Option<RecordBatchHeader>, ReadError> {
    match buffer.get(at..) {
        Some(rest) if rest.len() >= HEADER_BYTES => RecordBatchHeader::read(rest)
            .map(Some)
            .map_err(|source| ReadError::Damaged {
                position: position + at as u64,
                source,
            }),
        _ => Ok(None),
    }
}

fn verify(
    buffer: &Bytes,
    at: usize,
    end: usize,
    position: u64,
    expected: Option<Offset>,
) -> Result<(), ReadError> {
    let position = position + at as u64;
    let batch = RecordBatch::check_stored(buffer.slice(at..end))
        .map_err(|source| ReadError::Damaged { position, source })?;
    let found = batch.header().base_offset;
    if expected.is_some_and(|expected| expected != found) {
        return Err(ReadError::Misplaced { position, found });
    }
    Ok(())
}
