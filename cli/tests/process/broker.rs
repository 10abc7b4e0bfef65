//! How servers start, tell that they are ready, and stop.

use rustix::process::Signal;
use std::net::TcpListener;
use std::path::Path;

use crate::support::{Server, keylane, run};

#[test]
fn a_broker_tells_its_addresses_and_stops_cleanly_at_sigterm_and_sigint() {
    let folder = tempfile::tempdir().expect("a folder");
    for signal in [Signal::TERM, Signal::INT] {
        let server = Server::broker(folder.path(), &["--id", "7", "--durability", "page-cache"]);
        assert_eq!(server.ready["ready"], true);
        assert_eq!(server.ready["role"], "broker");
        assert_eq!(server.ready["id"], 7);
        assert_eq!(server.ready["durability"], "page-cache");
        let data = server.ready["data"].as_str().expect("a folder");
        assert_eq!(Path::new(data), folder.path());
        server.run(["topic", "list"]).expect_success();
        server.signal(signal);
        let (status, log) = server.wait();
        assert!(status.success(), "{status}\n{log}");
        assert!(log.contains("stopped"), "{log}");
    }
}

#[test]
fn start_up_says_what_a_power_loss_would_cost_and_who_can_reach_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let flags = [
        "--durability",
        "page-cache",
        "--host",
        "0.0.0.0",
        "--insecure",
    ];
    let log = Server::broker(folder.path(), &flags).stop();
    for word in [
        "page-cache",
        "power loss",
        "neither encrypted nor authenticated",
        "connections_max",
    ] {
        assert!(log.contains(word), "should say {word}\n{log}");
    }
}

#[test]
fn a_broker_stops_when_its_stdin_closes() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = Server::broker(folder.path(), &[]);
    server.close_stdin();
    let (status, log) = server.wait();
    assert!(status.success(), "{status}\n{log}");
}

#[test]
fn an_occupied_port_is_told_with_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let occupied = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = occupied
        .local_addr()
        .expect("an address")
        .port()
        .to_string();
    let data = folder.path().to_str().expect("text");
    run(["broker", "--data", data, "--port", &port]).expect_failure(
        1,
        &[
            &format!("127.0.0.1:{port}"),
            "in use",
            "choose another port",
        ],
    );
}

#[test]
fn dev_needs_nothing_and_leaves_nothing() {
    let parent = tempfile::tempdir().expect("a folder");
    let server = Server::start(
        keylane()
            .env("TMPDIR", parent.path())
            .args(["dev", "--port", "0"]),
    );
    assert_eq!(server.ready["role"], "dev");
    let data = server.ready["data"].as_str().expect("a folder").to_owned();
    assert!(Path::new(&data).starts_with(parent.path()), "{data}");
    assert!(Path::new(&data).is_dir(), "{data}");
    server.stop();
    let left = std::fs::read_dir(parent.path())
        .expect("the folder is there")
        .count();
    assert_eq!(left, 0, "{data} should be removed");
}

#[test]
fn a_server_takes_as_many_open_files_as_it_is_permitted() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = keylane().get_program().to_owned();
    let mut command = std::process::Command::new("sh");
    command
        .args([
            "-c",
            "ulimit -Sn 64 && exec \"$0\" broker --port 0 --data \"$1\" \"$2\"",
        ])
        .arg(program)
        .arg(folder.path());
    let server = Server::start(&mut command);
    let limits = format!("/proc/{}/limits", server.process_id());
    let limits = std::fs::read_to_string(limits).expect("the process runs");
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let words: Vec<&str> = line.expect("a limit").split_whitespace().collect();
    assert_eq!(words[3], words[4], "soft and hard limit: {words:?}");
    assert_ne!(words[3], "64");
    server.stop();
}
