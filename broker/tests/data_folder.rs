//! What a data folder refuses, and what it makes of damage: never a used epoch again, never records deleted.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use keylane_broker::disk::real::RealDisk;
use keylane_broker::disk::simulated::SimulatedDisk;
use keylane_broker::disk::{Disk, DiskError, OpenMode, read_small, replace_small};
use keylane_broker::folder::checked::{self, Kind};
use keylane_broker::folder::{DataFolder, FreshIds, HostedState, OpenError, StoredTopic};
use keylane_broker::log::TopicPartition;
use keylane_broker::log::recovery::ProducerReplay;
use keylane_protocol::identifiers::{
    BrokerId, ClusterId, FolderId, PartitionIndex, TopicId, TopicName,
};
use keylane_protocol::offset::Offset;
use keylane_protocol::record_batch::RecordBatchHeader;
use proptest::prelude::*;

const ROOT: &str = "/disks/one/data";
const MANIFESTS: [&str; 2] = ["manifest.0", "manifest.1"];

struct NoProducers;

impl ProducerReplay for NoProducers {
    fn restore(&mut self, _snapshot: &Bytes) -> bool {
        true
    }

    fn on_batch(&mut self, _header: &RecordBatchHeader) {}
}

fn open_as(disk: &SimulatedDisk, broker_id: i32) -> Result<DataFolder, OpenError> {
    let fresh = FreshIds {
        folder_id: FolderId([1; 16]),
        cluster_id: ClusterId([2; 16]),
    };
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    DataFolder::open(disk, Path::new(ROOT), BrokerId(broker_id), fresh)
}

fn open(disk: &SimulatedDisk) -> DataFolder {
    open_as(disk, 1).expect("the folder opens")
}

fn refusal(disk: &SimulatedDisk) -> OpenError {
    let before = contents(disk);
    let Err(refusal) = open_as(disk, 1) else {
        panic!("the folder opened")
    };
    assert_eq!(contents(disk), before, "a refusal changes nothing");
    refusal
}

fn file(name: &str) -> PathBuf {
    Path::new(ROOT).join(name)
}

/// Returns all files with what is in them, except the lock.
fn contents(disk: &SimulatedDisk) -> Vec<(PathBuf, Bytes)> {
    let paths = disk
        .paths()
        .into_iter()
        .filter(|path| !path.ends_with("lock"));
    paths
        .map(|path| {
            let contents = read_small(disk, &path, 1 << 30).expect("it can be read");
            (path, contents)
        })
        .collect()
}

fn restore(disk: &SimulatedDisk, path: &Path, contents: &Bytes) {
    let folder = path.parent().expect("it is in a folder");
    let name = path.file_name().expect("it has a name").to_string_lossy();
    replace_small(disk, folder, &name, contents.clone()).expect("written");
}

fn topic(name: &str) -> StoredTopic {
    let mut id = [0; 16];
    id[..name.len()].copy_from_slice(name.as_bytes());
    StoredTopic {
        id: TopicId(id),
        name: TopicName::new(name).expect("valid"),
        partition_count: 2,
        configs: vec![("segment.ms".to_owned(), "1000".to_owned())],
    }
}

fn partition(name: &str) -> TopicPartition {
    TopicPartition {
        topic_id: topic(name).id,
        partition: PartitionIndex(1),
    }
}

/// Puts a segment with a few bytes into a partition; what they are does not matter here.
fn write_segment(disk: &SimulatedDisk, folder: &DataFolder, name: &str) -> PathBuf {
    let path = folder.layout().segment(partition(name), Offset(0));
    let file = disk.open(&path, OpenMode::Create).expect("created");
    disk.write(&file, 0, &[Bytes::from_static(b"records")])
        .expect("written");
    path
}

#[test]
fn a_folder_is_created_with_those_above_it_and_is_there_after_a_power_cut() {
    for seed in 0..20 {
        let disk = SimulatedDisk::new(seed);
        let mut folder = open(&disk);
        folder.create_topic(topic("one")).expect("created");
        drop(folder);
        disk.restart();
        let folder = open(&disk);
        assert_eq!(folder.incarnations(), 2, "seed {seed}");
        assert_eq!(folder.topics(), [topic("one")], "seed {seed}");
    }
}

