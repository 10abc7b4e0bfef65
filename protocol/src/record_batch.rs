//! Record batches of magic 2 (KIP-98): what producers send, brokers store and consumers read, byte for byte.
//!
//! ```text
//!  0 base offset      i64 ┐                        21 attributes        i16 ┐
//!  8 batch length     i32 │ outside the CRC, so    23 last offset delta i32 │
//! 12 leader epoch     i32 │ that a broker stamps   27 base timestamp    i64 │
//! 16 magic (2)        i8  │ offset and epoch       35 max timestamp     i64 │ covered
//! 17 CRC-32C          u32 ┘ without a second pass  43 producer id       i64 │ by the CRC
//!                                                  51 producer epoch    i16 │
//! attributes: 0–2 codec · 3 log append time        53 base sequence     i32 │
//!             4 transactional · 5 control          57 record count      i32 │
//! batch length counts from byte 12                 61 records …             ┘
//! ```

mod builder;
pub mod fuzzing;
mod header;
mod peek;
mod records;
pub(crate) mod varint;

#[cfg(test)]
mod tests;

pub use builder::{BatchProducer, NewRecord, RecordBatchBuilder, renumber};
pub use header::{RecordBatchHeader, TimestampType};
pub use peek::{NoSuchRecord, peek_key};
pub use records::{InvalidRecords, RecordIterator};

use bytes::Bytes;

use crate::offset::{LeaderEpoch, Offset};
use header::LOG_APPEND_TIME_BIT;

/// Bytes of a batch before its records.
pub const HEADER_BYTES: usize = 61;

/// Bytes a broker stamps: base offset, batch length and leader epoch, all outside the CRC.
pub const PREFIX_BYTES: usize = 16;

/// Bytes before those that the batch length counts.
pub(crate) const LENGTH_OVERHEAD_BYTES: usize = 12;

/// The fewest bytes of a record: one for each of its seven fields.
pub(crate) const RECORD_BYTES_MIN: usize = 7;

/// Where the bytes covered by the CRC begin.
pub(crate) const CRC_COVERS_FROM: usize = 21;

/// Why bytes are not a record batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordBatchError {
    /// There are fewer bytes than a header or the declared length needs.
    #[error("a record batch needs {needed} bytes, {found} are there")]
    Truncated {
        /// Bytes needed.
        needed: usize,
        /// Bytes found.
        found: usize,
    },
    /// The declared length is shorter than a header.
    #[error("a record batch declares a length of {length} bytes")]
    InvalidLength {
        /// The declared length.
        length: i32,
    },
    /// More bytes follow where exactly one batch must be.
    #[error("{extra} bytes follow the record batch")]
    TrailingBytes {
        /// Bytes that follow.
        extra: usize,
    },
    /// The format is not magic 2.
    #[error("record format {magic} is not supported, only 2")]
    UnsupportedMagic {
        /// The magic found.
        magic: i8,
    },
    /// The checksum does not fit the bytes.
    #[error("the checksum is {declared:#010x}, the bytes give {computed:#010x}")]
    CorruptChecksum {
        /// The checksum in the header.
        declared: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
    /// The counts in the header contradict each other.
    #[error("{record_count} records cannot have a last offset delta of {last_offset_delta}")]
    InvalidCount {
        /// The declared number of records.
        record_count: i32,
        /// The declared delta of the last record's offset.
        last_offset_delta: i32,
    },
    /// There are more records than the uncompressed bytes can hold.
    #[error("{bytes} bytes cannot hold {record_count} records")]
    TooManyRecords {
        /// The declared number of records.
        record_count: i32,
        /// Bytes behind the header.
        bytes: usize,
    },
    /// A stored batch has offsets that no partition has.
    #[error("a stored batch cannot begin at offset {base_offset}")]
    InvalidOffset {
        /// The offset of the first record.
        base_offset: Offset,
    },
    /// The codec bits name no codec.
    #[error("compression codec {codec} is unknown")]
    UnknownCompression {
        /// The bits found.
        codec: i16,
    },
}

/// Exactly one record batch whose length, magic, checksum and counts have been checked; a cheap view of its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordBatch {
    bytes: Bytes,
    header: RecordBatchHeader,
}

impl RecordBatch {
    /// Returns the one batch that the bytes hold, as a producer must send it: the records' offsets have no gaps. The
    /// base offset is whatever the producer wrote; the leader assigns another.
    ///
    /// # Errors
    /// When the bytes are anything but one whole, sound batch of magic 2.
    pub fn check(bytes: Bytes) -> Result<Self, RecordBatchError> {
        let batch = Self::check_bytes(bytes)?;
        let RecordBatchHeader {
            record_count,
            last_offset_delta,
            ..
        } = batch.header;
        if record_count < 1 || last_offset_delta != record_count - 1 {
            return Err(RecordBatchError::InvalidCount {
                record_count,
                last_offset_delta,
            });
        }
        Ok(batch)
    }

