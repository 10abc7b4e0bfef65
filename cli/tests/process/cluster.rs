//! Three brokers as processes: real input through all of them, whichever a client is told to dial.

use rustix::process::Signal;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use keylane_protocol::transport::free_ports;

use crate::crash::FLIGHTS;
use crate::support::{Server, keylane, run_command};

/// Starts the broker of an id; `internal` is where it listens for the others.
pub(crate) fn start(folder: &Path, id: usize, voters: &str, internal: &str) -> Server {
    let (data, id) = (folder.join(format!("data-{id}")), id.to_string());
    let mut more = vec![
        "--id",
        &id,
        "--voters",
        voters,
        "--internal-listen",
        internal,
    ];
    more.extend(["--session", "2s"]);
    if id == "1" {
        more.push("--bootstrap");
    }
    Server::broker(&data, &more)
}

/// Starts three brokers that vote, at the same time, for they wait for one another.
pub(crate) fn start_three(folder: &Path) -> Vec<Server> {
    let ports = free_ports(3);
    let voters = format!(
        "1@127.0.0.1:{},2@127.0.0.1:{},3@127.0.0.1:{}",
        ports[0], ports[1], ports[2]
    );
    std::thread::scope(|scope| {
        let started: Vec<_> = (1..)
            .zip(ports)
            .map(|(id, port)| {
                let voters = &voters;
                scope.spawn(move || start(folder, id, voters, &format!("127.0.0.1:{port}")))
            })
            .collect();
        let servers = started.into_iter().map(|thread| thread.join());
        servers.map(|server| server.expect("it starts")).collect()
    })
}

#[test]
fn flights_go_through_three_brokers_once_each_and_in_order_per_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let servers = start_three(folder.path());
    servers[1]
        .run(["topic", "create", "flights", "--partitions", "6"])
        .expect_success();
    let sent = servers[2].run(["produce", "flights", FLIGHTS, "--key", "tailnum"]);
    let sent = sent.expect_success();
    assert!(
        sent.starts_with("27004 rows read, 27004 acknowledged, 6 partitions"),
        "{sent}"
    );
    for server in &servers {
        let verified = server.run([
            "consume",
            "flights",
            "--verify-against",
            FLIGHTS,
            "--key",
            "tailnum",
        ]);
        let verified = verified.expect_success();
        let expected = "27004 of 27004 rows found, 0 missing, 0 doubled, 0 out of order, 0 foreign";
        assert!(verified.contains(expected), "{verified}");
    }
    for server in servers {
        server.stop();
    }
}

#[test]
fn a_broker_that_waits_for_others_can_be_stopped() {
    let folder = tempfile::tempdir().expect("a folder");
    let ports = free_ports(3);
    let [own, second, third] = [0, 1, 2]
        .map(|place| ports[place])
        .map(|port| format!("127.0.0.1:{port}"));
    let voters = format!("1@{own},2@{second},3@{third}");
    let mut child = keylane()
        .args(["broker", "--port", "0", "--bootstrap", "--voters", &voters])
        .args(["--internal-listen", &own, "--data"])
        .arg(folder.path().join("data"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let log = BufReader::new(child.stderr.take().expect("stderr is a pipe"));
    let mut lines = log.lines().map(|line| line.expect("a pipe can be read"));
    let says = |line: String| line.contains("founds the cluster when all its voters are there");
    assert!(lines.any(says), "it says for whom it waits");
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, Signal::TERM).expect("a child can be signalled");
    let status = child.wait().expect("a child can be waited for");
    assert!(status.success(), "{status}");
}

#[test]
fn faults_of_the_voters_are_told_together() {
    let words = [
        "--voters 1@a:1,2@b:2",
        "two voters",
        "--session 1ms",
        "--bootstrap",
    ];
    let mut command = keylane();
    command.args(["broker", "--data", "/nowhere", "--id", "3", "--bootstrap"]);
    command.args(["--voters", "1@a:1,2@b:2", "--session", "1ms"]);
    run_command(&mut command, &[]).expect_failure(2, &words);
}
