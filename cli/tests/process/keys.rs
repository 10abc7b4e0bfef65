//! `keylane topic describe --keys`: what routers have seen of skewed keys, by their admin ports and in their metrics.

use std::fmt::Write;

use serde_json::Value;

use crate::admin::{admin_of, get};
use crate::support::{Server, keylane, run_command};

fn router(broker: &Server) -> Server {
    let internal = broker.ready["internal"].as_str().expect("an address");
    let mut command = keylane();
    command.args(["router", "--brokers", internal, "--listen", "127.0.0.1:0"]);
    Server::start(&mut command)
}

/// Sends rows of which every second has the key JFK, through a router.
fn produce(router: &Server, rows: usize) {
    let mut text = "origin,flight\n".to_owned();
    for row in 0..rows {
        let origin = match row % 2 {
            0 => "JFK".to_owned(),
            _ => format!("airport-{}", row * 7 % 500),
        };
        writeln!(text, "{origin},{row}").expect("memory suffices");
    }
    let mut command = keylane();
    command.args([
        "produce", "flights", "-", "--format", "csv", "--key", "origin",
    ]);
    command.args(["--connect", router.address()]);
    run_command(&mut command, text.as_bytes()).expect_success();
}

#[test]
fn hot_keys_are_shown_as_all_routers_saw_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = Server::broker(folder.path(), &[]);
    let routers = [router(&broker), router(&broker)];
    routers[0]
        .run(["topic", "create", "flights", "--partitions", "8"])
        .expect_success();
    let admins = routers.each_ref().map(admin_of).join(",");
    let describe = |more: &[&str]| {
        let describe = ["topic", "describe", "--keys", "flights", "--admin", &admins];
        routers[0].run(describe.iter().chain(more)).expect_success()
    };
    let text = describe(&[]);
    assert!(text.contains("no router that was asked has seen"), "{text}");
    for router in &routers {
        produce(router, 10_000);
    }

    let text = describe(&[]);
    assert!(text.contains("as 2 routers saw them"), "{text}");
    assert!(text.contains("KEY") && text.contains("\"JFK\""), "{text}");
    let json: Value = serde_json::from_str(&describe(&["--json"])).expect("JSON");
    let keys = &json["keys"];
    assert_eq!(keys["hot_keys"][0]["key"], "\"JFK\"");
    assert_eq!(keys["hot_keys"].as_array().map(Vec::len), Some(20));
    let (least, most) = (
        keys["hot_keys"][0]["share_min"].as_f64().expect("a number"),
        keys["hot_keys"][0]["share_max"].as_f64().expect("a number"),
    );
    assert!(
        least > 0.4 && most < 0.6 && least <= most,
        "{least} to {most}"
    );
    assert!(keys["partition_skew"].as_f64() > Some(2.0), "{keys}");
    let full = keys["hot_keys"][0]["partition"].as_u64().expect("a number");
    let bytes = keys["partition_bytes"].as_array().expect("a list");
    let fullest = bytes.iter().max_by_key(|bytes| bytes.as_u64());
    assert_eq!(fullest, bytes.get(usize::try_from(full).expect("small")));

    let (status, metrics) = get(admin_of(&routers[0]), "/metrics");
    assert_eq!(status, 200);
    assert!(!metrics.contains("JFK"), "keys are no labels");
    let number = |name: &str| -> f64 {
        let mut lines = metrics.lines().filter(|line| line.starts_with(name));
        let line = lines
            .next()
            .unwrap_or_else(|| panic!("{name} in {metrics}"));
        let (_, number) = line.rsplit_once(' ').expect("a number");
        number.parse().expect("a number")
    };
    assert!((0.4..0.6).contains(&number("keylane_topic_hot_key_share{")));
    assert!(number("keylane_topic_partition_skew{") > 2.0);
    assert!(number("keylane_topic_keys_sampled_total{") > 100.0);
    assert!(number("keylane_topic_keys_elsewhere_total{") < 1.0);
}

#[test]
fn whoever_is_no_router_tells_of_no_keys() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = Server::broker(folder.path(), &[]);
    broker.run(["topic", "create", "flights"]).expect_success();
    let describe = ["topic", "describe", "--keys", "flights"];
    let asked = |admin: &str| broker.run(describe.iter().chain(&["--admin", admin]));
    asked(admin_of(&broker)).expect_failure(1, &["has no router", "--admin"]);
    let kafka = broker.address();
    asked(kafka).expect_failure(1, &[kafka, "--admin"]);
    asked("127.0.0.1:1").expect_failure(1, &["127.0.0.1:1", "--admin"]);
    broker.run(describe).expect_failure(2, &["--admin"]);
    assert_eq!(get(admin_of(&broker), "/keys?topic=flights").0, 404);
    assert_eq!(get(admin_of(&broker), "/keys").0, 400);
}
