//! Opens a data folder: refuses what is not its own, ends the previous incarnation, finishes what a crash left undone.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use keylane_protocol::identifiers::{BrokerId, ClusterId};

use super::checked::{CHECKED_FILE_BYTES_MAX, Unsound};
use super::layout::Layout;
use super::manifest::Manifest;
use super::open_error::OpenError;
use super::settle::Settling;
use super::starts::Starts;
use super::topics_file::TopicsFile;
use super::{
    DataFolder, FreshIds, LOCK_NAME, LOGS_NAME, MANIFEST_NAMES, TOPICS_NAME, write_manifest,
};
use crate::disk::{Disk, DiskError, read_small};

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
    let adoptable = opening.topics(manifest.node_id == 0)?;
    let was_clean = manifest.is_clean;
    manifest.incarnations += 1;
    manifest.is_clean = false;
    if manifest.node_id == 0 {
        manifest.node_id = fresh.node_id;
    }
    let mut begin = || {
        // Into both copies: damage to one of them later must not bring an incarnation back that was used.
        for _ in MANIFEST_NAMES {
            manifest.sequence += 1;
            write_manifest(opening.disk, root, &manifest)?;
        }
        // The process before may have ended between renaming the topics file, which is believed now, and syncing that.
        opening.disk.sync_folder(root)?;
        let settling = Settling {
            disk: opening.disk,
            layout: &opening.layout,
        };
        settling.settle(&mut manifest, adoptable.as_ref())
    };
    begin().map_err(opening.failed())?;
    let layout = opening.layout;
    Ok(DataFolder {
        disk,
        layout,
        manifest,
        start: fresh.start,
        adoptable,
        was_clean,
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
            self.disk.sync_folder(self.root)?;
            self.disk.sync_folder(parent(self.root))?;
            let manifest = Manifest {
                sequence: 0,
                folder_id: fresh.folder_id,
                cluster_id: ClusterId::default(),
                broker_id,
                node_id: fresh.node_id,
                incarnations: 0,
                acknowledged: 0,
                is_clean: true,
                starts: Starts::NONE,
                topics: Vec::new(),
            };
            write_manifest(self.disk, self.root, &manifest)?;
            Ok(manifest)
        };
        steps().map_err(self.failed())
    }

    fn check_is_empty(&self) -> Result<(), OpenError> {
        // Of a folder that an earlier version began to make.
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

    /// Returns the topics of a folder from before there were controllers, as long as these have not taken them over.
    fn topics(&self, must_exist: bool) -> Result<Option<TopicsFile>, OpenError> {
        match self.read(TOPICS_NAME)? {
            Some(contents) => TopicsFile::decode(&contents)
                .map(Some)
                .map_err(|unsound| self.unsound(TOPICS_NAME, unsound)),
            None if must_exist => Err(self.unsound(TOPICS_NAME, Unsound::Damaged)),
            None => Ok(None),
        }
    }
}
