//! How a voter's files are read at start: what is torn is cut, what is rotten keeps the voter from starting.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::frame::{self, HEADER_BYTES, Header};
use super::log::{Log, Segment, contents, cut, first_of, path_of};
use super::snapshots::{Snapshots, end_of_name};
use super::state::{State, StateFiles};
use super::{Store, StoreError, StoreSettings, at, damaged};
use crate::controller::raft::types::{LogId, NodeId};
use crate::disk::{Disk, OpenMode};

/// The folder's name in the data folder.
const FOLDER: &str = "controller";

impl Store {
    /// Opens the files below a data folder. A folder without them becomes a new voter's if an id for it is given.
    ///
    /// # Errors
    /// When what was synced is damaged or missing, a file is of a later version, or the disk fails.
    pub fn open(
        disk: &Arc<dyn Disk>,
        data_folder: &Path,
        fresh_node_id: NodeId,
        settings: StoreSettings,
    ) -> Result<Self, StoreError> {
        let folder = data_folder.join(FOLDER);
        disk.create_folder(&folder).map_err(at(&folder))?;
        disk.sync_folder(data_folder).map_err(at(data_folder))?;
        // A process that ended may have left names that the disk does not have.
        disk.sync_folder(&folder).map_err(at(&folder))?;
        let found = Found::look(&**disk, &folder)?;
        let is_empty = found.logs.is_empty() && found.snapshots.is_empty();
        let fresh = is_empty.then_some(fresh_node_id);
        let (files, mut state) = StateFiles::open(Arc::clone(disk), &folder, fresh)?;
        let snapshots = Snapshots::open(Arc::clone(disk), &folder, found.snapshots)?;
        let log = Log {
            disk: Arc::clone(disk),
            folder,
            node_id: state.node_id,
            segment_bytes: settings.segment_bytes,
            before_start: state.before_start,
            start: state.start(),
            places: VecDeque::new(),
            segments: VecDeque::new(),
            appended_bytes: 0,
        };
        let log = Recovery::new(log, &state, found.logs).run()?;
        let log = check_together(log, &snapshots, &mut state)?;
        let mut store = Self {
            files,
            purged: state.before_start,
            state,
            log,
            snapshots,
            dead: None,
        };
        store.save_state()?;
        // The process may have ended between the two.
        store.follow_snapshot()?;
        Ok(store)
    }
}

/// Checks that snapshots and log hold together everything that was synced.
fn check_together(
    recovered: Recovered,
    snapshots: &Snapshots,
    state: &mut State,
) -> Result<Log, StoreError> {
    let log = recovered.log;
    if log.end() < state.synced_end {
        let what = format!(
            "it ends at entry {}, but everything below {} was synced",
            log.end(),
            state.synced_end
        );
        let last = log.segments.back();
        let path = last.map_or_else(|| log.folder.clone(), |segment| segment.path.clone());
        return Err(damaged(&path, what));
    }
    if log.start() > snapshots.newest_end().unwrap_or(0) {
        let what = format!(
            "no snapshot that can be read leads to entry {}, with which the log begins",
            log.start()
        );
        return Err(damaged(&log.folder, what));
    }
    state.synced_end = log.end();
    state.committed_end = state
        .committed_end
        .max(recovered.committed_end)
        .min(log.end());
    Ok(log)
}

/// The files that are there.
struct Found {
    logs: Vec<u64>,
    snapshots: Vec<u64>,
}

impl Found {
    fn look(disk: &dyn Disk, folder: &Path) -> Result<Self, StoreError> {
        let mut found = Self {
            logs: Vec::new(),
            snapshots: Vec::new(),
        };
        for entry in disk.list(folder).map_err(at(folder))? {
            if let Some(first) = first_of(&entry.name) {
                found.logs.push(first);
            } else if let Some(end) = end_of_name(&entry.name) {
                found.snapshots.push(end);
            } else if entry.name.ends_with(".new") {
                let path = folder.join(&entry.name);
                disk.remove(&path).map_err(at(&path))?;
            }
        }
        found.logs.sort_unstable();
        Ok(found)
    }
}

struct Recovered {
    log: Log,
    committed_end: u64,
}

/// Reads the log's files from the first to the last.
struct Recovery {
    log: Log,
    waiting: VecDeque<u64>,
    /// The index that comes next; below the log's start at first, maybe.
    end: u64,
    last: Option<LogId>,
    /// Entries below were synced, as far as is known.
    synced_end: u64,
    committed_end: u64,
}

impl Recovery {
    fn new(log: Log, state: &State, logs: Vec<u64>) -> Self {
        Self {
            end: log.start,
            log,
            waiting: logs.into(),
            last: None,
            synced_end: state.synced_end,
            committed_end: 0,
        }
    }

