//! A router as a process of its own, in front of a broker.

use crate::support::{Server, keylane, run};

fn router(brokers: &str, more: &[&str]) -> Server {
    let mut command = keylane();
    let listen = ["--listen", "127.0.0.1:0"];
    command.args(["router", "--brokers", brokers]).args(listen);
    Server::start(command.args(more))
}

#[test]
fn the_commands_work_through_a_router_as_with_a_broker() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = Server::broker(folder.path(), &[]);
    let internal = broker.ready["internal"].as_str().expect("an address");
    let router = router(internal, &[]);
    assert_eq!(router.ready["role"], "router");
    router
        .run(["topic", "create", "orders", "--partitions", "2"])
        .expect_success();
    let listed = router.run(["topic", "list"]).expect_success();
    assert!(listed.contains("orders"), "{listed}");
    let log = router.stop();
    assert!(log.contains("no address is advertised"), "{log}");
    assert!(log.contains("stopped"), "{log}");
}

#[test]
fn wrong_use_of_a_router_is_told_in_words() {
    run(["router"]).expect_failure(
        2,
        &["--brokers is missing", "KEYLANE_BROKERS", "--config file"],
    );
    run(["router", "--brokers", "nowhere"]).expect_failure(2, &["HOST:PORT"]);
    let wrong = [
        "--listen",
        "0.0.0.0:0",
        "--idle-timeout",
        "0s",
        "--brokers",
        "b:1",
    ];
    run(["router"].into_iter().chain(wrong)).expect_failure(
        2,
        &[
            "--listen",
            "can be reached by other machines",
            "--idle-timeout",
        ],
    );
}

#[test]
fn a_router_is_configured_by_a_file_that_flags_and_the_environment_overrule() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = Server::broker(&folder.path().join("data"), &[]);
    let internal = broker.ready["internal"].as_str().expect("an address");
    let file = folder.path().join("router.toml");
    let text = format!(
        "brokers = \"{internal}\"\nlisten = \"0.0.0.0:9092\"\nadvertise = \"file:1\"\nadmin-listen = \"off\"\n"
    );
    std::fs::write(&file, text).expect("a file");
    let mut command = keylane();
    command.env("KEYLANE_ADVERTISE", "environment:2");
    command.env("KEYLANE_LISTEN", "0.0.0.0:9093");
    command.args(["router", "--listen", "127.0.0.1:0", "--config"]);
    let router = Server::start(command.arg(&file));
    assert_eq!(router.ready["advertise"], "environment:2");
    assert!(router.ready["admin"].is_null(), "{}", router.ready);
    router.stop();
}

#[test]
fn the_help_of_a_router_tells_defaults_and_variables() {
    let help = run(["router", "--help"]).expect_success();
    for word in [
        "--config <FILE>",
        "[default: 127.0.0.1:9092; env: KEYLANE_LISTEN]",
        "[env: KEYLANE_BROKERS]",
        "[default: 512MiB; env: KEYLANE_FETCHES_SIZE_MAX]",
    ] {
        assert!(help.contains(word), "{help}");
    }
}
