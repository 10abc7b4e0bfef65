//! A disk that forgets: what was not synced when the power goes may survive in any mixture of sectors.
//!
//! Each file has a durable and a volatile image. A sync makes the volatile one durable. A power cut keeps any subset of
//! the unsynced sectors, keeps or loses each unsynced change of size, and keeps or loses each unsynced creation,
//! renaming and removal by itself. Handles from before the cut answer [`DiskError::PoweredOff`]. Faults are planned by
//! the number of the operation, so that every crash point can be visited; the same seed does the same.

mod entries;
mod fault;
mod image;
mod moment;

pub use fault::Fault;
pub use moment::Moment;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::{Disk, DiskError, File, FolderEntry, Handle, OpenMode, Space};
use entries::{Entries, Entry};
use fault::Kind;
use image::FileImage;
use moment::Visitor;

const INVALID_ERRNO: i32 = 22;
const NOT_EMPTY_ERRNO: i32 = 39;

/// A simulated filesystem; clones share it.
#[derive(Clone)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
    visitor: Arc<Mutex<Option<Visitor>>>,
}

/// A handle to a simulated file.
#[derive(Debug)]
pub struct SimulatedFile {
    inode: u64,
    power_cycle: u64,
    /// Keeps the lock for as long as the handle lives.
    _lock: Option<Arc<()>>,
}

#[derive(Clone)]
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
    entries: Entries,
    locks: BTreeMap<PathBuf, std::sync::Weak<()>>,
}

impl SimulatedDisk {
    /// Returns an empty disk with one durable folder, `/`, whose tears follow from the seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
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
            entries: Entries::default(),
            locks: BTreeMap::new(),
        };
        Self::with(state)
    }

    fn with(state: State) -> Self {
        Self {
            state: Arc::new(Mutex::new(state)),
            visitor: Arc::default(),
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
        state.image(path).flip(byte, bit);
    }

    /// Loses the sector that holds the byte: it reads as zeros.
    ///
    /// # Panics
    /// When the file does not exist.
    pub fn lose_sector(&self, path: &Path, byte: u64) {
        self.state().image(path).lose_sector(byte);
    }

    /// Returns the paths of all files.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        self.state()
            .entries
            .files()
            .map(|(path, _)| path.to_owned())
            .collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the lock panics")
    }

    /// Counts an operation and carries out what is planned for it; `in_part` is what may have happened before it failed.
    fn begin_with(
        &self,
        kind: Kind,
        in_part: impl Fn(&mut State, Fault) -> Result<(), DiskError>,
    ) -> Result<MutexGuard<'_, State>, DiskError> {
        let mut state = self.state();
        state.check_power()?;
        state.operations += 1;
        self.show(&state, kind, &in_part);
        match state.planned(kind) {
            None => Ok(state),
            Some(fault) => Err(state.meet(fault, &in_part)?),
        }
    }

    fn begin(&self) -> Result<MutexGuard<'_, State>, DiskError> {
        self.begin_with(Kind::Change, |_, _| Ok(()))
    }
}

impl State {
    fn planned(&self, kind: Kind) -> Option<Fault> {
        let is_now = |fault: &&Fault| fault.is_at(self.operations, kind);
        self.faults.iter().find(is_now).copied()
    }

    /// Does to the disk what the fault does to an operation; returns what the operation answers.
    fn meet(
        &mut self,
        fault: Fault,
        in_part: &dyn Fn(&mut State, Fault) -> Result<(), DiskError>,
    ) -> Result<DiskError, DiskError> {
        in_part(self, fault)?;
        if fault.is_power_cut() {
            self.cut_power();
        }
        Ok(fault.error())
    }

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

    fn image(&mut self, path: &Path) -> &mut FileImage {
        let Some(Entry::File(inode)) = self.entries.get(path) else {
            panic!("{path:?} is no file")
        };
        self.files
            .get_mut(&inode)
            .expect("entries name files that exist")
    }

    fn stored_bytes(&self) -> u64 {
        let files = self.entries.files();
        files.map(|(_, inode)| self.files[&inode].size()).sum()
    }

    fn check_room(&self, more: u64) -> Result<(), DiskError> {
        if self.stored_bytes() + more > self.bytes_max {
            Err(DiskError::NoSpace)
        } else {
            Ok(())
        }
    }

    fn parent_exists(&self, path: &Path) -> Result<(), DiskError> {
        path.parent().map_or(Err(DiskError::NotFound), |parent| {
            self.folder_exists(parent)
        })
    }

    fn folder_exists(&self, path: &Path) -> Result<(), DiskError> {
        match self.entries.get(path) {
            Some(Entry::Folder) => Ok(()),
            Some(Entry::File(_)) => Err(DiskError::NotAFolder),
            None => Err(DiskError::NotFound),
        }
    }

    fn cut_power(&mut self) {
        self.entries.tear(&mut self.random);
        for image in self.files.values_mut() {
            image.tear(&mut self.random);
        }
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
