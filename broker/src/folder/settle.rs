//! What a crash left undone is finished or taken back, when a folder is opened. Records that nobody claims are kept.

use std::collections::BTreeSet;

use keylane_protocol::identifiers::{PartitionIndex, TopicId};

use super::layout::{Layout, parse_segment_name};
use super::manifest::{HostedState, HostedTopic, Manifest};
use super::topics_file::TopicsFile;
use super::{remove_topic_files, write_manifest};
use crate::disk::{Disk, DiskError, OpenMode};
use crate::log::TopicPartition;

/// A locked folder.
pub(super) struct Settling<'a> {
    pub(super) disk: &'a dyn Disk,
    pub(super) layout: &'a Layout,
}

impl Settling<'_> {
    /// Finishes or takes back what a crash interrupted.
    pub(super) fn settle(
        &self,
        manifest: &mut Manifest,
        topics: Option<&TopicsFile>,
    ) -> Result<(), DiskError> {
        let before = manifest.topics.clone();
        if let Some(topics) = topics {
            self.heed_topics_file(manifest, topics)?;
        }
        for topic in &manifest.topics {
            if topic.state == HostedState::Deleting {
                remove_topic_files(self.disk, self.layout, topic.id)?;
            }
        }
        manifest
            .topics
            .retain(|topic| topic.state != HostedState::Deleting);
        self.remove_unfinished(manifest)?;
        if manifest.topics != before {
            manifest.sequence += 1;
            write_manifest(self.disk, self.layout.root(), manifest)?;
        }
        Ok(())
    }

    /// Before there were controllers, the topics file decided what exists; what it does not know and has no records is
    /// to be deleted.
    fn heed_topics_file(
        &self,
        manifest: &mut Manifest,
        topics: &TopicsFile,
    ) -> Result<(), DiskError> {
        let existing: BTreeSet<TopicId> = topics.topics.iter().map(|topic| topic.id).collect();
        // A manifest that lost a topic is an old copy beside a damaged newer one.
        for topic in &topics.topics {
            if manifest.topics.iter().all(|hosted| hosted.id != topic.id) {
                manifest.topics.push(HostedTopic {
                    id: topic.id,
                    name: topic.name.clone(),
                    state: HostedState::Hosted,
                    partitions: (0..topic.partition_count).map(PartitionIndex).collect(),
                });
            }
        }
        for hosted in &mut manifest.topics {
            if existing.contains(&hosted.id) {
                hosted.state = HostedState::Hosted;
            } else if hosted.state != HostedState::Deleting && self.has_records(hosted)? {
                hosted.state = HostedState::Unclaimed;
            } else {
                hosted.state = HostedState::Deleting;
            }
        }
        Ok(())
    }

    /// Removes empty folders of partitions whose creation did not get as far as the manifest.
    fn remove_unfinished(&self, manifest: &Manifest) -> Result<(), DiskError> {
        let mut hosted = BTreeSet::new();
        for topic in &manifest.topics {
            hosted.insert(self.layout.topic(topic.id));
            hosted.extend(topic.partitions.iter().map(|&partition| {
                let topic_id = topic.id;
                self.layout.partition(TopicPartition {
                    topic_id,
                    partition,
                })
            }));
        }
        let logs = self.layout.logs();
        for topic in self
            .disk
            .list(&logs)?
            .iter()
            .filter(|entry| entry.is_folder)
        {
            let folder = logs.join(&topic.name);
            let mut is_empty = !hosted.contains(&folder);
            let mut has_changed = false;
            for partition in self.disk.list(&folder)? {
                let path = folder.join(&partition.name);
                let is_unfinished = partition.is_folder
                    && !hosted.contains(&path)
                    && self.disk.list(&path)?.is_empty();
                if is_unfinished {
                    self.disk.remove_folder(&path)?;
                    has_changed = true;
                }
                is_empty &= is_unfinished;
            }
            if is_empty {
                self.disk.remove_folder(&folder)?;
                self.disk.sync_folder(&logs)?;
            } else if has_changed {
                self.disk.sync_folder(&folder)?;
            }
        }
        Ok(())
    }

    fn has_records(&self, topic: &HostedTopic) -> Result<bool, DiskError> {
        let folder = self.layout.topic(topic.id);
        let partitions = match self.disk.list(&folder) {
            Err(DiskError::NotFound) => return Ok(false),
            partitions => partitions?,
        };
        for partition in partitions.iter().filter(|partition| partition.is_folder) {
            let path = folder.join(&partition.name);
            for entry in self.disk.list(&path)? {
                if parse_segment_name(&entry.name).is_some() {
                    let file = self.disk.open(&path.join(&entry.name), OpenMode::Read)?;
                    if self.disk.size(&file)? > 0 {
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
    }
}