#[test]
fn a_clean_stop_is_remembered_once() {
    let disk = SimulatedDisk::new(1);
    open(&disk).close().expect("closed");
    assert!(open(&disk).was_clean());
    assert!(!open(&disk).was_clean());
}

#[test]
fn a_folder_in_use_is_refused() {
    let disk = SimulatedDisk::new(1);
    let first = open(&disk);
    let refusal = refusal(&disk);
    assert!(matches!(refusal, OpenError::Locked { .. }));
    assert!(refusal.to_string().contains("in use by another process"));
    drop(first);
    open(&disk);
}

#[test]
fn a_folder_of_another_broker_is_refused() {
    let disk = SimulatedDisk::new(1);
    drop(open_as(&disk, 7).expect("opened"));
    let refusal = refusal(&disk);
    assert!(
        refusal.to_string().contains("start with --id 7"),
        "{refusal}"
    );
}

#[test]
fn a_folder_of_a_later_version_is_refused() {
    for (name, magic) in [
        ("manifest.0", b"KEYLANEM"),
        ("manifest.1", b"KEYLANEM"),
        ("topics", b"KEYLANET"),
    ] {
        let disk = SimulatedDisk::new(1);
        drop(open(&disk));
        let later = checked::encode(Kind { magic, version: 2 }, b"of the future");
        restore(&disk, &file(name), &later);
        let refusal = refusal(&disk);
        assert!(matches!(refusal, OpenError::Newer { version: 2, .. }));
        assert!(refusal.to_string().contains(name), "{refusal}");
    }
}

#[test]
fn a_folder_with_other_files_and_a_file_are_refused() {
    let disk = SimulatedDisk::new(1);
    disk.create_folder(Path::new("/disks")).expect("created");
    disk.create_folder(Path::new("/disks/one"))
        .expect("created");
    let other = disk.open(Path::new(ROOT), OpenMode::Create);
    other.expect("created");
    assert!(matches!(refusal(&disk), OpenError::NotAFolder { .. }));
    disk.remove(Path::new(ROOT)).expect("removed");
    disk.create_folder(Path::new(ROOT)).expect("created");
    disk.open(&file("thesis.tex"), OpenMode::Create)
        .expect("created");
    let refusal = refusal(&disk);
    assert!(refusal.to_string().contains("thesis.tex"), "{refusal}");
}

#[test]
fn damage_to_one_manifest_neither_refuses_nor_brings_an_epoch_back() {
    for name in MANIFESTS {
        let disk = SimulatedDisk::new(1);
        let mut folder = open(&disk);
        folder.create_topic(topic("one")).expect("created");
        drop(folder);
        for incarnation in 2..6 {
            assert_eq!(open(&disk).incarnations(), incarnation);
            disk.flip_bit(&file(name), 40, 1);
        }
        assert_eq!(open(&disk).topics(), [topic("one")]);
    }
}

#[test]
fn a_topic_that_an_old_manifest_does_not_know_is_served_and_can_be_deleted() {
    for damaged in MANIFESTS {
        let disk = SimulatedDisk::new(1);
        let mut folder = open(&disk);
        folder.create_topic(topic("one")).expect("created");
        drop(folder);
        disk.flip_bit(&file(damaged), 40, 1);
        let mut folder = open(&disk);
        folder
            .recover(partition("one"), &mut NoProducers)
            .expect("its folder is there");
        folder.delete_topic(topic("one").id).expect("deleted");
        drop(folder);
        let folder = open(&disk);
        assert!(folder.topics().is_empty() && folder.orphans().is_empty());
        assert!(
            disk.list(&folder.layout().logs())
                .expect("listed")
                .is_empty()
        );
    }
}

