//! `keylane cluster status`: what it says of brokers, controllers and routers, whichever voter is asked.

use serde_json::Value;
use std::time::Duration;

use keylane_protocol::transport::free_ports;

use crate::cluster::start_three;
use crate::support::{Server, keylane, run};

const LOOKS_MAX: u32 = 600;
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

fn internal(server: &Server) -> &str {
    server.ready["internal"].as_str().expect("an address")
}

/// Asks until a status is as wanted; while the controllers elect, there is none.
fn until(brokers: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
    let mut last = String::new();
    for _ in 0..LOOKS_MAX {
        let asked = run(["cluster", "status", "--json", "--brokers", brokers]);
        last = asked.to_string();
        if asked.status.success() {
            let status = serde_json::from_str(&asked.stdout).expect("JSON");
            if is_wanted(&status) {
                return status;
            }
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
    panic!("not as wanted in the end: {last}");
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
    let port = free_ports(1)[0];
    let address = format!("127.0.0.1:{port}");
    let mut command = keylane();
    command.args(["router", "--listen", &address, "--advertise", &address]);
    let router = Server::start(command.args(["--brokers", internal(&servers[0])]));

    let is_whole = |status: &Value| {
        let routers = status["routers"].as_array();
        // A busy machine may have fenced a broker for a while.
        routers.is_some_and(|all| all.len() == 1) && status["partitions_without_leader"] == 0
    };
    let mut controllers = Vec::new();
    for server in &servers {
        let status = until(internal(server), is_whole);
        assert_eq!(status["routers"][0]["address"], address);
        assert_eq!(status["topics"], 1);
        assert_eq!(status["partitions"], 6);
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
    // A busy machine may have placed them on fewer.
    let led = until(&all.join(","), is_whole)["brokers"][2]["partitions_led"].clone();
    servers.pop().expect("the third").kill();
    let status = until(&all.join(","), |status| {
        status["brokers"][2]["state"] == "fenced"
    });
    let left = status["partitions_without_leader"].as_u64();
    assert!(left >= led.as_u64(), "{status:#}");
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
