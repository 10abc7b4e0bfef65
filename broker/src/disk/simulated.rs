//! A disk that forgets: what was not synced when the power goes may survive in any mixture of sectors.
//!
//! Each file has a durable and a volatile image. A sync makes the volatile one durable. A power cut keeps any subset of
//! the unsynced sectors, keeps or loses each unsynced change of size, and keeps or loses each unsynced creation,
//! renaming and removal by itself. Handles from before the cut answer [`DiskError::PoweredOff`]. Faults are planned by
//! the number of the operation, so that every crash point can be visited; the same seed does the same.

mod image;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::{Disk, DiskError, File, FolderEntry, Handle, OpenMode, Space};
use image::FileImage;

const NO_SUCH_THING_ERRNO: i32 = 22;

/// What goes wrong, and when; operations are counted from 1 and reads are not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The power goes before the operation; a write among them may be torn.
    PowerCut {
        /// The operation's number.
        operation: u64,
    },
    /// The operation fails once, if it is a sync; the pages count as clean afterwards, as on Linux.
    FailedSync {
        /// The operation's number.
        operation: u64,
    },
    /// No more than this may be stored from now on.
    Full {
        /// Bytes of all files together.
        bytes_max: u64,
    },
}

/// A simulated filesystem; clones share it.
#[derive(Clone)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

/// A handle to a simulated file.
#[derive(Debug)]
pub struct SimulatedFile {
    inode: u64,
    power_cycle: u64,
    /// Keeps the lock for as long as the handle lives.
    _lock: Option<Arc<()>>,
}

struct State {
    random: SmallRng,
    operations: u64,
    power_cycle: u64,
    is_off: bool,
    faults: Vec<Fault>,
    bytes_max: u64,
    syncs_do_nothing: bool,
    next_inode: u64,
    files: BTreeMap<u64, FileImage>,
    /// What a process sees.
    entries: BTreeMap<PathBuf, Entry>,
    /// What would be there after a power cut that loses every unsynced change.
    durable_entries: BTreeMap<PathBuf, Entry>,
    locks: BTreeMap<PathBuf, std::sync::Weak<()>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    Folder,
    File(u64),
}

impl SimulatedDisk {
    /// Returns an empty disk with one durable folder, `/`, whose tears follow from the seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let root = BTreeMap::from([(PathBuf::from("/"), Entry::Folder)]);
        let state = State {
            random: SmallRng::seed_from_u64(seed),
            operations: 0,
            power_cycle: 0,
            is_off: false,
            faults: Vec::new(),
            bytes_max: u64::MAX / 4,
            syncs_do_nothing: false,
            next_inode: 1,
            files: BTreeMap::new(),
            entries: root.clone(),
            durable_entries: root,
            locks: BTreeMap::new(),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Plans a fault.
    pub fn plan(&self, fault: Fault) {
        let mut state = self.state();
        match fault {
            Fault::Full { bytes_max } => state.bytes_max = bytes_max,
            fault => state.faults.push(fault),
        }
    }

    /// Makes every sync succeed without doing anything: a disk that lies.
    pub fn ignore_syncs(&self) {
        self.state().syncs_do_nothing = true;
    }

    /// Returns how many operations that change something were asked for.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Cuts the power at once, if a planned cut has not done so, and restores it: the disk is then as after a reboot.
    pub fn restart(&self) {
        let mut state = self.state();
        if !state.is_off {
            state.cut_power();
        }
        state.is_off = false;
        state.faults.clear();
    }

    /// Flips one bit of a file, in what is durable and in what is read.
    ///
    /// # Panics
    /// When the file does not exist or is too short.
    pub fn flip_bit(&self, path: &Path, byte: u64, bit: u8) {
        let mut state = self.state();
        let Some(&Entry::File(inode)) = state.entries.get(path) else {
            panic!("{path:?} is no file")
        };
        state
            .files
            .get_mut(&inode)
            .expect("entries name files that exist")
            .flip(byte, bit);
    }

    /// Returns the paths of all files.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        let state = self.state();
        let files = state
            .entries
            .iter()
            .filter(|(_, entry)| matches!(entry, Entry::File(_)));
        files.map(|(path, _)| path.clone()).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the lock panics")
    }

    /// Counts an operation and carries out what is planned for it.
    fn begin(&self) -> Result<MutexGuard<'_, State>, DiskError> {
        let mut state = self.state();
        state.check_power()?;
        state.operations += 1;
        let operation = state.operations;
        if state.faults.contains(&Fault::PowerCut { operation }) {
            state.cut_power();
            return Err(DiskError::PoweredOff);
        }
        Ok(state)
    }
}

impl State {
    fn check_power(&self) -> Result<(), DiskError> {
        if self.is_off {
            Err(DiskError::PoweredOff)
        } else {
            Ok(())
        }
    }

    fn file(&mut self, file: &File) -> Result<&mut FileImage, DiskError> {
        let Handle::Simulated(handle) = &*file.0 else {
            panic!("a real file was given to the simulated disk")
        };
        if self.is_off || handle.power_cycle != self.power_cycle {
            return Err(DiskError::PoweredOff);
        }
        Ok(self
            .files
            .get_mut(&handle.inode)
            .expect("an open file has an image"))
    }

    fn stored_bytes(&self) -> u64 {
        self.files.values().map(FileImage::size).sum()
    }

    fn check_room(&self, more: u64) -> Result<(), DiskError> {
        if self.stored_bytes() + more > self.bytes_max {
            Err(DiskError::NoSpace)
        } else {
            Ok(())
        }
    }

    fn parent_exists(&self, path: &Path) -> Result<(), DiskError> {
        match path.parent().and_then(|parent| self.entries.get(parent)) {
            Some(Entry::Folder) => Ok(()),
            _ => Err(DiskError::NotFound),
        }
    }

