//! Whatever happens, the rules hold; and a group with one of the bank's bugs is found out.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use super::bugs::{BANK, Bug};
use super::world::{Step, World};

const CLIENTS: usize = 4;

fn step() -> impl Strategy<Value = Step> {
    let client = || 0..CLIENTS;
    prop_oneof![
        30 => client().prop_map(Step::Act),
        3 => client().prop_map(Step::Repeat),
        3 => client().prop_map(Step::Change),
        2 => client().prop_map(Step::Forget),
        6 => any::<usize>().prop_map(Step::CommitAs),
        1 => client().prop_map(Step::Leave),
        8 => prop_oneof![Just(1), Just(1_000), Just(3_000), Just(6_000), Just(9_999), Just(20_000)]
            .prop_map(Step::Pass),
        10 => Just(Step::Persisted),
        1 => any::<bool>().prop_map(|is_stored| Step::PersistFailed { is_stored }),
        1 => (0_usize..3).prop_map(|stored| Step::Restart { stored }),
        1 => client().prop_map(Step::LinkLost),
        1 => Just(Step::Close),
    ]
}

/// Tries so many histories; returns how the first that breaks a rule did.
fn explore(bug: Option<Bug>, cases: u32, seed: u8) -> Option<String> {
    let config = Config {
        cases,
        failure_persistence: None,
        // What a bug of the bank does is of no interest beyond that it is found.
        max_shrink_iters: if bug.is_some() { 0 } else { 20_000 },
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let outcome = runner.run(&vec(step(), 1..120), |steps| {
        World::new(bug).run(&steps).map_err(TestCaseError::fail)
    });
    match outcome {
        Ok(()) => None,
        Err(TestError::Fail(reason, steps)) => Some(format!("seed {seed}: {reason}\n{steps:#?}")),
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
}

#[test]
fn whatever_happens_the_rules_hold() {
    let seed = match std::env::var("KEYLANE_SEED") {
        Ok(seed) => seed.parse().expect("a seed is 0 to 255"),
        Err(_) => 1,
    };
    let cases = match std::env::var("KEYLANE_CASES") {
        Ok(cases) => cases.parse().expect("a number of cases"),
        Err(_) => 1_500,
    };
    if let Some(fault) = explore(None, cases, seed) {
        panic!("{fault}");
    }
}

#[test]
fn every_bug_of_the_bank_is_found() {
    let missed: Vec<Bug> = BANK
        .into_iter()
        .filter(|bug| explore(Some(*bug), 3_000, 2).is_none())
        .collect();
    assert_eq!(missed, []);
}
