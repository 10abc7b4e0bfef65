//! Whether what was read is what was sent: every acknowledged record once, in its producer's order within each
//! partition (hence in the order of each key), with every byte.
//!
//! Memory: one bit per record and one number per (stream, partition). No I/O.

mod seen;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use keylane_protocol::identifiers::PartitionIndex;
use keylane_protocol::offset::Offset;
use serde::Serialize;

use self::seen::Seen;
use crate::workload::{ContentFault, RecordRead, Stamp, Workload};

/// What a stream sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Sequences below this were sent.
    pub count: u64,
    /// Of these, the ones that were not acknowledged: they may have been written or not.
    pub unacknowledged: BTreeSet<u64>,
}

/// Compares what is read with what was sent.
#[derive(Debug, Default)]
pub struct Verifier {
    streams: BTreeMap<u32, Seen>,
    /// The highest sequence read of a stream in a partition.
    highest: BTreeMap<(u32, PartitionIndex), u64>,
    /// The offset expected next at the least.
    offsets: BTreeMap<PartitionIndex, Offset>,
    verdict: Verdict,
}

/// What the comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Records read.
    pub read: u64,
    /// Records acknowledged and not read.
    pub lost: u64,
    /// Records read again.
    pub duplicated: u64,
    /// Records read after a later one of the same producer and partition, or below an offset read before.
    pub reordered: u64,
    /// Records whose bytes are not those sent, or that nobody sent.
    pub altered: u64,
    /// Records in another partition than their key leads to.
    pub misplaced: u64,
    /// The first offence of each kind, in words.
    pub first: Vec<String>,
}

/// Where a record was read, and what it says it is.
struct Place<'a> {
    partition: PartitionIndex,
    offset: Offset,
    key: Option<&'a [u8]>,
    stamp: Option<Stamp>,
}

impl Verifier {
    /// Returns a verifier that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks at the next record of a partition and returns its stamp if the record is sound.
    pub fn on_record(
        &mut self,
        workload: &Workload,
        offset: Offset,
        record: &RecordRead<'_>,
    ) -> Option<Stamp> {
        self.verdict.read += 1;
        let checked = workload.check(record);
        let place = Place {
            partition: record.partition,
            offset,
            key: record.key,
            stamp: checked.map_or_else(|(_, stamp)| stamp, Some),
        };
        self.check_offset(&place);
        match checked {
            Ok(stamp) => {
                self.check_order(stamp, &place);
                Some(stamp)
            }
            Err((ContentFault::Partition, Some(stamp))) => {
                self.verdict.misplaced += 1;
                let first = self.verdict.misplaced == 1;
                self.note(first, "misplaced", &place, "its key leads elsewhere");
                self.check_order(stamp, &place);
                None
            }
            Err((fault, _)) => {
                self.verdict.altered += 1;
                let first = self.verdict.altered == 1;
                self.note(first, "altered", &place, &fault.to_string());
                None
            }
        }
    }

    fn check_offset(&mut self, place: &Place<'_>) {
        let expected = self.offsets.entry(place.partition).or_insert(place.offset);
        if place.offset < *expected {
            let text = format!("offset {expected} was expected at the least");
            self.verdict.reordered += 1;
            let first = self.verdict.reordered == 1;
            self.note(first, "reordered", place, &text);
        } else {
            *expected = place.offset.plus(1);
        }
    }

    fn check_order(&mut self, stamp: Stamp, place: &Place<'_>) {
        let seen = self.streams.entry(stamp.stream).or_default();
        if !seen.insert(stamp.sequence) {
            self.verdict.duplicated += 1;
            let first = self.verdict.duplicated == 1;
            self.note(first, "duplicated", place, "it was read before");
            return;
        }
        let key = (stamp.stream, place.partition);
        let highest = self.highest.entry(key).or_insert(stamp.sequence);
        if stamp.sequence < *highest {
            let text = format!("number {highest} of the same producer was read before it");
            self.verdict.reordered += 1;
            let first = self.verdict.reordered == 1;
            self.note(first, "reordered", place, &text);
        } else {
            *highest = stamp.sequence;
        }
    }

    fn note(&mut self, is_first: bool, offence: &str, place: &Place<'_>, why: &str) {
        if is_first {
            self.verdict
                .first
                .push(format!("{offence}: {place}; {why}"));
        }
    }

    /// Returns the verdict, given what each stream sent, in order of streams.
    #[must_use]
    pub fn finish(mut self, workload: &Workload, sent: &[Sent]) -> Verdict {
        for (stream, sent) in (0..).zip(sent) {
            let seen = self.streams.remove(&stream).unwrap_or_default();
            let is_owed = |sequence: &u64| !sent.unacknowledged.contains(sequence);
            let mut lost = seen.missing_below(sent.count).filter(is_owed).peekable();
            let first = lost.peek().copied();
            let count = lost.count() as u64;
            if let Some(sequence) = first.filter(|_| self.verdict.lost == 0) {
                let text = missing(workload, stream, sequence);
                self.verdict.first.push(text);
            }
            self.verdict.lost += count;
            self.unsent(stream, seen.count_from(sent.count));
        }
        for (stream, seen) in std::mem::take(&mut self.streams) {
            self.unsent(stream, seen.count_from(0));
        }
        self.verdict
    }

    fn unsent(&mut self, stream: u32, count: u64) {
        if count > 0 && self.verdict.altered == 0 {
            let text = format!("altered: {count} records of producer {stream} were never sent");
            self.verdict.first.push(text);
        }
        self.verdict.altered += count;
    }
}

fn missing(workload: &Workload, stream: u32, sequence: u64) -> String {
    let key = workload.key_text(stream, sequence);
    let partition = workload.partition_of(stream, key.as_bytes());
    format!(
        "lost: number {sequence} of producer {stream}, key `{key}`, partition {partition}; \
         it was acknowledged and is not there"
    )
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key.map(String::from_utf8_lossy);
        let key = key.as_deref().unwrap_or("none");
        let Self {
            partition, offset, ..
        } = self;
        write!(
            formatter,
            "partition {partition}, offset {offset}, key `{key}`"
        )?;
        match self.stamp {
            None => Ok(()),
            Some(Stamp {
                stream, sequence, ..
            }) => write!(formatter, ", number {sequence} of producer {stream}"),
        }
    }
}

impl Verdict {
    /// Returns whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let Self {
            lost,
            duplicated,
            reordered,
            altered,
            misplaced,
            ..
        } = *self;
        lost + duplicated + reordered + altered + misplaced == 0
    }

    /// Adds what another comparison found.
    pub fn add(&mut self, other: &Self) {
        self.read += other.read;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.altered += other.altered;
        self.misplaced += other.misplaced;
        self.first.extend_from_slice(&other.first);
    }
}

#[cfg(test)]
mod tests;
