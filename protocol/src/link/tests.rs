//! Both ends of a link against a model: whatever the order of events, nothing is lost, doubled, reordered within a
//! lane, or sent after its lane has closed, and every bound holds. The control puts faults on the wire and into the
//! model, which the same checks must find.

mod fairness;
mod world;

use world::{Fault, World};

/// Worlds tried per test.
const SEEDS: u64 = 300;

fn seeds() -> impl Iterator<Item = u64> {
    1..=SEEDS
}

#[test]
fn nothing_is_lost_doubled_or_reordered_and_every_bound_holds() {
    let mut seen = world::Seen::default();
    for seed in seeds() {
        match World::new(seed, Fault::None).run() {
            Ok(more) => seen.add(&more),
            Err(words) => panic!("seed {seed}: {words}"),
        }
    }
    println!("{seen:?}");
    assert!(seen.is_everything(), "not everything was tried: {seen:?}");
}

#[test]
fn faults_are_found_by_the_same_checks() {
    for fault in Fault::ALL {
        let found = seeds().find_map(|seed| World::new(seed, *fault).run().err());
        let words = found.unwrap_or_else(|| panic!("{fault:?} was not found"));
        println!("{fault:?}: {words}");
    }
}
