//! Damage to what was proven durable: never cut, always reported, and everything else is served and appended to.

use std::path::PathBuf;

use crate::life::{Life, Sabotage, SharedPromises};
use bytes::Bytes;
use keylane_broker::disk::simulated::SimulatedDisk;
use keylane_broker::disk::{Disk, OpenMode};
use keylane_broker::log::read::{ReadRange, read_batches};
use keylane_broker::log::{Location, Log, TopicPartition};
use keylane_protocol::offset::Offset;
use keylane_protocol::record_batch::RecordBatches;

/// A folder with one partition of several segments, all of them proven by a clean stop.
struct Proven {
    disk: SimulatedDisk,
    promises: SharedPromises,
    partition: TopicPartition,
    /// In order.
    segments: Vec<PathBuf>,
    values: Vec<Bytes>,
}

impl Proven {
    fn new() -> Self {
        let disk = SimulatedDisk::new(1);
        let promises = SharedPromises::default();
        let mut life = Life::begin(&disk, &promises, Sabotage::None).expect("begun");
        life.create("topic", 1).expect("created");
        let partition = life.partitions()[0];
        for _ in 0..20 {
            life.append(partition, 2);
            life.commit().expect("committed");
        }
        life.seal_all_closed().expect("sealed");
        let values = life.read_all(partition);
        life.stop().expect("stopped");
        let mut segments = disk.paths();
        segments.retain(|path| path.extension().is_some_and(|kind| kind == "log"));
        assert!(segments.len() > 3);
        Self {
            disk,
            promises,
            partition,
            segments,
            values,
        }
    }

    fn size(&self, segment: usize) -> u64 {
        let file = self
            .disk
            .open(&self.segments[segment], OpenMode::Read)
            .expect("it is there");
        self.disk.size(&file).expect("it has a size")
    }

    fn begin(&self) -> Life {
        Life::begin_damaged(&self.disk, &self.promises)
            .expect("rot does not keep a folder from opening")
    }

    /// Recovers twice, which must agree, and returns the offsets that cannot be read.
    fn unreadable(&self) -> Vec<i64> {
        let first = self.unreadable_once();
        self.disk.restart();
        assert_eq!(self.unreadable_once(), first, "two recoveries must agree");
        first
    }

    fn unreadable_once(&self) -> Vec<i64> {
        let life = self.begin();
        let log = life.log(self.partition);
        let unreadable = self.unreadable_in(&life);
        for range in log.damaged() {
            assert!(
                unreadable
                    .iter()
                    .all(|offset| (range.start.0..range.end.0).contains(offset))
            );
        }
        unreadable
    }

    fn unreadable_in(&self, life: &Life) -> Vec<i64> {
        let log = life.log(self.partition);
        assert_eq!(log.start_offset(), Offset(0));
        let mut unreadable = Vec::new();
        for (index, value) in self.values.iter().enumerate() {
            let offset = Offset(i64::try_from(index).expect("small"));
            match self.read(life, log, offset) {
                Some(found) => assert_eq!(found, value, "offset {offset}"),
                None => unreadable.push(offset.0),
            }
        }
        unreadable
    }

    fn read(&self, life: &Life, log: &Log, offset: Offset) -> Option<Bytes> {
        let Location {
            segment,
            place,
            end_position,
            ..
        } = log.locate(offset).expect("the log goes on");
        let path = life.folder.layout().segment(self.partition, segment);
        let file = self.disk.open(&path, OpenMode::Read).ok()?;
        let range = ReadRange {
            start: place,
            end_position,
            offset,
            end_offset: log.end_offset(),
            bytes_max: 1,
        };
        let bytes = read_batches(&self.disk, &file, &range).ok()?;
        let batch = RecordBatches::new(bytes).next()?.expect("it was checked");
        let mut records = batch
            .records(1 << 20)
            .expect("uncompressed")
            .map(|record| record.expect("sound"));
        records.find(|record| record.offset == offset)?.value
    }

    /// Appends, and checks that the new records are there after a power cut, with the old damage and no other.
    fn goes_on_with(&self, unreadable: &[i64]) {
        let mut life = self.begin();
        let end = life.log(self.partition).end_offset();
        assert_eq!(
            end.0,
            i64::try_from(self.values.len()).expect("small"),
            "no offset is used twice"
        );
        for _ in 0..10 {
            life.append(self.partition, 2);
            life.commit().expect("committed");
        }
        drop(life);
        self.disk.restart();
        let life = self.begin();
        assert_eq!(self.unreadable_in(&life), unreadable);
        let log = life.log(self.partition);
        assert_eq!(log.end_offset(), end.plus(20));
        for offset in end.0..end.0 + 20 {
            assert!(
                self.read(&life, log, Offset(offset)).is_some(),
                "offset {offset}"
            );
        }
    }
}

