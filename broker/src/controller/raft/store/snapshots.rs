//! What the log has led to, in one file for each snapshot; the newest two are kept, so that one may rot.
//!
//! ```text
//! <end index, 20 digits>.snapshot    checked file "KLRAFTSN" version 1, body:
//! last log id option · log id of the membership option · membership · id text · image to the end
//! ```
//! A file appears whole, under its name, or not at all. The log is never cut at the front beyond the older snapshot,
//! except that it begins anew behind one that it does not reach.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::{StoreError, at, damaged};
use crate::controller::raft::codec::{put_snapshot_meta, take_snapshot_meta};
use crate::controller::raft::types::{SnapshotMeta, end_of};
use crate::disk::{Disk, OpenMode, replace_small};
use crate::folder::checked::{self, Kind, Unsound};
use crate::limits::RAFT_SNAPSHOT_BYTES_MAX;

const KIND: Kind = Kind {
    magic: b"KLRAFTSN",
    version: 1,
};

/// How many are kept.
const KEPT: usize = 2;

/// Room for everything in the file but the image.
const FRAME_BYTES_MAX: usize = 1 << 20;

/// The snapshot files.
pub struct Snapshots {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    /// The ends of the sound ones, the newest last.
    ends: Vec<u64>,
    /// The ends of those that are to be removed when there is a new one.
    stale: Vec<u64>,
}

impl Snapshots {
    /// Looks at the snapshots with the given ends. A damaged one is left alone and not used.
    ///
    /// # Errors
    /// When one is of a later version, or the disk fails.
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        folder: &Path,
        mut found: Vec<u64>,
    ) -> Result<Self, StoreError> {
        let mut opened = Self {
            disk,
            folder: folder.to_owned(),
            ends: Vec::new(),
            stale: Vec::new(),
        };
        found.sort_unstable_by(|a, b| b.cmp(a));
        for end in found {
            if opened.ends.len() == KEPT {
                opened.stale.push(end);
                continue;
            }
            match opened.read(end) {
                Ok(_) => opened.ends.insert(0, end),
                Err(StoreError::Damaged { path, what }) => {
                    tracing::error!(path = %path.display(), what, "a snapshot is damaged and left out");
                    opened.stale.push(end);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(opened)
    }

    /// Returns the index after the newest snapshot's last.
    #[must_use]
    pub fn newest_end(&self) -> Option<u64> {
        self.ends.last().copied()
    }

    /// Returns the index after the older snapshot's last; `None` if there is only one.
    #[must_use]
    pub fn older_end(&self) -> Option<u64> {
        (self.ends.len() == KEPT).then(|| self.ends[0])
    }

    /// Saves a snapshot, durably, and removes all but the newest two.
    pub(super) fn save(&mut self, meta: &SnapshotMeta, image: &[u8]) -> Result<(), StoreError> {
        if image.len() > RAFT_SNAPSHOT_BYTES_MAX {
            let what = "to save a snapshot that is too large";
            return Err(StoreError::Refused { what });
        }
        let end = end_of(meta.last_log_id.as_ref());
        let mut body = BytesMut::new();
        put_snapshot_meta(&mut body, meta);
        body.extend_from_slice(image);
        let name = name_of(end);
        let contents = checked::encode(KIND, &body);
        replace_small(&*self.disk, &self.folder, &name, contents)
            .map_err(at(&self.folder.join(name)))?;
        self.ends.retain(|other| *other != end);
        self.stale.retain(|other| *other != end);
        self.ends.push(end);
        self.ends.sort_unstable();
        let surplus = self.ends.len().saturating_sub(KEPT);
        self.stale.extend(self.ends.drain(..surplus));
        self.remove_stale()
    }

    /// Removes snapshots that the log does not lead on from.
    pub(super) fn forget_before(&mut self, start: u64) -> Result<(), StoreError> {
        let useless = self.ends.partition_point(|end| *end < start);
        self.stale.extend(self.ends.drain(..useless));
        self.remove_stale()
    }

    /// Returns the newest snapshot.
    pub(super) fn newest(&self) -> Result<Option<(SnapshotMeta, Bytes)>, StoreError> {
        self.newest_end().map(|end| self.read(end)).transpose()
    }

    fn remove_stale(&mut self) -> Result<(), StoreError> {
        for end in self.stale.drain(..) {
            let path = self.folder.join(name_of(end));
            self.disk.remove(&path).map_err(at(&path))?;
        }
        Ok(())
    }

    fn read(&self, end: u64) -> Result<(SnapshotMeta, Bytes), StoreError> {
        let path = self.folder.join(name_of(end));
        let file = self.disk.open(&path, OpenMode::Read).map_err(at(&path))?;
        let size = self.disk.size(&file).map_err(at(&path))?;
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if size > RAFT_SNAPSHOT_BYTES_MAX + FRAME_BYTES_MAX {
            return Err(damaged(&path, "it is larger than any snapshot"));
        }
        let contents = self.disk.read(&file, 0, size).map_err(at(&path))?;
        let mut body = match checked::decode(KIND, &contents) {
            Ok(body) => body,
            Err(Unsound::Damaged) => return Err(damaged(&path, "its checksum is wrong")),
            Err(Unsound::Newer { version }) => return Err(StoreError::Newer { path, version }),
        };
        match take_snapshot_meta(&mut body) {
            Ok(meta) if end_of(meta.last_log_id.as_ref()) == end => Ok((meta, body)),
            _ => Err(damaged(&path, "it is not the snapshot that its name says")),
        }
    }
}

fn name_of(end: u64) -> String {
    format!("{end:020}.snapshot")
}

/// Returns the end that a snapshot's name says, if it is one.
pub(super) fn end_of_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".snapshot")?;
    if digits.len() != 20 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}
