//! The power goes at every operation of a small life: topics created, records appended and acknowledged, segments rolled.
//!
//! After each cut the folder is recovered twice. No acknowledged record may be missing, no open may fail, and both
//! recoveries must agree. A disk that ignores syncs is the control: with it the same test must lose records.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use keylane_broker::disk::simulated::{Fault, SimulatedDisk};
use keylane_broker::disk::{Disk, DiskError, OpenMode};
use keylane_broker::folder::{ClusterId, DataFolder, FolderId, FreshIds, StoredTopic};
use keylane_broker::log::read::{ReadRange, read_batches};
use keylane_broker::log::recovery::{ProducerReplay, seal};
use keylane_broker::log::writer::{Append, Durability, LogWriter, StepRunner, run_group};
use keylane_broker::log::{BatchFacts, Log, RollSettings, TopicPartition};
use keylane_protocol::compression::Compression;
use keylane_protocol::identifiers::{BrokerId, PartitionIndex, TopicId, TopicName};
use keylane_protocol::offset::{LeaderEpoch, Offset};
use keylane_protocol::record_batch::{
    BatchProducer, NewRecord, PREFIX_BYTES, RecordBatch, RecordBatchBuilder, RecordBatchHeader,
    RecordBatches,
};

const TORN_SEEDS: u64 = 3;
const ROLL: RollSettings = RollSettings {
    segment_bytes_max: 1500,
    segment_ms_max: u64::MAX,
};
const AHEAD: u64 = 1 << 20;
const ROOT: &str = "/data";

/// What the outside world was promised: acknowledged records, by partition and offset.
type Acknowledged = BTreeMap<TopicPartition, Vec<Bytes>>;

/// A topic is known once its creation was answered.
#[derive(Default)]
struct Promises {
    topics: Vec<TopicId>,
    /// Topics whose deletion was answered; while it is only asked for, nothing is promised of them.
    deleted: Vec<TopicId>,
    records: Acknowledged,
}

struct NoProducers;

impl ProducerReplay for NoProducers {
    fn restore(&mut self, _snapshot: &Bytes) -> bool {
        true
    }

    fn on_batch(&mut self, _header: &RecordBatchHeader) {}
}

struct Life {
    disk: Arc<dyn Disk>,
    folder: DataFolder,
    writer: LogWriter,
    runner: StepRunner,
    logs: BTreeMap<TopicPartition, Log>,
}

fn open(disk: &SimulatedDisk) -> Result<Life, DiskError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let fresh = FreshIds {
        folder_id: FolderId([1; 16]),
        cluster_id: ClusterId([2; 16]),
    };
    let folder = DataFolder::open(Arc::clone(&disk), Path::new(ROOT), BrokerId(1), fresh);
    let folder = folder.map_err(|error| match error {
        keylane_broker::folder::OpenError::Disk { source, .. } => source,
        refused => panic!("a crash must not make the folder unusable: {refused}"),
    })?;
    let runner = StepRunner::new(Arc::clone(&disk), folder.layout().clone());
    let mut life = Life {
        disk,
        folder,
        writer: LogWriter::default(),
        runner,
        logs: BTreeMap::new(),
    };
    for topic in life.folder.topics().to_vec() {
        life.recover(&topic)?;
    }
    Ok(life)
}

impl Life {
    fn recover(&mut self, topic: &StoredTopic) -> Result<(), DiskError> {
        for partition in partitions(topic) {
            let recovered = self.folder.recover(partition, &mut NoProducers)?;
            let active = recovered.log.active();
            self.writer
                .on_recovered(partition, active.base_offset(), active.size_bytes());
            self.logs.insert(partition, recovered.log);
        }
        Ok(())
    }

