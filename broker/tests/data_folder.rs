//! What a data folder refuses, and what it makes of damage: never a used epoch again, never records deleted.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use keylane_broker::disk::real::RealDisk;
use keylane_broker::disk::simulated::SimulatedDisk;
use keylane_broker::disk::{Disk, DiskError, OpenMode, read_small, replace_small};
use keylane_broker::folder::checked::{self, Kind};
use keylane_broker::folder::{
    DataFolder, FreshIds, HostedState, OpenError, StoredTopic, TopicsFile,
};
use keylane_broker::log::TopicPartition;
use keylane_broker::log::recovery::ProducerReplay;
use keylane_protocol::identifiers::{
    BrokerId, ClusterId, FolderId, PartitionIndex, StartId, TopicId, TopicName,
};
use keylane_protocol::offset::{BrokerEpoch, Offset};
use keylane_protocol::record_batch::RecordBatchHeader;
use proptest::prelude::*;

const ROOT: &str = "/disks/one/data";
const MANIFESTS: [&str; 2] = ["manifest.0", "manifest.1"];

struct NoProducers;

impl ProducerReplay for NoProducers {
    fn restore(&mut self, _snapshot: &Bytes, _end: Offset) -> bool {
        true
    }

    fn on_batch(&mut self, _header: &RecordBatchHeader) {}

    fn snapshot(&self) -> Bytes {
        Bytes::new()
    }
}

fn open_as(disk: &SimulatedDisk, broker_id: i32) -> Result<DataFolder, OpenError> {
    open_drawn(disk, broker_id, 1)
}

