//! What a voter must not forget: its vote, its log and its snapshots, in checked files below `controller/`.
//!
//! ```text
//! state.0, state.1        the vote, where the log begins, how far it was synced; two copies ([`state`])
//! <first index>.log       entries, one file after the other ([`log`], frames in [`frame`])
//! <end index>.snapshot    what the log up to there has led to; the newest two are kept ([`snapshots`])
//! ```
//! Blocking, for one thread of its own ([`thread`]). Nothing is tried again: after a failed write, sync or read the
//! store is dead, and says so to whoever asks. Recovery ([`open`](Store::open)) tells torn from rotten: see [`log`].
//! No entry goes before a durable snapshot holds it, in whatever order snapshots and purges are asked for.

pub mod frame;
pub mod log;
mod open;
pub mod snapshots;
pub mod state;
pub mod thread;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use self::log::Log;
use self::snapshots::Snapshots;
use self::state::{State, StateFiles};
use super::types::{Entry, LogId, NodeId, SnapshotMeta, Vote, end_of};
use crate::disk::DiskError;

/// Why the store does not do what it is asked. It is the same for every later question.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The disk failed.
    #[error("{}: {error}", path.display())]
    Disk {
        /// The file or folder.
        path: PathBuf,
        /// What the disk said.
        error: DiskError,
    },
    /// What was synced is not there as it was written.
    #[error(
        "{} is damaged: {what}; this broker must not vote as the voter it was, since it may have forgotten what it \
         promised: the others of three voters go on without it; a lone broker needs its data folder from a backup",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A file was written by a later version of this program.
    #[error("{} has format {version}, which this version of keylane does not know", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        version: u32,
    },
    /// Raft asked for what would leave a hole in the log, or for what is too large.
    #[error("the quorum's log was asked for what it cannot do: {what}")]
    Refused {
        /// What it was.
        what: &'static str,
    },
    /// The store was closed.
    #[error("the quorum's store is closed")]
    Closed,
}

/// Adds to a disk's error what it is about.
fn at(path: &Path) -> impl FnOnce(DiskError) -> StoreError {
    move |error| StoreError::Disk {
        path: path.to_owned(),
        error,
    }
}

fn damaged(path: &Path, what: impl Into<String>) -> StoreError {
    StoreError::Damaged {
        path: path.to_owned(),
        what: what.into(),
    }
}

/// How large the store's files grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    /// A log file of so many bytes is followed by a new one.
    pub segment_bytes: u64,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            segment_bytes: crate::limits::RAFT_SEGMENT_BYTES,
        }
    }
}

/// What the log holds, as Raft sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogBounds {
    /// The entry before the first.
    pub last_purged: Option<LogId>,
    /// The last entry, or else the last that was purged.
    pub last: Option<LogId>,
}

/// The files of one voter.
pub struct Store {
    files: StateFiles,
    state: State,
    log: Log,
    snapshots: Snapshots,
    /// What Raft wants no more; the log may still hold it for the sake of the older snapshot, or end before it while
    /// the snapshot that replaces the log is not saved yet.
    purged: Option<LogId>,
    dead: Option<StoreError>,
}

