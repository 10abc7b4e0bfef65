//! Builds a record batch: records go straight into the batch's buffer, the header is filled at the end.

use bytes::Bytes;

use super::varint::{varlong_size, write_varlong};
use super::{HEADER_BYTES, LENGTH_OVERHEAD_BYTES, RecordBatchHeader, seal};
use crate::compression::{Compression, CompressionError};
use crate::identifiers::ProducerId;
use crate::offset::{LeaderEpoch, Offset, ProducerEpoch, Sequence};

/// A record to append.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewRecord<'a> {
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// The key; `None` is null, which is not the same as empty.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is null, a tombstone in compacted topics.
    pub value: Option<&'a [u8]>,
    /// Headers in order; names may repeat (KIP-82).
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
}

/// Who numbers a batch (KIP-98).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchProducer {
    /// The producer's id.
    pub id: ProducerId,
    /// The producer's epoch.
    pub epoch: ProducerEpoch,
    /// The sequence of the batch's first record.
    pub base_sequence: Sequence,
}

impl BatchProducer {
    /// The batch is not numbered.
    pub const NONE: Self = Self {
        id: ProducerId::NONE,
        epoch: ProducerEpoch::NONE,
        base_sequence: Sequence::NONE,
    };
}

/// A batch under construction.
#[derive(Debug)]
pub struct RecordBatchBuilder {
    /// Room for the header, then the records appended so far.
    buffer: Vec<u8>,
    record_count: i32,
    base_timestamp: i64,
    max_timestamp: i64,
}

impl RecordBatchBuilder {
    /// Returns an empty batch with room for `capacity_bytes` bytes, header included.
    #[must_use]
    pub fn with_capacity(capacity_bytes: usize) -> Self {
        let mut buffer = Vec::with_capacity(capacity_bytes.max(HEADER_BYTES));
        buffer.resize(HEADER_BYTES, 0);
        Self {
            buffer,
            record_count: 0,
            base_timestamp: -1,
            max_timestamp: -1,
        }
    }

    /// Returns how many records were appended.
    #[must_use]
    pub fn record_count(&self) -> i32 {
        self.record_count
    }

    /// Returns the size of the uncompressed batch so far, header included.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Returns the size that the uncompressed batch would have with one more record.
    #[must_use]
    pub fn size_with(&self, record: &NewRecord<'_>) -> usize {
        let body = self.body_size(record);
        self.buffer.len() + varlong_size(length(body)) + body
    }

    /// Appends a record.
    ///
    /// # Panics
    /// When the batch already holds 2^31 - 1 records.
    pub fn append(&mut self, record: &NewRecord<'_>) {
        if self.record_count == 0 {
            self.base_timestamp = record.timestamp;
            self.max_timestamp = record.timestamp;
        }
        let body = self.body_size(record);
        let buffer = &mut self.buffer;
        buffer.reserve(body + 10);
        write_varlong(length(body), buffer);
        buffer.push(0);
        write_varlong(record.timestamp.wrapping_sub(self.base_timestamp), buffer);
        write_varlong(i64::from(self.record_count), buffer);
        write_nullable(record.key, buffer);
        write_nullable(record.value, buffer);
        write_varlong(length(record.headers.len()), buffer);
        for (name, value) in record.headers {
            write_nullable(Some(name.as_bytes()), buffer);
            write_nullable(*value, buffer);
        }
        self.record_count = self
            .record_count
            .checked_add(1)
            .expect("fewer than 2^31 records");
        self.max_timestamp = self.max_timestamp.max(record.timestamp);
    }

    #[cfg(test)]
    pub(super) fn buffer_address(&self) -> *const u8 {
        self.buffer.as_ptr()
    }

    fn body_size(&self, record: &NewRecord<'_>) -> usize {
        let base_timestamp = if self.record_count == 0 {
            record.timestamp
        } else {
            self.base_timestamp
        };
        let headers: usize = record
            .headers
            .iter()
            .map(|(name, value)| nullable_size(Some(name.as_bytes())) + nullable_size(*value))
            .sum();
        1 + varlong_size(record.timestamp.wrapping_sub(base_timestamp))
            + varlong_size(i64::from(self.record_count))
            + nullable_size(record.key)
            + nullable_size(record.value)
            + varlong_size(length(record.headers.len()))
            + headers
    }

    /// Returns the finished batch with base offset 0. Uncompressed records are not copied.
    ///
    /// # Errors
    /// When the codec fails, which only exhausted memory can cause.
    ///
    /// # Panics
    /// When no record was appended.
    pub fn finish(
        mut self,
        compression: Compression,
        producer: BatchProducer,
    ) -> Result<Bytes, CompressionError> {
        assert!(self.record_count > 0, "a batch holds at least one record");
        if compression != Compression::None {
            let mut compressed = Vec::with_capacity(HEADER_BYTES + self.buffer.len() / 2);
            compressed.resize(HEADER_BYTES, 0);
            compression.compress(&self.buffer[HEADER_BYTES..], &mut compressed)?;
            self.buffer = compressed;
        }
        let header = RecordBatchHeader {
            base_offset: Offset(0),
            batch_length: i32::try_from(self.buffer.len() - LENGTH_OVERHEAD_BYTES)
                .expect("a batch is far smaller than 2 GiB"),
            leader_epoch: LeaderEpoch::NONE,
            crc: 0,
            attributes: compression.bits(),
            last_offset_delta: self.record_count - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            base_sequence: producer.base_sequence,
            record_count: self.record_count,
        };
        header.write(&mut self.buffer);
        seal(&mut self.buffer);
        Ok(Bytes::from(self.buffer))
    }
}

/// Gives a finished batch another producer, epoch or sequence, as after a change of the producer's epoch (KIP-360).
/// Copies the batch if its bytes are shared.
///
/// # Panics
/// When there are fewer bytes than a header.
#[must_use]
pub fn renumber(batch: Bytes, producer: BatchProducer) -> Bytes {
    let mut batch = match batch.try_into_mut() {
        Ok(batch) => batch,
        Err(batch) => batch.as_ref().into(),
    };
    batch[43..51].copy_from_slice(&producer.id.0.to_be_bytes());
    batch[51..53].copy_from_slice(&producer.epoch.0.to_be_bytes());
    batch[53..57].copy_from_slice(&producer.base_sequence.0.to_be_bytes());
    seal(&mut batch);
    batch.freeze()
}

fn length(bytes: usize) -> i64 {
    i64::try_from(bytes).expect("lengths in memory fit")
}

fn nullable_size(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varlong_size(length(bytes.len())) + bytes.len())
}

fn write_nullable(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    match bytes {
        None => write_varlong(-1, out),
        Some(bytes) => {
            write_varlong(length(bytes.len()), out);
            out.extend_from_slice(bytes);
        }
    }
}
