//! How many records an answer to a Fetch holds, by the headers of its batches, and where that is counted.

use std::sync::Arc;

use bytes::Bytes;

use crate::meters::RecordMeters;
use crate::partition::counters::PartitionCounters;

/// Where in a batch its length stands, and the length counts from behind it.
const LENGTH_AT: usize = 8;
const LENGTH_COUNTS_FROM: usize = 12;

/// Where in a batch the number of its records stands.
const COUNT_AT: usize = 57;

/// What an answer holds of each partition; counted when it is given.
#[derive(Default)]
pub(super) struct Fetched {
    parts: Vec<(Arc<PartitionCounters>, u64, u64)>,
}

impl Fetched {
    pub(super) fn add(&mut self, partition: Arc<PartitionCounters>, bytes: usize, records: u64) {
        if bytes > 0 {
            let bytes = u64::try_from(bytes).expect("a size fits 64 bits");
            self.parts.push((partition, bytes, records));
        }
    }

    pub(super) fn count(&self, meters: &RecordMeters) {
        for (partition, bytes, records) in &self.parts {
            partition.fetched(*bytes, *records);
            meters.fetched_bytes.increment(*bytes);
            meters.fetched_records.increment(*records);
        }
    }
}

/// Returns the records of batches that lie in two slices each, of which the second may be empty.
pub(super) fn in_halves(slices: &[Bytes]) -> u64 {
    let counts = slices.chunks(2).map(|halves| {
        let (head, rest) = (&*halves[0], halves.get(1).map_or(&[][..], |rest| rest));
        match COUNT_AT.checked_sub(head.len()) {
            Some(at) => number(rest, at),
            None => number(head, COUNT_AT),
        }
    });
    counts.map(u64::from).sum()
}

/// Returns the records of whole batches that follow one another.
pub(super) fn in_batches(bytes: &[u8]) -> u64 {
    let (mut at, mut records) = (0, 0);
    while at + COUNT_AT < bytes.len() {
        records += u64::from(number(bytes, at + COUNT_AT));
        at += LENGTH_COUNTS_FROM + number(bytes, at + LENGTH_AT) as usize;
    }
    records
}

/// Returns the number at a place; 0 where there is none.
fn number(bytes: &[u8], at: usize) -> u32 {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk());
    found.map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::tests::batch;

    #[test]
    fn records_are_counted_however_their_batches_are_cut() {
        let batches = [batch(None, 3).into_bytes(), batch(None, 4).into_bytes()];
        let halves: Vec<Bytes> = batches
            .iter()
            .flat_map(|batch| [batch.slice(..16), batch.slice(16..)])
            .collect();
        assert_eq!(in_halves(&halves), 7);
        let whole = [
            batches[0].clone(),
            Bytes::new(),
            batches[1].clone(),
            Bytes::new(),
        ];
        assert_eq!(in_halves(&whole), 7);
        assert_eq!(in_batches(&batches.concat()), 7);
        assert_eq!(in_batches(&batches.concat()[..20]), 0);
    }
}
