//! What `keylane bench` runs when it is told nothing: real input, then what limits a log, each against its limit.

use std::time::Duration;

use crate::cluster::Topology;
use crate::load::Pace;
use crate::options::{Durability, Paths, ProducePath};
use crate::scenario::{Input, Keys, Scenario, Yardsticks};
use crate::workload::Placement;

/// The scenario whose figures stand at the top of the report.
pub const HEADLINE: &str = "1kib-durable";

/// The scenario whose latency stands there.
pub const HEADLINE_LATENCY: &str = "one-in-flight";

/// Returns the scenarios in order.
#[must_use]
pub fn scenarios() -> Vec<Scenario> {
    let all = [
        real_rows(),
        one_broker(),
        three_brokers(),
        one_in_flight(),
        small_batches(),
        both_paths(),
    ];
    all.concat()
}

/// Returns real input through a router to three brokers.
fn real_rows() -> Vec<Scenario> {
    vec![
        Scenario {
            servers: Topology::CLUSTER,
            input: Input::BuiltIn { repeat: 1 },
            partitions: 6,
            producers: 2,
            clients: 2,
            readers: 1,
            pace: Pace::Rate(20_000),
            linger: Duration::ZERO,
            ..large(
                "flights-schedule",
                "real rows, 20,000/s, followed by a reader, 3 brokers, router",
            )
        },
        Scenario {
            servers: Topology::CLUSTER,
            input: Input::BuiltIn { repeat: 20 },
            partitions: 6,
            producers: 2,
            clients: 2,
            ..large(
                "flights",
                "real rows, flat out, 6 partitions, 3 brokers, router",
            )
        },
    ]
}

/// Returns large batches to one broker, dialled and through a router, durable and in the page cache.
fn one_broker() -> Vec<Scenario> {
    let page_cache = large("1kib-page-cache", "1 KiB, 1 partition, page cache, dialled");
    let page_cache = Scenario {
        durability: Durability::PageCache,
        // Each slot of it needs as long again to be given its memory.
        yardsticks: Yardsticks::NULL_BROKER,
        ..page_cache
    };
    let routed_page_cache = Scenario {
        yardsticks: Yardsticks::NULL_BROKER,
        ..routed(
            &page_cache,
            "1kib-page-cache",
            "1 KiB, 1 partition, page cache, router",
        )
    };
    let durable = large(HEADLINE, "1 KiB, 1 partition, durable, dialled");
    vec![
        durable.clone(),
        routed(&durable, HEADLINE, "1 KiB, 1 partition, durable, router"),
        page_cache,
        routed_page_cache,
    ]
}

/// Returns large batches through a router to three brokers.
fn three_brokers() -> Vec<Scenario> {
    let durable = Scenario {
        servers: Topology::CLUSTER,
        paths: Paths::Only(ProducePath::Partitioned),
        yardsticks: Yardsticks::ROUTED,
        partitions: 16,
        batch_size_bytes: 64 * 1024,
        ..large(
            "1kib-16-partitions",
            "1 KiB, 16 partitions, durable, 3 brokers, router",
        )
    };
    let page_cache = Scenario {
        name: "1kib-16-partitions-page-cache".to_owned(),
        title: "1 KiB, 16 partitions, page cache, 3 brokers, router".to_owned(),
        yardsticks: Yardsticks::NONE,
        durability: Durability::PageCache,
        ..durable.clone()
    };
    vec![durable, page_cache]
}

fn one_in_flight() -> Vec<Scenario> {
    let dialled = Scenario {
        producers: 1,
        clients: 1,
        pace: Pace::Closed(1),
        linger: Duration::ZERO,
        has_probes: true,
        yardsticks: Yardsticks::NULL_BROKER,
        ..large(
            HEADLINE_LATENCY,
            "1 KiB, one record in flight, durable, dialled",
        )
    };
    let title = "1 KiB, one record in flight, durable, router";
    vec![dialled.clone(), routed(&dialled, HEADLINE_LATENCY, title)]
}

fn small_batches() -> Vec<Scenario> {
    vec![
        Scenario {
            producers: 16,
            clients: 16,
            pace: Pace::Closed(16),
            yardsticks: Yardsticks::NULL_BROKER,
            ..large(
                "small-batches",
                "16 records a batch, 16 producers, 1 partition",
            )
        },
        Scenario {
            partitions: 16,
            producers: 16,
            clients: 16,
            placement: Placement::ByProducer,
            pace: Pace::Closed(16),
            yardsticks: Yardsticks::NULL_BROKER,
            ..large(
                "small-batches-16-partitions",
                "16 records a batch, 16 producers, 16 partitions",
            )
        },
    ]
}

/// Returns what shows who should choose partitions, through the same router: large batches, and many small producers as
/// those of a fleet of services are, each of which waits for its record before it sends the next.
fn both_paths() -> Vec<Scenario> {
    let large = Scenario {
        servers: Topology::ROUTED_BROKER,
        paths: Paths::Both,
        partitions: 16,
        // The null broker's own throughput is that of the scenario with one partition.
        yardsticks: Yardsticks::NULL_RELAY,
        duration: Duration::from_millis(600),
        ..large("1kib-both-paths", "1 KiB, 16 partitions, durable, router")
    };
    let small = Scenario {
        name: "small-producers".to_owned(),
        title: "100 B, 1,000 producers, one in flight each, 16 partitions, router".to_owned(),
        input: Input::Generated {
            value_bytes: 100,
            keys: Keys::BuiltIn,
        },
        producers: 1_000,
        clients: 16,
        pace: Pace::Closed(1),
        linger: Duration::ZERO,
        yardsticks: Yardsticks::ROUTED,
        ..large
    };
    vec![large, small]
}

/// Returns a scenario through a router instead of dialled; producers choose partitions as they do there, so that the
/// difference is the router's.
fn routed(dialled: &Scenario, name: &'static str, title: &str) -> Scenario {
    Scenario {
        name: format!("{name}-router"),
        title: title.to_owned(),
        servers: Topology::ROUTED_BROKER,
        paths: Paths::Only(ProducePath::Partitioned),
        unrouted: Some(name),
        yardsticks: Yardsticks::ROUTED,
        ..dialled.clone()
    }
}

fn large(name: &str, title: &str) -> Scenario {
    Scenario::large_batches(name, title)
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
    fn what_is_routed_is_there_without_a_router_as_well() {
        let scenarios = scenarios();
        let routed: Vec<_> = scenarios
            .iter()
            .filter_map(|scenario| Some((scenario, scenario.unrouted?)))
            .collect();
        assert_eq!(routed.len(), 3);
        for (routed, name) in routed {
            let dialled = scenarios.iter().find(|scenario| scenario.name == name);
            let dialled = dialled.expect(name);
            assert_eq!(dialled.servers.routers, 0);
            assert_eq!(routed.servers.brokers, dialled.servers.brokers);
            assert_eq!(routed.duration, dialled.duration);
        }
    }

    #[test]
    fn the_tour_measures_for_little_more_than_a_minute() {
        let slots = |scenario: &Scenario| {
            let yardsticks = scenario.yardsticks;
            let twice = [
                true,
                scenario.paths == Paths::Both,
                yardsticks.has_null_broker,
                yardsticks.has_null_relay,
            ];
            let twice = twice.into_iter().filter(|is_run| *is_run).count();
            u32::try_from(2 * twice).expect("few") + u32::from(yardsticks.has_sink)
        };
        let total: Duration = scenarios()
            .iter()
            .map(|scenario| (scenario.warm_up + scenario.duration) * slots(scenario))
            .sum();
        assert!(total < Duration::from_secs(65), "{total:?}");
    }
}
