//! Which key a generated record has: drawn from stream and sequence alone, so that whoever reads a record, or misses
//! one, knows its key without having seen it sent.

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
    count: u64,
    seed: u64,
    /// The probability that a key is at most this one; empty if all are equally likely.
    cumulative: Vec<f64>,
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
        Self {
            count,
            seed,
            cumulative,
        }
    }

    /// Returns the index of a record's key, below the number of keys.
    #[must_use]
    pub fn index(&self, stream: u32, sequence: u64) -> u64 {
        let drawn = mix(self.seed ^ mix(sequence ^ (u64::from(stream) << 40)));
        if self.cumulative.is_empty() {
            let scaled = (u128::from(drawn) * u128::from(self.count)) >> 64;
            return u64::try_from(scaled).expect("a fraction of the count");
        }
        let fraction = unit_fraction(drawn);
        let index = self.cumulative.partition_point(|&bound| bound <= fraction);
        (index as u64).min(self.count - 1)
    }

    /// Writes the text of a key.
    pub fn write_key(&self, index: u64, key: &mut Vec<u8>) {
        const DIGITS: usize = 8;
        key.clear();
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
        let mut counts = vec![0; usize::try_from(space.count).expect("small")];
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
