//! When records are due. In an open loop the n-th record is due at a time that follows from n alone, so a slow broker
//! delays sending but not the schedule, and latency counts from the intended time (no coordinated omission).

/// The send times of one producer among several that share a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    start_ns: u64,
    /// Records per second of all producers together.
    rate: u64,
    producers: u64,
    producer: u64,
}

impl Schedule {
    /// Returns the schedule of producer number `producer` of `producers`: their records alternate.
    ///
    /// # Panics
    /// When the rate or the number of producers is 0.
    #[must_use]
    pub fn new(start_ns: u64, rate: u64, producers: u32, producer: u32) -> Self {
        assert!(rate > 0 && producers > 0, "nothing would ever be due");
        Self {
            start_ns,
            rate,
            producers: u64::from(producers),
            producer: u64::from(producer),
        }
    }

    /// Returns when the record with this sequence (from 0) is due.
    #[must_use]
    pub fn due_ns(&self, sequence: u64) -> u64 {
        let index = u128::from(sequence) * u128::from(self.producers) + u128::from(self.producer);
        let after = index * 1_000_000_000 / u128::from(self.rate);
        let after = u64::try_from(after).unwrap_or(u64::MAX);
        self.start_ns.saturating_add(after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_never_drifts() {
        let schedule = Schedule::new(1_000, 3, 1, 0);
        assert_eq!(schedule.due_ns(0), 1_000);
        assert_eq!(schedule.due_ns(1), 1_000 + 333_333_333);
        // A third of a second cannot be told in nanoseconds; the error must not add up over a day.
        assert_eq!(schedule.due_ns(3 * 86_400), 1_000 + 86_400 * 1_000_000_000);
    }

    #[test]
    fn producers_alternate_and_keep_the_rate_together() {
        let due: Vec<u64> = (0..4)
            .flat_map(|sequence| {
                (0..2).map(move |producer| Schedule::new(0, 1_000, 2, producer).due_ns(sequence))
            })
            .collect();
        let even: Vec<u64> = (0..8).map(|index| index * 1_000_000).collect();
        assert_eq!(due, even);
    }

    #[test]
    fn a_schedule_beyond_the_end_of_time_stays_there() {
        assert_eq!(Schedule::new(5, 1, 1, 0).due_ns(u64::MAX), u64::MAX);
    }
}
