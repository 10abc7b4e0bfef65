//! Gauges to which several add: each has a share, which goes with its owner.

use std::sync::Arc;

use metrics::Gauge;

use super::Meters;

/// A share of a gauge.
pub(crate) struct Share {
    gauge: Gauge,
    value: usize,
}

impl Share {
    pub(crate) fn of(gauge: &Gauge) -> Self {
        Self {
            gauge: gauge.clone(),
            value: 0,
        }
    }

    /// Makes the share this large.
    pub(crate) fn set(&mut self, value: usize) {
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
pub(crate) fn number(count: usize) -> f64 {
    count as f64
}

/// What is under way on one link.
pub(crate) struct LinkLevels {
    pub lanes: Share,
    pub appends: Share,
    pub fetches: Share,
    pub requests: Share,
    /// Requests that wait for others of their lane.
    pub waiting: Share,
    pub calls: Share,
    pub credit_bytes: Share,
    pub queued_bytes: Share,
}

impl LinkLevels {
    pub(crate) fn new(meters: &Arc<Meters>) -> Self {
        let levels = &meters.levels;
        Self {
            lanes: Share::of(&levels.lanes),
            appends: Share::of(&levels.appends),
            fetches: Share::of(&levels.fetches),
            requests: Share::of(&levels.requests),
            waiting: Share::of(&levels.waiting),
            calls: Share::of(&levels.calls),
            credit_bytes: Share::of(&levels.credit_bytes),
            queued_bytes: Share::of(&levels.queued_bytes),
        }
    }
}
