//! A data folder: whose it is, what it hosts, and how partitions come and go without ever losing records.
//!
//! Which topics exist is decided by the controllers; the folder follows. Hosting: partition folders, then the manifest.
//! Deleting: the manifest marks the topic, then files go, then the mark. Whatever a crash leaves in between is finished or
//! taken back at the next [`DataFolder::open`]. Missing metadata never deletes records. Read [`layout`] next.

pub mod checked;
pub mod layout;
mod manifest;
mod open;
mod open_error;
mod settle;
mod starts;
mod topics_file;

pub use manifest::{HostedState, HostedTopic, Manifest};
pub use open_error::OpenError;
pub use starts::Starts;
pub use topics_file::{StoredTopic, TopicsFile};

use std::path::{Path, PathBuf};
use std::sync::Arc;

use keylane_protocol::identifiers::{
    BrokerId, ClusterId, FolderId, PartitionIndex, StartId, TopicId, TopicName,
};
use keylane_protocol::offset::BrokerEpoch;

use crate::disk::{Disk, DiskError, File, OpenMode};
use crate::log::TopicPartition;
use crate::log::recovery::{ProducerReplay, Recovered, recover};
use layout::Layout;

const MANIFEST_NAMES: [&str; 2] = ["manifest.0", "manifest.1"];
/// The topics of a folder from before there were controllers.
const TOPICS_NAME: &str = "topics";
const LOCK_NAME: &str = "lock";
const LOGS_NAME: &str = "logs";

/// Ids for a folder that has none yet, and for a start, drawn by the shell.
#[derive(Clone, Copy, Debug)]
pub struct FreshIds {
    /// For the folder.
    pub folder_id: FolderId,
    /// Among the controllers, never zero.
    pub node_id: u64,
    /// For this start, whether the folder is new or not; never zero.
    pub start: StartId,
}

/// An open, locked data folder.
pub struct DataFolder {
    disk: Arc<dyn Disk>,
    layout: Layout,
    manifest: Manifest,
    /// Drawn for this process.
    start: StartId,
    /// The topics that the folder had before it had controllers, until these have taken them over.
    adoptable: Option<TopicsFile>,
    was_clean: bool,
    /// Held for as long as the folder is open.
    _lock: File,
}

impl DataFolder {
    /// Opens the folder, which is created if it is missing, and ends the previous incarnation: when this returns, the
    /// new incarnation is durable.
    ///
    /// # Errors
    /// When the folder is locked, of another broker, of a later version, damaged, not empty and not a data folder, or
    /// the disk fails.
    pub fn open(
        disk: Arc<dyn Disk>,
        root: &Path,
        broker_id: BrokerId,
        fresh: FreshIds,
    ) -> Result<Self, OpenError> {
        open::open(disk, root, broker_id, fresh)
    }

    /// Returns where things lie.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Returns the disk that holds the folder.
    #[must_use]
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// Returns the folder's id.
    #[must_use]
    pub fn id(&self) -> FolderId {
        self.manifest.folder_id
    }

    /// Returns the broker's id among the controllers.
    #[must_use]
    pub fn node_id(&self) -> u64 {
        self.manifest.node_id
    }

    /// Returns the cluster that the folder belongs to; zero before it belongs to any.
    #[must_use]
    pub fn cluster_id(&self) -> ClusterId {
        self.manifest.cluster_id
    }

    /// Returns how often the folder has been opened, this time included.
    #[must_use]
    pub fn incarnations(&self) -> i32 {
        self.manifest.incarnations
    }

    /// Returns the last incarnation that the controllers have registered; zero for none.
    #[must_use]
    pub fn acknowledged(&self) -> i32 {
        self.manifest.acknowledged
    }

    /// Returns the id of this start.
    #[must_use]
    pub fn start(&self) -> StartId {
        self.start
    }

    /// Returns the ids of the starts that the controllers may know: of the folder itself one is the last that registered.
    #[must_use]
    pub fn starts_known(&self) -> Vec<StartId> {
        self.manifest.starts.known()
    }

    /// Returns the registration that was acknowledged last; -1 if that is not known.
    #[must_use]
    pub fn epoch_acknowledged(&self) -> BrokerEpoch {
        self.manifest.starts.epoch
    }

    /// Returns whether the previous process stopped cleanly.
    #[must_use]
    pub fn was_clean(&self) -> bool {
        self.was_clean
    }

    /// Returns the topics of which partitions lie here, unclaimed ones included.
    #[must_use]
    pub fn hosted(&self) -> &[HostedTopic] {
        &self.manifest.topics
    }

    /// Returns the topics that the folder had before it had controllers, until these have taken them over.
    #[must_use]
    pub fn adoptable(&self) -> &[StoredTopic] {
        self.adoptable.as_ref().map_or(&[], |file| &file.topics)
    }

    /// Recovers one partition's log.
    ///
    /// # Errors
    /// [`DiskError::NotFound`] when the partition's folder is missing, which is never mended silently; otherwise what
    /// the disk reports.
    pub fn recover(
        &self,
        partition: TopicPartition,
        producers: &mut dyn ProducerReplay,
    ) -> Result<Recovered, DiskError> {
        recover(&*self.disk, &self.layout.partition(partition), producers)
    }

