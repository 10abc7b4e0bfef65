//! Real input through a broker that is killed as a crash kills it, again and again, while the producer only waits.

use serde_json::Value;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::support::{Finished, Server, keylane};

/// Every flight that left New York City in January 2013.
pub(crate) const FLIGHTS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../bench/data/flights-2013-01.csv.gz"
);
const ROWS: u64 = 27_004;

/// Slow enough that each kill meets a producer at work.
const ROWS_PER_SECOND: &str = "9000";

#[test]
fn flights_survive_kill_9_half_way_once_each_and_in_order_per_key() {
    check(&[0.5], "tailnum");
}

#[test]
fn flights_survive_many_kills() {
    check(&[0.1, 0.2, 0.3, 0.6, 0.61, 0.9], "dest");
}

fn check(kills: &[f64], key: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let mut server = Server::broker(&data, &[]);
    let port = server.port();
    server
        .run(["topic", "create", "flights", "--partitions", "6"])
        .expect_success();

    let producer = spawn_producer(&server, key);
    for part in kills {
        let rows = (ROWS as f64 * part) as u64;
        while stored(&server) < rows && !producer.is_finished() {
            std::thread::sleep(Duration::from_millis(10));
        }
        server.kill();
        // The producer has time to notice.
        std::thread::sleep(Duration::from_millis(300));
        server = Server::broker(&data, &["--port", &port]);
    }
    let sent = producer.join().expect("the thread ends").expect_success();
    let expected = format!("{ROWS} rows read, {ROWS} acknowledged, 6 partitions");
    assert!(sent.starts_with(&expected), "{sent}");

    // What is in memory only must not be what makes it right.
    server.kill();
    let server = Server::broker(&data, &[]);
    let verified = server
        .run([
            "consume",
            "flights",
            "--verify-against",
            FLIGHTS,
            "--key",
            key,
        ])
        .expect_success();
    let expected =
        format!("{ROWS} of {ROWS} rows found, 0 missing, 0 doubled, 0 out of order, 0 foreign");
    assert!(verified.contains(&expected), "{verified}");
    server.stop();
}

fn spawn_producer(server: &Server, key: &str) -> std::thread::JoinHandle<Finished> {
    assert!(
        Path::new(FLIGHTS).exists(),
        "{FLIGHTS} belongs to the repository"
    );
    let mut command = keylane();
    command
        .args([
            "produce",
            "flights",
            FLIGHTS,
            "--key",
            key,
            "--rate",
            ROWS_PER_SECOND,
        ])
        .args(["--connect", server.address(), "--batch-size", "16KiB"])
        .stdin(Stdio::null());
    std::thread::spawn(move || crate::support::run_command(&mut command, &[]))
}

/// Records in the topic.
fn stored(server: &Server) -> u64 {
    let described = server
        .run(["topic", "describe", "flights", "--json"])
        .expect_success();
    let described: Value = serde_json::from_str(&described).expect("JSON");
    let partitions = described["partitions"].as_array().expect("partitions");
    partitions
        .iter()
        .filter_map(|partition| partition["end_offset"].as_u64())
        .sum()
}
