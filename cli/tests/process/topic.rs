//! `keylane topic` against a broker.

use serde_json::Value;

use crate::support::Server;

#[test]
fn a_topic_is_created_listed_described_and_deleted() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::broker(folder.path(), &[]);
    let created = server.run([
        "topic",
        "create",
        "orders",
        "--partitions",
        "3",
        "--config",
        "durability=page-cache",
    ]);
    assert_eq!(
        created.expect_success(),
        "created topic orders with 3 partitions\n"
    );

    let list = server.run(["topic", "list"]).expect_success();
    assert!(
        list.starts_with("TOPIC   PARTITIONS  ID\norders           3  "),
        "{list}"
    );

    let text = server.run(["topic", "describe", "orders"]).expect_success();
    assert!(
        text.contains("PARTITION  LEADER  EPOCH  START  END"),
        "{text}"
    );
    let json = server
        .run(["topic", "describe", "orders", "--json"])
        .expect_success();
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["partitions"].as_array().map(Vec::len), Some(3));
    assert_eq!(json["partitions"][2]["end_offset"], 0);
    let configs = json["configs"].as_array().expect("configs");
    let durability = configs.iter().find(|config| config["name"] == "durability");
    let durability = durability.expect("durability is shown");
    assert_eq!(durability["value"], "page-cache");
    assert_eq!(durability["from"], "topic");

    server.run(["topic", "delete", "orders"]).expect_success();
    let list = server.run(["topic", "list", "--json"]).expect_success();
    assert_eq!(list, "{\"topics\":[]}\n");
    server.stop();
}

#[test]
fn a_topic_is_given_more_partitions_and_never_fewer() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::broker(folder.path(), &[]);
    let add = |name: &str, count: &str| {
        server.run(["topic", "add-partitions", name, "--partitions", count])
    };
    let created = server.run(["topic", "create", "orders", "--partitions", "2"]);
    created.expect_success();
    let added = add("orders", "5").expect_success();
    assert_eq!(added, "topic orders has 5 partitions\n");
    let json = server.run(["topic", "describe", "orders", "--json"]);
    let json: Value = serde_json::from_str(&json.expect_success()).expect("JSON");
    let partitions = json["partitions"].as_array().expect("partitions");
    assert_eq!(partitions.len(), 5);
    assert!(partitions.iter().all(|partition| partition["leader"] == 1));
    for count in ["5", "2"] {
        let words = format!("has 5 partitions already: it can have more, not {count} in all");
        add("orders", count).expect_failure(1, &[&words]);
    }
    add("orders", "999999999").expect_failure(1, &["a topic has from 1 to", "not 999999999"]);
    add("nope", "5").expect_failure(1, &["there is no topic \"nope\"", "keylane topic list"]);
    add("orders", "0").expect_failure(2, &["--partitions", "0"]);
    add("orders", "many").expect_failure(2, &["--partitions", "many"]);
    let without = server.run(["topic", "add-partitions", "orders"]);
    without.expect_failure(2, &["--partitions"]);
    server.stop();
}

#[test]
fn settings_of_a_topic_are_changed_and_the_others_stay_as_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::broker(folder.path(), &[]);
    let created = ["topic", "create", "orders", "--config", "segment.ms=60000"];
    server.run(created).expect_success();
    let alter =
        |arguments: &[&str]| server.run([&["topic", "alter", "orders"], arguments].concat());
    let settings = || {
        let json = server.run(["topic", "describe", "orders", "--json"]);
        let json: Value = serde_json::from_str(&json.expect_success()).expect("JSON");
        let setting = |name: &str| {
            let configs = json["configs"].as_array().expect("configs").iter();
            let mut found = configs.filter(|config| config["name"] == name);
            let found = found.next().expect("there");
            let text = |key: &str| found[key].as_str().expect("text").to_owned();
            (text("value"), text("from"))
        };
        (setting("segment.bytes"), setting("segment.ms"))
    };
    let by = |value: &str, from: &str| (value.to_owned(), from.to_owned());
    let set = alter(&["--set", "segment.bytes=2097152"]).expect_success();
    assert_eq!(set, "changed topic orders\n");
    let expected = (by("2097152", "topic"), by("60000", "topic"));
    assert_eq!(settings(), expected);
    alter(&["--set", "segment.bytes=4194304", "--unset", "segment.ms"]).expect_success();
    let expected = (by("4194304", "topic"), by("604800000", "default"));
    assert_eq!(settings(), expected);
    let words = ["durability", "what it was created with"];
    let both = ["--set", "durability=page-cache", "--unset", "segment.bytes"];
    alter(&both).expect_failure(1, &words);
    assert_eq!(settings(), expected, "all or nothing");
    alter(&["--set", "retention.ms=5"]).expect_failure(1, &["only -1 so far"]);
    alter(&["--set", "a", "--set", "b"])
        .expect_failure(2, &["--set a: give KEY=VALUE", "--set b: give KEY=VALUE"]);
    alter(&[]).expect_failure(2, &["--set", "--unset"]);
    let absent = server.run(["topic", "alter", "nope", "--unset", "segment.ms"]);
    absent.expect_failure(1, &["there is no topic \"nope\"", "keylane topic list"]);
    server.stop();
}

#[test]
fn what_cannot_be_done_to_a_topic_is_told_with_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::broker(folder.path(), &[]);
    server.run(["topic", "create", "../x"]).expect_failure(
        1,
        &[
            "\"../x\" contains '/'",
            "hint: a topic's name has 1 to 249 letters",
        ],
    );
    server.run(["topic", "create", "orders"]).expect_success();
    server
        .run(["topic", "create", "orders"])
        .expect_failure(1, &["exists already", "hint: choose another name"]);
    server
        .run(["topic", "create", "other", "--config", "retention.ms=5"])
        .expect_failure(1, &["retention.ms=5 is not possible: only -1 so far"]);
    server
        .run(["topic", "create", "other", "--config", "a", "--config", "b"])
        .expect_failure(
            2,
            &["--config a: give KEY=VALUE", "--config b: give KEY=VALUE"],
        );
    for command in ["describe", "delete"] {
        server
            .run(["topic", command, "nope"])
            .expect_failure(1, &["there is no topic \"nope\"", "keylane topic list"]);
    }
    // A name with a slash must not reach any path, whatever the client checks.
    server
        .run(["topic", "describe", "../x"])
        .expect_failure(1, &[]);
    server
        .run(["topic", "delete", "../x"])
        .expect_failure(1, &[]);
    server.stop();
}
