//! `keylane cluster status`: what it says of brokers, controllers and routers, whichever voter is asked.

use serde_json::Value;
use std::time::Duration;

use crate::cluster::{free_ports, start_three};
use crate::support::{Server, keylane, run};

fn internal(server: &Server) -> &str {
    server.ready["internal"].as_str().expect("an address")
}

fn status(brokers: &str) -> Value {
    let printed = run(["cluster", "status", "--json", "--brokers", brokers]).expect_success();
    serde_json::from_str(&printed).expect("JSON")
}

/// Asks until a status is as wanted.
fn until(brokers: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
    loop {
        let status = status(brokers);
        if is_wanted(&status) {
            return status;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn sum(status: &Value, name: &str) -> u64 {
    let brokers = status["brokers"].as_array().expect("brokers");
    brokers
        .iter()
        .filter_map(|broker| broker[name].as_u64())
        .sum()
}

#[test]
fn the_status_names_brokers_controllers_and_routers_and_who_has_died() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut servers = start_three(folder.path());
    servers[0]
        .run(["topic", "create", "orders", "--partitions", "6"])
        .expect_success();
    let [port]: [u16; 1] = free_ports();
    let address = format!("127.0.0.1:{port}");
    let mut command = keylane();
    command.args(["router", "--listen", &address, "--advertise", &address]);
    let router = Server::start(command.args(["--brokers", internal(&servers[0])]));

    let is_whole = |status: &Value| {
        status["routers"]
            .as_array()
            .is_some_and(|all| all.len() == 1)
    };
    let mut controllers = Vec::new();
    for server in &servers {
        let status = until(internal(server), is_whole);
        assert_eq!(status["routers"][0]["address"], address);
        assert_eq!(status["topics"], 1);
        assert_eq!(status["partitions"], 6);
        assert_eq!(status["partitions_without_leader"], 0);
        assert_eq!(sum(&status, "partitions_led"), 6);
        let parts = status["brokers"].as_array().expect("brokers").iter();
        let leading = parts.filter(|broker| broker["metadata"] == "leads");
        controllers.extend(leading.map(|broker| broker["id"].as_i64()));
        assert_eq!(
            controllers.last(),
            Some(&status["controller"]["id"].as_i64())
        );
    }
    assert_eq!(controllers.len(), 3, "{controllers:?}");
    let printed = run(["cluster", "status", "--brokers", internal(&servers[1])]);
    let printed = printed.expect_success();
    for word in [
        "leads the controllers in term",
        "1 topic, 6 partitions",
        &address,
    ] {
        assert!(printed.contains(word), "should say {word}\n{printed}");
    }

    let all: Vec<String> = servers
        .iter()
        .map(|server| internal(server).into())
        .collect();
    servers.pop().expect("the third").kill();
    let status = until(&all.join(","), |status| {
        status["partitions_without_leader"] == 2
    });
    assert_eq!(status["brokers"][2]["state"], "fenced");
    router.stop();
}

#[test]
fn who_cannot_tell_the_status_says_what_helps() {
    run(["cluster", "status", "--brokers", "127.0.0.1:1"]).expect_failure(
        1,
        &[
            "no controller answers: 127.0.0.1:1: ",
            "refused",
            "--brokers HOST:PORT",
        ],
    );
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::broker(folder.path(), &[]);
    // The port for clients speaks another protocol.
    run(["cluster", "status", "--brokers", server.address()])
        .expect_failure(1, &["no controller answers", "--brokers HOST:PORT"]);
    server.stop();
}
