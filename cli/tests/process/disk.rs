//! A full disk: a small file system of its own, mounted from a file, which takes root. Without that the test says so
//! and checks nothing.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

use crate::support::{Server, keylane, run_command};

const MEBIBYTE: usize = 1 << 20;

/// A mounted file system.
struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// Returns a disk, or why there can be none here.
    fn mount(mebibytes: u64) -> Result<Self, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let image = folder.path().join("image");
        let file = File::create(&image).expect("a file");
        file.set_len(mebibytes << 20).expect("a sparse file");
        std::fs::create_dir(folder.path().join("disk")).expect("a folder");
        command("mkfs.ext4", &["-q", "-F"], &[&image])?;
        command(
            "mount",
            &["-o", "loop"],
            &[&image, &folder.path().join("disk")],
        )?;
        Ok(Self { folder })
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    /// Takes space away until it is given back.
    fn fill(&self, mebibytes: usize) {
        let mut file = File::create(self.path().join("ballast")).expect("a file");
        for _ in 0..mebibytes {
            file.write_all(&vec![1; MEBIBYTE]).expect("there is room");
        }
        file.sync_all().expect("a sync");
    }

    fn give_back(&self) {
        std::fs::remove_file(self.path().join("ballast")).expect("the file is there");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, since a broker that a failed test leaves behind may still use it.
        let _ = command("umount", &["--lazy"], &[&self.path()]);
    }
}

fn command(program: &str, flags: &[&str], paths: &[&Path]) -> Result<(), String> {
    let output = Command::new(program).args(flags).args(paths).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("{program}: {}", said.trim()))
}

#[test]
fn a_full_disk_refuses_in_words_and_recovers_when_there_is_space() {
    let disk = match SmallDisk::mount(64) {
        Ok(disk) => disk,
        Err(reason) => {
            let _ = writeln!(
                std::io::stderr(),
                "skipped, no small disk can be mounted: {reason}"
            );
            return;
        }
    };
    disk.fill(28);
    let folder = tempfile::tempdir().expect("a folder");
    let rows = folder.path().join("rows.csv");
    let text: String = (0..30_000)
        .map(|row| format!("k{},{row:01000}\n", row % 50))
        .collect();
    std::fs::write(&rows, format!("key,text\n{text}")).expect("a file");
    let rows = rows.to_str().expect("text");
    let flags = ["--space-reserve", "4MiB", "--segment-size", "2MiB"];
    let server = Server::broker(&disk.path().join("data"), &flags);
    server
        .run(["topic", "create", "t", "--partitions", "2"])
        .expect_success();

    // A producer that does not wait for ever is told why.
    let arguments = ["produce", "t", rows, "--key", "key", "--timeout", "4s"];
    server.run(arguments).expect_failure(
        1,
        &[
            "error: row ",
            "the disk is full: free space, or delete topics",
            "hint: ",
            " acknowledged, ",
        ],
    );

    // One that waits goes on as soon as there is space; what was acknowledged before is still there.
    server.run(["topic", "create", "waits"]).expect_success();
    let mut waiting = keylane();
    waiting.args([
        "produce",
        "waits",
        rows,
        "--key",
        "key",
        "--connect",
        server.address(),
    ]);
    let waiting = std::thread::spawn(move || run_command(&mut waiting, &[]));
    std::thread::sleep(Duration::from_secs(2));
    assert!(!waiting.is_finished(), "there should be no space for it");
    server.run(["topic", "delete", "t"]).expect_success();
    disk.give_back();
    waiting.join().expect("the thread ends").expect_success();
    server
        .run(["consume", "waits", "--verify-against", rows, "--key", "key"])
        .expect_success();
    server.stop();
}
