//! Every wrong is found by the bench's verification, which names the record; without a wrong nothing is found.

use std::sync::Arc;
use std::time::Duration;

use keylane_client::Acks;

use super::*;
use crate::embedded::EmbeddedCluster;
use crate::load::{LoadPlan, Pace, read_back, run_load};
use crate::options::ProducePath;
use crate::verify::Verdict;
use crate::workload::{KeyDistribution, KeySpace, Placement, Rows, Workload};

fn generated() -> Workload {
    let keys = KeySpace::new(1_000, KeyDistribution::Uniform, 7);
    Workload::generated(keys, 200, Placement::ByKey, 1)
}

/// Sends records through a relay with this plan and returns what the verification finds, and what was done.
fn verdict(workload: Workload, plan: WrongPlan) -> (Verdict, Option<WrongDone>) {
    let cluster = EmbeddedCluster::start_with(|config| config.default_partitions = 1);
    let cluster = cluster.expect("starts");
    let relay = Relay::start(&cluster.address(), plan).expect("listens");
    let load = LoadPlan {
        addresses: vec![relay.address()],
        topic: "t".to_owned(),
        workload: Arc::new(workload),
        producers: 1,
        clients: 1,
        readers: 0,
        path: Some(ProducePath::Partitioned),
        pace: Pace::FlatOut,
        acks: Acks::All,
        batch_size_bytes: 4 * 1024,
        routed_batch_size_bytes: None,
        linger: Duration::from_millis(2),
        warm_up: Duration::ZERO,
        duration: Duration::from_millis(400),
        bytes_max: 1 << 20,
    };
    let runtime = runtime().expect("a runtime");
    runtime.block_on(async {
        let client = crate::load::connect(load.address(0))
            .await
            .expect("answers");
        let topic = keylane_client::NewTopic::new("t").partitions(1);
        client.admin().create_topic(topic).await.expect("created");
    });
    let outcome = run_load(&load, &Arc::default(), || {}, || {}).expect("runs");
    assert_eq!(outcome.first_failure, None);
    let read = runtime.block_on(read_back(&load)).expect("reads");
    let verdict = read.finish(&load.workload, &outcome.sent);
    (verdict, relay.done())
}

/// Holds that exactly one kind of offence is found, by its record.
fn check(wrong: Wrong, offence: &str, count: fn(&Verdict) -> u64, others: fn(&Verdict) -> u64) {
    for (seed, workload) in [
        (3, generated()),
        (4, Workload::rows(Rows::built_in(1), 1, 1)),
    ] {
        let (verdict, done) = verdict(workload, WrongPlan::seeded(wrong, seed, 20));
        let done = done.expect("enough batches were sent");
        assert!(count(&verdict) >= 1, "{wrong:?}: {verdict:?}");
        assert_eq!(others(&verdict), 0, "{wrong:?}: {verdict:?}");
        let key = String::from_utf8_lossy(&done.key).into_owned();
        let is_named =
            |line: &String| line.starts_with(offence) && line.contains(&format!("key `{key}`"));
        assert!(
            verdict.first.iter().any(is_named),
            "{key}: {:?}",
            verdict.first
        );
    }
}

#[test]
fn a_removed_batch_is_lost_and_named() {
    let others = |verdict: &Verdict| verdict.duplicated + verdict.reordered + verdict.altered;
    check(Wrong::Remove, "lost", |verdict| verdict.lost, others);
}

#[test]
fn a_doubled_batch_is_duplicated_and_named() {
    let others = |verdict: &Verdict| verdict.lost + verdict.reordered + verdict.altered;
    check(
        Wrong::Double,
        "duplicated",
        |verdict| verdict.duplicated,
        others,
    );
}

#[test]
fn a_swapped_batch_is_reordered_and_named() {
    let others = |verdict: &Verdict| verdict.lost + verdict.duplicated + verdict.altered;
    check(
        Wrong::Swap,
        "reordered",
        |verdict| verdict.reordered,
        others,
    );
}

#[test]
fn a_bent_byte_is_altered_and_named() {
    let others = |verdict: &Verdict| verdict.duplicated + verdict.reordered + verdict.misplaced;
    check(Wrong::Bend, "altered", |verdict| verdict.altered, others);
}

#[test]
fn a_relay_that_does_nothing_wrong_is_not_noticed() {
    let plan = WrongPlan {
        wrong: Wrong::Remove,
        batch: u64::MAX,
        seed: 0,
    };
    let (verdict, done) = verdict(generated(), plan);
    assert!(verdict.is_clean() && verdict.read > 100, "{verdict:?}");
    assert_eq!(done, None);
}
