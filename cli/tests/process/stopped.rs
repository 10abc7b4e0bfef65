//! A broker that stands still while clients of a router give up: what they have given up is not written afterwards.

use rustix::process::Signal;
use std::path::Path;
use std::time::Duration;

use crate::support::{Finished, Server, keylane};

/// Sends one row without numbering it, and gives up after two seconds.
fn produce(router: &Server, folder: &Path, row: &str) -> Finished {
    let file = folder.join(row);
    std::fs::write(&file, format!("{row}\n")).expect("a file");
    let file = file.to_str().expect("a path");
    router.run(["produce", "t", file, "--acks", "1", "--timeout", "2s"])
}

/// Lets a broker stand still while a row is given up, and for some seconds more.
fn check(seconds: u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = Server::broker(&folder.path().join("data"), &[]);
    let internal = broker.ready["internal"].as_str().expect("an address");
    let mut command = keylane();
    command.args(["router", "--listen", "127.0.0.1:0", "--brokers", internal]);
    let router = Server::start(&mut command);
    router
        .run(["topic", "create", "t", "--partitions", "1"])
        .expect_success();
    produce(&router, folder.path(), "first").expect_success();
    broker.signal(Signal::STOP);
    produce(&router, folder.path(), "given-up").expect_failure(1, &[]);
    std::thread::sleep(Duration::from_secs(seconds));
    broker.signal(Signal::CONT);
    let mut tries = 0;
    while !produce(&router, folder.path(), "later").status.success() {
        tries += 1;
        assert!(tries < 20, "the broker is never found again");
    }
    let read = router.run(["consume", "t"]).expect_success();
    let rows: Vec<&str> = read.lines().collect();
    assert!(!rows.contains(&"given-up"), "{rows:?}");
    assert!(rows.starts_with(&["first", "later"]), "{rows:?}");
    router.stop();
    broker.stop();
}

#[test]
fn nothing_of_clients_that_gave_up_is_written_after_a_short_stop() {
    check(2);
}

#[test]
fn nothing_of_clients_that_gave_up_is_written_after_a_stop_that_costs_the_link() {
    check(8);
}
