//! Splits a routed batch into one batch for each partition that its records belong to: the router's only walk over records.
//!
//! What comes out depends on the batch's bytes and the partition count alone, to the byte: a batch that is sent again,
//! through another router or after the topic has grown, must be cut as it was before. So this rule never changes; it is
//! drawn in `docs/protocol.md` for other languages. From the length of its key on, a record's bytes are copied unseen.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{is_routed, partition_of};
use crate::compression::Compression;
use crate::identifiers::{PartitionIndex, ProducerId};
use crate::offset::{LeaderEpoch, Offset, ProducerEpoch, Sequence};
use crate::record_batch::varint::{read_varint, read_varlong, varlong_size, write_varlong};
use crate::record_batch::{
    HEADER_BYTES, LENGTH_OVERHEAD_BYTES, RecordBatch, RecordBatchHeader, TimestampType, seal,
};

/// The records of a routed batch that belong to one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitBatch {
    /// The partition.
    pub partition: PartitionIndex,
    /// A whole, sealed batch, no larger than the one that was split.
    pub batch: Bytes,
}

/// Why a batch cannot be split.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// There is nothing to split it over.
    #[error("a batch cannot be split over {partition_count} partitions")]
    NoPartitions {
        /// The partition count.
        partition_count: i32,
    },
    /// The batch is not one of a routed producer.
    #[error("producer {producer_id} is not a routed one: InitRoutedProducer gives their ids")]
    NotRouted {
        /// The producer.
        producer_id: ProducerId,
    },
    /// The producer has no epoch.
    #[error("a routed batch cannot have the producer epoch {epoch}")]
    NegativeEpoch {
        /// The epoch.
        epoch: ProducerEpoch,
    },
    /// The batch has no number.
    #[error("a routed batch cannot have the number {number}")]
    NegativeNumber {
        /// The base sequence.
        number: Sequence,
    },
    /// The records are compressed.
    #[error("a routed batch cannot be split while it is compressed, with {}", codec.name())]
    Compressed {
        /// The codec.
        codec: Compression,
    },
    /// The batch is a marker of a transaction.
    #[error("a control batch cannot be routed")]
    Control,
    /// The batch belongs to a transaction.
    #[error("a batch of a transaction cannot be routed")]
    Transactional,
    /// The batch claims that its timestamps are a broker's.
    #[error("only a broker may say that timestamps are those of the append")]
    LogAppendTime,
    /// The counts in the header are not those of a batch that a producer sends.
    #[error("{record_count} records cannot have a last offset delta of {last_offset_delta}")]
    InvalidCount {
        /// The declared number of records.
        record_count: i32,
        /// The declared delta of the last record's offset.
        last_offset_delta: i32,
    },
    /// A record is not laid out as it must be.
    #[error("record {index} of the routed batch has a bad {part}")]
    Malformed {
        /// Which record, counted from 0.
        index: i32,
        /// The part that is wrong.
        part: &'static str,
    },
    /// Bytes follow the last record that the header counts.
    #[error("the routed batch declares {declared} records; {extra} bytes follow them")]
    TrailingBytes {
        /// The declared number.
        declared: i32,
        /// Bytes left over.
        extra: usize,
    },
    /// The header's largest timestamp is not the records'.
    #[error("the routed batch declares {declared} as its largest timestamp, which is {found}")]
    InvalidMaxTimestamp {
        /// The header's.
        declared: i64,
        /// The records'.
        found: i64,
    },
}

