//! What the metrics say: every name is in the table of `docs/metrics.md` and the reverse, every series has its node, and
//! the counts are those of what was done.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use keylane_protocol::api::APIS;
use serde_json::Value;

use crate::admin::{admin_of, get};
use crate::support::{Server, keylane, run_command};

/// The labels of a series, in the order of their names.
type Labels = BTreeMap<String, String>;

/// A scrape, read strictly: what Prometheus would refuse panics.
#[derive(Default)]
struct Scrape {
    /// The kind of each family.
    kinds: BTreeMap<String, String>,
    samples: BTreeMap<(String, Labels), f64>,
}

impl Scrape {
    fn of(server: &Server) -> Self {
        let (status, text) = get(admin_of(server), "/metrics");
        assert_eq!(status, 200);
        Self::parse(&text)
    }

    fn parse(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line has its end");
        let mut scrape = Self::default();
        let mut family: Option<(String, String)> = None;
        let mut described = BTreeSet::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("a name and words");
                assert!(!help.is_empty(), "{name} has no words");
                assert!(
                    described.insert(name.to_owned()),
                    "{name} is described twice"
                );
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a name and a kind");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                let before = scrape.kinds.insert(name.to_owned(), kind.to_owned());
                assert!(before.is_none() && described.contains(name), "{line}");
                family = Some((name.to_owned(), kind.to_owned()));
            } else {
                let (name, labels, value) = sample(line);
                let (of, kind) = family.as_ref().expect("a family before its series");
                let fits = match kind.as_str() {
                    "histogram" => ["_bucket", "_sum", "_count"]
                        .iter()
                        .any(|end| name == format!("{of}{end}")),
                    _ => name == *of,
                };
                assert!(fits, "{line} is not of the family {of}");
                assert!(labels.contains_key("node"), "{line}");
                let before = scrape.samples.insert((name, labels), value);
                assert!(before.is_none(), "{line} is there twice");
            }
        }
        scrape.check_histograms();
        scrape
    }

    /// Checks that buckets never fall, that the last is all, and that it is the count.
    fn check_histograms(&self) {
        let mut series: BTreeMap<(String, Labels), Vec<(f64, f64)>> = BTreeMap::new();
        for ((name, labels), value) in &self.samples {
            if let Some(of) = name.strip_suffix("_bucket") {
                let mut labels = labels.clone();
                let bound = labels.remove("le").expect("a bound");
                let bound = bound.replace("+Inf", "inf").parse().expect("a number");
                let buckets = series.entry((of.to_owned(), labels)).or_default();
                buckets.push((bound, *value));
            }
        }
        assert!(!series.is_empty());
        for ((name, labels), mut buckets) in series {
            buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
            assert!(
                buckets.is_sorted_by(|one, other| one.1 <= other.1),
                "{name} {labels:?}"
            );
            let all = buckets.last().expect("a bucket");
            assert!(all.0.is_infinite(), "{name} {labels:?}");
            assert_eq!(
                Some(&all.1),
                self.samples.get(&(format!("{name}_count"), labels))
            );
        }
    }

    /// Checks that no API is told of that the codec has and nobody serves.
    fn check_apis(&self) {
        let told = self
            .samples
            .keys()
            .filter_map(|(_, labels)| labels.get("api"));
        for name in told {
            let api = APIS.iter().find(|api| api.name == name);
            assert!(api.is_some_and(|api| api.offered.is_some()), "{name}");
        }
    }

    /// Returns the sum of the series of a name that have these labels.
    fn sum(&self, name: &str, wanted: &[(&str, &str)]) -> f64 {
        let samples = self.samples.iter().filter(|((of, labels), _)| {
            let has =
                |(label, value): &(&str, &str)| labels.get(*label).is_some_and(|has| has == value);
            of == name && wanted.iter().all(has)
        });
        samples.map(|(_, value)| value).sum()
    }

    fn check(&self, name: &str, labels: &[(&str, &str)], expected: f64) {
        let found = self.sum(name, labels);
        assert!(
            (found - expected).abs() < 1e-9,
            "{name} {labels:?}: {found}, not {expected}"
        );
    }

    /// Returns the labels of each family, without those of histograms' buckets.
    fn labels(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (name, kind) in &self.kinds {
            let end = if kind == "histogram" { "_count" } else { "" };
            let of = format!("{name}{end}");
            for (_, labels) in self.samples.keys().filter(|(series, _)| *series == of) {
                let names = labels.keys().cloned();
                let before = found.insert(name.clone(), names.collect());
                let now = &found[name];
                assert!(before.is_none_or(|before| before == *now), "{name} {now:?}");
            }
        }
        found
    }
}

