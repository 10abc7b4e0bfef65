//! What a crash between manifest and topics file left undone is finished or taken back. The topics file decides; records
//! that it does not know are kept.

use std::collections::BTreeSet;

use keylane_protocol::identifiers::TopicId;

use super::layout::{Layout, parse_segment_name};
use super::manifest::{HostedState, HostedTopic, Manifest};
use super::topics_file::TopicsFile;
use super::{remove_topic_files, write_manifest};
use crate::disk::{Disk, DiskError, OpenMode};

/// A locked folder.
pub(super) struct Settling<'a> {
    pub(super) disk: &'a dyn Disk,
    pub(super) layout: &'a Layout,
}

impl Settling<'_> {
    /// Finishes or takes back what a crash interrupted; returns topics whose records nobody claims.
    pub(super) fn settle(
        &self,
        manifest: &mut Manifest,
        topics: &TopicsFile,
    ) -> Result<Vec<HostedTopic>, DiskError> {
        let mut orphans = Vec::new();
        let mut kept = Vec::new();
        let mut has_changed = false;
        let hosted: BTreeSet<TopicId> = manifest.topics.iter().map(|topic| topic.id).collect();
        let existing: BTreeSet<TopicId> = topics.topics.iter().map(|topic| topic.id).collect();
        // A manifest that lost a topic is an old copy beside a damaged newer one.
        for topic in &topics.topics {
            if !hosted.contains(&topic.id) {
                manifest.topics.push(HostedTopic {
                    id: topic.id,
                    name: topic.name.clone(),
                    state: HostedState::Hosted,
                    partition_count: topic.partition_count,
                });
                has_changed = true;
            }
        }
        for mut hosted in std::mem::take(&mut manifest.topics) {
            match (hosted.state, existing.contains(&hosted.id)) {
                (HostedState::Hosted, true) => kept.push(hosted),
                (HostedState::Deleting, true) => {
                    hosted.state = HostedState::Hosted;
                    has_changed = true;
                    kept.push(hosted);
                }
                (HostedState::Hosted, false) if self.has_records(&hosted)? => {
                    orphans.push(hosted.clone());
                    kept.push(hosted);
                }
                (_, false) => {
                    remove_topic_files(self.disk, self.layout, hosted.id)?;
                    has_changed = true;
                }
            }
        }
        manifest.topics = kept;
        self.remove_unfinished(manifest)?;
        if has_changed {
            manifest.sequence += 1;
            write_manifest(self.disk, self.layout.root(), manifest)?;
        }
        Ok(orphans)
    }

    /// Removes empty folders of topics whose creation did not get as far as the manifest.
    fn remove_unfinished(&self, manifest: &Manifest) -> Result<(), DiskError> {
        let hosted: BTreeSet<_> = manifest
            .topics
            .iter()
            .map(|topic| self.layout.topic(topic.id))
            .collect();
        for entry in self.disk.list(&self.layout.logs())? {
            let folder = self.layout.logs().join(&entry.name);
            if hosted.contains(&folder) || !entry.is_folder {
                continue;
            }
            let partitions = self.disk.list(&folder)?;
            let mut is_empty = true;
            for partition in &partitions {
                is_empty &= partition.is_folder
                    && self.disk.list(&folder.join(&partition.name))?.is_empty();
            }
            if is_empty {
                for partition in partitions {
                    self.disk.remove_folder(&folder.join(partition.name))?;
                }
                self.disk.remove_folder(&folder)?;
                self.disk.sync_folder(&self.layout.logs())?;
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
