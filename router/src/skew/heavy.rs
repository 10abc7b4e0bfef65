//! The keys that most records have, in memory that does not grow: Space-Saving (Metwally, Agrawal, El Abbadi, 2005).
//!
//! So many keys are counted, each with an error by which it may be counted too high. A key that is not among them takes the
//! place of the least, and begins with its count, as its error. Every key that has more than one in [`KEYS_MAX`] of all
//! records is among them, whatever the order they come in.

use keylane_protocol::identifiers::PartitionIndex;
use keylane_protocol::partitioner::murmur2;

/// How many keys are counted. The share of each is known to within one in so many.
pub const KEYS_MAX: usize = 128;

/// How much of a key is kept to be shown.
pub const KEY_BYTES_SHOWN: usize = 64;

/// A key, and how many records had it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HotKey {
    /// The key's first bytes, at most [`KEY_BYTES_SHOWN`].
    pub start: Box<[u8]>,
    /// The length of the whole key, in bytes.
    pub length: usize,
    /// The whole key's hash, which places it.
    pub hash: i32,
    /// Records that had it, at most.
    pub records_max: u64,
    /// By how many that may be too high.
    pub error: u64,
}

/// The keys that most records have.
#[derive(Clone, Debug, Default)]
pub struct HeavyHitters {
    keys: Vec<HotKey>,
}

impl HotKey {
    /// Returns the fewest records that had the key.
    #[must_use]
    pub fn records_min(&self) -> u64 {
        self.records_max - self.error
    }

    /// Returns the partition that the key belongs to; `None` if there are none.
    #[must_use]
    pub fn partition(&self, partition_count: i32) -> Option<PartitionIndex> {
        let hash = self.hash & i32::MAX;
        hash.checked_rem(partition_count).map(PartitionIndex)
    }

    fn is(&self, key: &[u8], hash: i32) -> bool {
        self.hash == hash && self.length == key.len() && *self.start == *start_of(key)
    }

    fn is_same(&self, other: &Self) -> bool {
        (self.hash, self.length, &self.start) == (other.hash, other.length, &other.start)
    }
}

fn start_of(key: &[u8]) -> &[u8] {
    &key[..key.len().min(KEY_BYTES_SHOWN)]
}

impl HeavyHitters {
    /// Returns the keys that others have counted, of which the first [`KEYS_MAX`] are kept.
    #[must_use]
    pub fn of(mut keys: Vec<HotKey>) -> Self {
        keys.truncate(KEYS_MAX);
        Self { keys }
    }

    /// Counts a key for so many records.
    pub fn on_key(&mut self, key: &[u8], records: u64) {
        let hash = murmur2(key);
        if let Some(known) = self.keys.iter_mut().find(|known| known.is(key, hash)) {
            known.records_max += records;
            return;
        }
        let error = self.unknown_max();
        let hot = HotKey {
            start: start_of(key).into(),
            length: key.len(),
            hash,
            records_max: error + records,
            error,
        };
        match self.least() {
            Some(least) => *least = hot,
            None => self.keys.push(hot),
        }
    }

    /// Returns the key to give up for another, if there is no room.
    fn least(&mut self) -> Option<&mut HotKey> {
        let is_full = self.keys.len() >= KEYS_MAX;
        let least = self.keys.iter_mut().min_by_key(|key| key.records_max);
        least.filter(|_| is_full)
    }

    /// Returns how many records may have had a key that is not counted.
    fn unknown_max(&self) -> u64 {
        match self.keys.len() < KEYS_MAX {
            true => 0,
            false => self
                .keys
                .iter()
                .map(|key| key.records_max)
                .min()
                .unwrap_or(0),
        }
    }

    /// Halves all counts, so that what is newer counts more.
    pub fn halve(&mut self) {
        for key in &mut self.keys {
            let records_min = key.records_min() / 2;
            key.records_max /= 2;
            key.error = key.records_max - records_min;
        }
        self.keys.retain(|key| key.records_max > 0);
    }

    /// Adds what others have counted of other records.
    pub fn merge(&mut self, other: &Self) {
        let (unknown_here, unknown_there) = (self.unknown_max(), other.unknown_max());
        for key in &mut self.keys {
            let there = other.keys.iter().find(|known| known.is_same(key));
            key.records_max += there.map_or(unknown_there, |there| there.records_max);
            key.error += there.map_or(unknown_there, |there| there.error);
        }
        for key in &other.keys {
            if !self.keys.iter().any(|known| known.is_same(key)) {
                let mut key = key.clone();
                key.records_max += unknown_here;
                key.error += unknown_here;
                self.keys.push(key);
            }
        }
        self.sort();
        self.keys.truncate(KEYS_MAX);
    }

    /// Returns the keys, those with most records first.
    #[must_use]
    pub fn hottest(&self) -> Vec<HotKey> {
        let mut sorted = self.clone();
        sorted.sort();
        sorted.keys
    }

    /// The order of keys with as many records is fixed, too.
    fn sort(&mut self) {
        self.keys.sort_by(|one, other| {
            let records = |key: &HotKey| (key.records_max, key.records_min());
            records(other)
                .cmp(&records(one))
                .then_with(|| one.start.cmp(&other.start))
        });
    }
}

#[cfg(test)]
mod tests;
