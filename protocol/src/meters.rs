//! What the meters of every node are made of: shares of gauges, and the words beside the numbers.

use std::fmt;

use metrics::{Gauge, describe_counter, describe_gauge, describe_histogram};

/// Names of series, and what each means.
pub type Words = [(&'static str, &'static str)];

/// Says what series mean, by their kind.
pub fn describe(counters: &Words, gauges: &Words, histograms: &Words) {
    for (name, words) in counters {
        describe_counter!(*name, *words);
    }
    for (name, words) in gauges {
        describe_gauge!(*name, *words);
    }
    for (name, words) in histograms {
        describe_histogram!(*name, *words);
    }
}

/// A share of a gauge to which several add; it goes with its owner.
pub struct Share {
    gauge: Gauge,
    value: usize,
}

impl fmt::Debug for Share {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Share({})", self.value)
    }
}

impl Share {
    /// Returns a share of 0.
    #[must_use]
    pub fn of(gauge: &Gauge) -> Self {
        Self {
            gauge: gauge.clone(),
            value: 0,
        }
    }

    /// Makes the share this large.
    pub fn set(&mut self, value: usize) {
        if value > self.value {
            self.gauge.increment(number(value - self.value));
        } else if value < self.value {
            self.gauge.decrement(number(self.value - value));
        }
        self.value = value;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// Returns a count as a gauge shows it, which is exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "it is shown, not counted with")]
#[must_use]
pub fn number(count: usize) -> f64 {
    count as f64
}
