//! Damage: what was synced and does not read as it was written keeps the voter from starting; torn ends do not.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use openraft::{CommittedLeaderId, EntryPayload};

use super::{Store, StoreError, StoreSettings, frame};
use crate::controller::raft::types::{Entry, LogId, SnapshotMeta, StoredMembership, Vote};
use crate::disk::simulated::SimulatedDisk;
use crate::disk::{Disk, OpenMode};

const NODE: u64 = 5;
const SETTINGS: StoreSettings = StoreSettings { segment_bytes: 900 };

fn id(index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(1, NODE), index)
}

fn entry(index: u64) -> Entry {
    Entry {
        log_id: id(index),
        payload: EntryPayload::Normal(Bytes::from(format!("entry {index}, {:0>100}", index))),
    }
}

fn open(disk: &SimulatedDisk) -> Result<Store, StoreError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Store::open(&disk, Path::new("/"), NODE, SETTINGS)
}

fn snapshot(store: &mut Store, index: u64) {
    let meta = SnapshotMeta {
        last_log_id: Some(id(index)),
        last_membership: StoredMembership::default(),
        snapshot_id: index.to_string(),
    };
    let image = format!("image {index}");
    store.save_snapshot(&meta, image.as_bytes()).expect("saved");
}

/// A voter with a vote, twenty entries in several files, each appended by itself.
fn lived() -> SimulatedDisk {
    let disk = SimulatedDisk::new(3);
    let mut store = open(&disk).expect("a new voter");
    store.save_vote(Vote::new(4, NODE)).expect("saved");
    for index in 0..20 {
        store.append(&[entry(index)]).expect("appended");
    }
    disk
}

fn logs(disk: &SimulatedDisk) -> Vec<PathBuf> {
    let paths = disk.paths().into_iter();
    paths
        .filter(|path| path.extension().is_some_and(|end| end == "log"))
        .collect()
}

fn size(disk: &SimulatedDisk, path: &Path) -> u64 {
    let file = disk.open(path, OpenMode::Read).expect("it is there");
    disk.size(&file).expect("it has a size")
}

fn refused(disk: &SimulatedDisk) -> String {
    match open(disk) {
        Err(error @ StoreError::Damaged { .. }) => error.to_string(),
        Err(error) => panic!("{error}"),
        Ok(store) => panic!("it starts with {:?}", store.bounds()),
    }
}

#[test]
fn what_was_written_is_read_again() {
    let disk = lived();
    let mut store = open(&disk).expect("it starts");
    assert_eq!(store.vote(), Some(Vote::new(4, NODE)));
    assert_eq!(store.bounds().last, Some(id(19)));
    let read = store.entries(0..100, usize::MAX).expect("read");
    assert_eq!(read, (0..20).map(entry).collect::<Vec<_>>());
    assert_eq!(store.entries(3..9, 1).expect("read"), [entry(3)]);
}

#[test]
fn a_flipped_bit_in_any_synced_entry_keeps_the_voter_from_starting() {
    let count = logs(&lived()).len();
    assert!(count > 3, "there are several files");
    for nth in 0..count {
        let path = logs(&lived())[nth].clone();
        let size = size(&lived(), &path);
        // The last entry is known to be synced only when something was written after it.
        for byte in (0..size).step_by(7) {
            let disk = lived();
            drop(open(&disk).expect("the start notes that everything is synced"));
            disk.flip_bit(&path, byte, 3);
            let words = refused(&disk);
            assert!(words.contains("must not vote"), "{words}");
        }
    }
}

#[test]
fn a_lost_sector_keeps_the_voter_from_starting() {
    for path in logs(&lived()) {
        for byte in (0..size(&lived(), &path)).step_by(512) {
            let disk = lived();
            drop(open(&disk).expect("it starts"));
            disk.lose_sector(&path, byte);
            refused(&disk);
        }
    }
}

#[test]
fn later_frames_alone_show_that_an_entry_was_synced() {
    let disk = lived();
    // No start and no seal: only the frames themselves say it. The very last entry cannot be told from a torn write.
    let last = logs(&disk).pop().expect("there is one");
    let first_frame = frame::HEADER_BYTES as u64 + 20;
    disk.flip_bit(&last, first_frame, 1);
    assert!(refused(&disk).contains("was synced"));
}

#[test]
fn a_sealed_log_refuses_damage_to_its_last_entry() {
    let disk = SimulatedDisk::new(9);
    let mut store = open(&disk).expect("a new voter");
    store.append(&[entry(0), entry(1)]).expect("appended");
    store.seal().expect("sealed");
    drop(store);
    let path = logs(&disk).pop().expect("there is one");
    disk.flip_bit(&path, size(&disk, &path) - 3, 1);
    assert!(refused(&disk).contains("entry 1 cannot be read"));
}

#[test]
fn a_missing_file_keeps_the_voter_from_starting() {
    for nth in 0..logs(&lived()).len() {
        let disk = lived();
        drop(open(&disk).expect("it starts"));
        disk.remove(&logs(&disk)[nth]).expect("removed");
        refused(&disk);
    }
}

#[test]
fn either_copy_of_the_state_may_rot_but_not_both() {
    for copy in ["/controller/state.0", "/controller/state.1"] {
        let disk = lived();
        disk.flip_bit(Path::new(copy), 30, 2);
        let store = open(&disk).expect("the other copy is as new");
        assert_eq!(store.vote(), Some(Vote::new(4, NODE)));
    }
    let disk = lived();
    disk.flip_bit(Path::new("/controller/state.0"), 30, 2);
    disk.flip_bit(Path::new("/controller/state.1"), 30, 2);
    assert!(refused(&disk).contains("neither copy"));
}