/// Splits a batch over this many partitions, in ascending order of those that records belong to. If that is one, its
/// batch is the whole, unchanged and not copied. Memory follows the batch's size, never the partition count.
///
/// # Errors
/// When the batch is not an uncompressed, sound one of a routed producer. Nothing but its bytes and the partition count
/// decides that.
pub fn split(batch: &RecordBatch, partition_count: i32) -> Result<Vec<SplitBatch>, SplitError> {
    check_header(batch.header(), partition_count)?;
    let source = Source {
        header: batch.header(),
        bytes: batch.bytes(),
        partition_count,
    };
    let whole = |partition| {
        let batch = batch.bytes().clone();
        Ok(vec![SplitBatch { partition, batch }])
    };
    if source.header.record_count == 1 {
        return whole(source.only_record()?);
    }
    let mut walk = Walk::new(source);
    walk.records()?;
    if let [part] = walk.parts[..] {
        return whole(part.partition);
    }
    let mut parts = std::mem::take(&mut walk.parts);
    parts.sort_unstable_by_key(|part| part.partition);
    let split = parts.iter().map(|part| SplitBatch {
        partition: part.partition,
        batch: walk.assemble(part),
    });
    Ok(split.collect())
}

fn check_header(header: &RecordBatchHeader, partition_count: i32) -> Result<(), SplitError> {
    if partition_count < 1 {
        return Err(SplitError::NoPartitions { partition_count });
    }
    let producer_id = header.producer_id;
    if !is_routed(producer_id) {
        return Err(SplitError::NotRouted { producer_id });
    }
    let epoch = header.producer_epoch;
    if epoch.0 < 0 {
        return Err(SplitError::NegativeEpoch { epoch });
    }
    let number = header.base_sequence;
    if number.0 < 0 {
        return Err(SplitError::NegativeNumber { number });
    }
    let codec = header.compression().expect("check refuses unknown codecs");
    if codec != Compression::None {
        return Err(SplitError::Compressed { codec });
    }
    if header.is_control() {
        return Err(SplitError::Control);
    }
    if header.is_transactional() {
        return Err(SplitError::Transactional);
    }
    if header.timestamp_type() == TimestampType::LogAppendTime {
        return Err(SplitError::LogAppendTime);
    }
    let RecordBatchHeader {
        record_count,
        last_offset_delta,
        ..
    } = *header;
    if record_count < 1 || last_offset_delta != record_count - 1 {
        return Err(SplitError::InvalidCount {
            record_count,
            last_offset_delta,
        });
    }
    Ok(())
}

/// Where a record lies in the batch that is split.
#[derive(Clone, Copy)]
struct Place {
    /// Its first byte behind its length: the attributes.
    start: u32,
    /// The first byte that belongs to the next.
    end: u32,
    /// The next record of the same partition.
    next: u32,
    /// Bytes of attributes and timestamp delta.
    front_bytes: u8,
    /// Bytes of the offset delta.
    offset_delta_bytes: u8,
}

/// The records of one partition, as a chain of places, and what their batch will be.
#[derive(Clone, Copy)]
struct Part {
    partition: PartitionIndex,
    first: u32,
    last: u32,
    record_count: i32,
    body_bytes: usize,
    max_timestamp: i64,
}

/// What is split.
#[derive(Clone, Copy)]
struct Source<'a> {
    header: &'a RecordBatchHeader,
    bytes: &'a [u8],
    partition_count: i32,
}

/// What a record says of itself.
struct Walked {
    partition: PartitionIndex,
    timestamp: i64,
    place: Place,
    /// Its bytes but for length and offset delta.
    kept_bytes: usize,
}

impl<'a> Source<'a> {
    /// Walks one record, with which `rest` begins.
    fn record(&self, index: i32, rest: &mut &'a [u8]) -> Result<Walked, SplitError> {
        self.fields(index, rest)
            .map_err(|part| SplitError::Malformed { index, part })
    }

