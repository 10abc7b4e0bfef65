//! A data folder: whose it is, what it hosts, and how topics come and go without ever losing records.
//!
//! Creating: partition folders, then the manifest, then the topics file, which decides. Deleting: the manifest marks the
//! topic, the topics file without it decides, then files go, then the mark. Whatever a crash leaves in between is finished
//! or taken back at the next [`DataFolder::open`]. Missing metadata never deletes records. Read [`layout`] next.

pub mod checked;
pub mod layout;
mod manifest;
mod open;
mod open_error;
mod settle;
mod topics_file;

pub use manifest::{HostedState, HostedTopic, Manifest};
pub use open_error::OpenError;
pub use topics_file::{StoredTopic, TopicsFile};

use std::path::{Path, PathBuf};
use std::sync::Arc;

use keylane_protocol::identifiers::{BrokerId, ClusterId, FolderId, PartitionIndex, TopicId};

use crate::disk::{Disk, DiskError, File, OpenMode, replace_small};
use crate::log::TopicPartition;
use crate::log::recovery::{ProducerReplay, Recovered, recover};
use layout::Layout;

const MANIFEST_NAMES: [&str; 2] = ["manifest.0", "manifest.1"];
const TOPICS_NAME: &str = "topics";
const LOCK_NAME: &str = "lock";
const LOGS_NAME: &str = "logs";

/// Ids for a folder that has none yet, drawn by the shell.
#[derive(Clone, Copy, Debug)]
pub struct FreshIds {
    /// For the folder.
    pub folder_id: FolderId,
    /// For the cluster.
    pub cluster_id: ClusterId,
}

/// An open, locked data folder.
pub struct DataFolder {
    disk: Arc<dyn Disk>,
    layout: Layout,
    manifest: Manifest,
    topics: TopicsFile,
    was_clean: bool,
    /// Hosted topics with records that the topics file does not know; kept, not served.
    orphans: Vec<HostedTopic>,
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

    /// Returns the cluster that the folder belongs to.
    #[must_use]
    pub fn cluster_id(&self) -> ClusterId {
        self.manifest.cluster_id
    }

    /// Returns how often the folder has been opened, this time included: the leader epoch of all its partitions.
    #[must_use]
    pub fn incarnations(&self) -> i32 {
        self.manifest.incarnations
    }

    /// Returns whether the previous process stopped cleanly.
    #[must_use]
    pub fn was_clean(&self) -> bool {
        self.was_clean
    }

    /// Returns the topics in order of their names.
    #[must_use]
    pub fn topics(&self) -> &[StoredTopic] {
        &self.topics.topics
    }

    /// Returns hosted topics with records that the topics file does not know: kept on disk and not served.
    #[must_use]
    pub fn orphans(&self) -> &[HostedTopic] {
        &self.orphans
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

    /// Creates a topic durably. The name must not be taken.
    ///
    /// # Errors
    /// When the disk fails: the topic then exists after the next start or does not.
    pub fn create_topic(&mut self, topic: StoredTopic) -> Result<(), DiskError> {
        assert!(
            self.topics
                .topics
                .iter()
                .all(|other| other.name != topic.name && other.id != topic.id)
        );
        create_partition_folders(&*self.disk, &self.layout, &topic)?;
        self.manifest.topics.push(HostedTopic {
            id: topic.id,
            name: topic.name.clone(),
            state: HostedState::Hosted,
            partition_count: topic.partition_count,
        });
        self.write_manifest()?;
        let index = self
            .topics
            .topics
            .partition_point(|other| other.name < topic.name);
        self.topics.topics.insert(index, topic);
        self.write_topics()
    }

    /// Decides the deletion of a topic durably; its files are still there. [`Self::remove_deleted`] must follow, once
    /// nothing writes to them.
    ///
    /// # Errors
    /// When the disk fails: the topic then exists after the next start or does not.
    pub fn delete_topic(&mut self, topic_id: TopicId) -> Result<(), DiskError> {
        self.mark(topic_id, HostedState::Deleting);
        self.write_manifest()?;
        self.topics.topics.retain(|topic| topic.id != topic_id);
        self.write_topics()
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

    fn mark(&mut self, topic_id: TopicId, state: HostedState) {
        for topic in self
            .manifest
            .topics
            .iter_mut()
            .filter(|topic| topic.id == topic_id)
        {
            topic.state = state;
        }
    }

    fn write_manifest(&mut self) -> Result<(), DiskError> {
        self.manifest.sequence += 1;
        write_manifest(&*self.disk, self.layout.root(), &self.manifest)
    }

    fn write_topics(&self) -> Result<(), DiskError> {
        replace_small(
            &*self.disk,
            self.layout.root(),
            TOPICS_NAME,
            self.topics.encode(),
        )
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
    topic: &StoredTopic,
) -> Result<(), DiskError> {
    let folder = layout.topic(topic.id);
    disk.create_folder(&folder)?;
    for index in 0..topic.partition_count {
        let partition = TopicPartition {
            topic_id: topic.id,
            partition: PartitionIndex(index),
        };
        disk.create_folder(&layout.partition(partition))?;
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