    fn create(
        &mut self,
        name: &str,
        promises: &mut Promises,
    ) -> Result<Vec<TopicPartition>, DiskError> {
        let mut id = [0; 16];
        id[..name.len()].copy_from_slice(name.as_bytes());
        let topic = StoredTopic {
            id: TopicId(id),
            name: TopicName::new(name).expect("valid"),
            partition_count: 2,
            configs: Vec::new(),
        };
        self.folder.create_topic(topic.clone())?;
        promises.topics.push(topic.id);
        self.recover(&topic)?;
        Ok(partitions(&topic))
    }

    /// Enqueues a batch; it is acknowledged only by [`Self::commit`].
    fn append(&mut self, partition: TopicPartition, batch: &Bytes) {
        let checked = RecordBatch::check(batch.clone()).expect("a sound batch");
        let facts = BatchFacts {
            offset_count: i64::from(checked.header().record_count),
            size_bytes: batch.len() as u64,
            max_timestamp: checked.header().max_timestamp,
        };
        let epoch = LeaderEpoch(self.folder.incarnations());
        let log = self.logs.get_mut(&partition).expect("recovered");
        let placement = log.append(&facts, epoch, &ROLL, 1);
        let prefix = checked.stamped_prefix(placement.base_offset, epoch);
        self.writer.on_append(Append {
            partition,
            generation: 0,
            shard: 0,
            durability: Durability::Fsync,
            segment: placement.segment,
            position: placement.position,
            closed: placement.closed,
            end_offset: log.end_offset(),
            prefix: Bytes::copy_from_slice(&prefix),
            rest: batch.slice(PREFIX_BYTES..),
        });
    }

    fn commit(&mut self) -> Result<(), DiskError> {
        run_group(&mut self.writer, &mut self.runner, AHEAD, |work| {
            work.iter().try_for_each(|work| work.run(&*self.disk))
        })?;
        self.writer.end_group(&mut BTreeMap::new());
        Ok(())
    }

    fn seal_closed(&mut self, partition: TopicPartition) -> Result<(), DiskError> {
        let log = &self.logs[&partition];
        let folder = self.folder.layout().partition(partition);
        let first = log.segment(log.start_offset()).expect("the first segment");
        if first.end_offset() < log.end_offset() {
            seal(
                &*self.disk,
                &folder,
                first,
                log.last_leader_epoch(),
                b"producers",
            )?;
        }
        Ok(())
    }

    /// Returns every record's bytes, by reading the log as a consumer would.
    fn read_all(&self, partition: TopicPartition) -> Vec<Bytes> {
        let log = &self.logs[&partition];
        let mut values = Vec::new();
        let mut offset = log.start_offset();
        while let Some(location) = log.locate(offset) {
            let path = self.folder.layout().segment(partition, location.segment);
            let file = self
                .disk
                .open(&path, OpenMode::Read)
                .expect("a segment of the log");
            let range = ReadRange {
                position: location.position,
                end_position: location.end_position,
                offset,
                end_offset: log.end_offset(),
                bytes_max: 1 << 20,
            };
            let bytes =
                read_batches(&*self.disk, &file, &range).expect("what was recovered is sound");
            assert!(
                !bytes.is_empty(),
                "a reader must get on from offset {offset}"
            );
            for batch in RecordBatches::new(bytes) {
                let batch = batch.expect("sound");
                assert!(batch.header().base_offset <= offset, "offsets are dense");
                for record in batch.records(1 << 20).expect("uncompressed") {
                    let record = record.expect("sound");
                    assert_eq!(
                        record.offset,
                        Offset(i64::try_from(values.len()).expect("small"))
                    );
                    values.push(record.value.expect("a value"));
                }
                offset = batch.header().end_offset();
            }
        }
        values
    }
}

fn partitions(topic: &StoredTopic) -> Vec<TopicPartition> {
    (0..topic.partition_count)
        .map(|index| TopicPartition {
            topic_id: topic.id,
            partition: PartitionIndex(index),
        })
        .collect()
}

fn batch(values: &[Bytes]) -> Bytes {
    let mut builder = RecordBatchBuilder::with_capacity(256);
    for value in values {
        builder.append(&NewRecord {
            timestamp: 1,
            value: Some(value),
            ..NewRecord::default()
        });
    }
    builder
        .finish(Compression::None, BatchProducer::NONE)
        .expect("memory suffices")
}

