//! A small life on a simulated disk, and what it promises to the outside world while it lasts.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use keylane_broker::disk::simulated::SimulatedDisk;
use keylane_broker::disk::{Disk, DiskError, OpenMode};
use keylane_broker::folder::{DataFolder, FreshIds, OpenError};
use keylane_broker::log::epochs::{EpochHistory, EpochStart};
use keylane_broker::log::read::{ReadRange, read_batches};
use keylane_broker::log::recovery::{ProducerReplay, seal};
use keylane_broker::log::segment::Segment;
use keylane_broker::log::writer::{Append, Durability, LogWriter, StepRunner, SyncWork, run_group};
use keylane_broker::log::{BatchFacts, Log, RollSettings, TopicPartition};
use keylane_protocol::compression::Compression;
use keylane_protocol::identifiers::{BrokerId, FolderId, PartitionIndex, TopicId, TopicName};
use keylane_protocol::offset::{LeaderEpoch, Offset};
use keylane_protocol::record_batch::{
    BatchProducer, NewRecord, PREFIX_BYTES, RecordBatch, RecordBatchBuilder, RecordBatchHeader,
    RecordBatches,
};

const ROOT: &str = "/data";
const ROLL: RollSettings = RollSettings {
    segment_bytes_max: 1300,
    segment_ms_max: u64::MAX,
};
/// Little, so that some groups can reserve chunks and others cannot.
const AHEAD_BYTES: u64 = 100 * 1024;

/// What is left out, so that the test can show that it would notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    None,
    /// The disk lies about syncs.
    NoSyncs,
    /// The writer does not sync folders.
    NoFolderSyncs,
    /// The writer syncs only the last of the segments that a group writes.
    OnlyLastSegment,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TopicState {
    Creating,
    Exists,
    Deleting,
    Deleted,
}

/// What was sent to a partition, in order, and how much of it was acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) values: Vec<Bytes>,
    pub(crate) acknowledged: usize,
}

/// What the outside world was promised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Promises {
    pub(crate) topics: BTreeMap<TopicId, TopicState>,
    pub(crate) partitions: BTreeMap<TopicPartition, Sent>,
    pub(crate) incarnations: i32,
}

/// Promises that a life adds to and a visitor of its disk reads.
#[derive(Clone, Default)]
pub(crate) struct SharedPromises(Arc<Mutex<Promises>>);

impl SharedPromises {
    pub(crate) fn new(promises: Promises) -> Self {
        Self(Arc::new(Mutex::new(promises)))
    }

    pub(crate) fn now(&self) -> Promises {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Promises> {
        self.0.lock().expect("no holder panics")
    }
}

/// Checks that every batch since the snapshot is shown once, in order; a snapshot is the offset it was taken at.
struct SeenBatches {
    next: Offset,
}

impl ProducerReplay for SeenBatches {
    fn restore(&mut self, snapshot: &Bytes) -> bool {
        let Ok(offset) = <[u8; 8]>::try_from(snapshot.as_ref()) else {
            return false;
        };
        self.next = Offset(i64::from_be_bytes(offset));
        true
    }

    fn on_batch(&mut self, header: &RecordBatchHeader) {
        assert!(header.base_offset >= self.next, "batches are replayed once");
        self.next = header.end_offset();
    }
}

/// A segment that can be sealed once its group is durable.
struct Closed {
    partition: TopicPartition,
    segment: Segment,
    epochs: EpochHistory,
}

pub(crate) struct Life {
    disk: Arc<dyn Disk>,
    pub(crate) folder: DataFolder,
    writer: LogWriter,
    runner: StepRunner,
    logs: BTreeMap<TopicPartition, Log>,
    promises: SharedPromises,
    sabotage: Sabotage,
    expects_damage: bool,
    pending: Vec<(TopicPartition, usize)>,
    closed: Vec<Closed>,
    next_value: u64,
}

/// The topic whose records may be lost with the power.
const PAGE_CACHE_TOPIC: &str = "cache";

fn topic_id(name: &str) -> TopicId {
    let mut id = [0; 16];
    id[..name.len()].copy_from_slice(name.as_bytes());
    TopicId(id)
}

pub(crate) fn is_page_cache(topic_id: TopicId) -> bool {
    topic_id.0.starts_with(PAGE_CACHE_TOPIC.as_bytes())
}

impl Life {
    /// Begins a life; damage is an error of the test, a failing disk an error of this function.
    pub(crate) fn begin(
        disk: &SimulatedDisk,
        promises: &SharedPromises,
        sabotage: Sabotage,
    ) -> Result<Self, DiskError> {
        Self::begin_with(disk, promises, sabotage, false)
    }

    /// Begins a life on what may be damaged.
    pub(crate) fn begin_damaged(
        disk: &SimulatedDisk,
        promises: &SharedPromises,
    ) -> Result<Self, DiskError> {
        Self::begin_with(disk, promises, Sabotage::None, true)
    }

