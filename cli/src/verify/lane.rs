//! One key: its rows in the file's order, and how far the consumed records have come along them.
//!
//! A position counts the key's rows over all passes. Positions below `next` were met, except the `skipped` ones;
//! positions from `next` on were not. So the happy path costs one comparison and no memory.

use std::collections::{BTreeMap, HashMap};

use super::{Place, RowPlace};

struct ExpectedRow {
    row: u64,
    hash: u64,
}

/// The rows of one key.
pub(super) struct Lane {
    rows: Vec<ExpectedRow>,
    is_ordered: bool,
    next: u64,
    /// Passed over without being met, with the record that passed over it.
    skipped: BTreeMap<u64, Place>,
    /// The last record that was a row of this key.
    last: Option<Place>,
    /// Indexes into `rows` by hash; built when the first record is out of place.
    index: Option<HashMap<u64, Vec<u32>>>,
}

/// What a record was.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Met {
    /// The row that was due.
    Next,
    /// A later row: those between are skipped, and may still come.
    Ahead,
    /// A skipped row, after a row that it should have come before.
    Late { row: RowPlace, before: RowPlace },
    /// A row that was met already.
    Again { row: RowPlace },
    /// No row of this key; `expected` is the one that was due.
    Unknown { expected: Option<RowPlace> },
    /// The key was in another partition until this record.
    Strayed { row: Option<RowPlace>, from: i32 },
}

impl Lane {
    /// Returns a lane without rows. Without order a row may come at any time, from any partition.
    pub(super) fn new(is_ordered: bool) -> Self {
        Self {
            rows: Vec::new(),
            is_ordered,
            next: 0,
            skipped: BTreeMap::new(),
            last: None,
            index: None,
        }
    }

    /// Adds the key's next row of the file.
    pub(super) fn expect(&mut self, row: u64, hash: u64) {
        self.rows.push(ExpectedRow { row, hash });
    }

    /// Judges a record; `hash` is `None` when it has no value, which no row lacks.
    pub(super) fn on_record(&mut self, hash: Option<u64>, place: Place, repeat: u64) -> Met {
        let end = self.rows.len() as u64 * repeat;
        let due = (self.next < end).then(|| self.row(self.next));
        if let (true, Some(last)) = (self.is_ordered, self.last)
            && last.partition != place.partition
        {
            return Met::Strayed {
                row: due,
                from: last.partition,
            };
        }
        let Some(hash) = hash else {
            return Met::Unknown { expected: due };
        };
        if self.next < end && self.expected(self.next).hash == hash {
            self.next += 1;
            self.last = Some(place);
            return Met::Next;
        }
        self.on_record_out_of_place(hash, place, end)
    }

    fn on_record_out_of_place(&mut self, hash: u64, place: Place, end: u64) -> Met {
        let expected = (self.next < end).then(|| self.row(self.next));
        let Some(candidates) = self.candidates(hash) else {
            return Met::Unknown { expected };
        };
        self.last = Some(place);
        let rows = self.rows.len() as u64;
        let positions = |from_pass: u64| {
            (from_pass..end / rows).flat_map(|pass| {
                let in_pass = candidates.iter();
                in_pass.map(move |index| pass * rows + u64::from(*index))
            })
        };
        let late = positions(0)
            .take_while(|position| *position < self.next)
            .find(|position| self.skipped.contains_key(position));
        if let Some(position) = late {
            return self.on_late(position);
        }
        let ahead = positions(self.next / rows).find(|position| *position >= self.next);
        let behind = positions(0)
            .take_while(|position| *position < self.next)
            .last();
        // Equal rows make it a guess whether this is a row again or a later one: the nearer is likelier.
        match (ahead, behind) {
            (Some(ahead), behind)
                if behind.is_none_or(|behind| ahead - self.next < self.next - behind) =>
            {
                self.skipped
                    .extend((self.next..ahead).map(|skipped| (skipped, place)));
                self.next = ahead + 1;
                Met::Ahead
            }
            (_, Some(behind)) => Met::Again {
                row: self.row(behind),
            },
            _ => unreachable!("a candidate lies ahead or behind"),
        }
    }

    fn on_late(&mut self, position: u64) -> Met {
        self.skipped.remove(&position);
        if !self.is_ordered {
            return Met::Ahead;
        }
        Met::Late {
            row: self.row(position),
            before: self.row(self.next - 1),
        }
    }

    /// Calls with every row that was never met and the record that stands in its place, if any does.
    pub(super) fn for_each_missing(
        &self,
        repeat: u64,
        mut on: impl FnMut(RowPlace, Option<Place>),
    ) {
        for (position, place) in &self.skipped {
            on(self.row(*position), Some(*place));
        }
        for position in self.next..self.rows.len() as u64 * repeat {
            on(self.row(position), None);
        }
    }

    fn candidates(&mut self, hash: u64) -> Option<Vec<u32>> {
        let rows = &self.rows;
        let index = self.index.get_or_insert_with(|| {
            let mut index: HashMap<u64, Vec<u32>> = HashMap::new();
            for (at, row) in rows.iter().enumerate() {
                let at = u32::try_from(at).expect("a key has fewer than 2^32 rows in memory");
                index.entry(row.hash).or_default().push(at);
            }
            index
        });
        index.get(&hash).cloned()
    }

    fn expected(&self, position: u64) -> &ExpectedRow {
        let at = position % self.rows.len() as u64;
        &self.rows[usize::try_from(at).expect("an index of a list in memory")]
    }

    fn row(&self, position: u64) -> RowPlace {
        RowPlace {
            pass: position / self.rows.len() as u64 + 1,
            row: self.expected(position).row,
        }
    }
}