    fn run(mut self) -> Result<Recovered, StoreError> {
        self.remove_needless()?;
        if let Some(first) = self.waiting.front() {
            if *first > self.log.start {
                let what = format!("the entries from {} to {first} are missing", self.log.start);
                return Err(damaged(&self.log.folder, what));
            }
            self.end = *first;
        }
        while let Some(first) = self.waiting.pop_front() {
            if !self.read_file(first)? {
                self.remove_waiting()?;
            }
        }
        if self.end < self.log.start {
            // The log began anew behind a snapshot, and the power went before its files were gone.
            while let Some(segment) = self.log.segments.pop_back() {
                self.remove(segment.first)?;
            }
        }
        Ok(Recovered {
            log: self.log,
            committed_end: self.committed_end,
        })
    }

    /// Removes files with entries below the start only.
    fn remove_needless(&mut self) -> Result<(), StoreError> {
        while let Some(second) = self.waiting.get(1)
            && *second <= self.log.start
        {
            let first = self.waiting.pop_front().expect("there are two");
            self.remove(first)?;
        }
        Ok(())
    }

    /// Reads a file; returns whether the log may go on in the next.
    fn read_file(&mut self, first: u64) -> Result<bool, StoreError> {
        let disk = Arc::clone(&self.log.disk);
        let path = path_of(&self.log.folder, first);
        let file = disk.open(&path, OpenMode::Write).map_err(at(&path))?;
        let bytes = contents(&*disk, &file, &path)?;
        if first != self.end {
            let what = format!("it should begin with entry {}", self.end);
            return Err(damaged(&path, what));
        }
        match Header::decode(&bytes) {
            Ok(header) if header.node_id == self.log.node_id && header.first == first => {}
            Ok(_) => {
                return Err(damaged(
                    &path,
                    "it is another voter's or has another's name",
                ));
            }
            Err(Some(version)) => return Err(StoreError::Newer { path, version }),
            Err(None) => {
                self.refuse_rot(&path, &bytes)?;
                self.remove(first)?;
                return Ok(false);
            }
        }
        self.synced_end = self.synced_end.max(first);
        let sound = self.walk(&bytes);
        let mut segment = Segment {
            first,
            path,
            file,
            size: bytes.len() as u64,
        };
        if sound < bytes.len() {
            self.refuse_rot(&segment.path, &bytes.slice(sound..))?;
            self.remove_waiting()?;
            tracing::warn!(
                path = %segment.path.display(),
                entry = self.end,
                bytes = bytes.len() - sound,
                "cuts a torn write, which was never acknowledged"
            );
            cut(&*disk, &mut segment, sound as u64)?;
        }
        self.log.segments.push_back(segment);
        Ok(sound == bytes.len())
    }

    /// Takes the frames that follow one another; returns where they end.
    fn walk(&mut self, bytes: &Bytes) -> usize {
        let mut position = HEADER_BYTES;
        while let Ok(frame) = frame::decode(&bytes.slice(position..)) {
            let id = frame.entry.log_id;
            if id.index != self.end || Some(id) <= self.last {
                break;
            }
            if id.index >= self.log.start {
                self.log.place_at(id, position as u64, frame.length);
            }
            self.synced_end = self.synced_end.max(frame.marks.synced_end);
            self.committed_end = self.committed_end.max(frame.marks.committed_end);
            self.last = Some(id);
            self.end += 1;
            position += frame.length;
        }
        position
    }

    /// Returns an error if the entry that cannot be read, or a later one, was synced.
    fn refuse_rot(&self, path: &Path, rest: &Bytes) -> Result<(), StoreError> {
        // A later file was begun when this one was synced.
        let later = self.waiting.iter().find(|first| {
            let path = path_of(&self.log.folder, **first);
            let file = self.log.disk.open(&path, OpenMode::Write);
            let bytes = file.and_then(|file| self.log.disk.read(&file, 0, HEADER_BYTES));
            bytes.is_ok_and(|bytes| Header::decode(&bytes).is_ok())
        });
        let synced_end = self
            .synced_end
            .max(frame::highest_mark(rest).unwrap_or(0))
            .max(later.copied().unwrap_or(0));
        if synced_end <= self.end {
            return Ok(());
        }
        let what = format!(
            "entry {} cannot be read, but everything below {synced_end} was synced",
            self.end
        );
        Err(damaged(path, what))
    }

    /// Removes the files that were not read, the last one first, each durably.
    fn remove_waiting(&mut self) -> Result<(), StoreError> {
        while let Some(first) = self.waiting.pop_back() {
            self.remove(first)?;
        }
        Ok(())
    }

    fn remove(&self, first: u64) -> Result<(), StoreError> {
        let path = path_of(&self.log.folder, first);
        self.log.disk.remove(&path).map_err(at(&path))?;
        let folder = &self.log.folder;
        self.log.disk.sync_folder(folder).map_err(at(folder))
    }
}
