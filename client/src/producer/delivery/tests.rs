//! The producer's promises against a model of Kafka's brokers, under random faults: every record at most once, in order,
//! every receipt true, everything settled in the end.

mod model;
mod world;

use proptest::prelude::*;

use self::world::{Faults, World};

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn records_are_written_once_and_in_order_whatever_fails(seed: u64, faults in faults()) {
        let mut world = World::new(seed, faults);
        world.run(400);
        world.heal();
        world.check().map_err(|fault| TestCaseError::fail(format!("seed {seed}: {fault}")))?;
    }
}

/// Each kind of fault is common, rare or absent.
fn faults() -> impl Strategy<Value = Faults> {
    let often = || prop_oneof![Just(0u32), Just(3), Just(15)];
    (
        often(),
        often(),
        often(),
        often(),
        often(),
        often(),
        any::<bool>(),
    )
        .prop_map(
            |(breaks, moves, refusals, late_answers, rejections, forgets, expires)| Faults {
                breaks,
                moves,
                refusals,
                late_answers,
                rejections,
                forgets,
                expires,
                never_remembers: false,
            },
        )
}

#[test]
fn without_faults_everything_is_written() {
    let mut world = World::new(1, Faults::default());
    world.run(500);
    world.heal();
    world.check().expect("no promise broken");
    assert_eq!(world.failed(), 0);
    assert!(world.written() > 100);
}

#[test]
fn faults_that_pass_lose_nothing() {
    let faults = Faults {
        breaks: 15,
        moves: 10,
        refusals: 15,
        late_answers: 15,
        ..Faults::default()
    };
    for seed in 0..100 {
        let mut world = World::new(seed, faults);
        world.run(400);
        world.heal();
        world
            .check()
            .unwrap_or_else(|fault| panic!("seed {seed}: {fault}"));
        assert_eq!(world.failed(), 0, "seed {seed}");
    }
}

#[test]
fn the_check_finds_out_a_broker_that_does_not_recognise_repetitions() {
    let faults = Faults {
        breaks: 15,
        never_remembers: true,
        ..Faults::default()
    };
    let is_found = |seed| {
        let mut world = World::new(seed, faults);
        world.run(400);
        world.heal();
        world.check().is_err()
    };
    assert!((0..20).any(is_found), "the check cannot fail");
}

#[test]
fn epochs_that_are_used_up_are_followed_by_another_producer_id() {
    let faults = Faults {
        rejections: 15,
        ..Faults::default()
    };
    let mut identities = 0;
    for seed in 0..20 {
        let mut world = World::new(seed, faults);
        world.start_at_last_epoch();
        world.run(400);
        world.heal();
        world
            .check()
            .unwrap_or_else(|fault| panic!("seed {seed}: {fault}"));
        identities += world.identities();
    }
    assert!(identities > 20, "no producer id was asked for");
}
