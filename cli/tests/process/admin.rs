//! The admin port: health, readiness, and what becomes of those who ask badly. What the metrics say is checked in
//! `metrics`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::{Server, keylane, run, run_command};

const PATIENCE: Duration = Duration::from_secs(20);

/// Sends bytes to a port and returns all that it answers.
fn exchange(address: &str, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).expect("the port is open");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    stream.write_all(bytes).expect("it is taken");
    let mut answer = Vec::new();
    stream
        .read_to_end(&mut answer)
        .expect("an answer and an end");
    String::from_utf8(answer).expect("answers are text")
}

/// Returns the status and the body of a page.
pub(crate) fn get(address: &str, page: &str) -> (u16, String) {
    let request = format!("GET {page} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let answer = exchange(address, request.as_bytes());
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let length = format!("Content-Length: {}\r\n", body.len());
    assert!(head.contains(&length), "{head}");
    let status = head.split(' ').nth(1).expect("a status");
    (status.parse().expect("a number"), body.to_owned())
}

/// Returns the address of a server's admin port.
pub(crate) fn admin_of(server: &Server) -> &str {
    server.ready["admin"].as_str().expect("an address")
}

#[test]
fn a_broker_that_serves_is_alive_and_ready() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::broker(folder.path(), &[]);
    let admin = admin_of(&server);
    assert_eq!(get(admin, "/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(get(admin, "/readyz"), (200, "ok\n".to_owned()));
    let (status, contents) = get(admin, "/");
    assert!(status == 200 && contents.contains("/metrics"), "{contents}");
    let head = exchange(admin, b"HEAD /metrics HTTP/1.1\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.ends_with("Connection: close\r\n\r\n"), "{head}");
    assert!(
        head.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"),
        "{head}"
    );
    server.stop();
}

#[test]
fn a_broker_that_waits_for_its_cluster_is_alive_and_not_ready() {
    let folder = tempfile::tempdir().expect("a folder");
    let free = || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address").to_string()
    };
    let (internal, admin) = (free(), free());
    let mut command = keylane();
    command.args([
        "broker",
        "--port",
        "0",
        "--until-stdin-closes",
        "--bootstrap",
        "--data",
    ]);
    command.arg(folder.path());
    command.args(["--internal-listen", &internal, "--admin-listen", &admin]);
    command
        .arg("--voters")
        .arg(format!("1@{internal},2@{},3@{}", free(), free()));
    command.stdin(std::process::Stdio::piped());
    let command = command.stdout(std::process::Stdio::null());
    let mut broker = command
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("it starts");
    let mut tries = 0;
    while TcpStream::connect(&admin).is_err() {
        assert!(tries < 2000, "the admin port does not open");
        tries += 1;
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(get(&admin, "/healthz").0, 200);
    let (status, words) = get(&admin, "/readyz");
    broker.kill().expect("it can be killed");
    broker.wait().expect("it ends");
    assert!(
        status == 503 && words.contains("waits for its cluster"),
        "{status} {words}"
    );
}

#[test]
fn a_router_is_ready_once_it_has_found_its_cluster() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = Server::broker(folder.path(), &[]);
    let internal = broker.ready["internal"].as_str().expect("an address");
    let mut command = keylane();
    command.args(["router", "--listen", "127.0.0.1:0", "--brokers", internal]);
    let router = Server::start(&mut command);
    assert_eq!(get(admin_of(&router), "/healthz"), (200, "ok\n".to_owned()));
    let mut tries = 0;
    while get(admin_of(&router), "/readyz") != (200, "ok\n".to_owned()) {
        assert!(tries < 500, "{:?}", get(admin_of(&router), "/readyz"));
        tries += 1;
        std::thread::sleep(Duration::from_millis(10));
    }
    router.stop();
}

#[test]
fn what_is_no_request_for_a_page_is_refused_in_words() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::broker(folder.path(), &[]);
    let admin = admin_of(&server);
    let check = |request: &[u8], status: &str, words: &str| {
        let answer = exchange(admin, request);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert!(answer.contains(words), "{answer}");
    };
    check(
        b"GET /other HTTP/1.1\r\n\r\n",
        "404",
        "nothing here but /metrics",
    );
    check(
        b"POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
        "405",
        "Allow: GET, HEAD",
    );
    check(
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        "400",
        "no HTTP request",
    );
    let long = [b"GET /metrics HTTP/1.1\r\nA: ".as_slice(), &[b'a'; 20_000]].concat();
    check(&long, "431", "at most 8192 bytes");
    assert_eq!(get(admin, "/healthz").0, 200);
    server.stop();
}

#[test]
fn any_bytes_leave_the_port_and_the_broker_as_they_were() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::broker(folder.path(), &[]);
    let admin = admin_of(&server);
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    for round in 0..200 {
        let mut bytes = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n".to_vec();
        for byte in &mut bytes {
            // xorshift: the same bytes in every run.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            if round % 4 == 0 || state.is_multiple_of(16) {
                *byte = state.to_le_bytes()[3];
            }
        }
        let mut stream = TcpStream::connect(admin).expect("the port is open");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        // It may be refused before all of it has left.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    assert_eq!(get(admin, "/healthz").0, 200);
    server
        .run(["topic", "create", "still-served"])
        .expect_success();
    server.stop();
}

#[test]
fn those_who_ask_slowly_keep_nobody_else_waiting() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::broker(folder.path(), &[]);
    let admin = admin_of(&server);
    let slow: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut stream = TcpStream::connect(admin).expect("the port is open");
            let _ = stream.write_all(b"GET /metrics HT");
            stream
        })
        .collect();
    assert_eq!(get(admin, "/healthz").0, 200);
    assert_eq!(get(admin, "/metrics").0, 200);
    drop(slow);
    server.stop();
}

#[test]
fn an_admin_port_in_use_is_said_before_anything_starts() {
    let folder = tempfile::tempdir().expect("a folder");
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = other.local_addr().expect("an address").to_string();
    let data = folder.path().join("data");
    let data = data.to_str().expect("a path");
    let arguments = [
        "broker",
        "--port",
        "0",
        "--data",
        data,
        "--admin-listen",
        &taken,
    ];
    run(arguments).expect_failure(1, &["the admin port", "--admin-listen"]);
    assert!(!folder.path().join("data").exists());
    let public = [
        "broker",
        "--port",
        "0",
        "--data",
        data,
        "--admin-listen",
        "0.0.0.0:0",
    ];
    run(public).expect_failure(2, &["--admin-listen 0.0.0.0:0", "insecure"]);
    let public = ["router", "--brokers", "a:1", "--admin-listen", "0.0.0.0:0"];
    run(public).expect_failure(2, &["--admin-listen", "insecure"]);
}

#[test]
fn the_admin_port_can_be_left_closed_by_the_environment() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = keylane();
    command.env("KEYLANE_ADMIN_LISTEN", "off");
    command
        .args(["broker", "--port", "0", "--data"])
        .arg(folder.path());
    let server = Server::start(&mut command);
    assert!(server.ready["admin"].is_null());
    server.stop();
    let mut command = keylane();
    command.env("KEYLANE_ADMIN_LISTEN", "everywhere");
    command
        .args(["broker", "--port", "0", "--data"])
        .arg(folder.path());
    let words = ["KEYLANE_ADMIN_LISTEN", "127.0.0.1:9644, or off"];
    run_command(&mut command, &[]).expect_failure(2, &words);
}