    fn begin_with(
        disk: &SimulatedDisk,
        promises: &SharedPromises,
        sabotage: Sabotage,
        expects_damage: bool,
    ) -> Result<Self, DiskError> {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let fresh = FreshIds {
            folder_id: FolderId([1; 16]),
            node_id: 7,
        };
        let folder = DataFolder::open(Arc::clone(&disk), Path::new(ROOT), BrokerId(1), fresh);
        let folder = folder.map_err(|error| match error {
            OpenError::Disk { source, .. } => source,
            refused => panic!("a crash must not make the folder unusable: {refused}"),
        })?;
        let mut life = Self {
            runner: StepRunner::new(Arc::clone(&disk), folder.layout().clone()),
            disk,
            folder,
            writer: LogWriter::default(),
            logs: BTreeMap::new(),
            promises: promises.clone(),
            sabotage,
            expects_damage,
            pending: Vec::new(),
            closed: Vec::new(),
            next_value: 0,
        };
        let incarnations = life.folder.incarnations();
        let before = std::mem::replace(&mut promises.lock().incarnations, incarnations);
        assert!(incarnations > before, "an incarnation is never used twice");
        for topic in life.folder.hosted().to_vec() {
            life.recover(topic.id, &topic.partitions)?;
        }
        Ok(life)
    }

    fn recover(
        &mut self,
        topic_id: TopicId,
        partitions: &[PartitionIndex],
    ) -> Result<(), DiskError> {
        for &partition in partitions {
            let partition = TopicPartition {
                topic_id,
                partition,
            };
            let mut seen = SeenBatches { next: Offset(0) };
            let recovered = self.folder.recover(partition, &mut seen)?;
            let end = recovered.log.end_offset();
            let is_damaged = !recovered.log.damaged().is_empty();
            assert!(!is_damaged || self.expects_damage, "a crash is no rot");
            assert!(seen.next == end || is_damaged, "all batches are shown");
            self.logs.insert(partition, recovered.log);
        }
        Ok(())
    }

    pub(crate) fn log(&self, partition: TopicPartition) -> &Log {
        &self.logs[&partition]
    }

    pub(crate) fn partitions(&self) -> Vec<TopicPartition> {
        self.logs.keys().copied().collect()
    }

    pub(crate) fn create(&mut self, name: &str, partition_count: i32) -> Result<(), DiskError> {
        let id = topic_id(name);
        let name = TopicName::new(name).expect("valid");
        let partitions: Vec<_> = (0..partition_count).map(PartitionIndex).collect();
        self.set_topic(id, TopicState::Creating);
        self.folder.host(id, &name, &partitions)?;
        self.set_topic(id, TopicState::Exists);
        self.recover(id, &partitions)
    }

    pub(crate) fn delete(&mut self, name: &str) -> Result<(), DiskError> {
        let id = topic_id(name);
        self.set_topic(id, TopicState::Deleting);
        self.folder.begin_deletion(id)?;
        self.set_topic(id, TopicState::Deleted);
        for partition in self.partitions() {
            if partition.topic_id == id {
                self.writer.on_deleted(partition);
                self.runner.forget(partition);
                self.logs.remove(&partition);
                self.closed.retain(|closed| closed.partition != partition);
            }
        }
        self.folder.remove_deleted(id)
    }

    fn set_topic(&self, id: TopicId, state: TopicState) {
        self.promises.lock().topics.insert(id, state);
    }

    /// Enqueues a batch; it is acknowledged only by [`Self::commit`].
    pub(crate) fn append(&mut self, partition: TopicPartition, records: usize) {
        let values: Vec<Bytes> = (0..records).map(|_| self.value(partition)).collect();
        let checked = RecordBatch::check(batch(&values)).expect("a sound batch");
        let facts = BatchFacts {
            offset_count: i64::from(checked.header().record_count),
            size_bytes: checked.bytes().len() as u64,
            max_timestamp: checked.header().max_timestamp,
        };
        let epoch = LeaderEpoch(self.folder.incarnations());
        let log = self.logs.get_mut(&partition).expect("recovered");
        let placement = log.append(&facts, epoch, &ROLL, 1);
        if let Some(closed) = placement.closed {
            let segment = log.segment(closed.base_offset).expect("it ended");
            self.closed.push(Closed {
                partition,
                segment: segment.clone(),
                epochs: log.epochs_of(segment),
            });
        }
        let prefix = checked.stamped_prefix(placement.base_offset, epoch);
        self.writer.on_append(Append {
            partition,
            generation: 0,
            shard: 0,
            durability: match is_page_cache(partition.topic_id) {
                true => Durability::PageCache,
                false => Durability::Fsync,
            },
            segment: placement.segment,
            position: placement.position,
            closed: placement.closed,
            end_offset: log.end_offset(),
            prefix: Bytes::copy_from_slice(&prefix),
            rest: checked.bytes().slice(PREFIX_BYTES..),
        });
        self.pending.push((partition, values.len()));
        let mut promises = self.promises.lock();
        let sent = promises.partitions.entry(partition).or_default();
        sent.values.extend(values);
    }