/// Reads the line of a series.
fn sample(line: &str) -> (String, Labels, f64) {
    let (name, rest) = line.split_once('{').expect("labels");
    let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
    assert!(
        name.starts_with("keylane_") && name.chars().all(is_name),
        "{line}"
    );
    let (labels, value) = rest.rsplit_once("} ").expect("a value");
    let mut found = Labels::new();
    for label in labels.split("\",") {
        let (name, value) = label.split_once("=\"").expect("a label");
        let value = value.strip_suffix('"').unwrap_or(value);
        assert!(
            name.chars().all(is_name) && !value.contains(['"', '\\']),
            "{line}"
        );
        assert!(
            found.insert(name.to_owned(), value.to_owned()).is_none(),
            "{line}"
        );
    }
    let value = value.replace("+Inf", "inf").parse().expect("a number");
    (name.to_owned(), found, value)
}

fn docs(file: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    root.expect("the workspace").join("docs").join(file)
}

/// Returns the kind and the labels of each name in the table.
fn table() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let text = std::fs::read_to_string(docs("metrics.md")).expect("the table");
    let mut found = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| `keylane_")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let labels = cells[3]
            .split(',')
            .map(|label| label.trim().trim_matches('`'));
        let labels = labels.filter(|label| !label.is_empty()).chain(["node"]);
        let row = (cells[2].to_owned(), labels.map(str::to_owned).collect());
        let name = cells[1].trim_matches('`').to_owned();
        assert!(found.insert(name, row).is_none(), "{line} is there twice");
    }
    assert!(found.len() > 30, "{} rows", found.len());
    found
}

/// Makes a topic, sends a file of rows to a server, and reads them back from there.
fn produce_and_read(server: &Server, rows: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("rows.txt");
    let text: String = (0..rows).map(|row| format!("key-{row}\n")).collect();
    std::fs::write(&file, text).expect("written");
    let file = file.to_str().expect("a path");
    let create = ["topic", "create", "orders", "--partitions", "3"];
    server.run(create).expect_success();
    server.run(["produce", "orders", file]).expect_success();
    let read = server.run(["consume", "orders"]).expect_success();
    assert_eq!(read.lines().count(), rows);
}

fn router(broker: &Server) -> Server {
    let internal = broker.ready["internal"].as_str().expect("an address");
    let mut command = keylane();
    Server::start(command.args(["router", "--listen", "127.0.0.1:0", "--brokers", internal]))
}

#[test]
fn the_table_names_what_nodes_tell_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = Server::broker(folder.path(), &[]);
    let router = router(&broker);
    produce_and_read(&router, 10);
    let mut told = BTreeMap::new();
    for server in [&broker, &router] {
        let scrape = Scrape::of(server);
        let mut labels = scrape.labels();
        for (name, kind) in &scrape.kinds {
            let row = (kind.clone(), labels.remove(name).unwrap_or_default());
            told.insert(name.clone(), row);
        }
    }
    let table = table();
    for (name, row) in &table {
        assert_eq!(
            told.get(name),
            Some(row),
            "{name}: told, and in docs/metrics.md"
        );
    }
    for name in told.keys() {
        assert!(table.contains_key(name), "{name} is not in docs/metrics.md");
    }
}