#[test]
fn without_both_manifests_or_the_topics_a_folder_with_records_is_refused_untouched() {
    for (names, damage) in [
        (&MANIFESTS[..], true),
        (&MANIFESTS[..], false),
        (&["topics"][..], true),
        (&["topics"][..], false),
    ] {
        let disk = SimulatedDisk::new(1);
        let mut folder = open(&disk);
        folder.create_topic(topic("one")).expect("created");
        write_segment(&disk, &folder, "one");
        drop(folder);
        for name in names {
            if damage {
                disk.flip_bit(&file(name), 40, 1);
            } else {
                disk.remove(&file(name)).expect("removed");
            }
        }
        let refusal = refusal(&disk);
        assert!(
            refusal.to_string().contains("restore the file"),
            "{refusal}"
        );
    }
}

#[test]
fn records_of_a_topic_that_the_topics_do_not_name_are_kept_and_reported() {
    let disk = SimulatedDisk::new(1);
    let mut folder = open(&disk);
    let old = read_small(&disk, &file("topics"), 1 << 20).expect("read");
    folder.create_topic(topic("full")).expect("created");
    folder.create_topic(topic("empty")).expect("created");
    let segment = write_segment(&disk, &folder, "full");
    drop(folder);
    restore(&disk, &file("topics"), &old);
    for _ in 0..2 {
        let folder = open(&disk);
        let orphans: Vec<_> = folder
            .orphans()
            .iter()
            .map(|orphan| orphan.name.as_str())
            .collect();
        assert_eq!(orphans, ["full"]);
        assert_eq!(folder.orphans()[0].state, HostedState::Hosted);
        assert!(disk.paths().contains(&segment));
        assert_eq!(disk.list(&folder.layout().logs()).expect("listed").len(), 1);
    }
}

#[test]
fn a_missing_partition_is_an_error_and_is_not_created() {
    let disk = SimulatedDisk::new(1);
    let mut folder = open(&disk);
    folder.create_topic(topic("one")).expect("created");
    let path = folder.layout().partition(partition("one"));
    drop(folder);
    disk.remove_folder(&path).expect("removed");
    for _ in 0..2 {
        let folder = open(&disk);
        let recovered = folder.recover(partition("one"), &mut NoProducers);
        assert_eq!(recovered.map(|_| ()), Err(DiskError::NotFound));
        assert_eq!(disk.list(&path).map(|_| ()), Err(DiskError::NotFound));
    }
}

#[test]
fn the_folder_of_this_machine_is_locked_and_made_like_the_simulated() {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let root = temporary.path().join("a/b/data");
    let fresh = FreshIds {
        folder_id: FolderId([1; 16]),
        cluster_id: ClusterId([2; 16]),
    };
    let open = || DataFolder::open(Arc::new(RealDisk), &root, BrokerId(1), fresh);
    let mut folder = open().expect("opened");
    folder.create_topic(topic("one")).expect("created");
    assert!(matches!(open().map(|_| ()), Err(OpenError::Locked { .. })));
    drop(folder);
    let mut folder = open().expect("opened");
    assert_eq!(folder.topics(), [topic("one")]);
    folder.delete_topic(topic("one").id).expect("deleted");
    folder.remove_deleted(topic("one").id).expect("removed");
    assert!(
        RealDisk
            .list(&folder.layout().logs())
            .expect("listed")
            .is_empty()
    );
    let file = root.join("manifest.0");
    let below = DataFolder::open(Arc::new(RealDisk), &file, BrokerId(1), fresh);
    assert!(matches!(
        below.map(|_| ()),
        Err(OpenError::NotAFolder { .. })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_sound_file_that_says_anything_is_refused_without_panic(
        body in prop::collection::vec(any::<u8>(), 0..300),
        is_manifest in any::<bool>(),
    ) {
        let disk = SimulatedDisk::new(1);
        let mut folder = open(&disk);
        folder.create_topic(topic("one")).expect("created");
        drop(folder);
        let (names, magic) = match is_manifest {
            true => (&MANIFESTS[..], b"KEYLANEM"),
            false => (&["topics"][..], b"KEYLANET"),
        };
        for name in names {
            let contents = checked::encode(Kind { magic, version: 1 }, &body);
            restore(&disk, &file(name), &contents);
        }
        let is_damaged = matches!(refusal(&disk), OpenError::Damaged { .. });
        prop_assert!(is_damaged);
    }
}