    fn fields(&self, index: i32, rest: &mut &'a [u8]) -> Result<Walked, &'static str> {
        let length = read_varint(rest).and_then(|length| usize::try_from(length).ok());
        let start = self.bytes.len() - rest.len();
        let mut fields = length
            .and_then(|length| rest.split_off(..length))
            .ok_or("length")?;
        let record_bytes = fields.len();
        fields.split_off_first().ok_or("attributes")?;
        let timestamp_delta = read_varlong(&mut fields).ok_or("timestamp")?;
        let front_bytes = record_bytes - fields.len();
        if read_varint(&mut fields) != Some(index) {
            return Err("offset");
        }
        let offset_delta_bytes = record_bytes - front_bytes - fields.len();
        let kept_bytes = front_bytes + fields.len();
        let key = nullable(&mut fields, "key")?;
        let header = self.header;
        let partition = partition_of(
            key,
            header.producer_id,
            header.base_sequence,
            self.partition_count,
        );
        nullable(&mut fields, "value")?;
        headers(&mut fields)?;
        Ok(Walked {
            partition,
            timestamp: header.base_timestamp.wrapping_add(timestamp_delta),
            place: Place {
                start: position(start),
                end: position(start + record_bytes),
                next: 0,
                front_bytes: narrow(front_bytes),
                offset_delta_bytes: narrow(offset_delta_bytes),
            },
            kept_bytes,
        })
    }

    /// Checks what can be said of a batch when all its records are walked.
    fn check_end(&self, rest: &[u8], max_timestamp: Option<i64>) -> Result<(), SplitError> {
        let declared = self.header.max_timestamp;
        match max_timestamp.filter(|&found| found != declared) {
            _ if !rest.is_empty() => Err(SplitError::TrailingBytes {
                declared: self.header.record_count,
                extra: rest.len(),
            }),
            Some(found) => Err(SplitError::InvalidMaxTimestamp { declared, found }),
            None => Ok(()),
        }
    }

    /// Returns the partition of the only record: to find it nothing needs to be noted.
    fn only_record(&self) -> Result<PartitionIndex, SplitError> {
        let mut rest = &self.bytes[HEADER_BYTES..];
        let walked = self.record(0, &mut rest)?;
        self.check_end(rest, Some(walked.timestamp))?;
        Ok(walked.partition)
    }
}

/// One pass over a batch's records.
struct Walk<'a> {
    source: Source<'a>,
    places: Vec<Place>,
    parts: Vec<Part>,
    found: Found,
    /// The part of the record before.
    recent: usize,
}

impl<'a> Walk<'a> {
    fn new(source: Source<'a>) -> Self {
        // The check of the batch refused more records than its bytes can hold.
        let record_count =
            usize::try_from(source.header.record_count).expect("at least one record");
        Self {
            source,
            places: Vec::with_capacity(record_count),
            parts: Vec::new(),
            found: Found::new(source.partition_count, source.bytes.len()),
            recent: 0,
        }
    }

    /// Walks all records and notes where they belong.
    fn records(&mut self) -> Result<(), SplitError> {
        let source = self.source;
        let mut rest = &source.bytes[HEADER_BYTES..];
        for index in 0..source.header.record_count {
            let walked = source.record(index, &mut rest)?;
            self.note(walked.partition, walked.timestamp, walked.kept_bytes);
            self.places.push(walked.place);
        }
        let found = self.parts.iter().map(|part| part.max_timestamp).max();
        source.check_end(rest, found)
    }

    /// Adds the record that is walked to the part of its partition.
    fn note(&mut self, partition: PartitionIndex, timestamp: i64, kept_bytes: usize) {
        let place = position(self.places.len());
        let recent = self.parts.get(self.recent);
        if recent.is_none_or(|recent| recent.partition != partition) {
            self.recent = self.found.index_of(partition, self.parts.len());
        }
        match self.parts.get_mut(self.recent) {
            Some(part) => {
                self.places[part.last as usize].next = place;
                part.last = place;
                part.body_bytes += record_size(kept_bytes, part.record_count);
                part.record_count += 1;
                part.max_timestamp = part.max_timestamp.max(timestamp);
            }
            None => self.parts.push(Part {
                partition,
                first: place,
                last: place,
                record_count: 1,
                body_bytes: record_size(kept_bytes, 0),
                max_timestamp: timestamp,
            }),
        }
    }