    /// Returns the one batch that the bytes hold, as it may lie in a log: compaction may have removed records.
    ///
    /// # Errors
    /// When the bytes are anything but one whole, sound batch of magic 2.
    pub fn check_stored(bytes: Bytes) -> Result<Self, RecordBatchError> {
        let batch = Self::check_bytes(bytes)?;
        batch.header.check_offsets()?;
        Ok(batch)
    }

    fn check_bytes(bytes: Bytes) -> Result<Self, RecordBatchError> {
        let header = RecordBatchHeader::read(&bytes)?;
        let size = header.size_bytes();
        if bytes.len() < size {
            return Err(RecordBatchError::Truncated {
                needed: size,
                found: bytes.len(),
            });
        }
        if bytes.len() > size {
            return Err(RecordBatchError::TrailingBytes {
                extra: bytes.len() - size,
            });
        }
        let computed = checksum(&bytes);
        if computed != header.crc {
            return Err(RecordBatchError::CorruptChecksum {
                declared: header.crc,
                computed,
            });
        }
        header.check_counts()?;
        Ok(Self { bytes, header })
    }

    /// Returns the decoded header.
    #[must_use]
    pub fn header(&self) -> &RecordBatchHeader {
        &self.header
    }

    /// Returns the batch's bytes.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Returns the batch's bytes, giving up the view.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// Returns the batch's records in order, decompressed to at most `decompressed_bytes_max` bytes.
    ///
    /// # Errors
    /// When the records cannot be decompressed within the bound. Each record is checked as it is reached.
    pub fn records(&self, decompressed_bytes_max: usize) -> Result<RecordIterator, InvalidRecords> {
        RecordIterator::new(self, decompressed_bytes_max)
    }

    /// Returns the first bytes the batch is stored with; `bytes().slice(PREFIX_BYTES..)` follows them unchanged.
    #[must_use]
    pub fn stamped_prefix(
        &self,
        base_offset: Offset,
        leader_epoch: LeaderEpoch,
    ) -> [u8; PREFIX_BYTES] {
        let mut prefix = [0; PREFIX_BYTES];
        prefix[..8].copy_from_slice(&base_offset.0.to_be_bytes());
        prefix[8..12].copy_from_slice(&self.bytes[8..12]);
        prefix[12..].copy_from_slice(&leader_epoch.0.to_be_bytes());
        prefix
    }
}

/// Returns the CRC-32C (Castagnoli) of what the checksum of a batch covers.
///
/// # Panics
/// When there are fewer bytes than a header.
#[must_use]
pub fn checksum(batch: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(&batch[CRC_COVERS_FROM..])
}

/// Writes base offset and leader epoch into a batch; both lie outside the checksum.
///
/// # Panics
/// When there are fewer bytes than a header.
pub fn stamp(batch: &mut [u8], base_offset: Offset, leader_epoch: LeaderEpoch) {
    batch[..8].copy_from_slice(&base_offset.0.to_be_bytes());
    batch[12..16].copy_from_slice(&leader_epoch.0.to_be_bytes());
}

/// Gives all records of a batch the time of their append instead of their own (`message.timestamp.type`). The checksum
/// covers the timestamps, so that it is computed anew, over the whole batch.
///
/// # Panics
/// When there are fewer bytes than a header.
pub fn stamp_log_append_time(batch: &mut [u8], timestamp: i64) {
    let attributes = i16::from_be_bytes([batch[21], batch[22]]) | LOG_APPEND_TIME_BIT;
    batch[21..23].copy_from_slice(&attributes.to_be_bytes());
    batch[35..43].copy_from_slice(&timestamp.to_be_bytes());
    seal(batch);
}

/// Stores the checksum of a batch that is otherwise complete.
pub(crate) fn seal(batch: &mut [u8]) {
    let crc = checksum(batch);
    batch[CRC_COVERS_FROM - 4..CRC_COVERS_FROM].copy_from_slice(&crc.to_be_bytes());
}

/// Cuts a buffer into the batches it holds one after the other, as a log segment or the answer to a Fetch does.
#[derive(Clone, Debug)]
pub struct RecordBatches {
    rest: Bytes,
}

impl RecordBatches {
    /// Returns the batches in the buffer.
    #[must_use]
    pub fn new(buffer: Bytes) -> Self {
        Self { rest: buffer }
    }

    /// Returns what follows the batches taken so far; an incomplete last batch stays here.
    #[must_use]
    pub fn rest(&self) -> &Bytes {
        &self.rest
    }
}

/// Yields each whole batch, checked. Ends at an incomplete last batch and after the first error.
impl Iterator for RecordBatches {
    type Item = Result<RecordBatch, RecordBatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let size = match RecordBatchHeader::read(&self.rest) {
            Ok(header) => header.size_bytes(),
            Err(RecordBatchError::Truncated { .. }) => return None,
            Err(error) => {
                self.rest.clear();
                return Some(Err(error));
            }
        };
        if self.rest.len() < size {
            return None;
        }
        let batch = RecordBatch::check_stored(self.rest.split_to(size));
        if batch.is_err() {
            self.rest.clear();
        }
        Some(batch)
    }
}
