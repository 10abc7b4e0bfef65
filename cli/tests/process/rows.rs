//! Files through a broker and back: `produce`, `consume` and the comparison.

use rustix::process::{Pid, Signal, kill_process};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::support::{Server, keylane, run_command};

/// A CSV file with skewed keys, `NA`, empty keys, quotes and line ends inside quotes.
pub(crate) fn csv_file(folder: &Path, rows: usize) -> PathBuf {
    let mut text = String::from("row,key,text\n");
    for row in 0..rows {
        let key = match row % 7 {
            0 => "NA".to_owned(),
            1 => String::new(),
            other => format!("k{}", row * other % 40),
        };
        let _ = match row % 11 {
            0 => writeln!(text, "{row},{key},\"two\nlines, \"\"quoted\"\"\""),
            _ => writeln!(text, "{row},{key},text of row {row}"),
        };
    }
    let path = folder.join("rows.csv");
    std::fs::write(&path, text).expect("the folder takes a file");
    path
}

#[test]
fn a_file_goes_through_and_is_verified() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = csv_file(folder.path(), 5_000);
    let file = file.to_str().expect("text");
    let server = Server::broker(&folder.path().join("data"), &[]);
    server
        .run(["topic", "create", "t", "--partitions", "4"])
        .expect_success();
    let sent = server.run([
        "produce",
        "t",
        file,
        "--key",
        "key",
        "--repeat",
        "2",
        "--compression",
        "zstd",
    ]);
    let sent = sent.expect_success();
    assert!(
        sent.starts_with("10000 rows read, 10000 acknowledged, 4 partitions, "),
        "{sent}"
    );
    let verified = server.run([
        "consume",
        "t",
        "--verify-against",
        file,
        "--key",
        "2",
        "--repeat",
        "2",
    ]);
    let verified = verified.expect_success();
    assert!(
        verified.contains("10000 of 10000 rows found, 0 missing"),
        "{verified}"
    );

    // The same topic does not hold the file once, or under another key.
    server
        .run(["consume", "t", "--verify-against", file, "--key", "key"])
        .expect_failure(
            1,
            &["5000 doubled", "row 1, key \"NA\": doubled; partition"],
        );
    server
        .run([
            "consume",
            "t",
            "--verify-against",
            file,
            "--key",
            "row",
            "--repeat",
            "2",
        ])
        .expect_failure(1, &["10000 missing"]);
    server.stop();
}

#[test]
fn what_is_read_is_what_was_sent() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::broker(folder.path(), &[]);
    server.run(["topic", "create", "t"]).expect_success();
    let send = |text: &[u8], flags: &[&str]| {
        let mut command = keylane();
        command
            .args(["produce", "t", "-", "--connect", server.address()])
            .args(flags);
        run_command(&mut command, text).expect_success();
    };
    send(b"a:1\nb:2\n", &["--key-separator", ":"]);
    send(b"{\"id\":\"c\"}\n", &["--format", "ndjson", "--key", "id"]);
    send(b"plain", &[]);
    send(
        b"h\n\xff\n",
        &["--format", "csv", "--key", "1", "--acks", "1"],
    );

    let read = |flags: &[&str]| {
        let arguments = ["consume", "t"].iter().chain(flags);
        server.run(arguments).expect_success()
    };
    assert_eq!(read(&["--count", "4"]), "a:1\nb:2\n{\"id\":\"c\"}\nplain\n");
    assert_eq!(
        read(&["--from", "1", "--count", "2", "--format", "key-value"]),
        "b\tb:2\nc\t{\"id\":\"c\"}\n"
    );
    assert_eq!(read(&["--from", "latest"]), "");
    assert_eq!(read(&["--from", "2100-01-01T00:00:00Z"]), "");
    assert_eq!(
        read(&[
            "--from",
            "2020-01-01T00:00:00Z",
            "--partition",
            "0",
            "--count",
            "1"
        ]),
        "a:1\n"
    );
    let json = read(&["--from", "3", "--format", "json"]);
    let lines: Vec<serde_json::Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines[0]["value"], "plain");
    assert_eq!(lines[0]["key"], serde_json::Value::Null);
    assert_eq!(lines[1]["key"]["hex"], "ff");
    assert_eq!(lines[1]["offset"], 4);
    server.stop();
}