    fn cut_power(&mut self) {
        let changed: Vec<PathBuf> = self
            .entries
            .keys()
            .chain(self.durable_entries.keys())
            .filter(|path| self.entries.get(*path) != self.durable_entries.get(*path))
            .cloned()
            .collect();
        let mut kept = self.durable_entries.clone();
        for path in changed {
            if self.random.random_bool(0.5) {
                match self.entries.get(&path) {
                    Some(&entry) => kept.insert(path, entry),
                    None => kept.remove(&path),
                };
            }
        }
        // An entry without its folder cannot be reached.
        let folders = kept.clone();
        kept.retain(|path, _| {
            path.ancestors()
                .skip(1)
                .all(|parent| folders.get(parent) == Some(&Entry::Folder))
        });
        for image in self.files.values_mut() {
            image.tear(&mut self.random);
        }
        self.entries.clone_from(&kept);
        self.durable_entries = kept;
        self.locks.clear();
        self.power_cycle += 1;
        self.is_off = true;
    }
}

impl Disk for SimulatedDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> Result<File, DiskError> {
        let mut state = if mode == OpenMode::Create {
            self.begin()?
        } else {
            self.state()
        };
        state.check_power()?;
        let inode = match (state.entries.get(path).copied(), mode) {
            (Some(Entry::File(inode)), OpenMode::Create) => {
                state
                    .files
                    .get_mut(&inode)
                    .expect("entries name files that exist")
                    .set_length(0);
                inode
            }
            (Some(Entry::File(inode)), _) => inode,
            (None, OpenMode::Create) => {
                state.parent_exists(path)?;
                let inode = state.next_inode;
                state.next_inode += 1;
                state.files.insert(inode, FileImage::default());
                state.entries.insert(path.to_owned(), Entry::File(inode));
                inode
            }
            (Some(Entry::Folder), _) => {
                return Err(DiskError::Failed {
                    operation: "open",
                    errno: NO_SUCH_THING_ERRNO,
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
        let exists = self.state().entries.contains_key(path);
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
        let mut state = self.state();
        let operation = state.operations + 1;
        // A write under way when the power goes may have reached the disk in part.
        if state.faults.contains(&Fault::PowerCut { operation }) && !state.is_off {
            let image = state.file(file)?;
            image.write(at, slices);
        }
        drop(state);
        let mut state = self.begin()?;
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
        let mut state = self.begin()?;
        let operation = state.operations;
        let does_nothing = state.syncs_do_nothing;
        let fails = state.faults.contains(&Fault::FailedSync { operation });
        let image = state.file(file)?;
        if fails {
            image.forget_unsynced();
            return Err(DiskError::Failed {
                operation: "fdatasync",
                errno: 5,
            });
        }
        if !does_nothing {
            image.sync();
        }
        Ok(())
    }

    fn sync_folder(&self, path: &Path) -> Result<(), DiskError> {
        let mut state = self.begin()?;
        if state.entries.get(path) != Some(&Entry::Folder) {
            return Err(DiskError::NotFound);
        }
        if state.syncs_do_nothing {
            return Ok(());
        }
        let is_inside = |entry: &PathBuf| entry.parent() == Some(path);
        let now: Vec<_> = state
            .entries
            .iter()
            .filter(|(entry, _)| is_inside(entry))
            .map(|(p, e)| (p.clone(), *e))
            .collect();
        state.durable_entries.retain(|entry, _| !is_inside(entry));
        state.durable_entries.extend(now);
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
        let entry = state.entries.remove(from).ok_or(DiskError::NotFound)?;
        state.entries.insert(to.to_owned(), entry);
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<(), DiskError> {
        let mut state = self.begin()?;
        match state.entries.get(path) {
            Some(Entry::File(_)) => state
                .entries
                .remove(path)
                .map(|_| ())
                .ok_or(DiskError::NotFound),
            _ => Err(DiskError::NotFound),
        }
    }

    fn create_folder(&self, path: &Path) -> Result<(), DiskError> {
        let mut state = self.begin()?;
        state.parent_exists(path)?;
        match state.entries.get(path) {
            None => {
                state.entries.insert(path.to_owned(), Entry::Folder);
                Ok(())
            }
            Some(Entry::Folder) => Ok(()),
            Some(Entry::File(_)) => Err(DiskError::Failed {
                operation: "mkdir",
                errno: NO_SUCH_THING_ERRNO,
            }),
        }
    }

    fn remove_folder(&self, path: &Path) -> Result<(), DiskError> {
        let mut state = self.begin()?;
        if state
            .entries
            .keys()
            .any(|entry| entry.parent() == Some(path))
        {
            return Err(DiskError::Failed {
                operation: "rmdir",
                errno: 39,
            });
        }
        match state.entries.get(path) {
            Some(Entry::Folder) => state
                .entries
                .remove(path)
                .map(|_| ())
                .ok_or(DiskError::NotFound),
            _ => Err(DiskError::NotFound),
        }
    }

    fn list(&self, path: &Path) -> Result<Vec<FolderEntry>, DiskError> {
        let state = self.state();
        state.check_power()?;
        if state.entries.get(path) != Some(&Entry::Folder) {
            return Err(DiskError::NotFound);
        }
        let inside = state
            .entries
            .iter()
            .filter(|(entry, _)| entry.parent() == Some(path));
        Ok(inside
            .filter_map(|(entry, kind)| {
                let name = entry.file_name()?.to_string_lossy().into_owned();
                Some(FolderEntry {
                    name,
                    is_folder: *kind == Entry::Folder,
                })
            })
            .collect())
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
