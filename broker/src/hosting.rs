//! The thread that owns the data folder while the broker runs: it follows the cluster's image, so that what lies here and
//! what the shards serve is what the image says; besides it writes the index files of segments that ended.
//!
//! ```text
//! new here   disk (folders, manifest) → partitions to their shards ─┐
//! led anew   shards take the epoch, or other settings               ├→ the next view is published
//! deleted    the view without it is published → shards let go → the writer forgets → files
//! ```
//! So what the view says is served is served. A disk error leaves what only the next start can settle: the broker ends.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use keylane_protocol::cluster::ClusterImage;
use keylane_protocol::identifiers::{BrokerId, ClusterId, PartitionIndex, TopicId};
use keylane_protocol::offset::{BrokerEpoch, LeaderEpoch, Offset};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, error, info, warn};

use crate::disk::DiskError;
use crate::folder::{DataFolder, HostedState};
use crate::limits::HOSTING_WORK_WAITING_MAX;
use crate::log::recovery::seal;
use crate::log::writer::WriterHandle;
use crate::log::{Log, RollSettings, TopicPartition};
use crate::partition::SegmentSeal;
use crate::partition::producers::PartitionProducers;
use crate::partitions::{PartitionMaker, RecoverError, RecoveredLog, RecoveredLogs};
use crate::readers::Readers;
use crate::server::shard_of;
use crate::shard::reports::OfflineSwitch;
use crate::shard::request::ShardRequest;
use crate::threads;
use crate::topic_settings::TopicSettings;
use crate::topics::{Topic, TopicsImage, UnknownSetting};

/// What a new partition needs on disk besides its records: folders and a line in a small file.
const BYTES_PER_PARTITION: u64 = 8 << 10;

/// The cluster's image and the index of the metadata that make it.
pub(crate) type IndexedImage = (u64, Arc<ClusterImage>);

/// Why the image cannot be followed.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum HostingError {
    #[error("the data folder could not be changed: {source}")]
    Disk {
        #[from]
        source: DiskError,
    },
    #[error(transparent)]
    Setting(#[from] UnknownSetting),
    #[error(transparent)]
    Recover(#[from] RecoverError),
    #[error(
        "partition {partition} of the topic {topic} has records of leader epoch {found}, above {granted}, in which \
         this broker is to lead it: the controllers were restored from an old copy"
    )]
    LaterEpoch {
        topic: String,
        partition: PartitionIndex,
        found: LeaderEpoch,
        granted: LeaderEpoch,
    },
    #[error("the broker is stopping")]
    Stopping,
}

enum Work {
    Follow(IndexedImage),
    Acknowledge {
        cluster_id: ClusterId,
        epoch: BrokerEpoch,
        done: oneshot::Sender<()>,
    },
    Seal(SegmentSeal),
}

/// Tells the thread which image to follow.
#[derive(Clone)]
pub(crate) struct Hosting {
    work: mpsc::Sender<Work>,
}

impl Hosting {
    /// Follows every image of `images` that is the newest when the thread is free, until the broker stops.
    pub(crate) async fn follow(self, mut images: watch::Receiver<IndexedImage>) {
        loop {
            let newest = images.borrow_and_update().clone();
            if newest.0 > 0 && self.work.send(Work::Follow(newest)).await.is_err() {
                return;
            }
            if images.changed().await.is_err() {
                return;
            }
        }
    }

    /// Notes in the data folder that the controllers of a cluster have registered this process; returns whether it is
    /// noted.
    pub(crate) async fn acknowledge(&self, cluster_id: ClusterId, epoch: BrokerEpoch) -> bool {
        let (done, noted) = oneshot::channel();
        let work = Work::Acknowledge {
            cluster_id,
            epoch,
            done,
        };
        self.work.send(work).await.is_ok() && noted.await.is_ok()
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
        let (work, waiting) = mpsc::channel(HOSTING_WORK_WAITING_MAX);
        Self { work, waiting }
    }