#[test]
fn a_malformed_row_is_named_and_what_came_before_it_is_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("bad.csv");
    std::fs::write(&file, "key,v\na,1\nb,2\nc\nd,4\n").expect("a file");
    let file = file.to_str().expect("text");
    let server = Server::broker(&folder.path().join("data"), &[]);
    server.run(["topic", "create", "t"]).expect_success();
    server
        .run(["produce", "t", file, "--key", "key"])
        .expect_failure(
            1,
            &[
                "bad.csv: line 4: 1 fields where the header names 2",
                "2 rows read, 2 acknowledged",
                "hint: ",
            ],
        );
    assert_eq!(server.run(["consume", "t"]).expect_success(), "a,1\nb,2\n");
    server
        .run(["produce", "t", file, "--key", "kee"])
        .expect_failure(
            1,
            &["the file has no column \"kee\" (did you mean \"key\"?)"],
        );
    server
        .run(["produce", "t", "/nowhere.csv", "--key", "key"])
        .expect_failure(1, &["cannot open /nowhere.csv: No such file"]);
    server.stop();
}

#[test]
fn a_row_too_large_is_named_with_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("large.txt");
    std::fs::write(&file, format!("small\n{}\n", "x".repeat(3 << 20))).expect("a file");
    let file = file.to_str().expect("text");
    let server = Server::broker(&folder.path().join("data"), &[]);
    server.run(["topic", "create", "t"]).expect_success();
    server
        .run(["produce", "t", file])
        .expect_failure(1, &["error: row ", "max.message.bytes"]);
    server
        .run([
            "topic",
            "create",
            "large",
            "--config",
            "max.message.bytes=4000000",
        ])
        .expect_success();
    server.run(["produce", "large", file]).expect_success();
    server.stop();
}

#[test]
fn an_unknown_topic_is_told_with_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = csv_file(folder.path(), 3);
    let file = file.to_str().expect("text");
    let server = Server::broker(&folder.path().join("data"), &[]);
    for arguments in [
        vec!["produce", "nope", file, "--key", "key"],
        vec!["consume", "nope"],
    ] {
        server
            .run(arguments)
            .expect_failure(1, &["there is no topic \"nope\"", "keylane topic create"]);
    }
    server.run(["topic", "create", "t"]).expect_success();
    server
        .run(["consume", "t", "--partition", "4"])
        .expect_failure(1, &["1 partitions", "hint: give a --partition below 1"]);
    server.stop();
}

#[test]
fn dev_creates_the_topic_that_is_produced_to() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = csv_file(folder.path(), 500);
    let file = file.to_str().expect("text");
    let server = Server::start(keylane().args(["dev", "--port", "0"]));
    server
        .run(["produce", "new", file, "--key", "key"])
        .expect_success();
    server
        .run(["consume", "new", "--verify-against", file, "--key", "key"])
        .expect_success();
    let list = server.run(["topic", "list"]).expect_success();
    assert!(list.contains("new             6"), "{list}");
    server.stop();
}

#[test]
fn a_reader_that_goes_away_ends_consume_quietly() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = csv_file(folder.path(), 20_000);
    let file = file.to_str().expect("text");
    let server = Server::broker(&folder.path().join("data"), &[]);
    server.run(["topic", "create", "t"]).expect_success();
    server
        .run(["produce", "t", file, "--key", "key"])
        .expect_success();
    let mut consume = keylane();
    consume.args(["consume", "t", "--connect", server.address()]);
    let piped = format!("{:?} | head -n 1", consume.get_program());
    let mut shell = std::process::Command::new("bash");
    shell.args([
        "-c",
        &format!("set -o pipefail; {piped}").replace(" |", " \"$@\" |"),
        "-",
    ]);
    shell.args(consume.get_args());
    let finished = run_command(&mut shell, &[]);
    assert_eq!(finished.stderr, "");
    let stdout = finished.expect_success();
    assert_eq!(stdout.lines().count(), 1);
    server.stop();
}

#[test]
fn an_interrupted_produce_waits_for_what_it_sent_and_says_how_much_that_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = csv_file(folder.path(), 5_000);
    let server = Server::broker(&folder.path().join("data"), &[]);
    server.run(["topic", "create", "t"]).expect_success();
    let mut command = keylane();
    command.args([
        "produce",
        "t",
        "--key",
        "key",
        "--rate",
        "200",
        "--connect",
        server.address(),
    ]);
    let child = command
        .arg(&file)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    while server.run(["consume", "t"]).expect_success().is_empty() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let id = Pid::from_child(&child);
    kill_process(id, Signal::INT).expect("a child can be signalled");
    let ended = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("error: interrupted"), "{said}");
    let stored = server
        .run(["consume", "t", "--format", "json"])
        .expect_success();
    let acknowledged = format!(
        " read, {} acknowledged, 1 partition",
        stored.lines().count()
    );
    assert!(
        said.contains(&acknowledged),
        "should say {acknowledged}\n{said}"
    );
    server.stop();
}
