//! `keylane dev`: a router and three brokers in one process, which begin and end together.

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

use crate::crash::FLIGHTS;
use crate::support::{Server, keylane, run, run_command};

fn start(folder: &Path) -> Server {
    let mut command = keylane();
    Server::start(command.args(["dev", "--port", "0", "--data"]).arg(folder))
}

#[test]
fn dev_is_a_cluster_of_three_brokers_behind_a_router() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = start(folder.path());
    assert_eq!(server.ready["role"], "dev");
    server
        .run(["topic", "create", "flights", "--partitions", "6"])
        .expect_success();
    server
        .run(["produce", "flights", FLIGHTS, "--key", "tailnum"])
        .expect_success();
    server
        .run(["topic", "add-partitions", "flights", "--partitions", "9"])
        .expect_success();
    let key = ["--verify-against", FLIGHTS, "--key", "tailnum"];
    let verified = server.run([&["consume", "flights"], &key[..]].concat());
    let verified = verified.expect_success();
    assert!(verified.contains("27004 of 27004 rows found"), "{verified}");

    let brokers = server.ready["brokers"].as_array().expect("brokers");
    let internal = brokers[0]["internal"].as_str().expect("an address");
    let status = run(["cluster", "status", "--json", "--brokers", internal]).expect_success();
    let status: Value = serde_json::from_str(&status).expect("JSON");
    let led = status["brokers"].as_array().expect("brokers").iter();
    let led: Vec<u64> = led
        .filter_map(|broker| broker["partitions_led"].as_u64())
        .collect();
    assert_eq!(led, [3, 3, 3], "{status:#}");
    server.stop();
}

#[test]
fn dev_keeps_a_folder_that_it_is_given_also_on_other_ports() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = start(folder.path());
    server
        .run(["topic", "create", "kept", "--partitions", "9"])
        .expect_success();
    let names = std::fs::read_dir(folder.path()).expect("the folder is there");
    let names = names.map(|entry| entry.expect("an entry").file_name().into_string());
    let names: BTreeSet<String> = names.map(|name| name.expect("text")).collect();
    assert_eq!(
        names,
        ["broker-1", "broker-2", "broker-3"]
            .map(String::from)
            .into()
    );
    server.stop();
    let server = start(folder.path());
    let described = server
        .run(["topic", "describe", "kept", "--json"])
        .expect_success();
    let described: Value = serde_json::from_str(&described).expect("JSON");
    let partitions = described["partitions"].as_array().expect("partitions");
    assert_eq!(partitions.len(), 9);
    assert!(
        partitions
            .iter()
            .all(|partition| partition["leader"].is_number()),
        "{described:#}"
    );
    server.stop();
}

#[test]
fn dev_refuses_the_folder_of_a_single_broker_and_settings_that_it_decides_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    Server::broker(folder.path(), &[]).stop();
    let data = folder.path().to_str().expect("text");
    run(["dev", "--port", "0", "--data", data]).expect_failure(
        1,
        &[
            "is the data folder of a single broker",
            "keylane broker --data",
        ],
    );
    run(["dev", "--voters", "1@a:1"]).expect_failure(2, &["unexpected argument '--voters'"]);
    let mut command = keylane();
    let file = folder.path().join("keylane.toml");
    std::fs::write(&file, "id = 7\n").expect("a file");
    command.args(["dev", "--config"]).arg(&file);
    run_command(&mut command, &[]).expect_failure(2, &["id: no such setting"]);
}

#[test]
fn dev_ends_when_its_stdin_closes() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = start(folder.path());
    server.close_stdin();
    let (status, log) = server.wait();
    assert!(status.success(), "{status}\n{log}");
}
