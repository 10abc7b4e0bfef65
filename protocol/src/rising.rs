//! A map for keys that mostly rise and mostly leave in the order in which they came: deadlines, numbers of requests.
//!
//! ```text
//! keys      1  3  4  5  8  9     ascending, and apart from the values, so that a search touches little memory
//! values    a  ·  b  c  ·  d     a place whose value has left stays until those at its side have
//! others    2 → e   7 → f        what came below the last key, in a tree
//! ```
//! Next to a tree of everything, nothing is allocated or moved for each key. Empty places are never more than full ones and
//! a few.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;

/// So many empty places are left alone.
const EMPTY_MIN: usize = 32;

/// Values by keys that mostly rise.
#[derive(Debug)]
pub struct RisingMap<K, V> {
    /// Ascending.
    keys: VecDeque<K>,
    /// In the places of their keys; the first and the last are there.
    values: VecDeque<Option<V>>,
    /// How many places have no value.
    empty: usize,
    /// Shares no key with the places.
    others: BTreeMap<K, V>,
}

/// A set of keys that mostly rise.
pub type RisingSet<K> = RisingMap<K, ()>;

impl<K, V> Default for RisingMap<K, V> {
    fn default() -> Self {
        Self {
            keys: VecDeque::new(),
            values: VecDeque::new(),
            empty: 0,
            others: BTreeMap::new(),
        }
    }
}

impl<K: Copy + Ord, V> RisingMap<K, V> {
    /// Returns how many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len() - self.empty + self.others.len()
    }

    /// Tells whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.others.is_empty()
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        self.keys.clear();
        self.values.clear();
        self.empty = 0;
        self.others.clear();
    }

    /// Sets the value of a key and returns the one it had.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let rises = self.keys.back().is_none_or(|last| *last < key);
        if rises && (self.others.is_empty() || !self.others.contains_key(&key)) {
            self.keys.push_back(key);
            self.values.push_back(Some(value));
            return None;
        }
        let Some(place) = self.find(key) else {
            return self.others.insert(key, value);
        };
        let before = self.values[place].replace(value);
        self.empty -= usize::from(before.is_none());
        before
    }

    /// Returns the value of a key.
    #[must_use]
    pub fn get(&self, key: K) -> Option<&V> {
        match self.find(key) {
            Some(place) => self.values[place].as_ref(),
            None => self.others.get(&key),
        }
    }

    /// Returns the value of a key, to change it.
    pub fn get_mut(&mut self, key: K) -> Option<&mut V> {
        match self.find(key) {
            Some(place) => self.values[place].as_mut(),
            None => self.others.get_mut(&key),
        }
    }

    /// Removes a key and returns its value.
    pub fn remove(&mut self, key: K) -> Option<V> {
        let Some(place) = self.find(key) else {
            return self.others.remove(&key);
        };
        let value = self.values[place].take()?;
        self.empty += 1;
        self.tidy();
        Some(value)
    }

    /// Returns the lowest key and its value.
    #[must_use]
    pub fn first(&self) -> Option<(K, &V)> {
        let risen = self.keys.front().zip(self.values.front()).and_then(full);
        let other = self.others.first_key_value();
        let other = other.map(|(key, value)| (*key, value));
        match (risen, other) {
            (Some(risen), Some(other)) if other.0 < risen.0 => Some(other),
            (risen, other) => risen.or(other),
        }
    }

    /// Returns all keys of a range with their values; those that did not rise come last.
    pub fn range(&self, keys: RangeInclusive<K>) -> impl Iterator<Item = (K, &V)> {
        let from = self.keys.partition_point(|key| key < keys.start());
        let to = self.keys.partition_point(|key| key <= keys.end());
        let places = from..to.max(from);
        let risen = self
            .keys
            .range(places.clone())
            .zip(self.values.range(places));
        // A tree does not take a range that is upside down.
        let others = (keys.start() <= keys.end()).then(|| self.others.range(keys));
        let others = others.into_iter().flatten();
        let others = others.map(|(key, value)| (*key, value));
        risen.filter_map(full).chain(others)
    }

    /// Returns all keys with their values; those that did not rise come last.
    pub fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        let risen = self.keys.iter().zip(&self.values);
        let others = self.others.iter().map(|(key, value)| (*key, value));
        risen.filter_map(full).chain(others)
    }

    /// Keeps what `is_kept` says.
    pub fn retain(&mut self, mut is_kept: impl FnMut(K, &V) -> bool) {
        for (key, value) in self.keys.iter().zip(&mut self.values) {
            value.take_if(|value| !is_kept(*key, value));
        }
        self.drop_empty();
        self.others.retain(|key, value| is_kept(*key, value));
    }

    /// Returns the place of a key.
    fn find(&self, key: K) -> Option<usize> {
        match *self.keys.front()? {
            first if first == key => Some(0),
            _ => self.keys.binary_search(&key).ok(),
        }
    }

    /// Drops empty places at both ends, and all of them when they are more than the full ones.
    fn tidy(&mut self) {
        while self.values.front().is_some_and(Option::is_none) {
            self.values.pop_front();
            self.keys.pop_front();
            self.empty -= 1;
        }
        while self.values.back().is_some_and(Option::is_none) {
            self.values.pop_back();
            self.keys.pop_back();
            self.empty -= 1;
        }
        if self.empty > EMPTY_MIN + self.keys.len() / 2 {
            self.drop_empty();
        }
    }

    fn drop_empty(&mut self) {
        let mut full = 0;
        for place in 0..self.keys.len() {
            if self.values[place].is_some() {
                self.keys.swap(full, place);
                self.values.swap(full, place);
                full += 1;
            }
        }
        self.keys.truncate(full);
        self.values.truncate(full);
        self.empty = 0;
    }
}

fn full<'a, K: Copy, V>((key, value): (&K, &'a Option<V>)) -> Option<(K, &'a V)> {
    Some((*key, value.as_ref()?))
}

#[cfg(test)]
mod tests;
