//! A small life on a simulated disk, and what it promises to the outside world while it lasts.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
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
use keylane_broker::partition::producer_state::ProducerLimits;
use keylane_broker::partition::producers::{Judgement, NumberedBatch, PartitionProducers};
use keylane_broker::partition::routed_state::{Original, Routing};
use keylane_protocol::compression::Compression;
use keylane_protocol::identifiers::{
    BrokerId, ClusterId, FolderId, PartitionIndex, ProducerId, StartId, TopicId, TopicName,
};
use keylane_protocol::offset::{BrokerEpoch, LeaderEpoch, Offset, ProducerEpoch, Sequence};
use keylane_protocol::record_batch::{
    BatchProducer, NewRecord, PREFIX_BYTES, RecordBatch, RecordBatchBuilder, RecordBatchHeader,
    RecordBatches,
};
use keylane_protocol::routed::PRODUCER_ID_MIN;

const ROOT: &str = "/data";
/// How many starts have drawn an id.
static DRAWN: AtomicU64 = AtomicU64::new(1);
const ROLL: RollSettings = RollSettings {
    segment_bytes_max: 1300,
    segment_ms_max: u64::MAX,
};
const LIMITS: ProducerLimits = ProducerLimits {
    producers_max: 100,
    expiry_ms: 1,
    idle_ms_min: 1,
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
    /// The start that registered last.
    pub(crate) start_known: Option<StartId>,
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

/// Checks that every batch since the snapshot is shown once, in order, and remembers the producers; a snapshot is the
/// offset it was taken at, and theirs.
struct SeenBatches {
    next: Offset,
    producers: PartitionProducers,
    shown: usize,
}

impl ProducerReplay for SeenBatches {
    fn restore(&mut self, snapshot: &Bytes, end: Offset) -> bool {
        let Some((offset, producers)) = snapshot.split_first_chunk() else {
            return false;
        };
        self.next = Offset(i64::from_be_bytes(*offset));
        assert_eq!(self.next, end, "a snapshot is that of its segment's end");
        let producers = PartitionProducers::decode(producers, LIMITS, 0);
        self.producers = producers.expect("an index file is sound or none");
        assert!(self.producers.end_offset() <= end);
        true
    }

    fn on_batch(&mut self, header: &RecordBatchHeader) {
        assert!(header.base_offset >= self.next, "batches are replayed once");
        self.next = header.end_offset();
        self.producers.recover(header, 0);
        self.shown += 1;
    }

    fn snapshot(&self) -> Bytes {
        snapshot(self.next, &self.producers).into()
    }
}

/// Returns the bytes of a snapshot.
fn snapshot(end: Offset, producers: &PartitionProducers) -> Vec<u8> {
    [&end.0.to_be_bytes()[..], &producers.encode()].concat()
}

/// A segment that can be sealed once its group is durable.
struct Closed {
    partition: TopicPartition,
    segment: Segment,
    epochs: EpochHistory,
    producers: Vec<u8>,
}

pub(crate) struct Life {
    disk: Arc<dyn Disk>,
    pub(crate) folder: DataFolder,
    writer: LogWriter,
    runner: StepRunner,
    logs: BTreeMap<TopicPartition, Log>,
    producers: BTreeMap<TopicPartition, PartitionProducers>,
    promises: SharedPromises,
    sabotage: Sabotage,
    expects_damage: bool,
    pending: Vec<(TopicPartition, usize)>,
    closed: Vec<Closed>,
    next_value: u64,
    /// The last numbers of the routed producer, in which epoch.
    last_numbers: BTreeMap<TopicPartition, (ProducerEpoch, Sequence)>,
    /// How many batches recovery has looked at.
    pub(crate) batches_shown: usize,
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
        let drawn = DRAWN.fetch_add(1, Ordering::Relaxed);
        let start = StartId(u128::from(drawn).to_be_bytes());
        let fresh = FreshIds {
            folder_id: FolderId([1; 16]),
            node_id: 7,
            start,
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
            producers: BTreeMap::new(),
            promises: promises.clone(),
            sabotage,
            expects_damage,
            pending: Vec::new(),
            closed: Vec::new(),
            next_value: 0,
            last_numbers: BTreeMap::new(),
            batches_shown: 0,
        };
        let incarnations = life.folder.incarnations();
        let before = std::mem::replace(&mut promises.lock().incarnations, incarnations);
        assert!(incarnations > before, "an incarnation is never used twice");
        life.register(start)?;
        for topic in life.folder.hosted().to_vec() {
            life.recover(topic.id, &topic.partitions)?;
        }
        Ok(life)
    }

    /// Registers with controllers that know the start before the folder notes so.
    fn register(&mut self, start: StartId) -> Result<(), DiskError> {
        if let Some(known) = self.promises.now().start_known {
            let is_known = self.folder.starts_known().contains(&known);
            assert!(is_known, "the folder is never taken for an old copy");
        }
        self.folder.tell()?;
        self.promises.lock().start_known = Some(start);
        let epoch = BrokerEpoch(self.folder.incarnations().into());
        self.folder.acknowledge(ClusterId([9; 16]), epoch)
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
            let mut seen = SeenBatches {
                next: Offset(0),
                producers: PartitionProducers::new(LIMITS),
                shown: 0,
            };
            let recovered = self.folder.recover(partition, &mut seen)?;
            self.batches_shown += seen.shown;
            let end = recovered.log.end_offset();
            let is_damaged = !recovered.log.damaged().is_empty();
            assert!(!is_damaged || self.expects_damage, "a crash is no rot");
            assert!(seen.next == end || is_damaged, "all batches are shown");
            self.logs.insert(partition, recovered.log);
            if !self.expects_damage {
                self.check_producers(partition, &mut seen.producers);
            }
            self.producers.insert(partition, seen.producers);
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
                self.producers.remove(&partition);
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
        let epoch = LeaderEpoch(self.folder.incarnations());
        let (producer, routing) = self.next_number(partition);
        let checked = RecordBatch::check(batch(&values, producer)).expect("a sound batch");
        let numbered = NumberedBatch::of(checked.header(), routing).expect("it is numbered");
        let producers = self.producers.get_mut(&partition).expect("recovered");
        let judgement = producers.judge(&numbered, 0);
        assert_eq!(judgement, Judgement::Append, "{numbered:?}");
        let facts = BatchFacts {
            offset_count: i64::from(checked.header().record_count),
            size_bytes: checked.bytes().len() as u64,
            max_timestamp: checked.header().max_timestamp,
        };
        let log = self.logs.get_mut(&partition).expect("recovered");
        let placement = log.append(&facts, epoch, &ROLL, 1);
        if let Some(closed) = placement.closed {
            let segment = log.segment(closed.base_offset).expect("it ended");
            self.closed.push(Closed {
                partition,
                segment: segment.clone(),
                epochs: log.epochs_of(segment),
                producers: snapshot(segment.end_offset(), producers),
            });
        }
        producers.remember(&numbered, placement.base_offset, 0);
        let number = (producer.epoch, producer.base_sequence);
        self.last_numbers.insert(partition, number);
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

    /// Returns the next number of the routed producer that writes each partition, and takes up a new epoch in every other
    /// life.
    fn next_number(&self, partition: TopicPartition) -> (BatchProducer, Routing) {
        let epoch = ProducerEpoch(i16::try_from(self.folder.incarnations() / 2).expect("few"));
        // Where numbers may be missing from the log, each life is another producer's.
        let stranger = match self.expects_damage {
            true => i64::from(self.folder.incarnations()),
            false => 0,
        };
        let last = self.last_numbers.get(&partition);
        let previous = last
            .filter(|(of, _)| *of == epoch)
            .map_or(Sequence::NONE, |(_, number)| *number);
        let producer = BatchProducer {
            id: ProducerId(PRODUCER_ID_MIN.0 + stranger),
            epoch,
            base_sequence: Sequence(previous.0 + 1),
        };
        let routing = Routing {
            floor: Sequence(0),
            previous,
        };
        (producer, routing)
    }

    /// Checks that recovered producers know exactly what lies in the log.
    fn check_producers(&mut self, partition: TopicPartition, producers: &mut PartitionProducers) {
        let stored = self.batches(partition);
        let headers: Vec<&RecordBatchHeader> = stored.iter().map(RecordBatch::header).collect();
        self.last_numbers.remove(&partition);
        let Some(last) = headers.last() else {
            return;
        };
        let (epoch, number) = (last.producer_epoch, last.base_sequence);
        self.last_numbers.insert(partition, (epoch, number));
        let mut judge = |header: &RecordBatchHeader, previous: i32| {
            let routing = Routing {
                floor: Sequence(0),
                previous: Sequence(previous),
            };
            let numbered = NumberedBatch::of(header, routing).expect("all are numbered");
            producers.judge(&numbered, 0)
        };
        for header in headers.iter().filter(|of| of.producer_epoch == epoch) {
            let original = Original {
                base_offset: header.base_offset,
                end_offset: header.end_offset(),
            };
            assert_eq!(judge(header, -1), Judgement::Duplicate(original));
        }
        let ahead = |count: i32| RecordBatchHeader {
            base_sequence: Sequence(number.0 + count),
            ..**last
        };
        assert_eq!(judge(&ahead(1), number.0), Judgement::Append);
        let hole = judge(&ahead(2), number.0 + 1);
        assert!(matches!(hole, Judgement::Refused(_)), "{hole:?}");
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
                self.seal(&closed)?;
            }
        }
        Ok(())
    }

    /// Writes the index files of all segments that ended.
    pub(crate) fn seal_all_closed(&mut self) -> Result<(), DiskError> {
        for closed in std::mem::take(&mut self.closed) {
            self.seal(&closed)?;
        }
        Ok(())
    }

    fn seal(&self, closed: &Closed) -> Result<(), DiskError> {
        let Closed {
            partition,
            segment,
            epochs,
            producers,
        } = closed;
        let folder = self.folder.layout().partition(*partition);
        seal(&*self.disk, &folder, segment, epochs, producers)
    }

    /// Ends the life cleanly.
    pub(crate) fn stop(mut self) -> Result<(), DiskError> {
        self.seal_closed()?;
        for (partition, log) in &self.logs {
            if log.active().size_bytes() > 0 {
                self.seal(&Closed {
                    partition: *partition,
                    segment: log.active().clone(),
                    epochs: log.epochs_of(log.active()),
                    producers: snapshot(log.end_offset(), &self.producers[partition]),
                })?;
            }
        }
        self.folder.close()
    }

    /// Returns every record's value.
    pub(crate) fn read_all(&self, partition: TopicPartition) -> Vec<Bytes> {
        let mut values = Vec::new();
        for batch in self.batches(partition) {
            for record in batch.records(1 << 20).expect("uncompressed") {
                let record = record.expect("sound");
                let expected = i64::try_from(values.len()).expect("small");
                assert_eq!(record.offset, Offset(expected), "offsets are dense");
                values.push(record.value.expect("a value"));
            }
        }
        values
    }

    /// Returns every batch, by reading the log as a consumer would.
    fn batches(&self, partition: TopicPartition) -> Vec<RecordBatch> {
        let log = &self.logs[&partition];
        let mut batches = Vec::new();
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
                offset = batch.header().end_offset();
                batches.push(batch);
            }
        }
        batches
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

fn batch(values: &[Bytes], producer: BatchProducer) -> Bytes {
    let mut builder = RecordBatchBuilder::with_capacity(256);
    for value in values {
        builder.append(&NewRecord {
            timestamp: 1,
            value: Some(value),
            ..NewRecord::default()
        });
    }
    builder
        .finish(Compression::None, producer)
        .expect("memory suffices")
}
