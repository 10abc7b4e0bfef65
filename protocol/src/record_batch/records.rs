//! Walks the records of a batch. Brokers never do: only clients and the router's splitter.

use bytes::Bytes;
use bytestring::ByteString;

use super::varint::{read_varint, read_varlong};
use super::{HEADER_BYTES, RECORD_BYTES_MIN, RecordBatch, RecordBatchHeader, TimestampType};
use crate::compression::{Compression, CompressionError};
use crate::limits::{DECODE_ALLOCATION_BYTES_EXTRA, DECODE_ALLOCATION_FACTOR};
use crate::offset::Offset;
use crate::record::{Record, RecordHeader};

/// Why the records of a batch cannot be read, although its checksum holds.
#[derive(Debug, thiserror::Error)]
pub enum InvalidRecords {
    /// The records cannot be decompressed.
    #[error("the records of the batch at offset {base_offset} cannot be decompressed")]
    Compression {
        /// The batch's base offset.
        base_offset: Offset,
        /// What the codec found.
        #[source]
        source: CompressionError,
    },
    /// A record is not laid out as it must be.
    #[error("record {index} of the batch at offset {base_offset} has a bad {part}")]
    Malformed {
        /// The batch's base offset.
        base_offset: Offset,
        /// Which record, counted from 0.
        index: i32,
        /// The part that is wrong.
        part: &'static str,
    },
    /// There are more records than the decompressed bytes can hold.
    #[error("the batch at offset {base_offset} declares {declared} records in {bytes} bytes")]
    TooMany {
        /// The batch's base offset.
        base_offset: Offset,
        /// The declared number.
        declared: i32,
        /// Bytes of decompressed records.
        bytes: usize,
    },
    /// Bytes follow the last record that the header counts.
    #[error(
        "the batch at offset {base_offset} declares {declared} records; {extra} bytes follow them"
    )]
    TrailingBytes {
        /// The batch's base offset.
        base_offset: Offset,
        /// The declared number.
        declared: i32,
        /// Bytes left over.
        extra: usize,
    },
}

/// Yields the records of a batch in order; ends after the first error.
#[derive(Debug)]
pub struct RecordIterator {
    header: RecordBatchHeader,
    /// All records, decompressed.
    body: Bytes,
    /// How much of the body was read.
    position: usize,
    /// Which record comes next.
    index: i32,
    /// The smallest offset delta that the next record may have.
    offset_delta_min: i32,
    /// Memory that the lists of headers may still take.
    header_list_bytes_left: usize,
}

impl RecordIterator {
    pub(super) fn new(
        batch: &RecordBatch,
        decompressed_bytes_max: usize,
    ) -> Result<Self, InvalidRecords> {
        let header = *batch.header();
        let base_offset = header.base_offset;
        let stored = batch.bytes().slice(HEADER_BYTES..);
        let compression = header.compression().expect("check refuses unknown codecs");
        let body = match compression {
            Compression::None => stored,
            codec => codec
                .decompress(&stored, decompressed_bytes_max)
                .map_err(|source| InvalidRecords::Compression {
                    base_offset,
                    source,
                })?
                .into(),
        };
        let possible = body.len() / RECORD_BYTES_MIN;
        if usize::try_from(header.record_count).is_ok_and(|count| count > possible) {
            return Err(InvalidRecords::TooMany {
                base_offset,
                declared: header.record_count,
                bytes: body.len(),
            });
        }
        let header_list_bytes_left = body
            .len()
            .saturating_mul(DECODE_ALLOCATION_FACTOR)
            .saturating_add(DECODE_ALLOCATION_BYTES_EXTRA);
        Ok(Self {
            header,
            body,
            position: 0,
            index: 0,
            offset_delta_min: 0,
            header_list_bytes_left,
        })
    }

    fn malformed(&self, part: &'static str) -> InvalidRecords {
        InvalidRecords::Malformed {
            base_offset: self.header.base_offset,
            index: self.index,
            part,
        }
    }

