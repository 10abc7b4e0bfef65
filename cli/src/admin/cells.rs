//! What the handles of metrics count in: numbers that any thread adds to without a lock.
//!
//! Counters and histograms are kept in a few stripes, of which each thread uses one: threads that count the same do not
//! take a cache line from each other, and whoever reads adds the stripes up.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use metrics::{CounterFn, GaugeFn, HistogramFn};

/// More would cost memory for each series, and few threads count the same.
const STRIPES: usize = 4;

/// The upper bounds of histograms of seconds: from what a queue takes that is empty to what nobody waits for.
pub(super) const SECONDS: &[f64] = &[
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025,
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// Sums of seconds are kept in nanoseconds, as whole numbers can be added at once.
const PARTS_PER_SECOND: f64 = 1e9;

static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static STRIPE: usize = THREADS.fetch_add(1, Ordering::Relaxed) % STRIPES;
}

fn stripe() -> usize {
    STRIPE.with(|stripe| *stripe)
}

/// A number in a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Line(AtomicU64);

/// A counter.
#[derive(Debug, Default)]
pub(super) struct CounterCell {
    stripes: [Line; STRIPES],
}

impl CounterCell {
    pub(super) fn value(&self) -> u64 {
        let values = self.stripes.iter();
        values.fold(0, |sum, line| {
            sum.wrapping_add(line.0.load(Ordering::Relaxed))
        })
    }
}

impl CounterFn for CounterCell {
    fn increment(&self, value: u64) {
        self.stripes[stripe()].0.fetch_add(value, Ordering::Relaxed);
    }

    fn absolute(&self, value: u64) {
        // The first stripe holds what is missing to the value; it never goes back.
        let others = self
            .value()
            .wrapping_sub(self.stripes[0].0.load(Ordering::Relaxed));
        let own = value.wrapping_sub(others);
        self.stripes[0].0.fetch_max(own, Ordering::Relaxed);
    }
}

/// A gauge, as the bits of its number.
#[derive(Debug)]
pub(super) struct GaugeCell(AtomicU64);

impl Default for GaugeCell {
    fn default() -> Self {
        Self(AtomicU64::new(0.0_f64.to_bits()))
    }
}

impl GaugeCell {
    pub(super) fn value(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }

    fn change(&self, change: impl Fn(f64) -> f64) {
        let changed = |bits: u64| Some(change(f64::from_bits(bits)).to_bits());
        // It is never refused.
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, changed);
    }
}

impl GaugeFn for GaugeCell {
    fn increment(&self, value: f64) {
        self.change(|now| now + value);
    }

    fn decrement(&self, value: f64) {
        self.change(|now| now - value);
    }

    fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }
}

/// A histogram of seconds with fixed bounds.
#[derive(Debug)]
pub(super) struct HistogramCell {
    stripes: [Stripe; STRIPES],
}

/// One more bucket than bounds, for what lies above the last; the sum in nanoseconds.
#[derive(Debug)]
struct Stripe {
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// A histogram as it was at a moment.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Distribution {
    /// How many values were at most each bound of [`SECONDS`], and at last how many in all.
    pub(super) cumulative: Vec<u64>,
    pub(super) sum: f64,
}

impl Default for HistogramCell {
    fn default() -> Self {
        let stripe = || Stripe {
            buckets: (0..=SECONDS.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
        };
        Self {
            stripes: std::array::from_fn(|_| stripe()),
        }
    }
}

impl HistogramCell {
    pub(super) fn distribution(&self) -> Distribution {
        let mut cumulative = vec![0; SECONDS.len() + 1];
        let mut sum: u64 = 0;
        for stripe in &self.stripes {
            for (total, bucket) in cumulative.iter_mut().zip(&stripe.buckets) {
                *total += bucket.load(Ordering::Relaxed);
            }
            sum = sum.wrapping_add(stripe.sum.load(Ordering::Relaxed));
        }
        let mut below = 0;
        for bucket in &mut cumulative {
            below += *bucket;
            *bucket = below;
        }
        #[expect(clippy::cast_precision_loss, reason = "it is shown, not counted with")]
        let sum = sum as f64 / PARTS_PER_SECOND;
        Distribution { cumulative, sum }
    }
}

impl HistogramFn for HistogramCell {
    fn record(&self, value: f64) {
        // What is no number or below nothing counts as nothing.
        let value = value.max(0.0);
        let bucket = SECONDS.partition_point(|bound| *bound < value);
        let stripe = &self.stripes[stripe()];
        stripe.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "no less than 0, and the cast saturates after 584 years"
        )]
        let parts = (value * PARTS_PER_SECOND) as u64;
        stripe.sum.fetch_add(parts, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_many_threads_count_adds_up() {
        let (counter, histogram) = (CounterCell::default(), HistogramCell::default());
        std::thread::scope(|scope| {
            for _ in 0..9 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        counter.increment(2);
                        histogram.record(0.000_3);
                    }
                });
            }
        });
        assert_eq!(counter.value(), 18_000);
        let distribution = histogram.distribution();
        assert_eq!(distribution.cumulative.last(), Some(&9000));
        assert!((distribution.sum - 2.7).abs() < 1e-9, "{distribution:?}");
    }

    #[test]
    fn a_value_lies_in_the_first_bucket_whose_bound_it_does_not_exceed() {
        let histogram = HistogramCell::default();
        for value in [0.0, 0.000_01, 0.000_011, 30.0, 31.0, -1.0, f64::NAN] {
            histogram.record(value);
        }
        let cumulative = histogram.distribution().cumulative;
        assert_eq!(cumulative[..2], [4, 5]);
        assert_eq!(cumulative[SECONDS.len() - 1..], [6, 7]);
    }

    #[test]
    fn an_absolute_count_never_goes_back() {
        let counter = CounterCell::default();
        counter.absolute(70);
        counter.absolute(60);
        assert_eq!(counter.value(), 70);
    }

    #[test]
    fn gauges_rise_and_fall() {
        let gauge = GaugeCell::default();
        gauge.increment(3.0);
        gauge.decrement(1.0);
        assert!((gauge.value() - 2.0).abs() < f64::EPSILON);
        gauge.set(-5.0);
        assert!((gauge.value() + 5.0).abs() < f64::EPSILON);
    }
}
