//! Which key a generated record has: drawn from stream and sequence alone, so that whoever reads a record, or misses
//! one, knows its key without having seen it sent.
//!
//! Keys are real ones, as often as they occur in some input, or made.

use std::collections::BTreeMap;

/// How often keys occur.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum KeyDistribution {
    /// All equally often.
    Uniform,
    /// The n-th most frequent key with a frequency of 1 / n^exponent (Zipf's law).
    Zipf {
        /// Above 0; around 1 for many natural things.
        exponent: f64,
    },
}

/// The keys of generated records.
#[derive(Clone, Debug)]
pub struct KeySpace {
    seed: u64,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Made {
        count: u64,
        /// The probability that a key is at most this one; empty if all are equally likely.
        cumulative: Vec<f64>,
    },
    Given {
        keys: Vec<Box<[u8]>>,
        /// The key of each row of the input: drawing a row draws its key as often as it occurs.
        rows: Vec<u32>,
    },
}

/// The most keys with unequal frequencies, each of which costs eight bytes.
pub const ZIPF_KEYS_MAX: u64 = 4_000_000;

impl KeySpace {
    /// Returns a space of `count` keys.
    ///
    /// # Panics
    /// When the count is 0, or above [`ZIPF_KEYS_MAX`] for keys with unequal frequencies.
    #[must_use]
    pub fn new(count: u64, distribution: KeyDistribution, seed: u64) -> Self {
        assert!(count > 0, "a record has a key");
        let cumulative = match distribution {
            KeyDistribution::Uniform => Vec::new(),
            KeyDistribution::Zipf { exponent } => {
                assert!(count <= ZIPF_KEYS_MAX, "too many keys");
                zipf(count, exponent)
            }
        };
        let kind = Kind::Made { count, cumulative };
        Self { seed, kind }
    }

    /// Returns a space of the keys of an input's rows, each as often as it occurs there.
    ///
    /// # Panics
    /// When there is no row.
    #[must_use]
    pub fn of_rows<'a>(rows: impl IntoIterator<Item = &'a [u8]>, seed: u64) -> Self {
        let mut places = BTreeMap::new();
        let mut keys: Vec<Box<[u8]>> = Vec::new();
        let place = |key: &'a [u8]| {
            *places.entry(key).or_insert_with(|| {
                keys.push(key.into());
                u32::try_from(keys.len() - 1).expect("an input has few keys")
            })
        };
        let rows: Vec<u32> = rows.into_iter().map(place).collect();
        assert!(!rows.is_empty(), "a record has a key");
        let kind = Kind::Given { keys, rows };
        Self { seed, kind }
    }

    /// Returns how many different keys there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        match &self.kind {
            Kind::Made { count, .. } => *count,
            Kind::Given { keys, .. } => keys.len() as u64,
        }
    }

    /// Returns the index of a record's key, below the number of keys.
    #[must_use]
    pub fn index(&self, stream: u32, sequence: u64) -> u64 {
        let drawn = mix(self.seed ^ mix(sequence ^ (u64::from(stream) << 40)));
        let scaled = |count: u64| (u128::from(drawn) * u128::from(count)) >> 64;
        match &self.kind {
            Kind::Given { rows, .. } => {
                let row = usize::try_from(scaled(rows.len() as u64)).expect("below the rows");
                u64::from(rows[row])
            }
            Kind::Made { count, cumulative } if cumulative.is_empty() => {
                u64::try_from(scaled(*count)).expect("a fraction of the count")
            }
            Kind::Made { count, cumulative } => {
                let fraction = unit_fraction(drawn);
                let index = cumulative.partition_point(|&bound| bound <= fraction);
                (index as u64).min(count - 1)
            }
        }
    }

    /// Writes the text of a key.
    pub fn write_key(&self, index: u64, key: &mut Vec<u8>) {
        const DIGITS: usize = 8;
        key.clear();
        if let Kind::Given { keys, .. } = &self.kind {
            let given = usize::try_from(index).ok().and_then(|at| keys.get(at));
            key.extend_from_slice(given.expect("an index of this space"));
            return;
        }
        key.extend_from_slice(b"key-00000000");
        let mut rest = index;
        for digit in key.iter_mut().rev().take(DIGITS) {
            *digit = b'0' + u8::try_from(rest % 10).expect("a digit");
            rest /= 10;
        }
        if rest > 0 {
            key.clear();
            key.extend_from_slice(format!("key-{index}").as_bytes());
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "a rank is far below 2^52")]
fn zipf(count: u64, exponent: f64) -> Vec<f64> {
    let mut sum = 0.0;
    let mut cumulative: Vec<f64> = (1..=count)
        .map(|rank| {
            sum += (rank as f64).powf(-exponent);
            sum
        })
        .collect();
    for bound in &mut cumulative {
        *bound /= sum;
    }
    cumulative
}

