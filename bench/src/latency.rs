//! Latency distributions: from a microsecond to ten minutes with three significant digits.

use hdrhistogram::Histogram;
use serde::Serialize;

const LOWEST_NS: u64 = 1_000;
const HIGHEST_NS: u64 = 600_000_000_000;
const DIGITS: u8 = 3;

/// Latencies of one kind.
#[derive(Clone, Debug)]
pub struct Latencies {
    histogram: Histogram<u64>,
}

/// What is told of a distribution, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct LatencySummary {
    /// Half of all were at most this long.
    pub p50: f64,
    /// 99 of 100 were.
    pub p99: f64,
    /// 999 of 1,000 were.
    pub p999: f64,
    /// The longest.
    pub max: f64,
    /// How many there were.
    pub count: u64,
}

impl Latencies {
    /// Returns an empty distribution.
    #[must_use]
    pub fn new() -> Self {
        let histogram = Histogram::new_with_bounds(LOWEST_NS, HIGHEST_NS, DIGITS)
            .expect("the bounds are constants in the right order");
        Self { histogram }
    }

    /// Adds a latency; what lies outside the bounds counts as the bound.
    pub fn record(&mut self, nanoseconds: u64) {
        self.histogram.saturating_record(nanoseconds);
    }

    /// Adds all latencies of another distribution.
    pub fn add(&mut self, other: &Self) {
        self.histogram
            .add(&other.histogram)
            .expect("all distributions have the same bounds");
    }

    /// Returns how many latencies were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// Returns the percentiles that reports show; all zero if there is nothing.
    #[must_use]
    pub fn summary(&self) -> LatencySummary {
        let at = |quantile| milliseconds(self.histogram.value_at_quantile(quantile));
        LatencySummary {
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            max: milliseconds(self.histogram.max()),
            count: self.histogram.len(),
        }
    }
}

impl Default for Latencies {
    fn default() -> Self {
        Self::new()
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "times below ten minutes have fewer bits than a mantissa"
)]
fn milliseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_right_to_three_digits() {
        let mut latencies = Latencies::new();
        for index in 1..=1_000 {
            latencies.record(index * 1_000_000);
        }
        let summary = latencies.summary();
        for (found, expected) in [
            (summary.p50, 500.0),
            (summary.p99, 990.0),
            (summary.p999, 999.0),
            (summary.max, 1_000.0),
        ] {
            assert!((found / expected - 1.0).abs() < 0.002, "{found} {expected}");
        }
        assert_eq!(summary.count, 1_000);
    }

    #[test]
    fn what_is_out_of_bounds_is_counted_at_the_bound() {
        let mut latencies = Latencies::new();
        latencies.record(u64::MAX);
        let mut sum = Latencies::new();
        sum.add(&latencies);
        assert!(sum.summary().max >= 600_000.0);
        assert_eq!(Latencies::new().summary(), LatencySummary::default());
    }
}