#[test]
fn a_damaged_newest_snapshot_falls_back_to_the_older_and_the_log_still_leads_on() {
    let disk = lived();
    let mut store = open(&disk).expect("it starts");
    for index in [4, 9, 14] {
        snapshot(&mut store, index);
        store.purge(id(index)).expect("purged");
    }
    assert_eq!(store.bounds().last_purged, Some(id(14)));
    drop(store);
    let first = logs(&disk)[0].clone();
    assert_ne!(first, Path::new("/controller/00000000000000000000.log"));
    disk.flip_bit(
        Path::new("/controller/00000000000000000015.snapshot"),
        40,
        1,
    );
    let mut store = open(&disk).expect("the older snapshot is sound");
    let (meta, image) = store.newest_snapshot().expect("read").expect("one is left");
    assert_eq!(meta.last_log_id, Some(id(9)));
    assert_eq!(image, "image 9");
    let read = store.entries(10..100, usize::MAX).expect("read");
    assert_eq!(read, (10..20).map(entry).collect::<Vec<_>>());
    drop(store);
    disk.flip_bit(
        Path::new("/controller/00000000000000000010.snapshot"),
        40,
        1,
    );
    assert!(refused(&disk).contains("no snapshot"));
}

#[test]
fn a_purge_beyond_the_log_takes_nothing_before_the_snapshot_behind_it_is_saved() {
    let disk = lived();
    let mut store = open(&disk).expect("it starts");
    for index in [4, 9] {
        snapshot(&mut store, index);
        store.purge(id(index)).expect("purged");
    }
    // A snapshot of the leader is being installed; openraft does not wait for that before it purges.
    store.purge(id(40)).expect("purged");
    assert_eq!(store.bounds().last, Some(id(40)));
    assert_eq!(store.entries(0..100, usize::MAX).expect("read"), []);
    drop(store);
    let mut store = open(&disk).expect("the voter is as it was before the snapshot");
    assert_eq!(store.bounds().last, Some(id(19)));
    let (meta, _) = store
        .newest_snapshot()
        .expect("read")
        .expect("there is one");
    assert_eq!(meta.last_log_id, Some(id(9)));
    let read = store.entries(10..100, usize::MAX).expect("read");
    assert_eq!(read, (10..20).map(entry).collect::<Vec<_>>());
    // Now it comes through, and one that was built before after it.
    store.purge(id(40)).expect("purged");
    snapshot(&mut store, 40);
    snapshot(&mut store, 17);
    store.append(&[entry(41)]).expect("appended");
    drop(store);
    let mut store = open(&disk).expect("it starts");
    let bounds = store.bounds();
    assert_eq!(
        (bounds.last_purged, bounds.last),
        (Some(id(40)), Some(id(41)))
    );
    let (meta, _) = store
        .newest_snapshot()
        .expect("read")
        .expect("there is one");
    assert_eq!(meta.last_log_id, Some(id(40)));
}

#[test]
fn an_entry_is_not_appended_where_the_snapshot_before_it_is_not_saved() {
    let disk = lived();
    let mut store = open(&disk).expect("it starts");
    store.purge(id(40)).expect("purged");
    let refused = store.append(&[entry(41)]);
    assert!(
        matches!(refused, Err(StoreError::Refused { .. })),
        "{refused:?}"
    );
    drop(store);
    let store = open(&disk).expect("it starts");
    assert_eq!(store.bounds().last, Some(id(19)));
}

#[test]
fn a_snapshot_beyond_the_log_replaces_it_though_the_log_ends_in_a_later_term() {
    let disk = lived();
    let mut store = open(&disk).expect("it starts");
    let later = LogId::new(CommittedLeaderId::new(3, NODE), 20);
    let never_agreed_on = Entry {
        log_id: later,
        payload: EntryPayload::Blank,
    };
    store.append(&[never_agreed_on]).expect("appended");
    snapshot(&mut store, 40);
    // The process ends before the purge.
    drop(store);
    let mut store = open(&disk).expect("it starts");
    let bounds = store.bounds();
    assert_eq!(
        (bounds.last_purged, bounds.last),
        (Some(id(40)), Some(id(40)))
    );
    assert_eq!(store.entries(0..100, usize::MAX).expect("read"), []);
    store.append(&[entry(41)]).expect("appended");
}

#[test]
fn a_later_format_is_named_and_not_called_damage() {
    let disk = lived();
    let path = Path::new("/controller/00000000000000000003.snapshot");
    let kind = crate::folder::checked::Kind {
        magic: b"KLRAFTSN",
        version: 9,
    };
    let file = disk.open(path, OpenMode::Create).expect("created");
    let contents = crate::folder::checked::encode(kind, b"from the future");
    disk.write(&file, 0, &[contents]).expect("written");
    let error = open(&disk).err().expect("it does not start");
    assert!(
        matches!(error, StoreError::Newer { version: 9, .. }),
        "{error}"
    );
}

#[test]
fn any_bytes_as_a_frame_are_refused_or_round_trip() {
    let mut bytes = bytes::BytesMut::new();
    frame::encode(&mut bytes, &entry(3), super::state::Marks::default());
    frame::fuzz(&bytes);
    for at in 0..bytes.len() {
        let mut bent = bytes.clone();
        bent[at] ^= 0x40;
        frame::fuzz(&bent);
        assert!(frame::decode(&bent.freeze()).is_err(), "byte {at}");
        frame::fuzz(&bytes[at..]);
    }
}
