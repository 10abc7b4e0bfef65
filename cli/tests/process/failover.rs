//! Three brokers and two routers as processes: real input through them while a router and a broker are killed.

use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use keylane_protocol::transport::free_ports;

use crate::cluster::{start, start_three};
use crate::crash::FLIGHTS;
use crate::support::{Finished, Server, keylane, run_command};

pub(crate) const ROWS: u64 = 27_004;
const PARTITIONS: usize = 6;

/// Slow enough that each kill meets a producer at work.
const ROWS_PER_SECOND: &str = "6000";

/// Three brokers, all of them voters.
pub(crate) struct Cluster {
    folder: tempfile::TempDir,
    internal: Vec<String>,
    brokers: Vec<Option<Server>>,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let brokers = start_three(folder.path());
        let internal = |broker: &Server| broker.ready["internal"].as_str().map(str::to_owned);
        let internal = brokers.iter().map(internal);
        Self {
            folder,
            internal: internal
                .map(|address| address.expect("an address"))
                .collect(),
            brokers: brokers.into_iter().map(Some).collect(),
        }
    }

    pub(crate) fn kill_and_restart(&mut self, index: usize) {
        self.kill(index);
        self.restart(index);
    }

    pub(crate) fn kill(&mut self, index: usize) {
        let broker = self.brokers[index].take().expect("it runs");
        broker.kill();
    }

    pub(crate) fn restart(&mut self, index: usize) {
        let voter = |(index, address): (usize, &String)| format!("{}@{address}", index + 1);
        let voters: Vec<String> = self.internal.iter().enumerate().map(voter).collect();
        let internal = &self.internal[index];
        let broker = start(self.folder.path(), index + 1, &voters.join(","), internal);
        self.brokers[index] = Some(broker);
    }

    /// Stops all brokers; only then does their folder go.
    pub(crate) fn stop(mut self) {
        for broker in self.brokers.drain(..).flatten() {
            broker.stop();
        }
    }

    fn at(&self, index: usize) -> &Server {
        self.brokers[index].as_ref().expect("it runs")
    }

    /// Starts a router that names itself and the others by their addresses.
    pub(crate) fn router(&self, port: u16) -> Server {
        let address = format!("127.0.0.1:{port}");
        let mut command = keylane();
        command.args(["router", "--listen", &address, "--advertise", &address]);
        Server::start(command.args(["--brokers", &self.internal.join(",")]))
    }

    /// Starts a router that names itself alone, as whoever dials it does.
    pub(crate) fn lonely_router(&self) -> Server {
        let mut command = keylane();
        command.args(["router", "--listen", "127.0.0.1:0"]);
        Server::start(command.args(["--brokers", &self.internal.join(",")]))
    }
}

#[test]
fn flights_survive_the_death_of_a_router_and_of_a_broker() {
    let mut cluster = Cluster::start();
    let ports = free_ports(2);
    let [first, second] = [0, 1].map(|place| cluster.router(ports[place]));
    until_known(&first, 2);
    let partitions = PARTITIONS.to_string();
    first
        .run(["topic", "create", "flights", "--partitions", &partitions])
        .expect_success();
    let producer = spawn_producer(first.address());
    until_stored(&cluster, ROWS * 3 / 10, &producer);
    first.kill();
    until_stored(&cluster, ROWS * 6 / 10, &producer);
    cluster.kill_and_restart(1);
    let sent = producer.join().expect("the thread ends").expect_success();
    let expected = format!("{ROWS} rows read, {ROWS} acknowledged, {PARTITIONS} partitions");
    assert!(sent.starts_with(&expected), "{sent}");

    second
        .run(["topic", "add-partitions", "flights", "--partitions", "9"])
        .expect_success();
    check_spread(&cluster);
    let key = ["--verify-against", FLIGHTS, "--key", "tailnum"];
    let verified = second
        .run([&["consume", "flights"], &key[..]].concat())
        .expect_success();
    let expected =
        format!("{ROWS} of {ROWS} rows found, 0 missing, 0 doubled, 0 out of order, 0 foreign");
    assert!(verified.contains(&expected), "{verified}");
    second.stop();
    cluster.stop();
}

