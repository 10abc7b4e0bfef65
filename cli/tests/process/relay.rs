//! The comparison must be able to fail: a relay does one wrong to one batch of real input on its way to the broker, and
//! `consume --verify-against` says which row it was.

use flate2::read::GzDecoder;
use keylane_bench::relay::{Relay, Wrong, WrongPlan};
use std::fs::File;
use std::io::Read;

use crate::crash::FLIGHTS;
use crate::support::{Server, keylane, run_command};

/// Rows of the file, without its header.
fn rows() -> Vec<String> {
    let mut text = String::new();
    let file = File::open(FLIGHTS).expect("the flights belong to the repository");
    GzDecoder::new(file)
        .read_to_string(&mut text)
        .expect("it is a gzip file");
    text.lines().skip(1).map(str::to_owned).collect()
}

/// Sends the flights through a relay with this plan; returns what the comparison says, and the row concerned.
fn compare(plan: WrongPlan, code: i32) -> (String, Option<usize>) {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::broker(folder.path(), &["--durability", "page-cache"]);
    server.run(["topic", "create", "flights"]).expect_success();
    let relay = Relay::start(server.address(), plan).expect("a relay");
    let mut produce = keylane();
    produce
        .args([
            "produce",
            "flights",
            FLIGHTS,
            "--key",
            "carrier",
            "--batch-size",
            "8KiB",
        ])
        .args(["--connect", &relay.address()]);
    run_command(&mut produce, &[]).expect_success();
    let done = relay.done().map(|done| {
        let value = String::from_utf8(done.value).expect("the file is text");
        let at = rows().iter().position(|row| *row == value);
        at.expect("the value is a row") + 1
    });
    let compared = server.run([
        "consume",
        "flights",
        "--verify-against",
        FLIGHTS,
        "--key",
        "carrier",
    ]);
    assert_eq!(compared.status.code(), Some(code), "{compared}");
    server.stop();
    (compared.stdout + &compared.stderr, done)
}

fn check(wrong: Wrong, words: &str) {
    let (said, row) = compare(WrongPlan::seeded(wrong, 11, 100), 1);
    let row = row.expect("the wrong was done");
    let expected = format!("error: row {row}, key \"");
    assert!(said.contains(&expected), "should say {expected}\n{said}");
    assert!(said.contains(words), "should say {words}\n{said}");
    assert!(
        said.contains("partition 0 offset "),
        "should say where\n{said}"
    );
}

#[test]
fn a_removed_batch_is_missing() {
    check(Wrong::Remove, ": missing;");
}

#[test]
fn a_doubled_batch_is_doubled() {
    check(Wrong::Double, ": doubled;");
}

#[test]
fn a_swapped_batch_is_out_of_order() {
    check(Wrong::Swap, ": out of order;");
}

#[test]
fn a_bent_byte_is_foreign() {
    check(Wrong::Bend, ": foreign;");
}

#[test]
fn a_relay_that_does_nothing_wrong_is_not_noticed() {
    let plan = WrongPlan {
        wrong: Wrong::Remove,
        batch: u64::MAX,
        seed: 0,
    };
    let (said, done) = compare(plan, 0);
    assert_eq!(done, None);
    assert!(said.contains("27004 of 27004 rows found"), "{said}");
}
