//! What a simulated disk does when it is asked to.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::entries::Entry;
use super::fault::Kind;
use super::image::FileImage;
use super::{SimulatedDisk, SimulatedFile};
use crate::disk::{Disk, DiskError, File, FolderEntry, Handle, OpenMode, Space};

const INVALID_ERRNO: i32 = 22;
const NOT_EMPTY_ERRNO: i32 = 39;

impl Disk for SimulatedDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> Result<File, DiskError> {
        let mut state = if mode == OpenMode::Create {
            self.begin()?
        } else {
            self.state()
        };
        state.check_power()?;
        let inode = match (state.entries.get(path), mode) {
            (Some(Entry::File(inode)), OpenMode::Create) => {
                state.image(path).set_length(0);
                inode
            }
            (Some(Entry::File(inode)), _) => inode,
            (None, OpenMode::Create) => {
                state.parent_exists(path)?;
                let inode = state.next_inode;
                state.next_inode += 1;
                state.files.insert(inode, FileImage::default());
                state.entries.set(path, Some(Entry::File(inode)));
                inode
            }
            (Some(Entry::Folder), _) => {
                return Err(DiskError::Failed {
                    operation: "open",
                    errno: INVALID_ERRNO,
                });
            }
            (None, _) => return Err(DiskError::NotFound),
        };
        let power_cycle = state.power_cycle;
        Ok(File(Arc::new(Handle::Simulated(SimulatedFile {
            inode,
            power_cycle,
            _lock: None,
        }))))
    }

    fn lock(&self, path: &Path) -> Result<File, DiskError> {
        if self
            .state()
            .locks
            .get(path)
            .is_some_and(|lock| lock.strong_count() > 0)
        {
            return Err(DiskError::Locked);
        }
        let exists = self.state().entries.get(path).is_some();
        let file = self.open(
            path,
            if exists {
                OpenMode::Write
            } else {
                OpenMode::Create
            },
        )?;
        let Handle::Simulated(handle) = &*file.0 else {
            unreachable!("this disk opens simulated files")
        };
        let lock = Arc::new(());
        let mut state = self.state();
        state.locks.insert(path.to_owned(), Arc::downgrade(&lock));
        let SimulatedFile {
            inode, power_cycle, ..
        } = *handle;
        Ok(File(Arc::new(Handle::Simulated(SimulatedFile {
            inode,
            power_cycle,
            _lock: Some(lock),
        }))))
    }

    fn write(&self, file: &File, at: u64, slices: &[Bytes]) -> Result<(), DiskError> {
        let length: u64 = slices.iter().map(|slice| slice.len() as u64).sum();
        let mut state = self.begin_with(Kind::Change, |state, _| {
            state.file(file)?.write(at, slices);
            Ok(())
        })?;
        let growth = (at + length).saturating_sub(state.file(file)?.size());
        state.check_room(growth)?;
        state.file(file)?.write(at, slices);
        Ok(())
    }

    fn read(&self, file: &File, at: u64, length: usize) -> Result<Bytes, DiskError> {
        Ok(self.state().file(file)?.read(at, length))
    }

    fn size(&self, file: &File) -> Result<u64, DiskError> {
        Ok(self.state().file(file)?.size())
    }

    fn sync(&self, file: &File) -> Result<(), DiskError> {
        let mut state = self.begin_with(Kind::Sync, |state, fault| {
            if !fault.is_power_cut() {
                state.file(file)?.forget_unsynced();
            }
            Ok(())
        })?;
        let does_nothing = state.syncs_do_nothing;
        let image = state.file(file)?;
        if !does_nothing {
            image.sync();
        }
        Ok(())
    }

    fn forget_cached(&self, file: &File) -> Result<(), DiskError> {
        self.state().file(file)?.forget_cached();
        Ok(())
    }

    fn sync_folder(&self, path: &Path) -> Result<(), DiskError> {
        // Names are kept by the filesystem's journal: a failed sync does not make it forget them.
        let mut state = self.begin_with(Kind::Sync, |_, _| Ok(()))?;
        state.folder_exists(path)?;
        if !state.syncs_do_nothing {
            state.entries.sync(path);
        }
        Ok(())
    }

    fn allocate(&self, file: &File, at: u64, length: u64) -> Result<(), DiskError> {
        let mut state = self.begin()?;
        let size = state.file(file)?.size();
        state.check_room((at + length).saturating_sub(size))?;
        let image = state.file(file)?;
        image.set_length(size.max(at + length));
        Ok(())
    }

    fn set_length(&self, file: &File, length: u64) -> Result<(), DiskError> {
        self.begin()?.file(file)?.set_length(length);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        let mut state = self.begin()?;
        state.parent_exists(to)?;
        let entry = state.entries.get(from).ok_or(DiskError::NotFound)?;
        state.entries.set(from, None);
        state.entries.set(to, Some(entry));
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<(), DiskError> {
        let mut state = self.begin()?;
        match state.entries.get(path) {
            Some(Entry::File(_)) => {
                state.entries.set(path, None);
                Ok(())
            }
            _ => Err(DiskError::NotFound),
        }
    }

    fn create_folder(&self, path: &Path) -> Result<(), DiskError> {
        let mut state = self.begin()?;
        state.parent_exists(path)?;
        match state.entries.get(path) {
            None => {
                state.entries.set(path, Some(Entry::Folder));
                Ok(())
            }
            Some(Entry::Folder) => Ok(()),
            Some(Entry::File(_)) => Err(DiskError::NotAFolder),
        }
    }

    fn remove_folder(&self, path: &Path) -> Result<(), DiskError> {
        let mut state = self.begin()?;
        state.folder_exists(path)?;
        if state.entries.inside(path).next().is_some() {
            return Err(DiskError::Failed {
                operation: "rmdir",
                errno: NOT_EMPTY_ERRNO,
            });
        }
        state.entries.set(path, None);
        Ok(())
    }

    fn list(&self, path: &Path) -> Result<Vec<FolderEntry>, DiskError> {
        let state = self.state();
        state.check_power()?;
        state.folder_exists(path)?;
        let entry = |(name, entry): (String, Entry)| FolderEntry {
            name,
            is_folder: entry == Entry::Folder,
        };
        Ok(state.entries.inside(path).map(entry).collect())
    }

    fn space(&self, _path: &Path) -> Result<Space, DiskError> {
        let state = self.state();
        state.check_power()?;
        let free_bytes = state.bytes_max.saturating_sub(state.stored_bytes());
        Ok(Space {
            free_bytes,
            total_bytes: state.bytes_max,
        })
    }
}
