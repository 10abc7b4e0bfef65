//! Seeded schedules over the real cores of routed produce: producers, routers, the split, leaders' state.
//!
//! Network, disk and time are simulated, in one thread: what is lost, late, repeated, cut off or silent follows from a
//! seed, and so does everything else. The rules that the cores follow are in `docs/routed-idempotence.md`, and searched
//! exhaustively, without the cores, in `routed_model`.

#![allow(clippy::print_stdout, reason = "what was found is the result")]

mod chance;
mod checker;
mod client;
mod cluster;
mod faults;
mod leader;
mod lone_leader;
mod router;
mod whole_router;
mod world;

use faults::Bug;
use keylane_protocol::routed::NUMBERS_MAX;
use lone_leader::LoneBug;
use world::{Tally, World};

/// Runs the schedules of these seeds; if one breaks a promise, it is told from the beginning.
fn check(seeds: std::ops::Range<u64>) {
    let mut tally = Tally::default();
    for seed in seeds {
        let mut world = World::new(seed, None, false);
        let kept = world.run();
        tally.add(&world.tally);
        if let Err(broken) = kept {
            let mut again = World::new(seed, None, true);
            let _same = again.run();
            println!("{}", again.trace.text());
            panic!("seed {seed}: {broken}");
        }
    }
    println!("{tally:#?}");
    assert!(
        tally.least() > 100,
        "schedules that miss something show nothing of it"
    );
}

#[test]
fn five_thousand_schedules_keep_every_promise() {
    check(0..5_000);
}

#[test]
fn five_thousand_other_schedules_keep_every_promise() {
    check(5_000..10_000);
}

#[test]
fn the_same_seed_gives_the_same_schedule() {
    for seed in 0..50 {
        let mut one = World::new(seed, None, false);
        let mut other = World::new(seed, None, true);
        assert_eq!(one.run(), other.run(), "seed {seed}");
        assert_eq!(
            one.trace.fingerprint, other.trace.fingerprint,
            "seed {seed}"
        );
    }
}

#[test]
fn every_planted_bug_is_found() {
    for bug in Bug::ALL {
        let found = (0..2_000).find_map(|seed| {
            let broken = World::new(seed, Some(bug), false).run().err()?;
            Some((seed, broken))
        });
        match found {
            Some((seed, broken)) => println!("{bug:?}: seed {seed}: {broken}"),
            None => panic!("{bug:?} goes unnoticed in 2,000 schedules"),
        }
    }
}

#[test]
fn a_leader_alone_never_writes_or_acknowledges_what_it_must_not() {
    for seed in 0..2_000 {
        if let Err(broken) = lone_leader::run(seed, None) {
            panic!("seed {seed}: {broken}");
        }
    }
}

#[test]
fn every_bug_planted_at_a_leader_alone_is_found() {
    for bug in LoneBug::ALL {
        let found = (0..500).find_map(|seed| lone_leader::run(seed, Some(bug)).err());
        match found {
            Some(broken) => println!("{bug:?}: {broken}"),
            None => panic!("{bug:?} goes unnoticed"),
        }
    }
}

#[test]
fn a_window_that_counted_open_numbers_would_leave_the_oldest_stuck() {
    assert!(lone_leader::oldest_is_known_after_restart(NUMBERS_MAX));
    assert!(!lone_leader::oldest_is_known_after_restart(NUMBERS_MAX + 1));
}
