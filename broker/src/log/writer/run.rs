//! Carries out the steps of a group on a disk, one after the other, on the calling thread.

use std::path::PathBuf;
use std::sync::Arc;

use ahash::AHashMap;
use keylane_protocol::offset::Offset;

use super::{LogWriter, Step};
use crate::disk::{Disk, DiskError, File, OpenMode};
use crate::folder::layout::Layout;
use crate::log::TopicPartition;

/// The most files kept open between groups; the least recently opened is closed first.
const OPEN_FILES_MAX: usize = 4096;

/// A disk and the segments that are open on it for writing.
pub struct StepRunner {
    disk: Arc<dyn Disk>,
    layout: Layout,
    open: AHashMap<(TopicPartition, Offset), File>,
}

impl StepRunner {
    /// Returns a runner for the data folder.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, layout: Layout) -> Self {
        Self {
            disk,
            layout,
            open: AHashMap::new(),
        }
    }

    /// Does one thing.
    ///
    /// # Errors
    /// When the disk fails; what it holds is unknown then.
    pub fn run(&mut self, step: Step) -> Result<(), DiskError> {
        match step {
            Step::Create { partition, segment } => {
                let file = self
                    .disk
                    .open(&self.path(partition, segment), OpenMode::Create)?;
                self.keep(partition, segment, file);
                Ok(())
            }
            Step::Allocate {
                partition,
                segment,
                at,
                length,
            } => {
                let file = self.file(partition, segment)?;
                self.disk.allocate(&file, at, length)
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
            Step::Sync { partition, segment } => {
                let file = self.file(partition, segment)?;
                self.disk.sync(&file)
            }
            Step::SyncFolder { partition } => {
                self.disk.sync_folder(&self.layout.partition(partition))
            }
            Step::Close { partition, segment } => {
                self.open.remove(&(partition, segment));
                Ok(())
            }
        }
    }

    /// Closes all files of a partition.
    pub fn forget(&mut self, partition: TopicPartition) {
        self.open.retain(|(of, _), _| *of != partition);
    }

    /// Closes files between groups if too many are open; everything in them is written, and synced where promised.
    pub fn close_some(&mut self) {
        if self.open.len() > OPEN_FILES_MAX {
            self.open.clear();
        }
    }

    fn path(&self, partition: TopicPartition, segment: Offset) -> PathBuf {
        self.layout.segment(partition, segment)
    }

    fn keep(&mut self, partition: TopicPartition, segment: Offset, file: File) {
        self.open.insert((partition, segment), file);
    }

    fn file(&mut self, partition: TopicPartition, segment: Offset) -> Result<File, DiskError> {
        if let Some(file) = self.open.get(&(partition, segment)) {
            return Ok(file.clone());
        }
        let file = self
            .disk
            .open(&self.path(partition, segment), OpenMode::Write)?;
        self.keep(partition, segment, file.clone());
        Ok(file)
    }
}

/// Runs the next group from its first step to its last; the caller reports its ends afterwards.
///
/// # Errors
/// At the first step that fails. The group must then never be reported, and nothing may be written after it.
pub fn run_group(writer: &mut LogWriter, runner: &mut StepRunner) -> Result<(), DiskError> {
    let mut steps = Vec::new();
    writer.begin_group(&mut steps);
    for step in steps {
        runner.run(step)?;
    }
    runner.close_some();
    Ok(())
}
