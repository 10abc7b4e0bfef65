//! Pauses between attempts: doubling up to a bound, with jitter so that clients do not come back in step.
//!
//! No clock and no ambient randomness: the generator comes from outside.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::limits::{BACKOFF_FIRST, BACKOFF_MAX};

/// Yields the pause after each failure in a row.
#[derive(Debug)]
pub(crate) struct Backoff {
    generator: StdRng,
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            generator: StdRng::seed_from_u64(seed),
            failures: 0,
        }
    }

    /// Counts a failure and returns how long to pause: between half and all of the doubled pause.
    pub(crate) fn after_failure(&mut self) -> Duration {
        let pause = pause(self.failures, &mut self.generator);
        self.failures = self.failures.saturating_add(1);
        pause
    }

    /// Forgets the failures, since an attempt succeeded.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Returns how long to pause after so many earlier failures in a row.
pub(crate) fn pause(failures: u32, generator: &mut StdRng) -> Duration {
    pause_up_to(BACKOFF_MAX, failures, generator)
}

/// The same with another bound.
pub(crate) fn pause_up_to(longest: Duration, failures: u32, generator: &mut StdRng) -> Duration {
    let doubled = BACKOFF_FIRST.saturating_mul(1 << failures.min(16));
    let full = doubled.min(longest);
    full.mul_f64(generator.random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_bound_and_start_over_after_a_success() {
        let mut backoff = Backoff::new(1);
        let first = backoff.after_failure();
        assert!(first >= BACKOFF_FIRST / 2 && first <= BACKOFF_FIRST);
        let mut last = first;
        for _ in 0..40 {
            last = backoff.after_failure();
            assert!(last <= BACKOFF_MAX);
        }
        assert!(last >= BACKOFF_MAX / 2);
        backoff.reset();
        assert!(backoff.after_failure() <= BACKOFF_FIRST);
    }

    #[test]
    fn the_same_seed_gives_the_same_pauses() {
        let pauses = |seed| {
            let mut backoff = Backoff::new(seed);
            [(); 8].map(|()| backoff.after_failure())
        };
        assert_eq!(pauses(7), pauses(7));
        assert_ne!(pauses(7), pauses(8));
    }
}
