//! What a voter promised and how much of its log is certain: one small record in two files, `state.0` and `state.1`.
//!
//! ```text
//! checked file "KLRAFTST" version 1, body:
//! sequence u64 · node id u64 · vote option · log id before the log's start option · synced end u64 · committed end u64
//! ```
//! Each save writes and syncs one copy, then the other. A cut can damage one; then the other holds what was
//! acknowledged last, so that a vote is never forgotten, not even when one copy rots. Both damaged: no start.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use super::{StoreError, at, damaged};
use crate::controller::raft::codec::{
    Malformed, put_log_id, put_option, put_vote, take_log_id, take_option, take_u64, take_vote,
};
use crate::controller::raft::types::{LogId, NodeId, Vote, end_of};
use crate::disk::{Disk, DiskError, File, OpenMode};
use crate::folder::checked::{self, Kind, Unsound};

const KIND: Kind = Kind {
    magic: b"KLRAFTST",
    version: 1,
};
const NAMES: [&str; 2] = ["state.0", "state.1"];

/// More than any state takes.
const STATE_BYTES_MAX: usize = 4096;

/// What every frame of the log repeats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Entries below this index are synced.
    pub synced_end: u64,
    /// Entries below this index are known to be committed.
    pub committed_end: u64,
}

/// The record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Rises with each save.
    pub sequence: u64,
    /// The voter's id.
    pub node_id: NodeId,
    /// Its vote.
    pub vote: Option<Vote>,
    /// The entry before the first one that the log must hold.
    pub before_start: Option<LogId>,
    /// The log must hold the entries from there up to this index.
    pub synced_end: u64,
    /// Entries below this index are known to be committed.
    pub committed_end: u64,
}

impl State {
    /// Returns the state of a voter that has not promised anything.
    #[must_use]
    pub fn new(node_id: NodeId) -> Self {
        Self {
            sequence: 0,
            node_id,
            vote: None,
            before_start: None,
            synced_end: 0,
            committed_end: 0,
        }
    }

    /// Returns the index of the first entry that the log must hold.
    #[must_use]
    pub fn start(&self) -> u64 {
        end_of(self.before_start.as_ref())
    }

    /// Returns what frames repeat.
    #[must_use]
    pub fn marks(&self) -> Marks {
        Marks {
            synced_end: self.synced_end,
            committed_end: self.committed_end,
        }
    }

    fn encode(&self) -> Bytes {
        let mut body = BytesMut::new();
        body.put_u64(self.sequence);
        body.put_u64(self.node_id);
        put_option(&mut body, self.vote.as_ref(), put_vote);
        put_option(&mut body, self.before_start.as_ref(), put_log_id);
        body.put_u64(self.synced_end);
        body.put_u64(self.committed_end);
        checked::encode(KIND, &body)
    }

    fn decode(mut body: Bytes) -> Result<Self, Malformed> {
        let what = "a state";
        Ok(Self {
            sequence: take_u64(&mut body, what)?,
            node_id: take_u64(&mut body, what)?,
            vote: take_option(&mut body, take_vote)?,
            before_start: take_option(&mut body, take_log_id)?,
            synced_end: take_u64(&mut body, what)?,
            committed_end: take_u64(&mut body, what)?,
        })
    }
}

/// The two files.
pub struct StateFiles {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    files: [File; 2],
    written: Option<State>,
}

/// What a copy says.
enum Copy {
    Missing,
    Damaged,
    Sound(State),
}

impl StateFiles {
    /// Opens the files and returns the state that was acknowledged last; both copies are made sound first. In a folder
    /// without them, that of a new voter if `fresh_node_id` is given.
    ///
    /// # Errors
    /// When both copies are damaged, or missing and no new voter may be made, or the disk fails.
    pub fn open(
        disk: Arc<dyn Disk>,
        folder: &Path,
        fresh_node_id: Option<NodeId>,
    ) -> Result<(Self, State), StoreError> {
        let copies = [read(&*disk, folder, 0)?, read(&*disk, folder, 1)?];
        let state = match copies {
            [Copy::Sound(a), Copy::Sound(b)] if b.sequence > a.sequence => b,
            [Copy::Sound(state), _] | [_, Copy::Sound(state)] => state,
            // The second copy is made only when the first is durable: this voter has never begun.
            [_, Copy::Missing] if fresh_node_id.is_some() => {
                State::new(fresh_node_id.expect("it was just asked"))
            }
            _ => {
                let what = "neither copy of the voter's state can be read";
                return Err(damaged(&folder.join(NAMES[0]), what));
            }
        };
        let mut state = state;
        // What is unsound first, so that one sound copy is there at every moment.
        let files = [
            make_sound(&*disk, folder, 0, &state)?,
            make_sound(&*disk, folder, 1, &state)?,
        ];
        let mut opened = Self {
            disk,
            folder: folder.to_owned(),
            files,
            written: None,
        };
        opened.write(&mut state)?;
        Ok((opened, state))
    }

    /// Returns what both files hold.
    #[must_use]
    pub fn written(&self) -> Option<&State> {
        self.written.as_ref()
    }

    /// Writes the state, with the next sequence, to both files, one after the other; both are synced on return.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn write(&mut self, state: &mut State) -> Result<(), StoreError> {
        state.sequence += 1;
        let contents = state.encode();
        for (file, name) in self.files.iter().zip(NAMES) {
            let path = self.folder.join(name);
            let written = self.disk.write(file, 0, std::slice::from_ref(&contents));
            written.map_err(at(&path))?;
            self.disk.sync(file).map_err(at(&path))?;
        }
        self.written = Some(state.clone());
        Ok(())
    }
}

fn read(disk: &dyn Disk, folder: &Path, copy: usize) -> Result<Copy, StoreError> {
    let path = folder.join(NAMES[copy]);
    let file = match disk.open(&path, OpenMode::Write) {
        Ok(file) => file,
        Err(DiskError::NotFound) => return Ok(Copy::Missing),
        Err(error) => return Err(at(&path)(error)),
    };
    disk.sync(&file).map_err(at(&path))?;
    disk.forget_cached(&file).map_err(at(&path))?;
    let contents = disk.read(&file, 0, STATE_BYTES_MAX).map_err(at(&path))?;
    match checked::decode(KIND, &contents) {
        Ok(body) => Ok(State::decode(body).map_or(Copy::Damaged, Copy::Sound)),
        Err(Unsound::Damaged) => Ok(Copy::Damaged),
        Err(Unsound::Newer { version }) => Err(StoreError::Newer { path, version }),
    }
}

/// Opens a copy; if it is missing or damaged it is made anew with the state in it.
fn make_sound(
    disk: &dyn Disk,
    folder: &Path,
    copy: usize,
    state: &State,
) -> Result<File, StoreError> {
    let path = folder.join(NAMES[copy]);
    let mode = match read(disk, folder, copy)? {
        Copy::Sound(_) => return disk.open(&path, OpenMode::Write).map_err(at(&path)),
        Copy::Damaged => OpenMode::Write,
        Copy::Missing => OpenMode::Create,
    };
    let file = disk.open(&path, mode).map_err(at(&path))?;
    let written = disk.write(&file, 0, &[state.encode()]);
    written.map_err(at(&path))?;
    disk.sync(&file).map_err(at(&path))?;
    disk.sync_folder(folder).map_err(at(folder))?;
    Ok(file)
}
