//! The fixed part of a record batch, decoded; the layout is drawn in the parent module.

use super::{HEADER_BYTES, LENGTH_OVERHEAD_BYTES, RECORD_BYTES_MIN, RecordBatchError};
use crate::compression::Compression;
use crate::identifiers::ProducerId;
use crate::offset::{LeaderEpoch, Offset, ProducerEpoch, Sequence};

const MAGIC: i8 = 2;
const COMPRESSION_BITS: i16 = 0b111;
pub(super) const LOG_APPEND_TIME_BIT: i16 = 1 << 3;
const TRANSACTIONAL_BIT: i16 = 1 << 4;
const CONTROL_BIT: i16 = 1 << 5;

/// What the timestamps of a batch tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// When the producer created the record.
    CreateTime,
    /// When the broker appended the batch: its max timestamp, for all records.
    LogAppendTime,
}

/// The header of a record batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordBatchHeader {
    /// The offset of the first record.
    pub base_offset: Offset,
    /// Bytes of the batch from the leader epoch on.
    pub batch_length: i32,
    /// The epoch of the leader that appended the batch; -1 in a producer's request.
    pub leader_epoch: LeaderEpoch,
    /// CRC-32C from the attributes on.
    pub crc: u32,
    /// Codec, timestamp type and kind, as drawn in the parent module.
    pub attributes: i16,
    /// The offset of the last record, counted from the base offset.
    pub last_offset_delta: i32,
    /// The timestamp that records count from, in milliseconds since 1970; -1 means none.
    pub base_timestamp: i64,
    /// The largest timestamp, in milliseconds since 1970; -1 means none.
    pub max_timestamp: i64,
    /// Who numbered the batch; -1 means nobody.
    pub producer_id: ProducerId,
    /// Which instance of the producer; -1 means none.
    pub producer_epoch: ProducerEpoch,
    /// The sequence of the first record; -1 means none.
    pub base_sequence: Sequence,
    /// How many records the batch holds.
    pub record_count: i32,
}

impl RecordBatchHeader {
    /// Returns the header that the bytes begin with. Neither checksum nor counts are checked.
    ///
    /// # Errors
    /// When there are too few bytes for a header, the length is less than a header's, or the magic is not 2.
    pub fn read(bytes: &[u8]) -> Result<Self, RecordBatchError> {
        // The magic lies at the same place in all formats, and old ones may be shorter than this header.
        if let Some(&magic) = bytes.get(16) {
            let magic = magic.cast_signed();
            if magic != MAGIC {
                return Err(RecordBatchError::UnsupportedMagic { magic });
            }
        }
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(RecordBatchError::Truncated {
                needed: HEADER_BYTES,
                found: bytes.len(),
            });
        };
        let header = Self {
            base_offset: Offset(i64::from_be_bytes(field(bytes, 0))),
            batch_length: i32::from_be_bytes(field(bytes, 8)),
            leader_epoch: LeaderEpoch(i32::from_be_bytes(field(bytes, 12))),
            crc: u32::from_be_bytes(field(bytes, 17)),
            attributes: i16::from_be_bytes(field(bytes, 21)),
            last_offset_delta: i32::from_be_bytes(field(bytes, 23)),
            base_timestamp: i64::from_be_bytes(field(bytes, 27)),
            max_timestamp: i64::from_be_bytes(field(bytes, 35)),
            producer_id: ProducerId(i64::from_be_bytes(field(bytes, 43))),
            producer_epoch: ProducerEpoch(i16::from_be_bytes(field(bytes, 51))),
            base_sequence: Sequence(i32::from_be_bytes(field(bytes, 53))),
            record_count: i32::from_be_bytes(field(bytes, 57)),
        };
        let length = header.batch_length;
        if usize::try_from(length)
            .is_ok_and(|length| length >= HEADER_BYTES - LENGTH_OVERHEAD_BYTES)
        {
            Ok(header)
        } else {
            Err(RecordBatchError::InvalidLength { length })
        }
    }

    /// Writes the header to the front of a batch.
    ///
    /// # Panics
    /// When there is no room for a header.
    pub fn write(&self, batch: &mut [u8]) {
        batch[0..8].copy_from_slice(&self.base_offset.0.to_be_bytes());
        batch[8..12].copy_from_slice(&self.batch_length.to_be_bytes());
        batch[12..16].copy_from_slice(&self.leader_epoch.0.to_be_bytes());
        batch[16] = MAGIC.cast_unsigned();
        batch[17..21].copy_from_slice(&self.crc.to_be_bytes());
        batch[21..23].copy_from_slice(&self.attributes.to_be_bytes());
        batch[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        batch[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        batch[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        batch[43..51].copy_from_slice(&self.producer_id.0.to_be_bytes());
        batch[51..53].copy_from_slice(&self.producer_epoch.0.to_be_bytes());
        batch[53..57].copy_from_slice(&self.base_sequence.0.to_be_bytes());
        batch[57..61].copy_from_slice(&self.record_count.to_be_bytes());
    }

    /// Returns the size of the whole batch, header included.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        LENGTH_OVERHEAD_BYTES
            + usize::try_from(self.batch_length).expect("read refuses a negative length")
    }

    /// Returns the offset after the last record.
    #[must_use]
    pub fn end_offset(&self) -> Offset {
        // A header may come from a peer: the sum need not fit.
        let span = i64::from(self.last_offset_delta) + 1;
        Offset(self.base_offset.0.wrapping_add(span))
    }

    /// Returns the codec of the records.
    ///
    /// # Errors
    /// When the bits name none.
    pub fn compression(&self) -> Result<Compression, RecordBatchError> {
        let codec = self.attributes & COMPRESSION_BITS;
        Compression::from_bits(codec).ok_or(RecordBatchError::UnknownCompression { codec })
    }

    /// Returns what the timestamps tell.
    #[must_use]
    pub fn timestamp_type(&self) -> TimestampType {
        if self.attributes & LOG_APPEND_TIME_BIT == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    /// Returns whether the batch belongs to a transaction.
    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL_BIT != 0
    }

    /// Returns whether the batch carries a marker instead of records.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL_BIT != 0
    }

    /// Checks that there are bytes for so many records and offsets for so many, and that the codec exists.
    pub(super) fn check_counts(&self) -> Result<(), RecordBatchError> {
        let compression = self.compression()?;
        let Self {
            record_count,
            last_offset_delta,
            ..
        } = *self;
        // No overflow: a count is at most 2^31 - 1.
        if record_count < 0 || last_offset_delta < 0 || last_offset_delta < record_count - 1 {
            return Err(RecordBatchError::InvalidCount {
                record_count,
                last_offset_delta,
            });
        }
        let bytes = self.size_bytes() - HEADER_BYTES;
        let possible = bytes / RECORD_BYTES_MIN;
        if compression == Compression::None
            && usize::try_from(record_count).is_ok_and(|count| count > possible)
        {
            return Err(RecordBatchError::TooManyRecords {
                record_count,
                bytes,
            });
        }
        Ok(())
    }

    /// Checks that the offsets can be those of a partition.
    pub(super) fn check_offsets(&self) -> Result<(), RecordBatchError> {
        let base_offset = self.base_offset;
        if base_offset.0 < 0 || self.end_offset() < base_offset {
            return Err(RecordBatchError::InvalidOffset { base_offset });
        }
        Ok(())
    }
}

fn field<const SIZE: usize>(bytes: &[u8; HEADER_BYTES], at: usize) -> [u8; SIZE] {
    *bytes[at..]
        .first_chunk()
        .expect("all fields lie within the header")
}