#[test]
fn a_command_given_two_routers_goes_on_when_one_is_killed() {
    let cluster = Cluster::start();
    let [first, second] = [cluster.lonely_router(), cluster.lonely_router()];
    let both = format!("{},{}", first.address(), second.address());
    let partitions = PARTITIONS.to_string();
    first
        .run(["topic", "create", "flights", "--partitions", &partitions])
        .expect_success();
    let producer = spawn_producer(&both);
    until_stored(&cluster, ROWS / 2, &producer);
    first.kill();
    let sent = producer.join().expect("the thread ends").expect_success();
    let expected = format!("{ROWS} rows read, {ROWS} acknowledged, {PARTITIONS} partitions");
    assert!(sent.starts_with(&expected), "{sent}");
    // The first of the two is dead from the beginning here.
    let mut command = keylane();
    command
        .args(["consume", "flights", "--verify-against", FLIGHTS])
        .args(["--key", "tailnum"])
        .env("KEYLANE_CONNECT", &both);
    let verified = run_command(&mut command, &[]).expect_success();
    let expected = format!("{ROWS} of {ROWS} rows found, 0 missing, 0 doubled, 0 out of order");
    assert!(verified.contains(&expected), "{verified}");
    second.stop();
    cluster.stop();
}

/// Waits until a router tells clients of so many routers: who knows of one only has nowhere to go when it dies.
pub(crate) fn until_known(router: &Server, routers: i32) {
    // Metadata, version 1, correlation 7, no client id, no topics.
    let request = [0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 7, 0xff, 0xff, 0, 0, 0, 0];
    let known = || {
        let mut stream = TcpStream::connect(router.address()).expect("it listens");
        stream.write_all(&request).expect("it reads");
        // Length, correlation, and how many nodes there are.
        let mut response = [0; 12];
        stream.read_exact(&mut response).expect("it answers");
        i32::from_be_bytes(response[8..].try_into().expect("four bytes"))
    };
    while known() < routers {
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn spawn_producer(connect: &str) -> std::thread::JoinHandle<Finished> {
    assert!(
        Path::new(FLIGHTS).exists(),
        "{FLIGHTS} belongs to the repository"
    );
    let mut command = keylane();
    command
        .args(["produce", "flights", FLIGHTS, "--key", "tailnum"])
        .args(["--rate", ROWS_PER_SECOND, "--batch-size", "16KiB"])
        .args(["--connect", connect])
        .stdin(Stdio::null());
    std::thread::spawn(move || run_command(&mut command, &[]))
}

pub(crate) fn until_stored(
    cluster: &Cluster,
    rows: u64,
    producer: &std::thread::JoinHandle<Finished>,
) {
    // The broker that is asked may not know yet of a topic that a router has just created.
    let known = || {
        let described = describe(cluster);
        described.status.success().then(|| stored(described))
    };
    let count = |stored: BTreeMap<i64, u64>| stored.values().sum::<u64>();
    while known().map_or(0, count) < rows && !producer.is_finished() {
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub(crate) fn describe(cluster: &Cluster) -> Finished {
    let first = cluster.at(0);
    first.run(["topic", "describe", "flights", "--json"])
}

/// Returns how many records each broker leads.
fn stored(described: Finished) -> BTreeMap<i64, u64> {
    let described: Value = serde_json::from_str(&described.expect_success()).expect("JSON");
    let mut stored = BTreeMap::new();
    for partition in described["partitions"].as_array().expect("partitions") {
        let leader = partition["leader"].as_i64().unwrap_or(-1);
        let records = partition["end_offset"].as_u64().unwrap_or(0);
        *stored.entry(leader).or_insert(0) += records;
    }
    stored
}

/// Checks that every broker holds its part of the records.
fn check_spread(cluster: &Cluster) {
    let stored = stored(describe(cluster));
    assert_eq!(stored.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
    for (broker, records) in stored {
        let part = records as f64 / ROWS as f64;
        assert!((0.2..=0.5).contains(&part), "broker {broker} holds {part}");
    }
}
