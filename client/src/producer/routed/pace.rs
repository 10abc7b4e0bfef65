//! How fast numbers are given while the floor stands still.
//!
//! The window has 1,024 numbers, and a batch may be open for as long as the delivery time-out. So that a partition that
//! is away for so long does not use up the numbers of the others in a moment, those beyond the first few are spread over
//! that time. Batches grow meanwhile: what is sent becomes larger, not less.

use std::time::{Duration, Instant};

use keylane_protocol::routed::NUMBERS_MAX;

use super::RoutedSettings;

/// How many numbers from the floor on are given without looking at the time, if that is more than enough for those in
/// flight.
const FREE_MIN: u32 = 64;

/// When numbers may be given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    free: u32,
    lasts: Duration,
}

impl Pace {
    pub(super) fn of(settings: &RoutedSettings) -> Self {
        let in_flight = u32::try_from(settings.in_flight_max).unwrap_or(u32::MAX);
        Self {
            free: in_flight.saturating_mul(2).max(FREE_MIN),
            lasts: settings.delivery_timeout,
        }
    }

    /// Returns when the next number may be given if so many are from the floor on, whose batch was begun then; `None` if
    /// at any time.
    pub(super) fn next_number(&self, begun: Instant, taken: usize) -> Option<Instant> {
        let spread = NUMBERS_MAX.unsigned_abs().checked_sub(self.free)?;
        let beyond = u32::try_from(taken).ok()?.checked_sub(self.free)?;
        let share = f64::from(beyond) / f64::from(spread.max(1));
        begun.checked_add(self.lasts.mul_f64(share.min(1.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace {
        free: 64,
        lasts: Duration::from_secs(120),
    };

    #[test]
    fn the_first_numbers_cost_no_time_and_the_last_is_given_at_the_end() {
        let begun = crate::ambient::now();
        let after = |taken| PACE.next_number(begun, taken).map(|at| at - begun);
        assert_eq!(after(0), None);
        assert_eq!(after(63), None);
        assert_eq!(after(64), Some(Duration::ZERO));
        assert_eq!(after(64 + 480), Some(Duration::from_secs(60)));
        assert!(after(1023).is_some_and(|at| at < Duration::from_secs(120)));
    }

    #[test]
    fn a_producer_that_may_have_every_number_in_flight_is_not_paced() {
        let pace = Pace { free: 2048, ..PACE };
        assert_eq!(pace.next_number(crate::ambient::now(), 1023), None);
    }
}