    /// Returns the batch of a part.
    fn assemble(&self, part: &Part) -> Bytes {
        let size = HEADER_BYTES + part.body_bytes;
        let mut batch = Vec::with_capacity(size);
        batch.resize(HEADER_BYTES, 0);
        let mut place = part.first;
        for offset_delta in 0..part.record_count {
            let record = self.places[place as usize];
            let fields = &self.source.bytes[record.start as usize..record.end as usize];
            let (front, fields) = fields.split_at(usize::from(record.front_bytes));
            let kept = &fields[usize::from(record.offset_delta_bytes)..];
            let offset_delta = i64::from(offset_delta);
            let length = front.len() + varlong_size(offset_delta) + kept.len();
            write_varlong(signed(length), &mut batch);
            batch.extend_from_slice(front);
            write_varlong(offset_delta, &mut batch);
            batch.extend_from_slice(kept);
            place = record.next;
        }
        assert_eq!(batch.len(), size, "the size was computed as it is written");
        let header = RecordBatchHeader {
            base_offset: Offset(0),
            batch_length: i32::try_from(size - LENGTH_OVERHEAD_BYTES)
                .expect("a part is no larger than the batch"),
            leader_epoch: LeaderEpoch::NONE,
            last_offset_delta: part.record_count - 1,
            max_timestamp: part.max_timestamp,
            record_count: part.record_count,
            ..*self.source.header
        };
        header.write(&mut batch);
        seal(&mut batch);
        batch.into()
    }
}

/// Finds the part of a partition.
enum Found {
    /// One more than the part's index by partition; 0 is none.
    Dense(Vec<u32>),
    /// The part's index by partition, where there are so many partitions that a list of them would be larger than the
    /// batch.
    Sparse(BTreeMap<PartitionIndex, usize>),
}

impl Found {
    fn new(partition_count: i32, batch_bytes: usize) -> Self {
        let bytes = usize::try_from(partition_count)
            .ok()
            .and_then(|count| count.checked_mul(size_of::<u32>()));
        match bytes.filter(|&bytes| bytes <= batch_bytes) {
            Some(bytes) => Self::Dense(vec![0; bytes / size_of::<u32>()]),
            None => Self::Sparse(BTreeMap::new()),
        }
    }

    /// Returns the index of the partition's part: `next` if there is none yet.
    fn index_of(&mut self, partition: PartitionIndex, next: usize) -> usize {
        match self {
            Self::Dense(indexes) => {
                let at = usize::try_from(partition.0).expect("a remainder is not negative");
                if indexes[at] == 0 {
                    indexes[at] = position(next + 1);
                }
                indexes[at] as usize - 1
            }
            Self::Sparse(indexes) => *indexes.entry(partition).or_insert(next),
        }
    }
}

/// Returns the bytes of a record, its length included, once it has this offset delta; the other fields are `kept_bytes`
/// long.
fn record_size(kept_bytes: usize, offset_delta: i32) -> usize {
    let length = kept_bytes + varlong_size(i64::from(offset_delta));
    varlong_size(signed(length)) + length
}

/// Takes bytes that may be null from the front.
fn nullable<'a>(
    fields: &mut &'a [u8],
    part: &'static str,
) -> Result<Option<&'a [u8]>, &'static str> {
    match read_varint(fields).ok_or(part)? {
        -1 => Ok(None),
        length => {
            let length = usize::try_from(length).map_err(|_| part)?;
            fields.split_off(..length).map(Some).ok_or(part)
        }
    }
}

/// Takes the headers of a record, with which it ends.
fn headers(fields: &mut &[u8]) -> Result<(), &'static str> {
    let count = read_varint(fields).and_then(|count| usize::try_from(count).ok());
    for _ in 0..count
        .filter(|&count| count <= fields.len() / 2)
        .ok_or("header count")?
    {
        nullable(fields, "header name")?.ok_or("header name")?;
        nullable(fields, "header value")?;
    }
    if fields.is_empty() {
        Ok(())
    } else {
        Err("end")
    }
}

fn position(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a batch is smaller than 4 GiB")
}

fn narrow(bytes: usize) -> u8 {
    u8::try_from(bytes).expect("a number takes at most ten bytes")
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).expect("lengths in memory fit")
}