impl Store {
    /// Returns the id that was made with the folder.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.state.node_id
    }

    /// Returns the vote that was saved last.
    #[must_use]
    pub fn vote(&self) -> Option<Vote> {
        self.state.vote
    }

    /// Returns what the log holds, as Raft sees it.
    #[must_use]
    pub fn bounds(&self) -> LogBounds {
        // By the index: an entry that was never agreed on may have a later term than what was purged behind it.
        let beyond = self.purged.filter(|id| id.index >= self.log.end());
        LogBounds {
            last_purged: self.purged,
            last: beyond.or_else(|| self.log.last()),
        }
    }

    /// Returns the last entry known to be committed when the store was last written; later ones may be too.
    #[must_use]
    pub fn committed(&self) -> Option<LogId> {
        let last = self.state.committed_end.checked_sub(1)?;
        self.log.id_at(last)
    }

    /// Returns why the store is dead, if it is.
    #[must_use]
    pub fn failure(&self) -> Option<&StoreError> {
        self.dead.as_ref()
    }

    /// Saves a vote; it is durable on return.
    ///
    /// # Errors
    /// When the disk fails; the store is dead then.
    pub fn save_vote(&mut self, vote: Vote) -> Result<(), StoreError> {
        self.alive(|store| {
            store.state.vote = Some(vote);
            store.save_state()
        })
    }

    /// Notes how far the log is committed; it is written with whatever is written next.
    ///
    /// # Errors
    /// When the store is dead.
    pub fn note_committed(&mut self, committed: Option<LogId>) -> Result<(), StoreError> {
        self.alive(|store| {
            let end = end_of(committed.as_ref());
            store.state.committed_end = store.state.committed_end.max(end);
            Ok(())
        })
    }

    /// Appends entries that follow one another and the log's last; they are durable on return.
    ///
    /// # Errors
    /// When the disk fails or there would be a hole; the store is dead then.
    pub fn append(&mut self, entries: &[Entry]) -> Result<(), StoreError> {
        self.alive(|store| {
            let marks = store.state.marks();
            store.log.append(entries, marks)?;
            store.state.synced_end = store.log.end();
            Ok(())
        })
    }

    /// Returns the entries of a range of indexes that are there, up to about `bytes_max` bytes and at least one.
    ///
    /// # Errors
    /// When the disk fails or an entry is damaged; the store is dead then.
    pub fn entries(
        &mut self,
        indexes: Range<u64>,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        self.alive(|store| {
            let start = indexes.start.max(end_of(store.purged.as_ref()));
            store.log.read(start..indexes.end, bytes_max)
        })
    }

    /// Removes the entries from `since` on; they are gone for good on return.
    ///
    /// # Errors
    /// When the disk fails; the store is dead then.
    pub fn truncate(&mut self, since: u64) -> Result<(), StoreError> {
        self.alive(|store| {
            let end = since.max(store.log.start());
            if end >= store.log.end() {
                return Ok(());
            }
            // First the mark: an entry that was synced and is missing is damage.
            store.state.synced_end = store.state.synced_end.min(end);
            store.save_state()?;
            store.log.truncate(end)
        })
    }

    /// Lets go of the entries up to `upto`, which a snapshot holds or will hold. Files are removed when the older
    /// snapshot holds their entries too, or when the snapshot is saved that the log does not reach.
    ///
    /// # Errors
    /// When the disk fails; the store is dead then.
    pub fn purge(&mut self, upto: LogId) -> Result<(), StoreError> {
        self.alive(|store| {
            if Some(upto) <= store.purged {
                return Ok(());
            }
            store.purged = Some(upto);
            store.release()
        })
    }

    /// Saves a snapshot, durably, and lets go of all but the one before it. A log that does not reach it begins anew
    /// behind it.
    ///
    /// # Errors
    /// When it is too large or the disk fails; the store is dead then.
    pub fn save_snapshot(&mut self, meta: &SnapshotMeta, image: &[u8]) -> Result<(), StoreError> {
        self.alive(|store| {
            store.snapshots.save(meta, image)?;
            store.follow_snapshot()?;
            store.release()
        })
    }

    /// Returns the newest snapshot.
    ///
    /// # Errors
    /// When it cannot be read or is damaged; the store is dead then.
    pub fn newest_snapshot(&mut self) -> Result<Option<(SnapshotMeta, Bytes)>, StoreError> {
        self.alive(|store| store.snapshots.newest())
    }

    /// Writes down how far the log is synced and committed, if that is not known yet, so that damage to its last
    /// entries can be told from a torn write.
    ///
    /// # Errors
    /// When the disk fails; the store is dead then.
    pub fn seal(&mut self) -> Result<(), StoreError> {
        self.alive(|store| {
            if store.files.written() == Some(&store.state) {
                return Ok(());
            }
            store.save_state()
        })
    }

    /// Returns how many bytes were appended to the log since the start.
    #[must_use]
    pub fn appended_bytes(&self) -> u64 {
        self.log.appended_bytes()
    }

    fn save_state(&mut self) -> Result<(), StoreError> {
        self.files.write(&mut self.state)
    }

    /// Removes log files whose entries nobody needs.
    fn release(&mut self) -> Result<(), StoreError> {
        let Some(kept_from) = self.snapshots.older_end() else {
            return Ok(());
        };
        let target = kept_from.min(end_of(self.purged.as_ref()));
        let Some(last) = target.checked_sub(1) else {
            return Ok(());
        };
        let (true, Some(before)) = (self.log.frees(target), self.log.id_at(last)) else {
            return Ok(());
        };
        self.state.before_start = Some(before);
        self.save_state()?;
        self.log.release(target)
    }

    /// Begins the log anew behind the newest snapshot if it does not reach that; only a snapshot from the leader is so
    /// far ahead. Nothing but that snapshot holds the entries then: it is read once more before they go.
    fn follow_snapshot(&mut self) -> Result<(), StoreError> {
        if self.snapshots.newest_end() <= Some(self.log.end()) {
            return Ok(());
        }
        let newest = self.snapshots.newest()?;
        let Some(before) = newest.and_then(|(meta, _)| meta.last_log_id) else {
            return Ok(());
        };
        if end_of(self.purged.as_ref()) <= before.index {
            self.purged = Some(before);
        }
        self.state.before_start = Some(before);
        self.state.synced_end = end_of(Some(&before));
        self.save_state()?;
        self.log.restart(before)?;
        self.snapshots.forget_before(end_of(Some(&before)))
    }

    /// Does something unless the store is dead; if it fails, the store is.
    fn alive<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if let Some(error) = &self.dead {
            return Err(error.clone());
        }
        let result = work(self);
        if let Err(error) = &result {
            self.dead = Some(error.clone());
        }
        result
    }
}
