//! A broker that is away while a routed producer is at work: the partitions of the others get what comes after.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::crash::FLIGHTS;
use crate::failover::{Cluster, ROWS, describe, until_stored};
use crate::support::{Finished, Server, keylane, run_command};

/// Slow enough that most rows are sent while the broker is away.
const ROWS_PER_SECOND: &str = "4000";

/// Which broker is away, counted from 0 and from 1.
const AWAY: (usize, i64) = (1, 2);

#[test]
fn a_routed_producer_goes_on_beside_a_broker_that_is_away() {
    let mut cluster = Cluster::start();
    let router = cluster.lonely_router();
    router
        .run(["topic", "create", "flights", "--partitions", "6"])
        .expect_success();
    let mut command = keylane();
    command
        .args(["produce", "flights", FLIGHTS, "--key", "tailnum"])
        .args(["--rate", ROWS_PER_SECOND, "--timeout", "1m"])
        .args(["--connect", router.address()])
        .stdin(Stdio::null());
    let producer = std::thread::spawn(move || run_command(&mut command, &[]));
    until_stored(&cluster, ROWS / 5, &producer);
    let others = partitions_of_others(describe(&cluster));
    assert_eq!(others.len(), 4, "every broker leads some: {others:?}");
    cluster.kill(AWAY.0);
    let stored = || others.iter().map(|partition| rows_in(&router, partition));
    while stored().sum::<u64>() < ROWS * 9 / 20 {
        assert!(!producer.is_finished(), "rows wait for the broker");
        std::thread::sleep(Duration::from_millis(50));
    }
    let described = describe(&cluster);
    assert_eq!(partitions_of_others(described).len(), 6, "two lead nobody");
    cluster.restart(AWAY.0);
    let sent = producer.join().expect("the thread ends").expect_success();
    let expected = format!("{ROWS} rows read, {ROWS} acknowledged, 6 partitions");
    assert!(sent.starts_with(&expected), "{sent}");
    let verified = router
        .run([
            "consume",
            "flights",
            "--verify-against",
            FLIGHTS,
            "--key",
            "tailnum",
        ])
        .expect_success();
    let expected =
        format!("{ROWS} of {ROWS} rows found, 0 missing, 0 doubled, 0 out of order, 0 foreign");
    assert!(verified.contains(&expected), "{verified}");
    router.stop();
    cluster.stop();
}

/// Returns the partitions that others lead than the one that will be away.
fn partitions_of_others(described: Finished) -> Vec<String> {
    let described: Value = serde_json::from_str(&described.expect_success()).expect("JSON");
    let partitions = described["partitions"].as_array().expect("partitions");
    let others = partitions
        .iter()
        .filter(|partition| partition["leader"] != AWAY.1);
    others
        .map(|partition| partition["partition"].to_string())
        .collect()
}

fn rows_in(router: &Server, partition: &str) -> u64 {
    let read = router.run(["consume", "flights", "--partition", partition]);
    read.expect_success().lines().count() as u64
}