    pub(crate) fn hosting(&self) -> Hosting {
        Hosting {
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
pub(crate) struct HostingThread {
    pub broker_id: BrokerId,
    pub folder: DataFolder,
    /// Logs found at the start that no image has claimed yet.
    pub recovered: RecoveredLogs,
    /// The partitions that the shards have, and the epoch in which each is led.
    pub open: BTreeMap<TopicPartition, Option<LeaderEpoch>>,
    /// Whether the controllers knew this folder before this start: then what they do not know was deleted.
    pub was_acknowledged: bool,
    pub defaults: TopicSettings,
    pub view: Arc<ArcSwap<TopicsImage>>,
    /// Told the index of each view that is published.
    pub published: watch::Sender<u64>,
    pub shards: Vec<mpsc::Sender<ShardRequest>>,
    pub maker: PartitionMaker,
    pub writer: WriterHandle,
    pub readers: Readers,
    pub switch: OfflineSwitch,
}

impl HostingThread {
    /// Works until nobody can ask any more; returns the folder.
    pub(crate) fn run(mut self, queue: WorkQueue) -> DataFolder {
        let WorkQueue { work, mut waiting } = queue;
        drop(work);
        while let Some(work) = waiting.blocking_recv() {
            match work {
                Work::Follow((index, image)) => match self.follow(index, image) {
                    Ok(()) | Err(HostingError::Stopping) => {}
                    // What the next start finds is either state: until then neither may be built on.
                    Err(HostingError::Disk { source }) => self.switch.offline(&source),
                    Err(error) => self.switch.fail(&error.to_string()),
                },
                Work::Acknowledge {
                    cluster_id,
                    epoch,
                    done,
                } => match self.folder.acknowledge(cluster_id, epoch) {
                    // Who asked may have gone; it is noted all the same.
                    Ok(()) => drop(done.send(())),
                    Err(error) => self.switch.offline(&error),
                },
                Work::Seal(ended) => {
                    if let Err(error) = write_index(&self.folder, &ended) {
                        self.switch.offline(&error);
                    }
                }
            }
        }
        self.folder
    }

    /// Makes what lies here and what is served what the image says.
    fn follow(&mut self, index: u64, image: Arc<ClusterImage>) -> Result<(), HostingError> {
        let before = self.view.load_full();
        if index <= before.index() {
            return Ok(());
        }
        let next = before.next(image, index, &self.defaults)?;
        for topic in next.topics() {
            let known = before.with_id(topic.id);
            if known.is_none_or(|known| !Arc::ptr_eq(known, topic)) {
                let roll = topic.settings.roll();
                let is_same = known.is_none_or(|known| known.settings.roll() == roll);
                self.follow_topic(topic, (!is_same).then_some(roll))?;
            }
        }
        let gone = self.gone(&next);
        self.view.store(Arc::new(next));
        for (topic_id, name) in gone {
            self.delete(topic_id, &name)?;
        }
        self.published.send_replace(index);
        Ok(())
    }

    /// Opens the topic's partitions that are new here, and has those that are led otherwise than before led so; all end
    /// their segments by `roll` from now on, if it is given.
    fn follow_topic(
        &mut self,
        topic: &Topic,
        roll: Option<RollSettings>,
    ) -> Result<(), HostingError> {
        let mine = topic
            .partitions()
            .filter(|(_, partition)| partition.replicas.contains(&self.broker_id));
        let mine: Vec<(PartitionIndex, Option<LeaderEpoch>)> = mine
            .map(|(index, partition)| {
                let leads = partition.leader == Some(self.broker_id);
                (index, leads.then_some(partition.leader_epoch))
            })
            .collect();
        self.make_room(topic, &mine)?;
        for (partition, leader_epoch) in mine {
            let topic_id = topic.id;
            let id = TopicPartition {
                topic_id,
                partition,
            };
            match self.open.insert(id, leader_epoch) {
                None => self.open(id, topic, leader_epoch)?,
                Some(before) if before != leader_epoch => {
                    let lead = ShardRequest::Lead {
                        partition: id,
                        leader_epoch,
                    };
                    self.tell(id, lead)?;
                }
                Some(_) => {}
            }
            if let Some(roll) = roll {
                let partition = id;
                self.tell(id, ShardRequest::Roll { partition, roll })?;
            }
        }
        Ok(())
    }

    /// Creates folders of partitions that are new here.
    fn make_room(
        &mut self,
        topic: &Topic,
        mine: &[(PartitionIndex, Option<LeaderEpoch>)],
    ) -> Result<(), HostingError> {
        let mut hosted = self.folder.hosted().iter();
        let hosted =
            hosted.find(|hosted| hosted.id == topic.id && hosted.state == HostedState::Hosted);
        let is_hosted =
            |index: &PartitionIndex| hosted.is_some_and(|topic| topic.partitions.contains(index));
        let indexes = mine.iter().map(|(index, _)| *index);
        let new: Vec<PartitionIndex> = indexes.filter(|index| !is_hosted(index)).collect();
        if new.is_empty() {
            return Ok(());
        }
        let bytes = BYTES_PER_PARTITION * u64::try_from(new.len()).expect("a count fits 64 bits");
        let has_room = self.maker.space.take(bytes).is_ok();
        if !has_room {
            // The cluster has decided; the reserve is there for such.
            warn!(topic = %topic.name, "the disk is full: new partitions draw on the reserve");
            self.writer.measure_space();
        }
        let created = self.folder.host(topic.id, &topic.name, &new);
        if has_room {
            self.maker.space.settled(bytes, 1);
        }
        created?;
        for partition in new {
            let topic_id = topic.id;
            let id = TopicPartition {
                topic_id,
                partition,
            };
            // The folder may be there, with records, if the manifest that knew it was damaged.
            let recovered = self.maker.recover_one(&self.folder, &topic.name, id)?;
            self.recovered.insert(id, recovered);
        }
        info!(topic = %topic.name, id = %topic.id, partitions = mine.len(), "partitions are kept here");
        Ok(())
    }

    fn open(
        &mut self,
        id: TopicPartition,
        topic: &Topic,
        leader_epoch: Option<LeaderEpoch>,
    ) -> Result<(), HostingError> {
        let recovered = self.recovered.remove(&id).unwrap_or_else(|| RecoveredLog {
            log: Log::empty(Offset(0)),
            producers: PartitionProducers::new(self.maker.producer_limits),
        });
        let found = recovered.log.last_leader_epoch();
        if let Some(granted) = leader_epoch.filter(|&granted| granted < found) {
            return Err(HostingError::LaterEpoch {
                topic: topic.name.to_string(),
                partition: id.partition,
                found,
                granted,
            });
        }
        let partition = self.maker.make(id, topic, leader_epoch, recovered);
        self.tell(id, ShardRequest::Open(Box::new(partition)))
    }

    /// Returns the hosted topics that the image has no longer.
    fn gone(&self, next: &TopicsImage) -> Vec<(TopicId, String)> {
        let hosted = self.folder.hosted().iter();
        hosted
            .filter(|topic| topic.state == HostedState::Hosted && next.with_id(topic.id).is_none())
            .map(|topic| (topic.id, topic.name.to_string()))
            .collect()
    }

    fn delete(&mut self, topic_id: TopicId, name: &str) -> Result<(), HostingError> {
        let is_open = |id: &TopicPartition| id.topic_id == topic_id;
        let open: Vec<TopicPartition> = self.open.keys().copied().filter(is_open).collect();
        if open.is_empty() && !self.was_acknowledged {
            error!(topic = %name, id = %topic_id, "no cluster knows this topic: its records are kept, and not served");
            self.recovered.retain(|id, _| id.topic_id != topic_id);
            return Ok(self.folder.keep_unclaimed(topic_id)?);
        }
        self.folder.begin_deletion(topic_id)?;
        for &partition in &open {
            self.open.remove(&partition);
            self.maker.table.close(partition);
            let (closed, until_closed) = oneshot::channel();
            self.tell(partition, ShardRequest::Close { partition, closed })?;
            // A request that reaches a mailbox as it closes lies there for as long as there are senders, such as this one.
            let ended = self.shard(partition).closed();
            let answer = threads::block_on(async {
                tokio::select! {
                    biased;
                    answer = until_closed => answer.ok(),
                    () = ended => None,
                }
            });
            answer.ok_or(HostingError::Stopping)?;
        }
        threads::block_on(self.writer.forget(open)).map_err(|_| HostingError::Stopping)?;
        self.recovered.retain(|id, _| id.topic_id != topic_id);
        self.folder.remove_deleted(topic_id)?;
        // Only now: before, a read that was already planned could open a file again.
        self.readers.forget(topic_id);
        info!(topic = %name, id = %topic_id, "topic deleted");
        Ok(())
    }

    fn tell(&self, partition: TopicPartition, request: ShardRequest) -> Result<(), HostingError> {
        let sent = self.shard(partition).blocking_send(request);
        sent.map_err(|_| HostingError::Stopping)
    }

    fn shard(&self, partition: TopicPartition) -> &mpsc::Sender<ShardRequest> {
        &self.shards[shard_of(partition, self.shards.len())]
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
        &ended.epochs,
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

    use super::*;
    use crate::disk::simulated::{Fault, SimulatedDisk};
    use crate::disk::{Disk, OpenMode};
    use crate::entropy::IdSource;
    use crate::partition::routed_state::Routing;
    use crate::partition::tests::{ID, batch, partition};

    /// Returns the end of a partition's active segment, whose file holds its batch.
    fn ended(disk: &SimulatedDisk, folder: &DataFolder) -> SegmentSeal {
        let mut partition = partition(ID, 1 << 30);
        let batch = batch(None, 1);
        partition.append(&batch, Routing::NONE, 1).expect("room");
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
