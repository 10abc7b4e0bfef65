//! The thread that owns the data folder while the broker runs: it creates and deletes topics, one after the other, and
//! publishes the image; besides it writes the index files of segments that ended.
//!
//! ```text
//! create   decide → disk (folders, manifest, topics file) → partitions to their shards → image
//! delete   disk (manifest, topics file) → image → shards let go → the writer forgets → files → the readers forget
//! ```
//! So a topic in the image is always durable. A disk error in between leaves what only the next start can settle: the
//! broker then ends.

use std::sync::Arc;

use arc_swap::ArcSwap;
use keylane_protocol::identifiers::TopicId;
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, info};

use crate::disk::DiskError;
use crate::entropy::IdSource;
use crate::folder::{DataFolder, StoredTopic};
use crate::limits::TOPIC_CHANGES_WAITING_MAX;
use crate::log::recovery::seal;
use crate::log::space::SpaceBudget;
use crate::log::writer::WriterHandle;
use crate::log::{Log, TopicPartition};
use crate::partition::SegmentSeal;
use crate::partition::producer_state::Producers;
use crate::partitions::PartitionMaker;
use crate::readers::Readers;
use crate::server::shard_of;
use crate::shard::reports::OfflineSwitch;
use crate::shard::request::ShardRequest;
use crate::threads;
use crate::topics::rules::{CreateTopicError, NewTopic, TopicRules};
use crate::topics::{Topic, TopicsImage};

/// What a new topic needs on disk besides its records: folders and a few lines in two small files.
const BYTES_PER_PARTITION: u64 = 8 << 10;

/// Why a topic was not created or deleted.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ChangeTopicError {
    #[error(transparent)]
    Create(#[from] CreateTopicError),
    #[error("there is no topic {name:?}")]
    UnknownName { name: String },
    #[error("there is no topic with the id {id}")]
    UnknownId { id: TopicId },
    #[error("the disk is full: free space, or delete topics")]
    NoSpace,
    #[error("the data folder could not be changed: {source}")]
    Disk {
        #[from]
        source: DiskError,
    },
    #[error("the broker is stopping")]
    Stopping,
}

/// Which topic to delete.
#[derive(Clone, Debug)]
pub(crate) enum TopicToDelete {
    Named(String),
    WithId(TopicId),
}

type Changed = Result<Arc<Topic>, ChangeTopicError>;

enum Work {
    Create {
        new: NewTopic,
        validate_only: bool,
        reply: oneshot::Sender<Changed>,
    },
    Delete {
        topic: TopicToDelete,
        reply: oneshot::Sender<Changed>,
    },
    Seal(SegmentSeal),
}

/// Asks the thread to create and delete topics.
#[derive(Clone)]
pub(crate) struct TopicChanges {
    work: mpsc::Sender<Work>,
}

impl TopicChanges {
    pub(crate) async fn create(&self, new: NewTopic, validate_only: bool) -> Changed {
        let (reply, changed) = oneshot::channel();
        let work = Work::Create {
            new,
            validate_only,
            reply,
        };
        self.ask(work, changed).await
    }

    pub(crate) async fn delete(&self, topic: TopicToDelete) -> Changed {
        let (reply, changed) = oneshot::channel();
        self.ask(Work::Delete { topic, reply }, changed).await
    }

    async fn ask(&self, work: Work, changed: oneshot::Receiver<Changed>) -> Changed {
        if self.work.send(work).await.is_err() {
            return Err(ChangeTopicError::Stopping);
        }
        changed.await.unwrap_or(Err(ChangeTopicError::Stopping))
    }
}

/// Asks the thread to write index files.
#[derive(Clone)]
pub(crate) struct Background {
    work: mpsc::Sender<Work>,
}

impl Background {
    /// Writes the index file of a segment that ended; it is a cache, so where too much waits it is left out.
    pub(crate) fn seal(&self, seal: SegmentSeal) {
        if let Err(error) = self.work.try_send(Work::Seal(seal)) {
            debug!(%error, "an index file was left out");
        }
    }
}