#[test]
fn a_broker_counts_what_is_produced_and_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = Server::broker(folder.path(), &["--id", "7"]);
    produce_and_read(&broker, 1000);
    let scrape = Scrape::of(&broker);
    let node = [("node", "broker-7")];
    assert!(
        scrape
            .samples
            .keys()
            .all(|(_, labels)| labels["node"] == "broker-7")
    );
    scrape.check("keylane_ready", &node, 1.0);
    scrape.check("keylane_controller_leads", &node, 1.0);
    scrape.check("keylane_partitions", &node, 3.0);
    let of_orders = [("topic", "orders")];
    for name in ["appended_records_total", "fetched_records_total"] {
        scrape.check(&format!("keylane_{name}"), &node, 1000.0);
        scrape.check(&format!("keylane_partition_{name}"), &of_orders, 1000.0);
    }
    for name in ["high_watermark", "log_end_offset"] {
        scrape.check(&format!("keylane_partition_{name}"), &of_orders, 1000.0);
    }
    scrape.check("keylane_partition_log_start_offset", &of_orders, 0.0);
    let bytes = scrape.sum("keylane_appended_bytes_total", &node);
    assert!(bytes > 8_000.0, "{bytes}");
    for name in [
        "partition_appended_bytes_total",
        "partition_log_bytes",
        "fetched_bytes_total",
    ] {
        scrape.check(&format!("keylane_{name}"), &[], bytes);
    }
    assert!(scrape.sum("keylane_sent_bytes_total", &node) > bytes);
    let fsync = [("topic", "orders"), ("durability", "fsync")];
    scrape.check("keylane_topic_durability", &fsync, 1.0);
    scrape.check_apis();
    let produced = [("listener", "kafka"), ("api", "Produce")];
    assert!(scrape.sum("keylane_request_seconds_count", &produced) >= 1.0);
    scrape.check(
        "keylane_request_seconds_count",
        &[("api", "CreateTopics")],
        1.0,
    );
    for stage in ["connection", "shard", "writer"] {
        let waited = scrape.sum("keylane_queue_seconds_count", &[("stage", stage)]);
        assert!(waited >= 1.0, "{stage}: {waited}");
    }
    for name in ["keylane_sync_seconds_count", "keylane_group_seconds_count"] {
        assert!(scrape.sum(name, &node) >= 1.0, "{name}");
    }
    scrape.check("keylane_queue_length", &node, 0.0);
    scrape.check("keylane_budget_used_bytes", &node, 0.0);
    assert!(scrape.sum("keylane_image_age_seconds", &node) < 9.0);
    broker.stop();
}

#[test]
fn the_series_of_a_deleted_topic_go() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = Server::broker(folder.path(), &[]);
    produce_and_read(&broker, 10);
    let has_orders = |scrape: &Scrape| {
        let mut labels = scrape.samples.keys().map(|(_, labels)| labels);
        labels.any(|labels| labels.get("topic").is_some_and(|topic| topic == "orders"))
    };
    assert!(has_orders(&Scrape::of(&broker)));
    broker.run(["topic", "delete", "orders"]).expect_success();
    let scrape = Scrape::of(&broker);
    assert!(!has_orders(&scrape));
    scrape.check("keylane_appended_records_total", &[], 10.0);
    scrape.check("keylane_partitions", &[], 0.0);
    broker.stop();
}