#[test]
fn a_flipped_bit_in_a_batch_costs_it_and_nothing_else() {
    for segment in 0..4 {
        for byte in [21, 70, 100] {
            let proven = Proven::new();
            let before = proven.size(segment);
            proven.disk.flip_bit(&proven.segments[segment], byte, 3);
            let unreadable = proven.unreadable();
            assert_eq!(
                unreadable.len(),
                2,
                "segment {segment} byte {byte}: {unreadable:?}"
            );
            assert_eq!(proven.size(segment), before, "nothing is cut");
            proven.goes_on_with(&unreadable);
        }
    }
}

#[test]
fn a_flipped_bit_that_hides_where_batches_begin_costs_those_up_to_the_next_entry_of_the_index() {
    for byte in [0, 8, 11, 16] {
        let proven = Proven::new();
        proven.disk.flip_bit(&proven.segments[1], byte, 3);
        let unreadable = proven.unreadable();
        assert!(
            (2..=8).contains(&unreadable.len()),
            "byte {byte}: {unreadable:?}"
        );
        proven.goes_on_with(&unreadable);
    }
}

#[test]
fn a_lost_sector_costs_the_batches_in_it() {
    let proven = Proven::new();
    proven.disk.lose_sector(&proven.segments[1], 600);
    let unreadable = proven.unreadable();
    assert!((1..=8).contains(&unreadable.len()), "{unreadable:?}");
    proven.goes_on_with(&unreadable);
}

#[test]
fn a_missing_segment_is_reported_and_the_others_are_served() {
    for segment in 0..Proven::new().segments.len() {
        let proven = Proven::new();
        proven
            .disk
            .remove(&proven.segments[segment])
            .expect("removed");
        let unreadable = proven.unreadable();
        let damaged = proven.begin().log(proven.partition).damaged().to_vec();
        assert_eq!(damaged.len(), 1, "segment {segment}");
        let range: Vec<i64> = (damaged[0].start.0..damaged[0].end.0).collect();
        assert_eq!(unreadable, range, "segment {segment}");
        proven.goes_on_with(&unreadable);
    }
}

#[test]
fn a_segment_that_was_cut_short_is_reported_and_not_appended_to() {
    for segment in 0..Proven::new().segments.len() {
        let proven = Proven::new();
        let file = proven
            .disk
            .open(&proven.segments[segment], OpenMode::Write)
            .expect("it is there");
        let length = 500;
        proven.disk.set_length(&file, length).expect("cut");
        proven.disk.sync(&file).expect("synced");
        let unreadable = proven.unreadable();
        assert!(
            (1..=8).contains(&unreadable.len()),
            "segment {segment}: {unreadable:?}"
        );
        assert_eq!(proven.begin().log(proven.partition).damaged().len(), 1);
        assert_eq!(proven.size(segment), length, "what is left stays");
        proven.goes_on_with(&unreadable);
    }
}

#[test]
fn a_segment_below_a_proven_one_is_not_cut_although_its_own_index_file_is_gone() {
    let proven = Proven::new();
    let index = proven.segments[1].with_extension("index");
    proven.disk.remove(&index).expect("removed");
    proven.disk.flip_bit(&proven.segments[1], 100, 1);
    let before = proven.size(1);
    let unreadable = proven.unreadable();
    assert!((1..=8).contains(&unreadable.len()), "{unreadable:?}");
    assert_eq!(proven.size(1), before);
    proven.goes_on_with(&unreadable);
}

#[test]
fn recovery_writes_the_index_files_that_are_missing() {
    let proven = Proven::new();
    let indexes: Vec<PathBuf> = proven
        .segments
        .iter()
        .map(|path| path.with_extension("index"))
        .collect();
    for index in &indexes {
        proven.disk.remove(index).expect("removed");
    }
    assert_eq!(proven.unreadable(), []);
    let paths = proven.disk.paths();
    let (active, closed) = indexes.split_last().expect("several");
    assert!(closed.iter().all(|index| paths.contains(index)));
    assert!(!paths.contains(active));
    proven.goes_on_with(&[]);
}
