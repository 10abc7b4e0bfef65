//! Carries out the steps of a group on a disk, one after the other, on the calling thread.

use std::path::PathBuf;
use std::sync::Arc;

use ahash::AHashMap;
use keylane_protocol::offset::Offset;

use super::{GroupWork, LogWriter, Step, SyncTarget};
use crate::disk::{Disk, DiskError, File, OpenMode};
use crate::folder::layout::Layout;
use crate::log::TopicPartition;

/// The most files kept open between groups; those that the last group did not use are closed first.
const OPEN_FILES_MAX: usize = 4096;

/// A disk and the segments that are open on it for writing.
pub struct StepRunner {
    disk: Arc<dyn Disk>,
    layout: Layout,
    open: AHashMap<(TopicPartition, Offset), OpenFile>,
    group: u64,
}

struct OpenFile {
    file: File,
    /// The last group that used it.
    used_by: u64,
}

/// Something to make durable, away from the runner.
pub enum SyncWork {
    /// A file's contents.
    File(File),
    /// A folder's entries.
    Folder(PathBuf),
}

impl SyncWork {
    /// Makes it durable.
    ///
    /// # Errors
    /// When the disk fails; what it holds is unknown then.
    pub fn run(&self, disk: &dyn Disk) -> Result<(), DiskError> {
        match self {
            Self::File(file) => disk.sync(file),
            Self::Folder(path) => disk.sync_folder(path),
        }
    }
}

impl StepRunner {
    /// Returns a runner for the data folder.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, layout: Layout) -> Self {
        Self {
            disk,
            layout,
            open: AHashMap::new(),
            group: 0,
        }
    }

    /// Does one thing.
    ///
    /// # Errors
    /// When the disk fails; what it holds is unknown then.
    pub fn run(&mut self, step: Step) -> Result<(), DiskError> {
        match step {
            Step::Create { partition, segment } => {
                self.open(partition, segment, OpenMode::Create).map(|_| ())
            }
            Step::Allocate {
                partition,
                segment,
                at,
                length,
            } => {
                let file = self.file(partition, segment)?;
                match self.disk.allocate(&file, at, length) {
                    // Nothing was to be stored by it: whether there is room for the records, their write tells.
                    Err(DiskError::NoSpace) => Ok(()),
                    result => result,
                }
            }
            Step::Write {
                partition,
                segment,
                at,
                slices,
            } => {
                let file = self.file(partition, segment)?;
                self.disk.write(&file, at, &slices)
            }
            Step::Cut {
                partition,
                segment,
                length,
            } => {
                let file = self.file(partition, segment)?;
                self.disk.set_length(&file, length)
            }
        }
    }

    /// Returns what has to be synced.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn sync_work(&mut self, target: SyncTarget) -> Result<SyncWork, DiskError> {
        Ok(match target {
            SyncTarget::Segment { partition, segment } => {
                SyncWork::File(self.file(partition, segment)?)
            }
            SyncTarget::Folder { partition } => SyncWork::Folder(self.layout.partition(partition)),
        })
    }

    fn close(&mut self, segment: (TopicPartition, Offset)) {
        self.open.remove(&segment);
    }

    /// Closes all files of a partition.
    pub fn forget(&mut self, partition: TopicPartition) {
        self.open.retain(|(of, _), _| *of != partition);
    }

    /// Begins a group: closes files if too many are open; everything in them is written, and synced where promised.
    pub fn begin_group(&mut self) {
        if self.open.len() > OPEN_FILES_MAX {
            self.close_idle();
        }
        if self.open.len() > OPEN_FILES_MAX {
            self.open.clear();
        }
        self.group += 1;
    }

    fn close_idle(&mut self) {
        let group = self.group;
        self.open.retain(|_, open| open.used_by == group);
    }

    fn file(&mut self, partition: TopicPartition, segment: Offset) -> Result<File, DiskError> {
        if let Some(open) = self.open.get_mut(&(partition, segment)) {
            open.used_by = self.group;
            return Ok(open.file.clone());
        }
        self.open(partition, segment, OpenMode::Write)
    }

    fn open(
        &mut self,
        partition: TopicPartition,
        segment: Offset,
        mode: OpenMode,
    ) -> Result<File, DiskError> {
        let path = self.layout.segment(partition, segment);
        let file = match self.disk.open(&path, mode) {
            // Sockets may have taken the descriptors; opening a file again stores nothing twice.
            Err(DiskError::TooManyFiles) => {
                self.close_idle();
                self.disk.open(&path, mode)?
            }
            file => file?,
        };
        let open = OpenFile {
            file: file.clone(),
            used_by: self.group,
        };
        self.open.insert((partition, segment), open);
        Ok(file)
    }
}

/// Runs the next group from its first step to its last, reserving at most `ahead_bytes_max`; the caller reports its ends
/// afterwards. `sync` makes durable what it is given, in any order, and returns when all of it is.
///
/// # Errors
/// At the first step that fails. The group must then never be reported, and nothing may be written after it.
pub fn run_group(
    writer: &mut LogWriter,
    runner: &mut StepRunner,
    ahead_bytes_max: u64,
    sync: impl FnOnce(Vec<SyncWork>) -> Result<(), DiskError>,
) -> Result<(), DiskError> {
    runner.begin_group();
    let GroupWork {
        steps,
        syncs,
        closes,
    } = writer.begin_group(ahead_bytes_max);
    for step in steps {
        runner.run(step)?;
    }
    let syncs: Result<Vec<_>, _> = syncs
        .into_iter()
        .map(|target| runner.sync_work(target))
        .collect();
    sync(syncs?)?;
    for segment in closes {
        runner.close(segment);
    }
    Ok(())
}
