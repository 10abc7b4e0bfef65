//! A batch on its way: open while records are added, sealed until it gets its sequence, then bytes.

use std::sync::Arc;

use bytes::Bytes;
use keylane_protocol::compression::Compression;
use keylane_protocol::identifiers::PartitionIndex;
use keylane_protocol::offset::Sequence;
use keylane_protocol::record_batch::{
    BatchProducer, HEADER_BYTES, NewRecord, RecordBatchBuilder, renumber,
};
use std::time::Instant;

use super::accumulator::BatchSerial;
use super::delivery::Identity;
use super::receipt::{BatchOutcome, Receipt};

/// The most that length, attributes, timestamp, offset, the lengths of key and value, and the number of headers take.
const RECORD_FRAME_BYTES_MAX: usize = 5 + 1 + 10 + 5 + 5 + 5 + 5;

/// The most that the lengths of a header's name and value take.
const HEADER_FRAME_BYTES_MAX: usize = 5 + 5;

/// A record to place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordFields<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: Option<PartitionIndex>,
    pub(crate) record: NewRecord<'a>,
}

/// Returns the most bytes a record takes in a batch.
pub(crate) fn record_bytes_max(record: &NewRecord<'_>) -> usize {
    let length = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
    let headers = record.headers.iter();
    let headers = headers.map(|(name, value)| HEADER_FRAME_BYTES_MAX + name.len() + length(*value));
    RECORD_FRAME_BYTES_MAX + length(record.key) + length(record.value) + headers.sum::<usize>()
}

/// A batch that takes records.
#[derive(Debug)]
pub(crate) struct OpenBatch {
    serial: BatchSerial,
    outcome: Arc<BatchOutcome>,
    builder: RecordBatchBuilder,
    /// What the buffer may hold; accounted for as memory.
    capacity: usize,
    is_due: Instant,
    deadline: Instant,
    is_cut_by_size: bool,
}

impl OpenBatch {
    /// Returns how large the buffer of a batch must be that holds one record of this size.
    pub(crate) fn capacity_for(record_size: usize) -> usize {
        HEADER_BYTES + record_size
    }

    pub(crate) fn new(
        serial: BatchSerial,
        outcome: Arc<BatchOutcome>,
        capacity: usize,
        (is_due, deadline): (Instant, Instant),
    ) -> Self {
        Self {
            serial,
            outcome,
            builder: RecordBatchBuilder::with_capacity(capacity),
            capacity,
            is_due,
            deadline,
            is_cut_by_size: false,
        }
    }

    pub(crate) fn serial(&self) -> BatchSerial {
        self.serial
    }

    /// Returns when the batch is to be sent even if it is not full.
    pub(crate) fn is_due(&self) -> Instant {
        self.is_due
    }

    /// Returns when the batch is given up.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(crate) fn len(&self) -> usize {
        self.builder.size_bytes()
    }

    pub(crate) fn record_count(&self) -> u32 {
        u32::try_from(self.builder.record_count()).unwrap_or(u32::MAX)
    }

    /// Returns whether the batch was closed because the next record did not fit.
    pub(crate) fn is_cut_by_size(&self) -> bool {
        self.is_cut_by_size
    }

    pub(crate) fn has_room(&self, record_size: usize) -> bool {
        self.len() + record_size <= self.capacity
    }

    /// Lets the buffer double, as long as the batch stays within its size and there is memory.
    pub(crate) fn grow(
        &mut self,
        record_size: usize,
        batch_size_bytes: usize,
        mut reserve: impl FnMut(usize) -> bool,
    ) -> bool {
        let needed = self.len() + record_size;
        if needed > batch_size_bytes {
            self.is_cut_by_size = true;
            return false;
        }
        // The room left in the capacity is what lets records in, so that it must not exceed the batch's size.
        let doubled = self.capacity.min(batch_size_bytes - self.capacity);
        let more = doubled.max(needed - self.capacity);
        if !reserve(more) {
            return false;
        }
        self.capacity += more;
        true
    }

    pub(crate) fn append(&mut self, record: &NewRecord<'_>) -> Receipt {
        let index = self.record_count();
        self.builder.append(record);
        Receipt::new(Arc::clone(&self.outcome), index)
    }

    pub(crate) fn seal(self) -> SealedBatch {
        SealedBatch { open: self }
    }
}

/// A batch that takes no more records.
#[derive(Debug)]
pub(crate) struct SealedBatch {
    open: OpenBatch,
}

impl SealedBatch {
    pub(crate) fn serial(&self) -> BatchSerial {
        self.open.serial
    }

    pub(crate) fn outcome(&self) -> Arc<BatchOutcome> {
        Arc::clone(&self.open.outcome)
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.open.deadline
    }

    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    pub(crate) fn reserved_bytes(&self) -> usize {
        self.open.capacity
    }

    pub(crate) fn record_count(&self) -> i32 {
        self.open.builder.record_count()
    }

    /// Returns the batch as it goes out, numbered if the producer is idempotent.
    pub(crate) fn finish(
        self,
        compression: Compression,
        identity: Option<Identity>,
        sequence: Sequence,
    ) -> Bytes {
        let producer = identity.map_or(BatchProducer::NONE, |identity| identity.producer(sequence));
        let finished = self.open.builder.finish(compression, producer);
        finished.expect("compressing in memory fails only for want of memory")
    }
}

/// Returns the batch under another identity and sequence.
pub(crate) fn restamp(batch: Bytes, identity: Identity, sequence: Sequence) -> Bytes {
    renumber(batch, identity.producer(sequence))
}

impl Identity {
    fn producer(self, base_sequence: Sequence) -> BatchProducer {
        BatchProducer {
            id: self.producer_id,
            epoch: self.epoch,
            base_sequence,
        }
    }
}