/// The way to the thread, before it runs.
pub(crate) struct WorkQueue {
    work: mpsc::Sender<Work>,
    waiting: mpsc::Receiver<Work>,
}

impl WorkQueue {
    pub(crate) fn new() -> Self {
        let (work, waiting) = mpsc::channel(TOPIC_CHANGES_WAITING_MAX);
        Self { work, waiting }
    }

    pub(crate) fn topic_changes(&self) -> TopicChanges {
        TopicChanges {
            work: self.work.clone(),
        }
    }

    pub(crate) fn background(&self) -> Background {
        Background {
            work: self.work.clone(),
        }
    }
}

/// What the thread works with.
pub(crate) struct TopicRegistry {
    pub folder: DataFolder,
    pub rules: TopicRules,
    pub image: Arc<ArcSwap<TopicsImage>>,
    pub shards: Vec<mpsc::Sender<ShardRequest>>,
    pub maker: PartitionMaker,
    pub space: Arc<SpaceBudget>,
    pub writer: WriterHandle,
    pub readers: Readers,
    pub ids: IdSource,
    pub switch: OfflineSwitch,
}

impl TopicRegistry {
    /// Works until nobody can ask any more; returns the folder.
    pub(crate) fn run(mut self, queue: WorkQueue) -> DataFolder {
        let WorkQueue { work, mut waiting } = queue;
        drop(work);
        while let Some(work) = waiting.blocking_recv() {
            // Who asked may have gone; the change stands.
            match work {
                Work::Create {
                    new,
                    validate_only,
                    reply,
                } => {
                    let created = self.create(&new, validate_only);
                    let _ = reply.send(self.noted(created));
                }
                Work::Delete { topic, reply } => {
                    let deleted = self.delete(&topic);
                    let _ = reply.send(self.noted(deleted));
                }
                Work::Seal(ended) => {
                    if let Err(error) = write_index(&self.folder, &ended) {
                        self.switch.offline(&error);
                    }
                }
            }
        }
        self.folder
    }

    fn noted(&self, changed: Changed) -> Changed {
        // What the next start finds is either state: until then neither may be built on.
        if let Err(ChangeTopicError::Disk { source }) = &changed {
            self.switch.offline(source);
        }
        changed
    }

    fn create(&mut self, new: &NewTopic, validate_only: bool) -> Changed {
        let image = self.image.load_full();
        let topic = Arc::new(self.rules.make(&image, new, self.ids.topic_id())?);
        if validate_only {
            return Ok(topic);
        }
        let bytes = BYTES_PER_PARTITION * u64::from(topic.partition_count.unsigned_abs());
        if self.space.take(bytes).is_err() {
            self.writer.measure_space();
            return Err(ChangeTopicError::NoSpace);
        }
        let created = self.folder.create_topic(stored(&topic));
        self.space.settled(bytes, 1);
        created?;
        for id in topic.partitions() {
            let producers = Producers::new(self.maker.producer_limits);
            let log = Log::empty(keylane_protocol::offset::Offset(0));
            let partition = self.maker.make(id, &topic, log, producers);
            self.tell(id, ShardRequest::Open(Box::new(partition)))?;
        }
        self.image.store(Arc::new(image.with(Arc::clone(&topic))));
        info!(topic = %topic.name, id = %topic.id, partitions = topic.partition_count, "topic created");
        Ok(topic)
    }

    fn delete(&mut self, asked: &TopicToDelete) -> Changed {
        let image = self.image.load_full();
        let topic = match asked {
            TopicToDelete::Named(name) => image
                .named(name)
                .ok_or_else(|| ChangeTopicError::UnknownName { name: name.clone() })?,
            TopicToDelete::WithId(id) => image
                .with_id(*id)
                .ok_or(ChangeTopicError::UnknownId { id: *id })?,
        };
        let topic = Arc::clone(topic);
        self.folder.delete_topic(topic.id)?;
        self.image.store(Arc::new(image.without(&topic)));
        for partition in topic.partitions() {
            let (closed, until_closed) = oneshot::channel();
            self.tell(partition, ShardRequest::Close { partition, closed })?;
            until_closed
                .blocking_recv()
                .map_err(|_| ChangeTopicError::Stopping)?;
        }
        threads::block_on(self.writer.forget(topic.partitions().collect()))
            .map_err(|_| ChangeTopicError::Stopping)?;
        self.folder.remove_deleted(topic.id)?;
        // Only now: before, a read that was already planned could open a file again.
        self.readers.forget(topic.id);
        info!(topic = %topic.name, id = %topic.id, "topic deleted");
        Ok(topic)
    }