    fn value(&mut self, partition: TopicPartition) -> Bytes {
        self.next_value += 1;
        let number = self.next_value;
        let epoch = self.folder.incarnations();
        let length = 20 + usize::try_from(number * 37 % 170).expect("small");
        let text = format!("{}/{epoch}/{number}", partition.partition);
        Bytes::from(format!("{text:.<length$}"))
    }

    /// Makes durable and acknowledges what was appended.
    pub(crate) fn commit(&mut self) -> Result<(), DiskError> {
        let (disk, sabotage) = (&self.disk, self.sabotage);
        run_group(&mut self.writer, &mut self.runner, AHEAD_BYTES, |work| {
            let last = work
                .iter()
                .rposition(|work| matches!(work, SyncWork::File(_)));
            let is_done = |index: usize, work: &SyncWork| match (sabotage, work) {
                (Sabotage::NoFolderSyncs, SyncWork::Folder(_)) => false,
                (Sabotage::OnlyLastSegment, SyncWork::File(_)) => Some(index) == last,
                _ => true,
            };
            let mut work = work.iter().enumerate();
            work.try_for_each(|(index, work)| match is_done(index, work) {
                true => work.run(&**disk),
                false => Ok(()),
            })
        })?;
        let mut ends = BTreeMap::new();
        self.writer.end_group(&mut ends);
        let mut promises = self.promises.lock();
        for (partition, count) in self.pending.drain(..) {
            let sent = promises
                .partitions
                .get_mut(&partition)
                .expect("it was sent");
            sent.acknowledged += count;
        }
        for end in ends.remove(&0).unwrap_or_default() {
            assert_eq!(self.logs[&end.partition].end_offset(), end.end_offset);
        }
        Ok(())
    }

    /// Writes the index files of segments that ended, but for every third.
    pub(crate) fn seal_closed(&mut self) -> Result<(), DiskError> {
        for closed in std::mem::take(&mut self.closed) {
            if closed.segment.base_offset().0 % 3 != 0 {
                let end = closed.segment.end_offset();
                self.seal(closed.partition, &closed.segment, &closed.epochs, end)?;
            }
        }
        Ok(())
    }

    /// Writes the index files of all segments that ended.
    pub(crate) fn seal_all_closed(&mut self) -> Result<(), DiskError> {
        for closed in std::mem::take(&mut self.closed) {
            let end = closed.segment.end_offset();
            self.seal(closed.partition, &closed.segment, &closed.epochs, end)?;
        }
        Ok(())
    }

    fn seal(
        &self,
        partition: TopicPartition,
        segment: &Segment,
        epochs: &EpochHistory,
        end: Offset,
    ) -> Result<(), DiskError> {
        let folder = self.folder.layout().partition(partition);
        seal(&*self.disk, &folder, segment, epochs, &end.0.to_be_bytes())
    }

    /// Ends the life cleanly.
    pub(crate) fn stop(mut self) -> Result<(), DiskError> {
        self.seal_closed()?;
        for (partition, log) in &self.logs {
            if log.active().size_bytes() > 0 {
                let epochs = log.epochs_of(log.active());
                self.seal(*partition, log.active(), &epochs, log.end_offset())?;
            }
        }
        self.folder.close()
    }

    /// Returns every record's value, by reading the log as a consumer would.
    pub(crate) fn read_all(&self, partition: TopicPartition) -> Vec<Bytes> {
        let log = &self.logs[&partition];
        let mut values = Vec::new();
        let mut offset = log.start_offset();
        while let Some(location) = log.locate(offset) {
            let path = self.folder.layout().segment(partition, location.segment);
            let file = self.disk.open(&path, OpenMode::Read).expect("it is there");
            let range = ReadRange {
                start: location.place,
                end_position: location.end_position,
                offset,
                end_offset: log.end_offset(),
                bytes_max: 1 << 20,
            };
            let bytes = read_batches(&*self.disk, &file, &range).expect("it is sound");
            assert!(!bytes.is_empty(), "a reader gets on from offset {offset}");
            for batch in RecordBatches::new(bytes) {
                let batch = batch.expect("sound");
                for record in batch.records(1 << 20).expect("uncompressed") {
                    let record = record.expect("sound");
                    let expected = i64::try_from(values.len()).expect("small");
                    assert_eq!(record.offset, Offset(expected), "offsets are dense");
                    values.push(record.value.expect("a value"));
                }
                offset = batch.header().end_offset();
            }
        }
        values
    }
}

/// Returns which epoch begins where by the values, which name the epochs they were written in.
pub(crate) fn epochs_by_values(values: &[Bytes]) -> Vec<EpochStart> {
    let mut starts: Vec<EpochStart> = Vec::new();
    for (value, offset) in values.iter().zip(0..) {
        let text = std::str::from_utf8(value).expect("text");
        let epoch = text.split('/').nth(1).and_then(|epoch| epoch.parse().ok());
        let epoch = LeaderEpoch(epoch.expect("an epoch in the value"));
        if starts.last().is_none_or(|last| last.epoch != epoch) {
            let offset = Offset(offset);
            starts.push(EpochStart { epoch, offset });
        }
    }
    starts
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
