//! Walks the records of a batch. Brokers never do: only clients and the router's splitter.

use bytes::Bytes;
use bytestring::ByteString;

use super::varint::{read_varint, read_varlong};
use super::{HEADER_BYTES, RecordBatch, RecordBatchHeader, TimestampType};
use crate::compression::{Compression, CompressionError};
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
    /// The records end before or after the count in the header.
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
        Ok(Self {
            header,
            body,
            position: 0,
            index: 0,
            offset_delta_min: 0,
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
        };
        let record = self
            .read_fields(&mut fields)
            .map_err(|part| self.malformed(part))?;
        self.position = end;
        self.index += 1;
        Ok(record)
    }

    fn read_fields(&self, fields: &mut Fields<'_>) -> Result<Record, &'static str> {
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
        let offset = self.header.base_offset.plus(i64::from(offset_delta));
        Ok(Record {
            offset,
            timestamp,
            key,
            value,
            headers,
        })
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
        match &record {
            Ok(record) => {
                let delta = record.offset.0 - self.header.base_offset.0;
                self.offset_delta_min = i32::try_from(delta)
                    .expect("a delta was read as 32 bits")
                    .saturating_add(1);
            }
            Err(_) => {
                self.index = self.header.record_count;
                self.position = self.body.len();
            }
        }
        Some(record)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // A record takes at least seven bytes, so that a count alone promises nothing.
        let possible = (self.body.len() - self.position) / 7;
        let declared = usize::try_from(self.header.record_count - self.index).unwrap_or(0);
        (0, Some(declared.min(possible) + 1))
    }
}

/// What is left of one record.
struct Fields<'a> {
    body: &'a Bytes,
    rest: &'a [u8],
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
        let mut headers = Vec::new();
        for _ in 0..count {
            let name = self.nullable("header name")?.ok_or("header name")?;
            let name = ByteString::try_from(name).map_err(|_| "header name")?;
            let value = self.nullable("header value")?;
            headers.push(RecordHeader { name, value });
        }
        Ok(headers)
    }
}
