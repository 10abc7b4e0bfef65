//! Which records are looked at: gaps of random length, drawn by a generator that begins with a seed.
//!
//! Gaps of one length would take every record of the same key from a producer whose keys come in turn.

/// Draws gaps.
#[derive(Clone, Debug)]
pub(super) struct Gaps {
    state: u64,
}

impl Gaps {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Returns how many records further the next one is, `mean` on average; at least 1.
    pub(super) fn next(&mut self, mean: u64) -> u64 {
        // SplitMix64 (Steele, Lea, Flood, 2014).
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        1 + mixed % (2 * mean - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_have_their_mean_and_every_length_around_it() {
        let mut gaps = Gaps::new(7);
        for mean in [1, 2, 64] {
            let drawn: Vec<u64> = (0..20_000).map(|_| gaps.next(mean)).collect();
            let all: std::collections::BTreeSet<u64> = drawn.iter().copied().collect();
            assert!(all.into_iter().eq(1..2 * mean));
            let sum: u64 = drawn.iter().sum();
            assert!(sum.abs_diff(mean * 20_000) < 20 * 20_000 * mean / 1000);
        }
    }
}
