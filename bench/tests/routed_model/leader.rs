//! The leader of one partition: its log, how far it is durable, and what it knows of the producer.
//!
//! What it knows is kept beside the log as it is in the system, and not derived from it, so that a bug can let the two
//! disagree. It decides nothing: `rules.rs` does.

use super::frame::{BATCHES_MAX, Frame, Number};
use super::rules::{Known, Original, Records, Rules, Verdict};

/// One part of a batch in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) epoch: u8,
    pub(crate) number: Number,
    pub(crate) records: Records,
}

/// Small numbers, one beside the other.
#[derive(Default)]
pub(crate) struct Packed(pub(crate) u64);

impl Packed {
    /// Adds a number that is below `values`.
    pub(crate) fn push(&mut self, number: u8, values: u64) {
        self.0 = self.0.wrapping_mul(values) + u64::from(number);
    }
}

/// A leader. The log has room for each batch once: a second copy is a violation, and ends the search.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Leader {
    log: [Entry; BATCHES_MAX],
    log_end: u8,
    durable_end: u8,
    known: Option<Known>,
    /// The highest floor heard in the known epoch.
    heard: Option<Number>,
    /// The place in the log of each number remembered, counted from one; 0 if it is not.
    places: [u8; BATCHES_MAX],
    /// What the original of each number remembered held.
    remembered: [Records; BATCHES_MAX],
    /// Whole lifetimes since the last append.
    age: u8,
}

impl Leader {
    pub(crate) fn log(&self) -> &[Entry] {
        &self.log[..usize::from(self.log_end)]
    }

    pub(crate) fn durable(&self) -> &[Entry] {
        &self.log[..usize::from(self.durable_end)]
    }

    /// Returns a number to tell states apart by: one for each state, but for what is remembered of the records.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut word = Packed::default();
        for entry in &self.log {
            word.push(entry.epoch, 2);
            word.push(entry.number, 4);
            word.push(entry.records, 8);
        }
        for place in self.places {
            word.push(place, 5);
        }
        word.push(self.log_end, 5);
        word.push(self.durable_end, 5);
        word.push(self.known.map_or(0, |known| 1 + known.epoch), 3);
        word.push(self.known.map_or(0, |known| known.last), 4);
        word.push(self.heard.map_or(0, |heard| heard + 1), 5);
        word.push(self.age, 4);
        word.0
    }

    pub(crate) fn judge(&self, rules: &Rules, frame: &Frame) -> Verdict {
        if rules.judges_epochs_apart() {
            return self.judge_apart(rules, frame);
        }
        rules.judge(self.known, self.original(frame.number), frame)
    }

    fn original(&self, number: Number) -> Option<Original> {
        let place = self.places[usize::from(number)];
        (place > 0).then(|| Original {
            records: self.remembered[usize::from(number)],
            is_durable: place <= self.durable_end,
        })
    }

    /// Judges by the entries of the frame's own epoch, as if there were no other.
    fn judge_apart(&self, rules: &Rules, frame: &Frame) -> Verdict {
        let own = |entry: &&Entry| entry.epoch == frame.epoch;
        let known = self.log().iter().rfind(own).map(Entry::known);
        let place = (self.log().iter())
            .position(|entry| entry.epoch == frame.epoch && entry.number == frame.number);
        let original = place.map(|place| Original {
            records: self.log[place].records,
            is_durable: place < usize::from(self.durable_end),
        });
        rules.judge(known, original, frame)
    }

    /// Tells whether hearing a frame would change anything.
    pub(crate) fn has_news(&self, frame: &Frame) -> bool {
        self.known.is_some_and(|known| known.epoch == frame.epoch) && self.heard < Some(frame.floor)
    }

    /// Takes note of a frame that was not fenced, whatever else becomes of it.
    pub(crate) fn hear(&mut self, rules: &Rules, frame: &Frame) {
        if self.known.is_some_and(|known| known.epoch == frame.epoch) {
            self.heard = self.heard.max(Some(frame.floor));
            self.forget(rules);
        }
    }

    pub(crate) fn append(&mut self, rules: &Rules, frame: &Frame) {
        if self.known.is_none_or(|known| known.epoch != frame.epoch) {
            self.heard = None;
            self.places = [0; BATCHES_MAX];
            self.remembered = [0; BATCHES_MAX];
        }
        let entry = Entry {
            epoch: frame.epoch,
            number: frame.number,
            records: frame.records,
        };
        self.log[usize::from(self.log_end)] = entry;
        self.log_end += 1;
        self.known = Some(entry.known());
        self.remember(entry, self.log_end);
        self.age = 0;
        self.hear(rules, frame);
    }

    fn remember(&mut self, entry: Entry, place: u8) {
        self.places[usize::from(entry.number)] = place;
        self.remembered[usize::from(entry.number)] = entry.records;
    }

    /// Drops what need not be remembered: durable, not the last that is, and below the floor.
    fn forget(&mut self, rules: &Rules) {
        let Some(known) = self.known else { return };
        for number in 0..BATCHES_MAX {
            if self.places[number] < self.durable_end
                && !rules.is_remembered(number as Number, known.last, self.heard)
            {
                self.places[number] = 0;
                self.remembered[number] = 0;
            }
        }
    }

    /// Makes one more entry durable. Returns whether there was one.
    pub(crate) fn sync(&mut self, rules: &Rules) -> bool {
        let any = self.durable_end < self.log_end;
        if any {
            self.durable_end += 1;
            self.forget(rules);
        }
        any
    }

    /// Loses the newest entry, if it is not durable. Returns whether there was one.
    pub(crate) fn cut(&mut self, rules: &Rules) -> bool {
        if self.durable_end == self.log_end {
            return false;
        }
        self.log_end -= 1;
        self.log[usize::from(self.log_end)] = Entry::default();
        let before = self.known;
        if before.is_none() {
            return true;
        }
        self.known = rules.known_after_cut(before, self.log().last().map(Entry::known));
        if self.known == before {
            return true;
        }
        if self.known.map(|known| known.epoch) != before.map(|known| known.epoch) {
            self.heard = None;
        }
        self.read_log(rules);
        true
    }

    /// Begins anew, as another process or another replica, with the log as it is.
    pub(crate) fn restart(&mut self, rules: &Rules) {
        self.known = self.log().last().map(Entry::known);
        self.heard = None;
        self.age = 0;
        self.read_log(rules);
    }

    /// Remembers what the log holds of the known epoch.
    fn read_log(&mut self, rules: &Rules) {
        self.places = [0; BATCHES_MAX];
        self.remembered = [0; BATCHES_MAX];
        let Some(known) = self.known else { return };
        for place in 1..=self.log_end {
            let entry = self.log[usize::from(place) - 1];
            if entry.epoch == known.epoch {
                self.remember(entry, place);
            }
        }
        self.forget(rules);
    }

    /// Grows older by one lifetime.
    pub(crate) fn tick(&mut self, rules: &Rules) {
        if self.known.is_none() {
            return;
        }
        self.age += 1;
        if rules.is_expired(self.age) {
            self.known = None;
            self.heard = None;
            self.age = 0;
            self.read_log(rules);
        }
    }
}

impl Entry {
    fn known(&self) -> Known {
        Known {
            epoch: self.epoch,
            last: self.number,
        }
    }
}
