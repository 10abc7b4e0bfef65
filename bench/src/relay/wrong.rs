//! The one wrong: which, to which batch, and what became of it.

use bytes::Bytes;
use keylane_protocol::compression::Compression;
use keylane_protocol::identifiers::PartitionIndex;
use keylane_protocol::record::Record;
use keylane_protocol::record_batch::{
    BatchProducer, NewRecord, RecordBatch, RecordBatchBuilder, renumber,
};

use crate::workload::mix;

/// The most bytes a batch may unpack to; it is not compressed.
const UNPACKED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What is done to a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It is acknowledged and goes nowhere.
    Remove,
    /// It is written twice.
    Double,
    /// It is written after the next one of the same partition.
    Swap,
    /// One byte of one value is another; the checksum is right.
    Bend,
}

/// What is done to which batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongPlan {
    /// What is done.
    pub wrong: Wrong,
    /// To which batch, from 0, of all that can suffer it: not compressed, alone in its request.
    pub batch: u64,
    /// Chooses record and byte.
    pub seed: u64,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongDone {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: PartitionIndex,
    /// The key of the first record concerned; empty without one.
    pub key: Vec<u8>,
    /// Its value as it was sent; empty without one.
    pub value: Vec<u8>,
}

/// The plan and how far it is, over all connections.
#[derive(Debug)]
pub(super) struct WrongState {
    pub(super) plan: WrongPlan,
    seen: u64,
    done: Option<WrongDone>,
}

impl WrongPlan {
    /// Returns a plan that chooses the batch among the first `among` by seed.
    #[must_use]
    pub fn seeded(wrong: Wrong, seed: u64, among: u64) -> Self {
        Self {
            wrong,
            batch: mix(seed) % among.max(1),
            seed,
        }
    }
}

impl WrongState {
    pub(super) fn new(plan: WrongPlan) -> Self {
        Self {
            plan,
            seen: 0,
            done: None,
        }
    }

    pub(super) fn done(&self) -> Option<&WrongDone> {
        self.done.as_ref()
    }

    /// Returns whether the next batch that can suffer the wrong is the one, and counts it.
    pub(super) fn is_next(&mut self) -> bool {
        let is_due = self.seen >= self.plan.batch && self.done.is_none();
        self.seen += 1;
        is_due
    }

    pub(super) fn set_done(&mut self, topic: &str, partition: PartitionIndex, record: &Record) {
        let bytes = |bytes: &Option<Bytes>| bytes.as_deref().unwrap_or_default().to_vec();
        self.done = Some(WrongDone {
            topic: topic.to_owned(),
            partition,
            key: bytes(&record.key),
            value: bytes(&record.value),
        });
    }
}

/// Returns the records of a batch that is sound and not compressed.
pub(super) fn plain_records(batch: &Bytes) -> Option<Vec<Record>> {
    let batch = RecordBatch::check(batch.clone()).ok()?;
    let compression = batch.header().compression().ok()?;
    if compression != Compression::None {
        return None;
    }
    let records = batch.records(UNPACKED_BYTES_MAX).ok()?;
    records.collect::<Result<Vec<_>, _>>().ok()
}

/// Returns the batch without its producer's id, so that the broker takes it in any order and as often as it comes.
pub(super) fn anonymous(batch: Bytes) -> Bytes {
    renumber(batch, BatchProducer::NONE)
}

/// Returns the batch with one byte of one value bent, and which record that is; `None` if all values are empty.
pub(super) fn bent(records: &[Record], seed: u64) -> Option<(Bytes, usize)> {
    let has_bytes = |index: &usize| {
        records[*index]
            .value
            .as_ref()
            .is_some_and(|value| !value.is_empty())
    };
    let candidates: Vec<usize> = (0..records.len()).filter(has_bytes).collect();
    let chosen = candidates[choose(seed, candidates.len())?];
    let mut value = records[chosen].value.as_deref()?.to_vec();
    // The last byte is part of what generated records are filled with, and of a row's last column.
    let place = value.len() - 1 - choose(mix(seed), value.len().div_ceil(2))?;
    value[place] ^= 1;
    let mut builder = RecordBatchBuilder::with_capacity(64 * 1024);
    for (index, record) in records.iter().enumerate() {
        let headers: Vec<(&str, Option<&[u8]>)> = record
            .headers
            .iter()
            .map(|header| (&*header.name, header.value.as_deref()))
            .collect();
        builder.append(&NewRecord {
            timestamp: record.timestamp,
            key: record.key.as_deref(),
            value: if index == chosen {
                Some(&value)
            } else {
                record.value.as_deref()
            },
            headers: &headers,
        });
    }
    let batch = builder
        .finish(Compression::None, BatchProducer::NONE)
        .ok()?;
    Some((batch, chosen))
}

/// Returns a number below `among` by seed; `None` if there is none.
fn choose(seed: u64, among: usize) -> Option<usize> {
    usize::try_from(seed.checked_rem(among as u64)?).ok()
}
