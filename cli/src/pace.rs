//! Spreads work over time: the n-th step of a steady rate is due a fixed time after the first.

use std::time::Duration;

/// A steady rate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    per_second: u64,
}

impl Pace {
    /// Returns a rate of so many steps a second, at least one.
    pub(crate) fn new(per_second: u64) -> Self {
        assert!(per_second > 0, "a rate of nothing");
        Self { per_second }
    }

    /// Returns when step `index` (from 0) is due, after the first.
    pub(crate) fn due(self, index: u64) -> Duration {
        let second = Duration::from_secs(index / self.per_second);
        let rest =
            u128::from(index % self.per_second) * 1_000_000_000 / u128::from(self.per_second);
        second + Duration::from_nanos(u64::try_from(rest).expect("below a second"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_spread_evenly_for_ever() {
        let pace = Pace::new(3);
        assert_eq!(pace.due(0), Duration::ZERO);
        assert_eq!(pace.due(1), Duration::from_nanos(333_333_333));
        assert_eq!(pace.due(3), Duration::from_secs(1));
        assert_eq!(pace.due(u64::MAX), Duration::from_secs(u64::MAX / 3));
    }
}
