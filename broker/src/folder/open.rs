//! Opens a data folder: refuses what is not its own, ends the previous incarnation, finishes what a crash left undone.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use keylane_protocol::identifiers::BrokerId;

use super::checked::{CHECKED_FILE_BYTES_MAX, Unsound};
use super::layout::{Layout, parse_segment_name};
use super::manifest::{HostedState, HostedTopic, Manifest};
use super::topics_file::TopicsFile;
use super::{
    DataFolder, FreshIds, LOCK_NAME, LOGS_NAME, MANIFEST_NAMES, TOPICS_NAME, remove_topic_files,
    write_manifest,
};
use crate::disk::{Disk, DiskError, OpenMode, read_small, replace_small};

/// Why a data folder cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Another process uses the folder.
    #[error(
        "the data folder {folder:?} is in use by another process: stop it, or give this broker a folder of its own"
    )]
    Locked {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder holds other files.
    #[error(
        "{folder:?} is neither empty nor a Keylane data folder (it holds {entry:?}): give an empty or a new folder"
    )]
    NotADataFolder {
        /// The folder.
        folder: PathBuf,
        /// The first file that does not belong.
        entry: String,
    },
    /// The folder belongs to another broker.
    #[error(
        "the data folder {folder:?} belongs to broker {found}, not to broker {expected}: start with --id {found}, or give another folder"
    )]
    OtherBroker {
        /// The folder.
        folder: PathBuf,
        /// Whose it is.
        found: BrokerId,
        /// Who asked.
        expected: BrokerId,
    },
    /// A later version of Keylane wrote the folder.
    #[error(
        "{file:?} has format version {version}, which this version of Keylane does not know: use the newer Keylane that wrote it"
    )]
    Newer {
        /// The file.
        file: PathBuf,
        /// Its version.
        version: u32,
    },
    /// A file without which the folder cannot be understood is damaged or missing.
    #[error(
        "{file:?} is damaged or missing, and the folder holds records: restore the file from a backup; nothing was changed"
    )]
    Damaged {
        /// The file.
        file: PathBuf,
    },
    /// The folder, or something in it, may not be read or written.
    #[error(
        "the data folder {folder:?} cannot be used ({source}): let the user that runs the broker read and write it, or give another folder"
    )]
    NotPermitted {
        /// The folder.
        folder: PathBuf,
        /// What the disk reports.
        #[source]
        source: DiskError,
    },
    /// Something else has the folder's name.
    #[error(
        "the data folder {folder:?} cannot be used, it is not a folder: give an empty or a new one"
    )]
    NotAFolder {
        /// The path.
        folder: PathBuf,
    },
    /// The disk failed.
    #[error("the data folder {folder:?} cannot be used: {source}")]
    Disk {
        /// The folder.
        folder: PathBuf,
        /// What the disk reports.
        #[source]
        source: DiskError,
    },
}

/// A folder that is being opened.
struct Opening<'a> {
    disk: &'a dyn Disk,
    root: &'a Path,
    layout: Layout,
}

pub(super) fn open(
    disk: Arc<dyn Disk>,
    root: &Path,
    broker_id: BrokerId,
    fresh: FreshIds,
) -> Result<DataFolder, OpenError> {
    let opening = Opening {
        disk: &*disk,
        root,
        layout: Layout::new(root),
    };
    opening.create_root().map_err(opening.failed())?;
    let lock = opening
        .disk
        .lock(&root.join(LOCK_NAME))
        .map_err(|error| match error {
            DiskError::Locked => OpenError::Locked {
                folder: root.to_owned(),
            },
            error => opening.failed()(error),
        })?;
    let mut manifest = match opening.newest_manifest()? {
        Some(manifest) => manifest,
        None => opening.initialise(broker_id, fresh)?,
    };
    if manifest.broker_id != broker_id {
        let folder = root.to_owned();
        return Err(OpenError::OtherBroker {
            folder,
            found: manifest.broker_id,
            expected: broker_id,
        });
    }
    let topics = opening.topics()?;
    let was_clean = manifest.is_clean;
    manifest.incarnations += 1;
    manifest.is_clean = false;
    let mut begin = || {
        // Into both copies: damage to one of them later must not bring an epoch back that was used.
        for _ in MANIFEST_NAMES {
            manifest.sequence += 1;
            write_manifest(opening.disk, root, &manifest)?;
        }
        // The process before may have ended between renaming the topics file, which is believed now, and syncing that.
        opening.disk.sync_folder(root)?;
        opening.settle(&mut manifest, &topics)
    };
    let orphans = begin().map_err(opening.failed())?;
    let layout = opening.layout;
    Ok(DataFolder {
        disk,
        layout,
        manifest,
        topics,
        was_clean,
        orphans,
        _lock: lock,
    })
}

/// Returns the folder that holds the path's entry.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

fn create_with_parents(disk: &dyn Disk, path: &Path) -> Result<(), DiskError> {
    if disk.create_folder(path) == Err(DiskError::NotFound) && parent(path) != path {
        create_with_parents(disk, parent(path))?;
    }
    disk.create_folder(path)?;
    disk.sync_folder(parent(path))
}

