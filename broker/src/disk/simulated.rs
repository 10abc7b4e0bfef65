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
mod operations;

pub use fault::Fault;
pub use moment::Moment;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::{DiskError, File, Handle};
use entries::{Entries, Entry};
use fault::Kind;
use image::FileImage;
use moment::Visitor;

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