#[test]
fn a_router_counts_what_passes_and_what_it_asks_of_brokers() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = Server::broker(folder.path(), &[]);
    let router = router(&broker);
    produce_and_read(&router, 1000);
    let scrape = Scrape::of(&router);
    for direction in ["produce", "fetch"] {
        let labels = [("direction", direction)];
        scrape.check("keylane_forwarded_records_total", &labels, 1000.0);
    }
    scrape.check("keylane_ready", &[], 1.0);
    assert!(scrape.sum("keylane_uplink_up", &[("broker", "1")]) >= 1.0);
    scrape.check("keylane_connections", &[], 0.0);
    scrape.check("keylane_uplink_in_flight", &[], 0.0);
    scrape.check_apis();
    assert!(scrape.sum("keylane_request_seconds_count", &[("api", "Fetch")]) >= 1.0);
    let behind = Scrape::of(&broker);
    behind.check("keylane_appended_records_total", &[], 1000.0);
    let sub_batches = [("listener", "link"), ("api", "Produce")];
    assert!(behind.sum("keylane_request_seconds_count", &sub_batches) >= 1.0);
    behind.check("keylane_link_credit_used_bytes", &[], 0.0);
    behind.check("keylane_link_in_flight", &[("kind", "append")], 0.0);
    // A broker that goes takes its links with it.
    broker.kill();
    let mut tries = 0;
    while Scrape::of(&router).sum("keylane_uplink_up", &[]) > 0.0 {
        assert!(tries < 1000, "the link is still up");
        tries += 1;
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(get(admin_of(&router), "/readyz").0, 200, "it has an image");
    router.stop();
}

#[test]
fn one_process_of_several_nodes_tells_of_each_by_its_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = keylane();
    let command = command.args(["dev", "--port", "0", "--data"]);
    let server = Server::start(command.arg(folder.path()));
    produce_and_read(&server, 600);
    let scrape = Scrape::of(&server);
    let router = format!("router@{}", server.address());
    let nodes = scrape.samples.keys().map(|(_, labels)| &*labels["node"]);
    let nodes: BTreeSet<&str> = nodes.collect();
    let expected = ["broker-1", "broker-2", "broker-3", &router];
    assert_eq!(nodes, expected.into());
    for node in expected {
        scrape.check("keylane_ready", &[("node", node)], 1.0);
    }
    scrape.check("keylane_appended_records_total", &[], 600.0);
    scrape.check("keylane_partition_log_end_offset", &[], 600.0);
    scrape.check("keylane_controller_leads", &[], 1.0);
    for broker in ["1", "2", "3"] {
        let node = format!("broker-{broker}");
        let own = scrape.sum("keylane_partitions", &[("node", &node)]);
        assert!(
            (own - 1.0).abs() < 1e-9,
            "{node} keeps {own} of three partitions"
        );
        assert!(scrape.sum("keylane_uplink_up", &[("broker", broker)]) >= 1.0);
    }
    assert_eq!(get(admin_of(&server), "/healthz").0, 200);
    assert_eq!(get(admin_of(&server), "/readyz").0, 200);
    server.stop();
}

#[test]
fn the_dashboard_asks_for_nothing_that_is_not_in_the_table() {
    let text = std::fs::read_to_string(docs("grafana/keylane.json")).expect("the dashboard");
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    let table = table();
    let mut asked = BTreeSet::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().expect("an expression");
            let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
            for word in words.filter(|word| word.starts_with("keylane_")) {
                let ends = ["_bucket", "_sum", "_count"];
                let family = ends.iter().find_map(|end| word.strip_suffix(end));
                let is_histogram =
                    |name: &&str| table.get(*name).is_some_and(|row| row.0 == "histogram");
                let name = family.filter(is_histogram).unwrap_or(word);
                assert!(
                    table.contains_key(name),
                    "{expression}: {name} is not in the table"
                );
                asked.insert(name.to_owned());
            }
        }
    }
    assert!(asked.len() > 20, "{asked:?}");
}

#[test]
fn a_scrape_while_records_flow_is_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = Server::broker(folder.path(), &[]);
    broker.run(["topic", "create", "busy"]).expect_success();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..5 {
                let mut command = keylane();
                command.env("KEYLANE_CONNECT", broker.address());
                command.args(["produce", "busy", "-", "--format", "lines"]);
                run_command(&mut command, &b"row\n".repeat(20_000)).expect_success();
            }
        });
        let mut before = 0.0;
        while before < 100_000.0 {
            let records = Scrape::of(&broker).sum("keylane_appended_records_total", &[]);
            assert!(records >= before, "{before} {records}");
            before = records;
        }
    });
    broker.stop();
}
