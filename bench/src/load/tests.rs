//! Loads against null brokers, on real sockets: what is sent is acknowledged, read and verified.

use std::sync::Arc;
use std::time::Duration;

use keylane_client::Acks;

use super::*;
use crate::embedded::EmbeddedCluster;
use crate::null_broker::{NullMode, start_for_tests};
use crate::workload::{KeyDistribution, KeySpace, Placement, Rows, Workload};

fn plan(workload: Workload, pace: Pace, folder: &std::path::Path) -> LoadPlan {
    LoadPlan {
        addresses: vec![start_for_tests(NullMode::PageCache, folder).to_string()],
        topic: "t".to_owned(),
        workload: Arc::new(workload),
        producers: 2,
        clients: 2,
        readers: 1,
        path: Some(ProducePath::Partitioned),
        pace,
        acks: Acks::All,
        batch_size_bytes: 16 * 1024,
        routed_batch_size_bytes: None,
        linger: Duration::from_millis(1),
        warm_up: Duration::from_millis(50),
        duration: Duration::from_millis(200),
        bytes_max: 8 << 20,
    }
}

fn generated() -> Workload {
    let keys = KeySpace::new(100, KeyDistribution::Uniform, 1);
    Workload::generated(keys, 100, Placement::ByKey, 3)
}

fn run_and_verify(plan: &LoadPlan) -> LoadOutcome {
    let outcome = run_load(plan, &Arc::default(), || {}, || {}).expect("runs");
    assert_eq!(outcome.first_failure, None);
    let live = outcome.live.clone().expect("there was a reader");
    assert!(live.is_clean(), "{live:?}");
    let read = runtime().expect("a runtime").block_on(read_back(plan));
    let read = read.expect("reads").finish(&plan.workload, &outcome.sent);
    assert!(read.is_clean(), "{read:?}");
    assert_eq!(
        read.read,
        outcome.sent.iter().map(|sent| sent.count).sum::<u64>()
    );
    assert_eq!(live.read, read.read);
    outcome
}

#[test]
fn flat_out_everything_is_acknowledged_and_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let outcome = run_and_verify(&plan(generated(), Pace::FlatOut, folder.path()));
    assert!(outcome.records > 100 && outcome.publish.count() > 100);
    assert!(outcome.bytes_sent <= 8 << 20 | 256);
}

#[test]
fn a_warm_up_leaves_bytes_to_be_measured() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut plan = plan(generated(), Pace::FlatOut, folder.path());
    plan.bytes_max = 256 * 1024;
    plan.warm_up = Duration::from_millis(500);
    let outcome = run_and_verify(&plan);
    assert!(outcome.bytes > plan.bytes_max / 2, "{}", outcome.bytes);
}

#[test]
fn an_open_loop_sends_at_its_rate() {
    let folder = tempfile::tempdir().expect("a folder");
    let outcome = run_and_verify(&plan(generated(), Pace::Rate(2_000), folder.path()));
    let sent: u64 = outcome.sent.iter().map(|sent| sent.count).sum();
    // 250 ms at 2,000 records per second.
    assert_eq!(sent, 500);
    assert_eq!(outcome.end_to_end.count(), sent);
}

#[test]
fn a_closed_loop_waits_for_each_group() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut plan = plan(generated(), Pace::Closed(4), folder.path());
    plan.linger = Duration::ZERO;
    let outcome = run_and_verify(&plan);
    assert!(outcome.sent.iter().all(|sent| sent.count % 4 == 0));
}

#[test]
fn many_small_producers_of_few_clients_are_ready_before_they_are_measured() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut plan = plan(generated(), Pace::Closed(1), folder.path());
    plan.producers = 150;
    plan.clients = 3;
    plan.linger = Duration::ZERO;
    let outcome = run_and_verify(&plan);
    assert_eq!(outcome.sent.len(), 150);
    assert!(outcome.sent.iter().all(|sent| sent.count > 1));
    assert!(outcome.records > 150 && outcome.publish.count() >= 150);
    // At least one for each producer and client, and those of other tests that run beside this one.
    let sockets = outcome.sockets.expect("the kernel tells");
    assert!(sockets >= 153, "{sockets}");
    assert!(outcome.ran > outcome.measured);
}

#[test]
fn rows_are_sent_as_often_as_asked_and_measured_from_first_to_last() {
    let folder = tempfile::tempdir().expect("a folder");
    let workload = Workload::rows(Rows::built_in(2), 1, 3);
    let mut plan = plan(workload, Pace::FlatOut, folder.path());
    plan.bytes_max = u64::MAX;
    let outcome = run_and_verify(&plan);
    assert_eq!(outcome.records, crate::flights::ROW_COUNT as u64);
    assert!(outcome.measured < Duration::from_secs(60));
}

#[test]
fn with_every_kind_of_acknowledgement_everything_is_read() {
    for acks in [Acks::None, Acks::Leader, Acks::All] {
        let cluster = EmbeddedCluster::start_with(|config| config.default_partitions = 3);
        let cluster = cluster.expect("starts");
        let folder = tempfile::tempdir().expect("a folder");
        let mut plan = plan(generated(), Pace::FlatOut, folder.path());
        plan.addresses = vec![cluster.address()];
        plan.acks = acks;
        let runtime = runtime().expect("a runtime");
        runtime.block_on(async {
            let client = connect(plan.address(0)).await.expect("answers");
            let topic = keylane_client::NewTopic::new("t").partitions(3);
            client.admin().create_topic(topic).await.expect("created");
        });
        run_and_verify(&plan);
        cluster.stop().expect("ends well");
    }
}

#[test]
fn a_broker_that_is_not_there_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut plan = plan(generated(), Pace::FlatOut, folder.path());
    plan.addresses = vec!["127.0.0.1:1".to_owned()];
    let error = run_load(&plan, &Arc::default(), || {}, || {}).expect_err("nobody listens");
    assert!(matches!(error, LoadError::Connect(_)), "{error}");
}
