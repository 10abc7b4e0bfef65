//! Any order of commits, deletions, durability, failures, power cuts, expiry and compaction.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

use super::bugs::Bug;
use super::world::{RETENTION_MS, Step, Use, World};

const CASES: u32 = 3000;

fn step() -> impl Strategy<Value = Step> {
    let group = 0..3_usize;
    let topic = 0..2_usize;
    let count = 0..4_usize;
    let retention = prop_oneof![4 => Just(None), 1 => (0..2 * RETENTION_MS).prop_map(Some)];
    let partitions = vec((topic.clone(), 0..2_i32, 0..20_i64), 1..4);
    let usage = prop_oneof![
        Just(Use::Simple),
        (0..2 * RETENTION_MS).prop_map(Use::EmptyFor),
        topic.clone().prop_map(Use::Reads),
        Just(Use::Occupied),
    ];
    prop_oneof![
        8 => (group.clone(), partitions, retention)
            .prop_map(|(group, partitions, retention)| Step::Commit(group, partitions, retention)),
        2 => (group.clone(), topic.clone(), 0..2_i32)
            .prop_map(|(group, topic, partition)| Step::Delete(group, topic, partition)),
        1 => group.clone().prop_map(Step::DeleteGroup),
        1 => topic.prop_map(Step::DeleteTopic),
        4 => (group, usage).prop_map(|(group, usage)| Step::Expire(group, usage)),
        6 => (0..6_usize).prop_map(Step::Durable),
        2 => count.clone().prop_map(Step::Fail),
        2 => count.prop_map(Step::Crash),
        2 => (0..RETENTION_MS).prop_map(Step::Compact),
        3 => (0..2 * RETENTION_MS).prop_map(Step::Wait),
    ]
}

/// Returns the shortest way found to what must not be, if there is one; the same at each run.
pub(super) fn violation(bug: Option<Bug>) -> Option<String> {
    let config = ProptestConfig {
        cases: CASES,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    run(&mut TestRunner::new_with_rng(config, random), bug)
}

fn run(runner: &mut TestRunner, bug: Option<Bug>) -> Option<String> {
    let outcome = runner.run(&vec(step(), 1..40), |steps| {
        let mut world = World::new(bug);
        for step in &steps {
            world.step(step).map_err(TestCaseError::fail)?;
        }
        Ok(())
    });
    outcome.err().map(|failure| failure.to_string())
}

#[test]
fn what_is_acknowledged_survives_and_nothing_else_is_seen_in_any_order() {
    let config = ProptestConfig {
        cases: CASES,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    assert_eq!(run(&mut TestRunner::new(config), None), None);
}

#[test]
fn the_schedules_that_find_the_bugs_find_nothing_without_them() {
    assert_eq!(violation(None), None);
}
