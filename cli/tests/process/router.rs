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
    run(["router"]).expect_failure(2, &["--brokers"]);
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
