//! One partition as Kafka's leader keeps it: its records and, per producer id, epoch and last five batches (KIP-98).

use std::collections::{BTreeMap, VecDeque};

use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::offset::Offset;
use keylane_protocol::record_batch::RecordBatch;

const REMEMBERED: usize = 5;
const SEQUENCES: i64 = 1 << 31;

#[derive(Debug, Default)]
struct Producer {
    epoch: i16,
    /// First sequence, number of records, base offset.
    batches: VecDeque<(i64, i64, Offset)>,
}

#[derive(Debug, Default)]
pub(super) struct Partition {
    /// The ids of the records, by offset.
    pub(super) records: Vec<u64>,
    producers: BTreeMap<i64, Producer>,
    never_remembers: bool,
}

impl Partition {
    pub(super) fn new(never_remembers: bool) -> Self {
        Self {
            never_remembers,
            ..Self::default()
        }
    }

    /// Appends a batch and returns its base offset, or refuses it.
    pub(super) fn append(&mut self, batch: &RecordBatch) -> Result<Offset, ErrorCode> {
        let header = batch.header();
        let first = i64::from(header.base_sequence.0);
        let count = i64::from(header.record_count);
        let offset = Offset(i64::try_from(self.records.len()).expect("few"));
        if !self.never_remembers {
            let producer = self.producers.get(&header.producer_id.0);
            if let Some(known) = check(producer, header.producer_epoch.0, first, count)? {
                return Ok(known);
            }
        }
        let producer = self.producers.entry(header.producer_id.0).or_default();
        if producer.epoch != header.producer_epoch.0 {
            producer.epoch = header.producer_epoch.0;
            producer.batches.clear();
        }
        producer.batches.push_back((first, count, offset));
        if producer.batches.len() > REMEMBERED {
            producer.batches.pop_front();
        }
        for record in batch.records(1 << 20).expect("sound") {
            let value = record.expect("sound").value.expect("set");
            let id = u64::from_be_bytes(value[..8].try_into().expect("eight bytes"));
            self.records.push(id);
        }
        Ok(offset)
    }

    /// Loses the state of all producers, as when it expires.
    pub(super) fn forget(&mut self) {
        self.producers.clear();
    }
}

/// Returns the offset of the original if the batch is a repetition, `None` if it may be appended.
fn check(
    producer: Option<&Producer>,
    epoch: i16,
    first: i64,
    count: i64,
) -> Result<Option<Offset>, ErrorCode> {
    let Some(producer) = producer else {
        return if first == 0 {
            Ok(None)
        } else {
            Err(ErrorCode::UnknownProducerId)
        };
    };
    if epoch < producer.epoch {
        return Err(ErrorCode::InvalidProducerEpoch);
    }
    if epoch > producer.epoch {
        return if first == 0 {
            Ok(None)
        } else {
            Err(ErrorCode::OutOfOrderSequenceNumber)
        };
    }
    let same = producer
        .batches
        .iter()
        .find(|batch| (batch.0, batch.1) == (first, count));
    if let Some(&(_, _, offset)) = same {
        return Ok(Some(offset));
    }
    match producer.batches.back() {
        Some(last) if (last.0 + last.1) % SEQUENCES == first => Ok(None),
        _ => Err(ErrorCode::OutOfOrderSequenceNumber),
    }
}