    fn read(&mut self) -> Result<Record, InvalidRecords> {
        let mut rest = &self.body[self.position..];
        let length = read_varint(&mut rest).and_then(|length| usize::try_from(length).ok());
        let Some(length) = length.filter(|&length| length <= rest.len()) else {
            return Err(self.malformed("length"));
        };
        let start = self.body.len() - rest.len();
        let end = start + length;
        let mut fields = Fields {
            body: &self.body,
            rest: &self.body[start..end],
            header_list_bytes_left: self.header_list_bytes_left,
        };
        let (record, offset_delta) = self
            .read_fields(&mut fields)
            .map_err(|part| self.malformed(part))?;
        self.header_list_bytes_left = fields.header_list_bytes_left;
        self.position = end;
        self.index += 1;
        // No delta is above the largest, so that nothing follows it.
        self.offset_delta_min = offset_delta.saturating_add(1);
        Ok(record)
    }

    /// Returns the record and its offset delta.
    fn read_fields(&self, fields: &mut Fields<'_>) -> Result<(Record, i32), &'static str> {
        if fields.rest.split_off_first().is_none() {
            return Err("attributes");
        }
        let timestamp_delta = read_varlong(&mut fields.rest).ok_or("timestamp")?;
        let offset_delta = read_varint(&mut fields.rest).ok_or("offset")?;
        if offset_delta < self.offset_delta_min || offset_delta > self.header.last_offset_delta {
            return Err("offset");
        }
        let key = fields.nullable("key")?;
        let value = fields.nullable("value")?;
        let headers = fields.headers()?;
        if !fields.rest.is_empty() {
            return Err("end");
        }
        let timestamp = match self.header.timestamp_type() {
            TimestampType::CreateTime => self.header.base_timestamp.wrapping_add(timestamp_delta),
            TimestampType::LogAppendTime => self.header.max_timestamp,
        };
        let base_offset = self.header.base_offset.0;
        let record = Record {
            offset: Offset(base_offset.wrapping_add(i64::from(offset_delta))),
            timestamp,
            key,
            value,
            headers,
        };
        Ok((record, offset_delta))
    }
}

impl Iterator for RecordIterator {
    type Item = Result<Record, InvalidRecords>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.index >= self.header.record_count {
            let extra = self.body.len() - self.position;
            self.position = self.body.len();
            return (extra > 0).then(|| {
                Err(InvalidRecords::TrailingBytes {
                    base_offset: self.header.base_offset,
                    declared: self.header.record_count,
                    extra,
                })
            });
        }
        let record = self.read();
        if record.is_err() {
            self.index = self.header.record_count;
            self.position = self.body.len();
        }
        Some(record)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.header.record_count - self.index).unwrap_or(0);
        // The one is an error for bytes behind the last record.
        (0, Some(left + 1))
    }
}

/// What is left of one record.
struct Fields<'a> {
    body: &'a Bytes,
    rest: &'a [u8],
    header_list_bytes_left: usize,
}

impl Fields<'_> {
    fn nullable(&mut self, part: &'static str) -> Result<Option<Bytes>, &'static str> {
        let length = read_varint(&mut self.rest).ok_or(part)?;
        if length == -1 {
            return Ok(None);
        }
        let length = usize::try_from(length).map_err(|_| part)?;
        let bytes = self.rest.split_off(..length).ok_or(part)?;
        Ok(Some(if bytes.is_empty() {
            Bytes::new()
        } else {
            self.body.slice_ref(bytes)
        }))
    }

    fn headers(&mut self) -> Result<Vec<RecordHeader>, &'static str> {
        let count = read_varint(&mut self.rest).and_then(|count| usize::try_from(count).ok());
        // A header takes at least two bytes.
        let count = count
            .filter(|&count| count <= self.rest.len() / 2)
            .ok_or("header count")?;
        // In memory a header takes up to 32 times its bytes.
        self.header_list_bytes_left = self
            .header_list_bytes_left
            .checked_sub(count * size_of::<RecordHeader>())
            .ok_or("header count")?;
        let mut headers = Vec::with_capacity(count);
        for _ in 0..count {
            let name = self.nullable("header name")?.ok_or("header name")?;
            let value = self.nullable("header value")?;
            headers.push(RecordHeader {
                name: text(&name),
                value,
            });
        }
        Ok(headers)
    }
}

/// Returns the name of a header. Where it is not UTF-8 it reads as Kafka's Java client reads it, with U+FFFD in place of
/// what is wrong: no broker looks at it, so that refusing it would leave a record that nobody can read.
fn text(name: &Bytes) -> ByteString {
    ByteString::try_from(name.clone())
        .unwrap_or_else(|_| String::from_utf8_lossy(name).into_owned().into())
}