/// Opens the folder with a start of the given id.
fn open_drawn(disk: &SimulatedDisk, broker_id: i32, start: u8) -> Result<DataFolder, OpenError> {
    let fresh = FreshIds {
        folder_id: FolderId([1; 16]),
        node_id: 7,
        start: StartId([start; 16]),
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

/// Makes room for both partitions of a topic.
fn host(folder: &mut DataFolder, name: &str) {
    let StoredTopic { id, name, .. } = topic(name);
    let partitions = [PartitionIndex(0), PartitionIndex(1)];
    folder.host(id, &name, &partitions).expect("hosted");
}

fn acknowledge(folder: &mut DataFolder) {
    let noted = folder.acknowledge(ClusterId([9; 16]), BrokerEpoch(4));
    noted.expect("noted");
}

fn hosted(folder: &DataFolder) -> Vec<(&str, HostedState)> {
    let topics = folder.hosted().iter();
    topics
        .map(|topic| (topic.name.as_str(), topic.state))
        .collect()
}

const ONE: (&str, HostedState) = ("one", HostedState::Hosted);

/// Makes the folder what a version without controllers left: one topic that it knows, `one`.
fn make_older(disk: &SimulatedDisk, topics: &TopicsFile) {
    make_older_with(disk, topics, 5);
}

fn make_older_with(disk: &SimulatedDisk, topics: &TopicsFile, incarnations: i32) {
    let mut body = Vec::new();
    body.extend(1_000u64.to_be_bytes());
    body.extend([1; 16]);
    body.extend([9; 16]);
    body.extend(1i32.to_be_bytes());
    body.extend(incarnations.to_be_bytes());
    body.push(1);
    body.extend(1u32.to_be_bytes());
    body.extend(topic("one").id.0);
    body.extend(3u32.to_be_bytes());
    body.extend(b"one");
    body.push(0);
    body.extend(2i32.to_be_bytes());
    let kind = Kind {
        magic: b"KEYLANEM",
        version: 1,
    };
    for name in MANIFESTS {
        restore(disk, &file(name), &checked::encode(kind, &body));
    }
    restore(disk, &file("topics"), &topics.encode());
}

fn topics_file(names: &[&str]) -> TopicsFile {
    TopicsFile {
        topics: names.iter().map(|name| topic(name)).collect(),
    }
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
        host(&mut folder, "one");
        drop(folder);
        disk.restart();
        let folder = open(&disk);
        assert_eq!(folder.incarnations(), 2, "seed {seed}");
        assert_eq!(hosted(&folder), [ONE], "seed {seed}");
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
        let later = checked::encode(Kind { magic, version: 4 }, b"of the future");
        restore(&disk, &file(name), &later);
        let refusal = refusal(&disk);
        assert!(matches!(refusal, OpenError::Newer { version: 4, .. }));
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
        host(&mut folder, "one");
        drop(folder);
        for incarnation in 2..6 {
            assert_eq!(open(&disk).incarnations(), incarnation);
            disk.flip_bit(&file(name), 40, 1);
        }
        let known = hosted(&open(&disk)).len();
        assert!(known <= 1, "an old copy may not know it");
    }
}

#[test]
fn a_topic_that_an_old_manifest_does_not_know_can_be_hosted_again_and_deleted() {
    for damaged in MANIFESTS {
        let disk = SimulatedDisk::new(1);
        let mut folder = open(&disk);
        host(&mut folder, "one");
        let segment = write_segment(&disk, &folder, "one");
        drop(folder);
        disk.flip_bit(&file(damaged), 40, 1);
        let mut folder = open(&disk);
        // What the manifest may have forgotten is hosted again, with its records.
        host(&mut folder, "one");
        folder
            .recover(partition("one"), &mut NoProducers)
            .expect("its folder is there");
        assert!(disk.paths().contains(&segment));
        folder.begin_deletion(topic("one").id).expect("begun");
        drop(folder);
        let folder = open(&disk);
        assert!(folder.hosted().is_empty());
        assert!(
            disk.list(&folder.layout().logs())
                .expect("listed")
                .is_empty()
        );
    }
}

#[test]
fn without_both_manifests_a_folder_with_records_is_refused_untouched() {
    for damage in [true, false] {
        let disk = SimulatedDisk::new(1);
        let mut folder = open(&disk);
        host(&mut folder, "one");
        write_segment(&disk, &folder, "one");
        drop(folder);
        for name in MANIFESTS {
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
fn a_folder_without_controllers_offers_its_topics_until_they_are_taken_over() {
    let disk = SimulatedDisk::new(1);
    drop(open(&disk));
    make_older(&disk, &topics_file(&["one", "two"]));
    for incarnation in 6..8 {
        let folder = open(&disk);
        assert_eq!(folder.incarnations(), incarnation);
        assert_eq!(folder.cluster_id(), ClusterId([9; 16]));
        assert_eq!((folder.node_id(), folder.acknowledged()), (7, 0));
        assert_eq!(folder.adoptable(), [topic("one"), topic("two")]);
        // A manifest that lacks a topic is an old copy.
        assert_eq!(hosted(&folder), [ONE, ("two", HostedState::Hosted)]);
        assert_eq!(folder.hosted()[0].partitions.len(), 2);
    }
    let mut folder = open(&disk);
    acknowledge(&mut folder);
    drop(folder);
    let folder = open(&disk);
    assert_eq!((folder.acknowledged(), folder.incarnations()), (8, 9));
    assert!(folder.adoptable().is_empty() && folder.hosted().len() == 2);
}

#[test]
fn a_count_of_starts_that_cannot_go_on_is_damage() {
    for incarnations in [i32::MAX, -1] {
        let disk = SimulatedDisk::new(1);
        drop(open(&disk));
        let topics = topics_file(&["one"]);
        let mut folder = open(&disk);
        host(&mut folder, "one");
        write_segment(&disk, &folder, "one");
        drop(folder);
        make_older_with(&disk, &topics, incarnations);
        let is_damage = matches!(refusal(&disk), OpenError::Damaged { .. });
        assert!(is_damage, "{incarnations} starts");
    }
}

#[test]
fn an_acknowledgement_survives_damage_to_either_manifest() {
    for name in MANIFESTS {
        let disk = SimulatedDisk::new(1);
        let mut folder = open(&disk);
        acknowledge(&mut folder);
        drop(folder);
        disk.flip_bit(&file(name), 40, 1);
        let folder = open(&disk);
        assert_eq!(folder.cluster_id(), ClusterId([9; 16]));
        assert_eq!(folder.acknowledged(), 1);
        assert_eq!(folder.epoch_acknowledged(), BrokerEpoch(4));
        assert_eq!(folder.starts_known(), [StartId([1; 16])]);
    }
}

#[test]
fn the_starts_that_the_controllers_may_know_survive_damage_to_either_manifest() {
    for name in MANIFESTS {
        let disk = SimulatedDisk::new(1);
        let mut folder = open_drawn(&disk, 1, 1).expect("opened");
        folder.tell().expect("noted");
        acknowledge(&mut folder);
        // A process that ends before it tells anybody leaves nothing; one that has heard no answer does.
        drop(folder);
        drop(open_drawn(&disk, 1, 2).expect("opened"));
        for start in 3..=4 {
            let mut folder = open_drawn(&disk, 1, start).expect("opened");
            assert_eq!(folder.start(), StartId([start; 16]));
            folder.tell().expect("noted");
            host(&mut folder, "one");
        }
        disk.flip_bit(&file(name), 40, 1);
        let folder = open_drawn(&disk, 1, 5).expect("opened");
        let known = [1, 3, 4].map(|start| StartId([start; 16]));
        assert_eq!(folder.starts_known(), known);
        assert_eq!(folder.epoch_acknowledged(), BrokerEpoch(4));
    }
}

/// Returns what the version that counted its starts wrote: 5 of them, the last one acknowledged, and no topic.
fn manifest_of_version_2() -> Bytes {
    let mut body = Vec::new();
    body.extend(1_000u64.to_be_bytes());
    body.extend([1; 16]);
    body.extend([9; 16]);
    body.extend(1i32.to_be_bytes());
    body.extend(77u64.to_be_bytes());
    body.extend(5i32.to_be_bytes());
    body.extend(5i32.to_be_bytes());
    body.push(1);
    body.extend(0u32.to_be_bytes());
    let kind = Kind {
        magic: b"KEYLANEM",
        version: 2,
    };
    checked::encode(kind, &body)
}

#[test]
fn a_folder_that_counted_its_starts_goes_on_with_ids() {
    let disk = SimulatedDisk::new(1);
    drop(open(&disk));
    for name in MANIFESTS {
        restore(&disk, &file(name), &manifest_of_version_2());
    }
    let mut folder = open_drawn(&disk, 1, 2).expect("opened");
    assert!(folder.was_clean() && folder.node_id() == 77);
    assert_eq!((folder.acknowledged(), folder.incarnations()), (5, 6));
    assert_eq!(folder.epoch_acknowledged(), BrokerEpoch::NONE);
    assert!(folder.starts_known().is_empty());
    folder.tell().expect("noted");
    drop(folder);
    let mut folder = open_drawn(&disk, 1, 3).expect("opened");
    assert_eq!((folder.acknowledged(), folder.incarnations()), (5, 7));
    assert_eq!(folder.starts_known(), [StartId([2; 16])]);
    folder.tell().expect("noted");
    acknowledge(&mut folder);
    drop(folder);
    let folder = open_drawn(&disk, 1, 4).expect("opened");
    assert_eq!(folder.starts_known(), [StartId([3; 16])]);
    assert_eq!((folder.acknowledged(), folder.incarnations()), (7, 8));
}

#[test]
fn a_folder_without_controllers_and_without_its_topics_is_refused_untouched() {
    for damage in [true, false] {
        let disk = SimulatedDisk::new(1);
        drop(open(&disk));
        make_older(&disk, &topics_file(&["one"]));
        if damage {
            disk.flip_bit(&file("topics"), 20, 1);
        } else {
            disk.remove(&file("topics")).expect("removed");
        }
        let refusal = refusal(&disk);
        assert!(
            refusal.to_string().contains("restore the file"),
            "{refusal}"
        );
    }
}

#[test]
fn records_that_nobody_claims_are_kept() {
    let disk = SimulatedDisk::new(1);
    let mut folder = open(&disk);
    host(&mut folder, "one");
    let segment = write_segment(&disk, &folder, "one");
    drop(folder);
    make_older(&disk, &topics_file(&["two"]));
    let expected = [
        ("one", HostedState::Unclaimed),
        ("two", HostedState::Hosted),
    ];
    assert_eq!(hosted(&open(&disk)), expected);
    let mut folder = open(&disk);
    acknowledge(&mut folder);
    folder.keep_unclaimed(topic("two").id).expect("noted");
    drop(folder);
    let expected = expected.map(|(name, _)| (name, HostedState::Unclaimed));
    assert_eq!(hosted(&open(&disk)), expected);
    assert!(disk.paths().contains(&segment));
}

#[test]
fn a_missing_partition_is_an_error_and_is_not_created() {
    let disk = SimulatedDisk::new(1);
    let mut folder = open(&disk);
    host(&mut folder, "one");
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
        node_id: 7,
        start: StartId([1; 16]),
    };
    let open = || DataFolder::open(Arc::new(RealDisk), &root, BrokerId(1), fresh);
    let mut folder = open().expect("opened");
    host(&mut folder, "one");
    assert!(matches!(open().map(|_| ()), Err(OpenError::Locked { .. })));
    drop(folder);
    let mut folder = open().expect("opened");
    assert_eq!(hosted(&folder), [ONE]);
    folder.begin_deletion(topic("one").id).expect("begun");
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
        version in 1u32..4,
        is_manifest in any::<bool>(),
    ) {
        let disk = SimulatedDisk::new(1);
        let mut folder = open(&disk);
        host(&mut folder, "one");
        drop(folder);
        if is_manifest {
            let magic = b"KEYLANEM";
            for name in MANIFESTS {
                restore(&disk, &file(name), &checked::encode(Kind { magic, version }, &body));
            }
        } else {
            make_older(&disk, &topics_file(&["one"]));
            let magic = b"KEYLANET";
            let contents = checked::encode(Kind { magic, version: 1 }, &body);
            restore(&disk, &file("topics"), &contents);
        }
        let is_damaged = matches!(refusal(&disk), OpenError::Damaged { .. });
        prop_assert!(is_damaged);
    }
}
