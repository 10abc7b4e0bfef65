//! A routed producer's promises against a router and leaders that follow the rules, under random faults: every record at
//! most once, in order in its partition, every receipt true, everything settled in the end.

mod cluster;
mod rules;
mod world;

use proptest::prelude::*;

use self::world::{Faults, World};

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn records_are_written_once_and_in_order_whatever_fails(seed: u64, faults in faults()) {
        let mut world = World::new(seed, faults);
        world.run(500);
        world.heal();
        world.check().map_err(|fault| TestCaseError::fail(format!("seed {seed}: {fault}")))?;
    }
}

/// Each kind of fault is common, rare or absent.
fn faults() -> impl Strategy<Value = Faults> {
    let often = || prop_oneof![Just(0u32), Just(2), Just(12)];
    let counts = (
        often(),
        often(),
        often(),
        often(),
        often(),
        often(),
        often(),
        often(),
    );
    (counts, any::<bool>(), any::<bool>()).prop_map(|(counts, expires, ends_epochs)| {
        let (breaks, refusals, late_answers, strays, rejections, growth, recreations, forgets) =
            counts;
        Faults {
            breaks,
            refusals,
            late_answers,
            strays,
            rejections,
            growth,
            recreations,
            forgets,
            expires,
            ends_epochs,
            ..Faults::default()
        }
    })
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
        refusals: 15,
        late_answers: 15,
        strays: 10,
        growth: 10,
        ends_epochs: true,
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

fn finds(faults: Faults) -> bool {
    (0..20).any(|seed| {
        let mut world = World::new(seed, faults);
        world.run(400);
        world.heal();
        world.check().is_err()
    })
}

#[test]
fn the_check_finds_out_leaders_that_do_not_recognise_repetitions() {
    let faults = Faults {
        breaks: 15,
        never_remembers: true,
        ..Faults::default()
    };
    assert!(finds(faults), "the check cannot fail");
}

#[test]
fn the_check_finds_out_leaders_that_take_a_batch_behind_one_that_failed() {
    let faults = Faults {
        refusals: 15,
        strays: 15,
        expires: true,
        ignores_previous: true,
        ..Faults::default()
    };
    assert!(finds(faults), "the check cannot fail");
}

#[test]
fn epochs_that_are_used_up_are_followed_by_another_id() {
    let faults = Faults {
        breaks: 5,
        refusals: 5,
        ends_epochs: true,
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
    assert!(identities > 20, "no id was asked for");
}
