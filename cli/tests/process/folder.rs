//! Data folders that a broker must refuse, in words, and leave as they are.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;

use crate::support::{Finished, Server, keylane, run_command};

const NOBODY: u32 = 65_534;

fn start_on(data: &Path, more: &[&str]) -> Finished {
    let mut command = keylane();
    command.args(["broker", "--port", "0", "--data"]).arg(data);
    run_command(command.args(more), &[])
}

/// Leaves a data folder with a topic behind.
fn make_folder(data: &Path) {
    let server = Server::broker(data, &[]);
    server.run(["topic", "create", "kept"]).expect_success();
    server.stop();
}

#[test]
fn a_locked_folder_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::broker(folder.path(), &[]);
    start_on(folder.path(), &[]).expect_failure(
        1,
        &[
            "is in use by another process",
            "give this broker a folder of its own",
        ],
    );
    server.run(["topic", "list"]).expect_success();
    server.stop();
}

#[test]
fn a_folder_of_other_files_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("letter.txt"), "Dear Keylane").expect("a file");
    start_on(folder.path(), &[]).expect_failure(
        1,
        &[
            "neither empty nor a Keylane data folder",
            "letter.txt",
            "give an empty or a new folder",
        ],
    );
    let letter = fs::read_to_string(folder.path().join("letter.txt")).expect("the file");
    assert_eq!(letter, "Dear Keylane");
}

#[test]
fn the_folder_of_another_broker_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    make_folder(folder.path());
    start_on(folder.path(), &["--id", "2"]).expect_failure(
        1,
        &["belongs to broker 1, not to broker 2", "start with --id 1"],
    );
    Server::broker(folder.path(), &["--id", "1"]).stop();
}

#[test]
fn a_folder_of_a_newer_version_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    make_folder(folder.path());
    for name in ["manifest.0", "manifest.1"] {
        let path = folder.path().join(name);
        let mut bytes = fs::read(&path).expect("the file");
        // Magic of 8 bytes, then the version; a CRC-32C of everything before it ends the file.
        bytes[8..12].copy_from_slice(&99_u32.to_be_bytes());
        let body = usize::try_from(u32::from_be_bytes(
            bytes[12..16].try_into().expect("4 bytes"),
        ));
        let end = 16 + body.expect("a small file");
        let sum = crc32c(&bytes[..end]).to_be_bytes();
        bytes[end..end + 4].copy_from_slice(&sum);
        fs::write(&path, bytes).expect("the file");
    }
    start_on(folder.path(), &[]).expect_failure(
        1,
        &["manifest.", "format version 99", "use the newer Keylane"],
    );
}

fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg())
        })
    };
    !bytes.iter().fold(!0, step)
}

#[test]
fn a_folder_without_its_manifest_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    make_folder(folder.path());
    for name in ["manifest.0", "manifest.1"] {
        fs::remove_file(folder.path().join(name)).expect("the file");
    }
    start_on(folder.path(), &[]).expect_failure(
        1,
        &["manifest.", "damaged or missing", "nothing was changed"],
    );
}

#[test]
fn what_is_no_folder_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    fs::write(&file, "").expect("a file");
    start_on(&file, &[]).expect_failure(1, &["the data folder", "cannot be used"]);
    start_on(&file.join("below"), &[]).expect_failure(1, &["the data folder", "cannot be used"]);
}

#[test]
fn an_unreadable_folder_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    make_folder(&data);
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("permissions");
    fs::set_permissions(&data, Permissions::from_mode(0o000)).expect("permissions");
    let mut command = keylane();
    command.args(["broker", "--port", "0", "--data"]).arg(&data);
    if rustix::process::geteuid().is_root() {
        // Root may read everything.
        command.uid(NOBODY).gid(NOBODY);
        let mut can_run = keylane();
        if can_run
            .uid(NOBODY)
            .gid(NOBODY)
            .arg("--version")
            .output()
            .is_err()
        {
            let reason = "the binary lies where only root can run it";
            let _ = writeln!(std::io::stderr(), "skipped: {reason}");
            return;
        }
    }
    let finished = run_command(&mut command, &[]);
    fs::set_permissions(&data, Permissions::from_mode(0o755)).expect("permissions");
    finished.expect_failure(1, &["the data folder", "ermission denied"]);
    Server::broker(&data, &[]).stop();
}
