//! What came out of a comparison: counts of every kind of fault and the first fault in the file's order, in words.

use bytes::Bytes;
use std::fmt;

use super::RowPlace;

/// Where a record stands in the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// The partition's index.
    pub(crate) partition: i32,
    /// The record's offset in it.
    pub(crate) offset: i64,
}

/// One difference between the file and the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    /// The row concerned; for a foreign value, the row that was due.
    pub(crate) row: Option<RowPlace>,
    pub(crate) key: Option<Bytes>,
    /// The record concerned; for a missing row, the record that came instead of it.
    pub(crate) place: Option<Place>,
}

/// The kinds of differences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// A row that no record carries.
    Missing,
    /// A record whose row was met before.
    Doubled,
    /// A record that comes after a later row of its key.
    Reordered {
        /// The later row.
        before: RowPlace,
    },
    /// A record with a key of the file whose value is none of that key's rows.
    ForeignValue,
    /// A record whose key is not in the file.
    ForeignKey,
    /// A record in another partition than the records of its key before it.
    Strayed {
        /// The partition of the records before.
        from: i32,
    },
}

/// The result of a comparison.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Rows that should be there.
    pub(crate) rows: u64,
    /// Rows that are there, at least once.
    pub(crate) matched: u64,
    /// Rows that are not.
    pub(crate) missing: u64,
    /// Records that repeat a row.
    pub(crate) doubled: u64,
    /// Rows that are there, behind a later row of their key.
    pub(crate) reordered: u64,
    /// Records that are no row of the file under their key.
    pub(crate) foreign: u64,
    /// Records in another partition than their key.
    pub(crate) strayed: u64,
    /// The fault with the lowest row; without one the topic holds every row once, in order, and nothing else.
    pub(crate) first: Option<Fault>,
}

impl Verdict {
    /// Counts a fault, and keeps it if it is the first in the file's order.
    pub(super) fn add(&mut self, fault: Fault) {
        *match fault.kind {
            FaultKind::Missing => &mut self.missing,
            FaultKind::Doubled => &mut self.doubled,
            FaultKind::Reordered { .. } => &mut self.reordered,
            FaultKind::ForeignValue | FaultKind::ForeignKey => &mut self.foreign,
            FaultKind::Strayed { .. } => &mut self.strayed,
        } += 1;
        if self
            .first
            .as_ref()
            .is_none_or(|first| fault.rank() < first.rank())
        {
            self.first = Some(fault);
        }
    }
}

impl Fault {
    /// By row; at one row what was found says more than what was not; a foreign key has no row and comes last.
    fn rank(&self) -> (bool, Option<RowPlace>, bool) {
        let is_missing = self.kind == FaultKind::Missing;
        (self.row.is_none(), self.row, is_missing)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} of {} rows found, {} missing, {} doubled, {} out of order, {} foreign",
            self.matched, self.rows, self.missing, self.doubled, self.reordered, self.foreign
        )?;
        if self.strayed > 0 {
            write!(
                out,
                ", {} in another partition than their key",
                self.strayed
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.row {
            Some(row) => write!(out, "{row}")?,
            None => write!(out, "no row")?,
        }
        match &self.key {
            Some(key) => write!(out, ", key {:?}", String::from_utf8_lossy(key))?,
            None => write!(out, ", without key")?,
        }
        let place = self.place.map(|place| place.to_string());
        let place = place.as_deref().unwrap_or("the end of the topic");
        match self.kind {
            FaultKind::Missing => {
                write!(
                    out,
                    ": missing; {place} is where it should have come before"
                )
            }
            FaultKind::Doubled => write!(out, ": doubled; {place} carries it again"),
            FaultKind::Reordered { before } => {
                write!(out, ": out of order; {place} carries it, after {before}")
            }
            FaultKind::ForeignValue => write!(
                out,
                ": foreign; {place} carries a value that is no row of this key, where this row was due"
            ),
            FaultKind::ForeignKey => {
                write!(
                    out,
                    ": foreign; {place} carries a key that is not in the file"
                )
            }
            FaultKind::Strayed { from } => {
                write!(
                    out,
                    ": strayed; {place} carries this key, until then in partition {from}"
                )
            }
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "partition {} offset {}", self.partition, self.offset)
    }
}

impl fmt::Display for RowPlace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "row {}", self.row)?;
        if self.pass > 1 {
            write!(out, " of pass {}", self.pass)?;
        }
        Ok(())
    }
}