    /// Notes durably that the controllers are about to be told of this start. Nobody may be told before.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn tell(&mut self) -> Result<(), DiskError> {
        self.manifest.starts.tell(self.start);
        // Both copies: an older one would not know the start if the controllers know it.
        self.write_manifest()?;
        self.write_manifest()
    }

    /// Notes durably that the controllers of a cluster have registered this start, and so taken over what the folder had
    /// before.
    ///
    /// # Errors
    /// When the disk fails; the next registration then proves as much as this one.
    pub fn acknowledge(
        &mut self,
        cluster_id: ClusterId,
        epoch: BrokerEpoch,
    ) -> Result<(), DiskError> {
        self.manifest.cluster_id = cluster_id;
        self.manifest.acknowledged = self.manifest.incarnations;
        self.manifest.starts.acknowledge(self.start, epoch);
        // Both copies: an older one would claim that nobody knows this start.
        self.write_manifest()?;
        self.write_manifest()?;
        if self.adoptable.take().is_some() {
            self.disk.remove(&self.layout.root().join(TOPICS_NAME))?;
            self.disk.sync_folder(self.layout.root())?;
        }
        Ok(())
    }

    /// Makes room for partitions of a topic durably; those that are hosted already stay as they are.
    ///
    /// # Errors
    /// When the disk fails: the next start finds them or does not.
    pub fn host(
        &mut self,
        topic_id: TopicId,
        name: &TopicName,
        partitions: &[PartitionIndex],
    ) -> Result<(), DiskError> {
        create_partition_folders(&*self.disk, &self.layout, topic_id, partitions)?;
        let hosted = &mut self.manifest.topics;
        let index = match hosted.iter().position(|topic| topic.id == topic_id) {
            Some(index) => index,
            None => {
                hosted.push(HostedTopic {
                    id: topic_id,
                    name: name.clone(),
                    state: HostedState::Hosted,
                    partitions: Vec::new(),
                });
                hosted.len() - 1
            }
        };
        hosted[index].state = HostedState::Hosted;
        let all = &mut hosted[index].partitions;
        all.extend(partitions);
        all.sort_unstable();
        all.dedup();
        self.write_manifest()
    }

    /// Notes durably that a topic is deleted; its files are still there. [`Self::remove_deleted`] must follow, once
    /// nothing writes to them.
    ///
    /// # Errors
    /// When the disk fails: the next start goes on with it or begins anew.
    pub fn begin_deletion(&mut self, topic_id: TopicId) -> Result<(), DiskError> {
        self.mark(topic_id, HostedState::Deleting)
    }

    /// Notes durably that no cluster knows a topic whose records are here: they are kept and not served.
    ///
    /// # Errors
    /// When the disk fails: the next start finds it as it was.
    pub fn keep_unclaimed(&mut self, topic_id: TopicId) -> Result<(), DiskError> {
        self.mark(topic_id, HostedState::Unclaimed)
    }

    fn mark(&mut self, topic_id: TopicId, state: HostedState) -> Result<(), DiskError> {
        let hosted = self.manifest.topics.iter_mut();
        for topic in hosted.filter(|topic| topic.id == topic_id) {
            topic.state = state;
        }
        self.write_manifest()
    }

    /// Removes the files of a deleted topic.
    ///
    /// # Errors
    /// When the disk fails; the next start goes on.
    pub fn remove_deleted(&mut self, topic_id: TopicId) -> Result<(), DiskError> {
        remove_topic_files(&*self.disk, &self.layout, topic_id)?;
        self.manifest.topics.retain(|topic| topic.id != topic_id);
        self.write_manifest()
    }

    /// Notes that everything written is synced and nothing more will be.
    ///
    /// # Errors
    /// When the disk fails; the next start then recovers as after a crash.
    pub fn close(mut self) -> Result<(), DiskError> {
        self.manifest.is_clean = true;
        self.write_manifest()
    }

    fn write_manifest(&mut self) -> Result<(), DiskError> {
        self.manifest.sequence += 1;
        write_manifest(&*self.disk, self.layout.root(), &self.manifest)
    }
}

/// Writes the manifest over the copy that is not the newest.
fn write_manifest(disk: &dyn Disk, root: &Path, manifest: &Manifest) -> Result<(), DiskError> {
    let name = MANIFEST_NAMES[usize::from(manifest.sequence % 2 == 1)];
    let path = root.join(name);
    let (file, is_new) = match disk.open(&path, OpenMode::Write) {
        Err(DiskError::NotFound) => (disk.open(&path, OpenMode::Create)?, true),
        file => (file?, false),
    };
    disk.write(&file, 0, &[manifest.encode()])?;
    disk.sync(&file)?;
    if is_new {
        disk.sync_folder(root)
    } else {
        Ok(())
    }
}

fn create_partition_folders(
    disk: &dyn Disk,
    layout: &Layout,
    topic_id: TopicId,
    partitions: &[PartitionIndex],
) -> Result<(), DiskError> {
    let folder = layout.topic(topic_id);
    disk.create_folder(&folder)?;
    for &partition in partitions {
        disk.create_folder(&layout.partition(TopicPartition {
            topic_id,
            partition,
        }))?;
    }
    disk.sync_folder(&folder)?;
    disk.sync_folder(&layout.logs())
}

fn remove_topic_files(
    disk: &dyn Disk,
    layout: &Layout,
    topic_id: TopicId,
) -> Result<(), DiskError> {
    let folder = layout.topic(topic_id);
    let partitions = match disk.list(&folder) {
        Err(DiskError::NotFound) => return Ok(()),
        partitions => partitions?,
    };
    for partition in partitions {
        let path: PathBuf = folder.join(&partition.name);
        if partition.is_folder {
            for entry in disk.list(&path)? {
                disk.remove(&path.join(entry.name))?;
            }
            disk.remove_folder(&path)?;
        } else {
            disk.remove(&path)?;
        }
    }
    disk.remove_folder(&folder)?;
    disk.sync_folder(&layout.logs())
}
