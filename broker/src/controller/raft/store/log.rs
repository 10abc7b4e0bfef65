//! The log's files: entries one after the other, synced as they are appended, cut from behind, removed from the front.
//!
//! **Torn or rotten.** What does not decode at index n is rot if the state, a later frame or a later file says that n was
//! synced; then the voter does not start. Otherwise a write was cut short before it was acknowledged, and the log ends
//! there. The end of a log is never its file's size. Files are removed from the end towards the front when the log is
//! cut, each removal made durable before the next, and never with a gap; at the front the state says first what is gone.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use openraft::EntryPayload;

use super::frame::{self, HEADER_BYTES, Header};
use super::state::Marks;
use super::{StoreError, at, damaged};
use crate::controller::raft::types::{Entry, LogId, NodeId};
use crate::disk::{Disk, File, OpenMode};
use crate::limits::RAFT_ENTRY_BYTES_MAX;

/// A file of the log.
pub(super) struct Segment {
    pub(super) first: u64,
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) size: u64,
}

/// Where an entry lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) id: LogId,
    pub(super) at: u64,
    pub(super) length: usize,
}

/// The files and where each entry lies in them.
pub struct Log {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) folder: PathBuf,
    pub(super) node_id: NodeId,
    pub(super) segment_bytes: u64,
    pub(super) before_start: Option<LogId>,
    /// The index of the first place.
    pub(super) start: u64,
    pub(super) places: VecDeque<Place>,
    pub(super) segments: VecDeque<Segment>,
    /// How many bytes were appended since the start.
    pub(super) appended_bytes: u64,
}