/// Returns a number from 0 to below 1.
#[allow(clippy::cast_precision_loss, reason = "53 bits fit a mantissa")]
fn unit_fraction(drawn: u64) -> f64 {
    (drawn >> 11) as f64 / (1_u64 << 53) as f64
}

/// Spreads the bits of a number over all 64 (SplitMix64, Steele et al. 2014).
pub(crate) fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frequencies(space: &KeySpace, draws: u64) -> Vec<u64> {
        let mut counts = vec![0; usize::try_from(space.count()).expect("small")];
        for sequence in 0..draws {
            let index = space.index(7, sequence);
            counts[usize::try_from(index).expect("small")] += 1;
        }
        counts
    }

    #[test]
    fn uniform_keys_occur_equally_often() {
        let space = KeySpace::new(100, KeyDistribution::Uniform, 1);
        for count in frequencies(&space, 1_000_000) {
            assert!((9_500..10_500).contains(&count), "{count}");
        }
    }

    #[test]
    fn zipf_keys_occur_by_one_over_rank() {
        let space = KeySpace::new(1_000, KeyDistribution::Zipf { exponent: 1.0 }, 1);
        let counts = frequencies(&space, 1_000_000);
        // The thousandth harmonic number is 7.4855.
        let first = 1_000_000.0 / 7.4855;
        for rank in [1_u32, 2, 3, 10] {
            let expected = first / f64::from(rank);
            #[allow(clippy::cast_precision_loss)]
            let found = counts[rank as usize - 1] as f64;
            assert!((found / expected - 1.0).abs() < 0.05, "{rank}: {found}");
        }
        assert!(counts[0] > 100 * counts[999]);
    }

    #[test]
    fn given_keys_occur_as_often_as_in_their_input() {
        let rows = ["a", "b", "a", "c", "a", "a", "b", "a"].map(str::as_bytes);
        let space = KeySpace::of_rows(rows, 1);
        assert_eq!(space.count(), 3);
        let mut key = Vec::new();
        for (count, (expected, text)) in frequencies(&space, 800_000).into_iter().zip([
            (500_000, "a"),
            (200_000, "b"),
            (100_000, "c"),
        ]) {
            assert!(count.abs_diff(expected) < expected / 50, "{text}: {count}");
        }
        for (index, text) in (0..).zip(["a", "b", "c"]) {
            space.write_key(index, &mut key);
            assert_eq!(key, text.as_bytes());
        }
    }

    #[test]
    fn the_same_seed_draws_the_same_keys_and_another_others() {
        let draw = |seed| {
            let space = KeySpace::new(1_000_000, KeyDistribution::Uniform, seed);
            (0..100).map(|n| space.index(0, n)).collect::<Vec<u64>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn keys_are_text_of_the_same_length_until_they_need_more() {
        let space = KeySpace::new(1, KeyDistribution::Uniform, 0);
        let mut key = Vec::new();
        for (index, text) in [
            (0, "key-00000000"),
            (1_234, "key-00001234"),
            (123_456_789, "key-123456789"),
        ] {
            space.write_key(index, &mut key);
            assert_eq!(key, text.as_bytes());
        }
    }
}
