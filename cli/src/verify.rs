//! Compares consumed records with the rows of a file: per key, the values must be the file's rows of that key, each
//! once and in the file's order. Knows nothing of files, sockets or clocks.
//!
//! Keeps a hash per row of the file and a note per row out of place, never a row itself. A file sent `repeat` times
//! costs no more than once. Rows without a key have no lane: each must come once, in any order.
//! Read next: `verify/lane.rs`, which follows one key, then `verify/verdict.rs`.

mod lane;
#[cfg(test)]
mod tests;
mod verdict;

use bytes::Bytes;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};

use self::lane::{Lane, Met};
pub(crate) use self::verdict::{Fault, FaultKind, Place, Verdict};

/// A row's place in the whole run: which pass over the file, which row of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RowPlace {
    /// From 1; above 1 only with `--repeat`.
    pub(crate) pass: u64,
    /// From 1.
    pub(crate) row: u64,
}

/// What a file says should be in the topic, and what of it was met so far.
pub(crate) struct Verifier {
    lanes: BTreeMap<Option<Bytes>, Lane>,
    repeat: u64,
    verdict: Verdict,
}

impl Verifier {
    /// Returns a verifier for a file that was sent `repeat` times (at least once), before its rows are known.
    pub(crate) fn new(repeat: u64) -> Self {
        assert!(repeat > 0, "a file that was never sent");
        Self {
            lanes: BTreeMap::new(),
            repeat,
            verdict: Verdict::default(),
        }
    }

    /// Adds a row of the file; rows come in the file's order, before the first record.
    pub(crate) fn expect_row(&mut self, row: u64, key: Option<Bytes>, value: &[u8]) {
        let is_ordered = key.is_some();
        let lane = match self.lanes.get_mut(&key) {
            Some(lane) => lane,
            // The key may be a slice of its row, which must not be kept alive.
            None => self
                .lanes
                .entry(key.map(|key| Bytes::copy_from_slice(&key)))
                .or_insert_with(|| Lane::new(is_ordered)),
        };
        lane.expect(row, hash(value));
        self.verdict.rows += self.repeat;
    }

    /// Judges a record; records of one partition come in the order of their offsets.
    pub(crate) fn on_record(&mut self, key: Option<&Bytes>, value: Option<&[u8]>, place: Place) {
        let key = key.cloned();
        let hash = value.map(hash);
        let Some(lane) = self.lanes.get_mut(&key) else {
            self.verdict.add(Fault {
                kind: FaultKind::ForeignKey,
                row: None,
                key,
                place: Some(place),
            });
            return;
        };
        let kind = match lane.on_record(hash, place, self.repeat) {
            Met::Next | Met::Ahead => {
                self.verdict.matched += 1;
                None
            }
            Met::Late { row, before } => {
                self.verdict.matched += 1;
                Some((FaultKind::Reordered { before }, Some(row)))
            }
            Met::Again { row } => Some((FaultKind::Doubled, Some(row))),
            Met::Unknown { expected } => Some((FaultKind::ForeignValue, expected)),
            Met::Strayed { row, from } => Some((FaultKind::Strayed { from }, row)),
        };
        if let Some((kind, row)) = kind {
            self.verdict.add(Fault {
                kind,
                row,
                key,
                place: Some(place),
            });
        }
    }

    /// Returns the verdict when no further record comes.
    pub(crate) fn finish(mut self) -> Verdict {
        for (key, lane) in self.lanes {
            lane.for_each_missing(self.repeat, |row, place| {
                self.verdict.add(Fault {
                    kind: FaultKind::Missing,
                    row: Some(row),
                    key: key.clone(),
                    place,
                });
            });
        }
        self.verdict
    }
}

/// The same on every machine and in every run, unlike the hash of a map.
fn hash(value: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(value);
    hasher.finish()
}
