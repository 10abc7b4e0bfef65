//! What `keylane bench` runs when it is told nothing: real input, then what limits a log, each against its limit.

use std::time::Duration;

use crate::load::Pace;
use crate::options::Durability;
use crate::scenario::{Input, Scenario};
use crate::workload::Placement;

/// The scenario whose figures stand at the top of the report.
pub const HEADLINE: &str = "1kib-durable";

/// The scenario whose latency stands there.
pub const HEADLINE_LATENCY: &str = "one-in-flight";

/// Returns the scenarios in order.
#[must_use]
pub fn scenarios() -> Vec<Scenario> {
    let large = Scenario::large_batches;
    vec![
        Scenario {
            input: Input::BuiltIn { repeat: 1 },
            partitions: 6,
            readers: 1,
            pace: Pace::Rate(20_000),
            linger: Duration::ZERO,
            ..large(
                "flights-schedule",
                "real rows, 20,000/s, followed by a reader",
            )
        },
        Scenario {
            input: Input::BuiltIn { repeat: 20 },
            partitions: 6,
            ..large("flights", "real rows, flat out, 6 partitions")
        },
        large(HEADLINE, "1 KiB, 1 partition, durable"),
        Scenario {
            durability: Durability::PageCache,
            ..large("1kib-page-cache", "1 KiB, 1 partition, page cache")
        },
        Scenario {
            partitions: 16,
            batch_size_bytes: 64 * 1024,
            ..large("1kib-16-partitions", "1 KiB, 16 partitions, durable")
        },
        Scenario {
            producers: 1,
            pace: Pace::Closed(1),
            linger: Duration::ZERO,
            has_probes: true,
            ..large(HEADLINE_LATENCY, "1 KiB, one record in flight, durable")
        },
        Scenario {
            producers: 16,
            pace: Pace::Closed(16),
            ..large(
                "small-batches",
                "16 records a batch, 16 producers, 1 partition",
            )
        },
        Scenario {
            partitions: 16,
            producers: 16,
            placement: Placement::ByProducer,
            pace: Pace::Closed(16),
            ..large(
                "small-batches-16-partitions",
                "16 records a batch, 16 producers, 16 partitions",
            )
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_and_the_headlines_are_among_them() {
        let scenarios = scenarios();
        let names: std::collections::BTreeSet<&str> = scenarios
            .iter()
            .map(|scenario| &scenario.name[..])
            .collect();
        assert_eq!(names.len(), scenarios.len());
        assert!(names.contains(HEADLINE) && names.contains(HEADLINE_LATENCY));
    }

    #[test]
    fn the_tour_measures_for_less_than_a_minute() {
        let slots = 4;
        let total: Duration = scenarios()
            .iter()
            .map(|scenario| (scenario.warm_up + scenario.duration) * slots)
            .sum();
        assert!(total < Duration::from_secs(60), "{total:?}");
    }
}