impl Opening<'_> {
    fn failed(&self) -> impl Fn(DiskError) -> OpenError {
        let folder = self.root.to_owned();
        move |source| {
            let folder = folder.clone();
            match source {
                DiskError::NotPermitted { .. } => OpenError::NotPermitted { folder, source },
                DiskError::NotAFolder => OpenError::NotAFolder { folder },
                source => OpenError::Disk { folder, source },
            }
        }
    }

    /// Creates the folder, and those above it, if it is missing.
    fn create_root(&self) -> Result<(), DiskError> {
        match self.disk.list(self.root) {
            Err(DiskError::NotFound) => create_with_parents(self.disk, self.root),
            entries => entries.map(|_| ()),
        }
    }

    fn read(&self, name: &str) -> Result<Option<Bytes>, OpenError> {
        match read_small(self.disk, &self.root.join(name), CHECKED_FILE_BYTES_MAX) {
            Ok(contents) => Ok(Some(contents)),
            Err(DiskError::NotFound) => Ok(None),
            Err(error) => Err(self.failed()(error)),
        }
    }

    fn unsound(&self, name: &str, unsound: Unsound) -> OpenError {
        let file = self.root.join(name);
        match unsound {
            Unsound::Newer { version } => OpenError::Newer { file, version },
            Unsound::Damaged => OpenError::Damaged { file },
        }
    }

    /// Returns the sound copy with the highest sequence; `None` if the folder was never finished.
    fn newest_manifest(&self) -> Result<Option<Manifest>, OpenError> {
        let mut newest: Option<Manifest> = None;
        for name in MANIFEST_NAMES {
            let Some(contents) = self.read(name)? else {
                continue;
            };
            match Manifest::decode(&contents) {
                Ok(manifest) => {
                    if newest
                        .as_ref()
                        .is_none_or(|newest| newest.sequence < manifest.sequence)
                    {
                        newest = Some(manifest);
                    }
                }
                Err(Unsound::Damaged) => {}
                Err(newer) => return Err(self.unsound(name, newer)),
            }
        }
        if newest.is_none() && self.holds_records()? {
            return Err(self.unsound(MANIFEST_NAMES[0], Unsound::Damaged));
        }
        Ok(newest)
    }

    /// Tells whether there is anything that an initialisation could harm.
    fn holds_records(&self) -> Result<bool, OpenError> {
        match self.disk.list(&self.layout.logs()) {
            Ok(entries) => Ok(!entries.is_empty()),
            Err(DiskError::NotFound) => Ok(false),
            Err(error) => Err(self.failed()(error)),
        }
    }

    fn initialise(&self, broker_id: BrokerId, fresh: FreshIds) -> Result<Manifest, OpenError> {
        self.check_is_empty()?;
        let steps = || {
            self.disk.create_folder(&self.layout.logs())?;
            replace_small(
                self.disk,
                self.root,
                TOPICS_NAME,
                TopicsFile::default().encode(),
            )?;
            self.disk.sync_folder(parent(self.root))?;
            let manifest = Manifest {
                sequence: 0,
                folder_id: fresh.folder_id,
                cluster_id: fresh.cluster_id,
                broker_id,
                incarnations: 0,
                is_clean: true,
                topics: Vec::new(),
            };
            write_manifest(self.disk, self.root, &manifest)?;
            Ok(manifest)
        };
        steps().map_err(self.failed())
    }

    fn check_is_empty(&self) -> Result<(), OpenError> {
        let temporary = format!("{TOPICS_NAME}.new");
        let own = [
            LOCK_NAME,
            LOGS_NAME,
            TOPICS_NAME,
            &temporary,
            MANIFEST_NAMES[0],
            MANIFEST_NAMES[1],
            "lost+found",
        ];
        let entries = self.disk.list(self.root).map_err(self.failed())?;
        match entries
            .into_iter()
            .find(|entry| !own.contains(&entry.name.as_str()))
        {
            Some(entry) => Err(OpenError::NotADataFolder {
                folder: self.root.to_owned(),
                entry: entry.name,
            }),
            None => Ok(()),
        }
    }

    fn topics(&self) -> Result<TopicsFile, OpenError> {
        let contents = self
            .read(TOPICS_NAME)?
            .ok_or_else(|| self.unsound(TOPICS_NAME, Unsound::Damaged))?;
        TopicsFile::decode(&contents).map_err(|unsound| self.unsound(TOPICS_NAME, unsound))
    }

    /// Finishes or takes back what a crash interrupted; returns topics whose records nobody claims.
    fn settle(
        &self,
        manifest: &mut Manifest,
        topics: &TopicsFile,
    ) -> Result<Vec<HostedTopic>, DiskError> {
        let mut orphans = Vec::new();
        let mut kept = Vec::new();
        let mut has_changed = false;
        // The topics file decides; a manifest that lost a topic is an old copy beside a damaged newer one.
        for topic in &topics.topics {
            if manifest.topics.iter().all(|hosted| hosted.id != topic.id) {
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
            let exists = topics.topics.iter().any(|topic| topic.id == hosted.id);
            match (hosted.state, exists) {
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
                    remove_topic_files(self.disk, &self.layout, hosted.id)?;
                    has_changed = true;
                }
            }
        }
        manifest.topics = kept;
        self.remove_unfinished(manifest)?;
        if has_changed {
            manifest.sequence += 1;
            write_manifest(self.disk, self.root, manifest)?;
        }
        Ok(orphans)
    }

    /// Removes empty folders of topics whose creation did not get as far as the manifest.
    fn remove_unfinished(&self, manifest: &Manifest) -> Result<(), DiskError> {
        for entry in self.disk.list(&self.layout.logs())? {
            let folder = self.layout.logs().join(&entry.name);
            let is_hosted = manifest
                .topics
                .iter()
                .any(|topic| self.layout.topic(topic.id) == folder);
            if is_hosted || !entry.is_folder {
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