/// Lives until the power goes; what was acknowledged by then is in `promises`.
fn live(disk: &SimulatedDisk, promises: &mut Promises) -> Result<(), DiskError> {
    let mut life = open(disk)?;
    let mut number = 0;
    let mut all = Vec::new();
    for topic in ["first", "second"] {
        all.extend(life.create(topic, promises)?);
        for round in 0..6 {
            let mut pending: Vec<(TopicPartition, Vec<Bytes>)> = Vec::new();
            for &partition in &all {
                for _ in 0..=round % 3 {
                    let values: Vec<Bytes> = (0..3)
                        .map(|index| Bytes::from(format!("{number}-{index}-{}", "x".repeat(90))))
                        .collect();
                    number += 1;
                    life.append(partition, &batch(&values));
                    pending.push((partition, values));
                }
            }
            life.commit()?;
            for (partition, values) in pending {
                promises
                    .records
                    .entry(partition)
                    .or_default()
                    .extend(values);
            }
            if round == 3 {
                life.seal_closed(all[all.len() - 1])?;
            }
        }
    }
    let gone = life.folder.topics()[0].id;
    promises.topics.retain(|topic| *topic != gone);
    promises
        .records
        .retain(|partition, _| partition.topic_id != gone);
    life.folder.delete_topic(gone)?;
    promises.deleted.push(gone);
    life.folder.remove_deleted(gone)?;
    life.folder.close()
}

/// Recovers after the cut and returns how many acknowledged records are missing or different.
fn lost_after_recovery(disk: &SimulatedDisk, promises: &Promises) -> usize {
    disk.restart();
    let first = snapshot(disk);
    disk.restart();
    let second = snapshot(disk);
    assert_eq!(first, second, "two recoveries must agree");
    for (partition, _) in &first {
        assert!(
            !promises.deleted.contains(&partition.topic_id),
            "a deleted topic came back"
        );
    }
    let lost_topics = promises.topics.iter().filter(|id| {
        !first
            .iter()
            .any(|(partition, _)| partition.topic_id == **id)
    });
    let mut lost = lost_topics.count();
    for (partition, acknowledged) in &promises.records {
        let found = first
            .iter()
            .find(|(of, _)| of == partition)
            .map_or(&[][..], |(_, values)| values);
        let kept = acknowledged
            .iter()
            .zip(found)
            .filter(|(promised, found)| promised == found)
            .count();
        lost += acknowledged.len() - kept;
    }
    lost
}

fn snapshot(disk: &SimulatedDisk) -> Vec<(TopicPartition, Vec<Bytes>)> {
    let life = open(disk).expect("no open fails after a crash");
    life.logs
        .keys()
        .map(|&partition| (partition, life.read_all(partition)))
        .collect()
}

struct Outcome {
    points: u64,
    lost: usize,
}

fn crash_everywhere(seeds: u64, ignore_syncs: bool) -> Outcome {
    let whole = SimulatedDisk::new(0);
    live(&whole, &mut Promises::default()).expect("nothing fails without a fault");
    let mut outcome = Outcome { points: 0, lost: 0 };
    for operation in 1..=whole.operations() {
        for seed in 0..seeds {
            let disk = SimulatedDisk::new(seed * 1_000_003 + operation);
            if ignore_syncs {
                disk.ignore_syncs();
            }
            disk.plan(Fault::PowerCut { operation });
            let mut promises = Promises::default();
            assert_eq!(
                live(&disk, &mut promises),
                Err(DiskError::PoweredOff),
                "operation {operation}"
            );
            if !ignore_syncs {
                let lost = lost_after_recovery(&disk, &promises);
                assert_eq!(lost, 0, "power cut at operation {operation}, seed {seed}");
            } else if let Ok(lost) =
                std::panic::catch_unwind(|| lost_after_recovery(&disk, &promises))
            {
                outcome.lost += lost;
            } else {
                outcome.lost += 1;
            }
            outcome.points += 1;
        }
    }
    outcome
}

