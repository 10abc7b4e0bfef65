//! A topic grows while routed batches are on their way, and a router and a broker are killed: where every row lies.

use std::collections::BTreeMap;

use keylane_protocol::partitioner::partition_for_key;
use keylane_protocol::transport::free_ports;
use serde_json::Value;

use crate::crash::FLIGHTS;
use crate::failover::{Cluster, spawn_producer, until_known, until_stored};
use crate::support::Server;

const ROWS: u64 = 27_004;
const BEFORE: i32 = 6;
const AFTER: i32 = 9;

/// The values of each key in each partition, in the order of their offsets.
type Stored = BTreeMap<String, BTreeMap<i32, Vec<String>>>;

#[test]
fn rows_of_a_key_that_moves_while_its_topic_grows_lie_once_and_later_in_the_new_partition() {
    let mut cluster = Cluster::start();
    let ports = free_ports(2);
    let [first, second] = [0, 1].map(|place| cluster.router(ports[place]));
    until_known(&first, 2);
    create(&first, "flights", BEFORE);
    let producer = spawn_producer(first.address());
    until_stored(&cluster, ROWS * 3 / 10, &producer);
    let after = AFTER.to_string();
    second
        .run(["topic", "add-partitions", "flights", "--partitions", &after])
        .expect_success();
    until_stored(&cluster, ROWS * 5 / 10, &producer);
    first.kill();
    until_stored(&cluster, ROWS * 7 / 10, &producer);
    cluster.kill_and_restart(1);
    let sent = producer.join().expect("the thread ends").expect_success();
    let expected = format!("{ROWS} rows read, {ROWS} acknowledged");
    assert!(sent.starts_with(&expected), "{sent}");

    let stored = stored(&second, "flights");
    let has_grown = |partitions: &BTreeMap<i32, Vec<String>>| {
        partitions.keys().any(|&partition| partition >= BEFORE)
    };
    assert!(
        stored.values().any(has_grown),
        "nothing is in new partitions"
    );
    for (key, rows) in in_order(&second) {
        check(&key, &rows, &stored[&key]);
    }
    second.stop();
    cluster.stop();
}

/// Checks that a key's rows are those of the file, first in the partition of before, then in that of afterwards.
fn check(key: &str, rows: &[String], stored: &BTreeMap<i32, Vec<String>>) {
    let places = [BEFORE, AFTER].map(|count| partition_for_key(key.as_bytes(), count).0);
    let strangers = stored.keys().find(|partition| !places.contains(partition));
    assert_eq!(strangers, None, "{key} belongs to {places:?}");
    let mut found = stored.get(&places[0]).cloned().unwrap_or_default();
    if places[0] != places[1] {
        found.extend(stored.get(&places[1]).cloned().unwrap_or_default());
    }
    assert!(
        found == rows,
        "{key}: {} rows of {}",
        found.len(),
        rows.len()
    );
}

fn create(router: &Server, topic: &str, partitions: i32) {
    let partitions = partitions.to_string();
    let arguments = ["topic", "create", topic, "--partitions", &partitions];
    router.run(arguments).expect_success();
}

/// Returns the rows of each key in the order of the file: that of a topic with one partition.
fn in_order(router: &Server) -> BTreeMap<String, Vec<String>> {
    create(router, "reference", 1);
    let produce = ["produce", "reference", FLIGHTS, "--key", "tailnum"];
    router.run(produce).expect_success();
    let stored = stored(router, "reference").into_iter();
    let rows: BTreeMap<_, _> = stored
        .map(|(key, mut partitions)| (key, partitions.remove(&0).unwrap_or_default()))
        .collect();
    let count: usize = rows.values().map(Vec::len).sum();
    assert_eq!(count as u64, ROWS);
    rows
}

fn stored(router: &Server, topic: &str) -> Stored {
    let printed = router.run(["consume", topic, "--format", "json"]);
    let mut stored = Stored::new();
    let mut ends: BTreeMap<i64, i64> = BTreeMap::new();
    for line in printed.expect_success().lines() {
        let record: Value = serde_json::from_str(line).expect("JSON");
        let text = |field: &str| record[field].as_str().unwrap_or_default().to_owned();
        let partition = record["partition"].as_i64().expect("a partition");
        let offset = record["offset"].as_i64().expect("an offset");
        assert_eq!(offset, *ends.entry(partition).or_default(), "in order");
        ends.insert(partition, offset + 1);
        let partition = i32::try_from(partition).expect("a small number");
        let partitions = stored.entry(text("key")).or_default();
        partitions.entry(partition).or_default().push(text("value"));
    }
    assert_eq!(ends.values().sum::<i64>().unsigned_abs(), ROWS);
    stored
}
