//! Leader epochs of a log whose index files do not tell them: those of the version before.

use std::path::{Path, PathBuf};

use crate::life::{Life, Sabotage, SharedPromises, epochs_by_values};
use bytes::Bytes;
use keylane_broker::disk::simulated::SimulatedDisk;
use keylane_broker::disk::{Disk, OpenMode};
use keylane_broker::folder::checked::checksum;
use keylane_protocol::offset::LeaderEpoch;

/// Where an index file tells its version.
const VERSION_AT: usize = 8;

/// A folder with one partition whose segments have one epoch, several, or the end of one, all of them proven.
struct Proven {
    disk: SimulatedDisk,
    promises: SharedPromises,
}

impl Proven {
    fn new() -> Self {
        let proven = Self {
            disk: SimulatedDisk::new(1),
            promises: SharedPromises::default(),
        };
        let mut life = proven.begin();
        life.create("topic", 1).expect("created");
        for batches in [6, 1, 2, 9, 1, 3] {
            let partition = life.partitions()[0];
            for _ in 0..batches {
                life.append(partition, 2);
                life.commit().expect("committed");
            }
            life.seal_all_closed().expect("sealed");
            life.stop().expect("stopped");
            life = proven.begin();
        }
        life.stop().expect("stopped");
        proven
    }

    fn begin(&self) -> Life {
        Life::begin(&self.disk, &self.promises, Sabotage::None).expect("begun")
    }

    fn paths_ending_in(&self, extension: &str) -> Vec<PathBuf> {
        let mut paths = self.disk.paths();
        paths.retain(|path| path.extension().is_some_and(|found| found == extension));
        paths
    }

    fn contents(&self, path: &Path) -> Bytes {
        let file = self.disk.open(path, OpenMode::Read).expect("it is there");
        let size = usize::try_from(self.disk.size(&file).expect("a size")).expect("small");
        self.disk.read(&file, 0, size).expect("it is read")
    }

    fn replace(&self, path: &Path, contents: Bytes) {
        let file = self.disk.open(path, OpenMode::Write).expect("it is there");
        self.disk
            .set_length(&file, contents.len() as u64)
            .expect("cut");
        self.disk.write(&file, 0, &[contents]).expect("written");
        self.disk.sync(&file).expect("synced");
    }

    fn take_epochs_out_of_index_files(&self) {
        for path in self.paths_ending_in("index") {
            self.replace(&path, without_epochs(&self.contents(&path)));
        }
    }

    /// Returns the versions of the index files, by base offset.
    fn versions(&self) -> Vec<u8> {
        let paths = self.paths_ending_in("index");
        let version = |path: &PathBuf| self.contents(path)[VERSION_AT + 3];
        paths.iter().map(version).collect()
    }
}

/// Returns an index file as the version before wrote it.
fn without_epochs(contents: &[u8]) -> Bytes {
    let number = |at: usize| {
        let bytes = contents[at..at + 4].try_into().expect("four bytes");
        usize::try_from(u32::from_be_bytes(bytes)).expect("small")
    };
    assert_eq!(number(VERSION_AT), 2);
    let entries_end = 60 + number(12) * 16;
    let epochs_end = entries_end + number(56) * 12;
    let mut out = contents[..VERSION_AT].to_vec();
    out.extend_from_slice(&1_u32.to_be_bytes());
    out.extend_from_slice(&contents[12..56]);
    out.extend_from_slice(&contents[60..entries_end]);
    out.extend_from_slice(&contents[epochs_end..contents.len() - 4]);
    out.extend_from_slice(&checksum(&out).to_be_bytes());
    out.into()
}

#[test]
fn epochs_that_index_files_do_not_tell_are_found_in_the_headers_and_told_from_then_on() {
    let proven = Proven::new();
    proven.take_epochs_out_of_index_files();
    let count = proven.versions().len();
    assert!(count > 3, "only {count} segments");
    for _ in 0..2 {
        let life = proven.begin();
        let partition = life.partitions()[0];
        let log = life.log(partition);
        let expected = epochs_by_values(&life.read_all(partition));
        assert!(expected.len() > 4, "only {expected:?}");
        assert_eq!(log.epochs().starts(), expected);
        assert_eq!(log.damaged(), []);
        drop(life);
        proven.disk.restart();
    }
    // The active segment is told of when it is next closed.
    let versions = proven.versions();
    let (active, closed) = versions.split_last().expect("several");
    assert_eq!(*active, 1);
    assert!(closed.iter().all(|version| *version == 2), "{closed:?}");
    proven.begin().stop().expect("stopped");
    assert_eq!(proven.versions(), vec![2; count]);
}

#[test]
fn a_rotten_epoch_in_a_header_is_not_believed_where_the_index_file_tells_the_last_one() {
    let proven = Proven::new();
    let last = proven.begin();
    let expected = last.log(last.partitions()[0]).last_leader_epoch();
    drop(last);
    proven.take_epochs_out_of_index_files();
    // The first byte of the first batch's leader epoch, which lies outside the batch's checksum.
    proven
        .disk
        .flip_bit(&proven.paths_ending_in("log")[0], 12, 6);
    let life = proven.begin();
    let epochs = life.log(life.partitions()[0]).epochs().clone();
    assert_eq!(epochs.last(), expected);
    assert!(epochs.starts()[0].epoch < LeaderEpoch(100));
}