#[test]
fn no_power_cut_loses_an_acknowledged_record() {
    let outcome = crash_everywhere(TORN_SEEDS, false);
    println!(
        "{} crash points with torn writes, recovered twice: 0 acknowledged records lost",
        outcome.points
    );
    assert!(outcome.points > 300, "only {} points", outcome.points);
}

#[test]
fn a_disk_that_ignores_syncs_is_found_out() {
    std::panic::set_hook(Box::new(|_| {}));
    let outcome = crash_everywhere(1, true);
    let _ = std::panic::take_hook();
    println!(
        "control without syncs: {} crash points, {} acknowledged records lost",
        outcome.points, outcome.lost
    );
    assert!(outcome.lost > 0, "the test cannot tell a sync from none");
}

#[test]
fn a_failed_sync_acknowledges_nothing_and_loses_nothing() {
    let whole = SimulatedDisk::new(0);
    live(&whole, &mut Promises::default()).expect("nothing fails without a fault");
    let mut failures = 0;
    for operation in 1..=whole.operations() {
        let disk = SimulatedDisk::new(operation);
        disk.plan(Fault::Failed { operation });
        let mut promises = Promises::default();
        if live(&disk, &mut promises).is_err() {
            failures += 1;
            assert_eq!(
                lost_after_recovery(&disk, &promises),
                0,
                "failed sync at operation {operation}"
            );
        }
    }
    assert!(failures > 20, "only {failures} operations were syncs");
}

#[test]
fn all_caches_gone_or_garbled_change_nothing() {
    for garble in [false, true] {
        let disk = SimulatedDisk::new(7);
        let mut promises = Promises::default();
        live(&disk, &mut promises).expect("nothing fails without a fault");
        let caches: Vec<PathBuf> = disk
            .paths()
            .into_iter()
            .filter(|path| path.extension().is_some_and(|kind| kind == "index"))
            .collect();
        assert!(!caches.is_empty());
        for cache in caches {
            if garble {
                disk.flip_bit(&cache, 30, 3);
            } else {
                disk.remove(&cache).expect("it is there");
            }
        }
        assert_eq!(lost_after_recovery(&disk, &promises), 0);
    }
}

#[test]
fn rot_in_a_proven_segment_is_reported_and_never_cut() {
    let disk = SimulatedDisk::new(7);
    live(&disk, &mut Promises::default()).expect("nothing fails without a fault");
    let proven = disk
        .paths()
        .into_iter()
        .find(|path| path.extension().is_some_and(|kind| kind == "index"));
    let segment = proven
        .expect("one segment was sealed")
        .with_extension("log");
    disk.flip_bit(&segment, 100, 0);
    let before = disk
        .open(&segment, OpenMode::Read)
        .and_then(|file| disk.size(&file))
        .expect("there");
    disk.restart();
    let life = open(&disk).expect("rot does not keep a folder from opening");
    let after = disk
        .open(&segment, OpenMode::Read)
        .and_then(|file| disk.size(&file))
        .expect("there");
    assert_eq!(before, after);
    let (partition, log) = life
        .logs
        .iter()
        .find(|(partition, log)| {
            life.folder
                .layout()
                .segment(**partition, log.start_offset())
                == segment
        })
        .expect("the segment's partition");
    let location = log.locate(log.start_offset()).expect("the log goes on");
    let file = disk
        .open(
            &life.folder.layout().segment(*partition, location.segment),
            OpenMode::Read,
        )
        .expect("there");
    let range = ReadRange {
        position: location.position,
        end_position: location.end_position,
        offset: log.start_offset(),
        end_offset: log.end_offset(),
        bytes_max: 4096,
    };
    assert!(
        read_batches(&disk, &file, &range).is_err(),
        "damage is an error, never a gap"
    );
}