impl Log {
    /// Returns the index of the first entry.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Returns the index after the last entry.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.start + self.places.len() as u64
    }

    /// Returns whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Returns the last entry, or the one before the start if there is none.
    #[must_use]
    pub fn last(&self) -> Option<LogId> {
        self.places
            .back()
            .map(|place| place.id)
            .or(self.before_start)
    }

    /// Returns the id of the entry at an index, the one before the start included.
    #[must_use]
    pub fn id_at(&self, index: u64) -> Option<LogId> {
        match index.checked_sub(self.start) {
            Some(nth) => self.place(nth).map(|place| place.id),
            None => self.before_start.filter(|id| id.index == index),
        }
    }

    /// Returns how many bytes were appended since the start.
    #[must_use]
    pub fn appended_bytes(&self) -> u64 {
        self.appended_bytes
    }

    /// Notes where the next entry lies.
    pub(super) fn place_at(&mut self, id: LogId, at: u64, length: usize) {
        self.places.push_back(Place { id, at, length });
    }

    /// Appends entries, durably.
    pub(super) fn append(&mut self, entries: &[Entry], marks: Marks) -> Result<(), StoreError> {
        let mut waiting = BytesMut::new();
        let mut places = Vec::new();
        let mut last = self.last();
        let mut marks = marks;
        for (end, entry) in (self.end()..).zip(entries) {
            if entry.log_id.index != end || Some(entry.log_id) <= last {
                let what = "to append an entry that does not follow the last";
                return Err(StoreError::Refused { what });
            }
            if matches!(&entry.payload, EntryPayload::Normal(bytes) if bytes.len() > RAFT_ENTRY_BYTES_MAX)
            {
                let what = "to append an entry that is too large to be read again";
                return Err(StoreError::Refused { what });
            }
            if self.needs_file(waiting.len()) {
                self.flush(&mut waiting, &mut places)?;
                self.add_file(end)?;
                marks.synced_end = end;
            }
            let file_end = self.segments.back().map_or(0, |segment| segment.size);
            let before = waiting.len();
            frame::encode(&mut waiting, entry, marks);
            places.push(Place {
                id: entry.log_id,
                at: file_end + before as u64,
                length: waiting.len() - before,
            });
            last = Some(entry.log_id);
        }
        self.flush(&mut waiting, &mut places)
    }

    fn needs_file(&self, waiting: usize) -> bool {
        self.segments
            .back()
            .is_none_or(|segment| segment.size + waiting as u64 >= self.segment_bytes)
    }

    /// Writes and syncs frames at the end of the last file.
    fn flush(&mut self, waiting: &mut BytesMut, places: &mut Vec<Place>) -> Result<(), StoreError> {
        if places.is_empty() {
            return Ok(());
        }
        let segment = self.segments.back_mut().expect("a file was added before");
        let bytes = waiting.split().freeze();
        let length = bytes.len() as u64;
        let written = self.disk.write(&segment.file, segment.size, &[bytes]);
        written.map_err(at(&segment.path))?;
        self.disk.sync(&segment.file).map_err(at(&segment.path))?;
        segment.size += length;
        self.appended_bytes += length;
        self.places.extend(places.drain(..));
        Ok(())
    }

    /// Adds an empty file; everything before its first index is synced.
    fn add_file(&mut self, first: u64) -> Result<(), StoreError> {
        let path = path_of(&self.folder, first);
        let file = self.disk.open(&path, OpenMode::Create).map_err(at(&path))?;
        let node_id = self.node_id;
        let header = Header { node_id, first }.encode();
        let written = self.disk.write(&file, 0, &[header]);
        written.map_err(at(&path))?;
        self.disk.sync(&file).map_err(at(&path))?;
        self.sync_folder()?;
        self.segments.push_back(Segment {
            first,
            path,
            file,
            size: HEADER_BYTES as u64,
        });
        Ok(())
    }

    /// Returns the entries of a range that are there, until they have `bytes_max` bytes.
    pub(super) fn read(
        &self,
        indexes: Range<u64>,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        let mut index = indexes.start.max(self.start);
        while index < indexes.end.min(self.end()) && (entries.is_empty() || bytes < bytes_max) {
            let place = self.place(index - self.start).expect("the index is there");
            let segment = self.segment_of(index);
            let read = self.disk.read(&segment.file, place.at, place.length);
            let frame = frame::decode(&read.map_err(at(&segment.path))?);
            let entry = frame.ok().map(|frame| frame.entry);
            let entry = entry.filter(|entry| entry.log_id == place.id);
            entries.push(
                entry.ok_or_else(|| {
                    damaged(&segment.path, format!("entry {index} cannot be read"))
                })?,
            );
            bytes += place.length;
            index += 1;
        }
        Ok(entries)
    }

    /// Removes the entries from `end` on, of which there must be one, durably. The state must have been told before.
    pub(super) fn truncate(&mut self, end: u64) -> Result<(), StoreError> {
        let nth = end - self.start;
        let cut_at = self.place(nth).expect("there is an entry to remove").at;
        let in_file = self.segment_of(end).first;
        let emptied = in_file == end;
        while let Some(segment) = self.segments.back()
            && (segment.first > in_file || emptied && segment.first == in_file)
        {
            self.disk.remove(&segment.path).map_err(at(&segment.path))?;
            self.sync_folder()?;
            self.segments.pop_back();
        }
        let kept = usize::try_from(nth).expect("as many as there are places");
        self.places.truncate(kept);
        if !emptied {
            let segment = self.segments.back_mut().expect("its file is kept");
            cut(&*self.disk, segment, cut_at)?;
        }
        Ok(())
    }

    /// Returns whether a file could be removed if only the entries from `target` on were needed.
    pub(super) fn frees(&self, target: u64) -> bool {
        let second = self.segments.get(1);
        second.is_some_and(|second| second.first <= target)
    }

    /// Removes the files of which no entry from `target` on lies in. The state must have been told before.
    pub(super) fn release(&mut self, target: u64) -> Result<(), StoreError> {
        let before = target.checked_sub(1).and_then(|last| self.id_at(last));
        while self.frees(target) {
            let Some(segment) = self.segments.pop_front() else {
                break;
            };
            self.disk.remove(&segment.path).map_err(at(&segment.path))?;
        }
        let gone = usize::try_from(target.saturating_sub(self.start)).unwrap_or(usize::MAX);
        self.places.drain(..gone.min(self.places.len()));
        self.start = target;
        self.before_start = before;
        Ok(())
    }

    /// Removes everything and begins at an index. The state must have been told before.
    pub(super) fn restart(&mut self, before: LogId) -> Result<(), StoreError> {
        while let Some(segment) = self.segments.pop_back() {
            self.disk.remove(&segment.path).map_err(at(&segment.path))?;
        }
        self.sync_folder()?;
        self.places.clear();
        self.before_start = Some(before);
        self.start = before.index + 1;
        Ok(())
    }

    fn place(&self, nth: u64) -> Option<Place> {
        self.places.get(usize::try_from(nth).ok()?).copied()
    }

    fn segment_of(&self, index: u64) -> &Segment {
        let after = self
            .segments
            .partition_point(|segment| segment.first <= index);
        &self.segments[after - 1]
    }

    fn sync_folder(&self) -> Result<(), StoreError> {
        self.disk
            .sync_folder(&self.folder)
            .map_err(at(&self.folder))
    }
}

/// Cuts a file, durably.
pub(super) fn cut(disk: &dyn Disk, segment: &mut Segment, length: u64) -> Result<(), StoreError> {
    let result = disk.set_length(&segment.file, length);
    result.map_err(at(&segment.path))?;
    disk.sync(&segment.file).map_err(at(&segment.path))?;
    segment.size = length;
    Ok(())
}

/// Returns the name of the file that begins with an index.
pub(super) fn path_of(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("{first:020}.log"))
}

/// Returns the index that a file of the log begins with, if the name is one of its files'.
pub(super) fn first_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log")?;
    if digits.len() != 20 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// Returns the whole contents of a file as the disk holds them.
pub(super) fn contents(disk: &dyn Disk, file: &File, path: &Path) -> Result<Bytes, StoreError> {
    disk.sync(file).map_err(at(path))?;
    disk.forget_cached(file).map_err(at(path))?;
    let size = disk.size(file).map_err(at(path))?;
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    disk.read(file, 0, size).map_err(at(path))
}