    fn tell(
        &self,
        partition: TopicPartition,
        request: ShardRequest,
    ) -> Result<(), ChangeTopicError> {
        self.shards[shard_of(partition, self.shards.len())]
            .blocking_send(request)
            .map_err(|_| ChangeTopicError::Stopping)
    }
}

fn stored(topic: &Topic) -> StoredTopic {
    StoredTopic {
        id: topic.id,
        name: topic.name.clone(),
        partition_count: topic.partition_count,
        configs: topic
            .overrides
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
    }
}

/// Writes the index file of a segment, all of which is durable; without room or a descriptor for it, it is left out: it
/// is a cache.
///
/// # Errors
/// When the disk fails: a sync may have, and then nobody knows what the segment holds.
pub(crate) fn write_index(folder: &DataFolder, ended: &SegmentSeal) -> Result<(), DiskError> {
    let path = folder.layout().partition(ended.partition);
    let written = seal(
        &**folder.disk(),
        &path,
        &ended.segment,
        ended.last_leader_epoch,
        &ended.producers,
    );
    match written {
        Err(DiskError::NoSpace | DiskError::TooManyFiles) => Ok(()),
        // Its topic was deleted meanwhile.
        Err(DiskError::NotFound) => Ok(()),
        written => written,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use keylane_protocol::identifiers::BrokerId;

    use super::*;
    use crate::disk::simulated::{Fault, SimulatedDisk};
    use crate::disk::{Disk, OpenMode};
    use crate::partition::tests::{ID, batch, partition};

    /// Returns the end of a partition's active segment, whose file holds its batch.
    fn ended(disk: &SimulatedDisk, folder: &DataFolder) -> SegmentSeal {
        let mut partition = partition(ID, 1 << 30);
        let batch = batch(None, 1);
        partition.append(&batch, 1).expect("room");
        let layout = folder.layout();
        for path in [layout.topic(ID.topic_id), layout.partition(ID)] {
            disk.create_folder(&path).expect("a new folder");
        }
        let segment = layout.segment(ID, keylane_protocol::offset::Offset(0));
        let file = disk.open(&segment, OpenMode::Create).expect("a new file");
        let written = disk.write(&file, 0, &[batch.into_bytes()]);
        written.expect("room");
        partition.into_seals().pop().expect("a segment")
    }

    /// Returns what writing an index file answers when its operation number `step` meets the fault.
    fn written(fault: fn(u64) -> Fault, step: u64) -> Result<(), DiskError> {
        let disk = SimulatedDisk::new(1);
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let ids = IdSource::from_seed([7; 32]).folder_ids();
        let folder = DataFolder::open(shared, Path::new("/data"), BrokerId(1), ids);
        let folder = folder.expect("a new folder");
        let ended = ended(&disk, &folder);
        disk.plan(fault(disk.operations() + step));
        write_index(&folder, &ended)
    }

    #[test]
    fn an_index_file_is_left_out_where_no_descriptor_is_left() {
        for step in 1..8 {
            let written = written(|operation| Fault::TooManyFiles { operation }, step);
            assert_eq!(written, Ok(()), "step {step}");
        }
    }

    #[test]
    fn a_segment_that_cannot_be_synced_for_want_of_room_is_an_error() {
        let full: fn(u64) -> Fault = |operation| Fault::NoSpace { operation };
        // The segment's sync comes first; what follows makes the index file.
        assert!(written(full, 1).is_err());
        for step in 2..8 {
            assert_eq!(written(full, step), Ok(()), "step {step}");
        }
    }
}
