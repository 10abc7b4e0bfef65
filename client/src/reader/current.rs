//! The batches that are being handed out: checked and unpacked one at a time, records below the wanted offset skipped.

use std::sync::Arc;

use bytes::Bytes;
use keylane_protocol::identifiers::PartitionIndex;
use keylane_protocol::offset::Offset;
use keylane_protocol::record::Record;
use keylane_protocol::record_batch::{RecordBatch, RecordBatches, RecordIterator};

use super::positions::Position;
use super::{ConsumedBatch, ReadError};

/// Batches of one partition.
#[derive(Debug)]
pub(super) struct Current {
    index: usize,
    /// The partition's count of seeks when they were taken: after another one they say nothing of where it stands.
    seeks: u64,
    topic: Arc<str>,
    partition: PartitionIndex,
    high_watermark: Offset,
    /// What comes before was handed out already, or was never asked for.
    next_offset: Offset,
    batches: RecordBatches,
    records: Option<RecordIterator>,
    decompressed_bytes_max: usize,
}

impl Current {
    pub(super) fn new(
        index: usize,
        position: &Position,
        high_watermark: Offset,
        bytes: Bytes,
        decompressed_bytes_max: usize,
    ) -> Self {
        Self {
            index,
            seeks: position.seeks,
            topic: Arc::clone(&position.topic),
            partition: position.partition,
            high_watermark,
            next_offset: position.next_offset,
            batches: RecordBatches::new(bytes),
            records: None,
            decompressed_bytes_max,
        }
    }

    pub(super) fn index(&self) -> usize {
        self.index
    }

    /// Returns what comes next after what was handed out; `None` if the partition goes on elsewhere since.
    pub(super) fn next_offset(&self, position: &Position) -> Option<Offset> {
        (self.seeks == position.seeks).then_some(self.next_offset)
    }

    pub(super) fn name(&self) -> (&Arc<str>, PartitionIndex) {
        (&self.topic, self.partition)
    }

    pub(super) fn next_record(&mut self) -> Option<Result<Record, ReadError>> {
        loop {
            let Some(records) = &mut self.records else {
                match self.begin_batch()? {
                    Ok(()) => continue,
                    Err(error) => return Some(Err(error)),
                }
            };
            match records.next() {
                None => self.records = None,
                Some(Ok(record)) if record.offset < self.next_offset => {}
                Some(Ok(record)) => {
                    self.next_offset = record.offset.plus(1);
                    return Some(Ok(record));
                }
                Some(Err(error)) => return Some(Err(self.corrupt(&error))),
            }
        }
    }

    pub(super) fn next_batch(&mut self) -> Option<Result<ConsumedBatch, ReadError>> {
        loop {
            if self.records.is_none()
                && let Err(error) = self.begin_batch()?
            {
                return Some(Err(error));
            }
            let Some(iterator) = self.records.take() else {
                continue;
            };
            let mut records = Vec::with_capacity(iterator.size_hint().1.unwrap_or(0));
            for record in iterator {
                match record {
                    Ok(record) if record.offset < self.next_offset => {}
                    Ok(record) => records.push(record),
                    Err(error) => return Some(Err(self.corrupt(&error))),
                }
            }
            let Some(last) = records.last() else {
                continue;
            };
            self.next_offset = last.offset.plus(1);
            return Some(Ok(ConsumedBatch {
                topic: Arc::clone(&self.topic),
                partition: self.partition,
                records,
                high_watermark: self.high_watermark,
            }));
        }
    }

    /// Checks and unpacks the next batch that has records for the application.
    fn begin_batch(&mut self) -> Option<Result<(), ReadError>> {
        loop {
            let batch: RecordBatch = match self.batches.next()? {
                Ok(batch) => batch,
                Err(error) => return Some(Err(self.corrupt(&error))),
            };
            let header = batch.header();
            if header.is_control() || header.end_offset() <= self.next_offset {
                continue;
            }
            return match batch.records(self.decompressed_bytes_max) {
                Ok(records) => {
                    self.records = Some(records);
                    Some(Ok(()))
                }
                Err(error) => Some(Err(self.corrupt(&error))),
            };
        }
    }

    fn corrupt(&self, error: &dyn std::error::Error) -> ReadError {
        let reason = match error.source() {
            None => error.to_string(),
            Some(source) => format!("{error}: {source}"),
        };
        ReadError::Corrupt {
            topic: self.topic.to_string(),
            partition: self.partition,
            offset: self.next_offset,
            reason,
        }
    }
}
