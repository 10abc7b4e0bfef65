//! From a partition's folder in any state to a valid log: plain blocking code over the disk seam.
//!
//! A segment whose index file is sound is trusted up to the end it proves: those bytes were synced, so damage there is
//! rot, which is reported and never cut. Behind the last proven end batches are walked: the log ends at the first one
//! that is damaged, does not begin where the one before ended, or has a lower leader epoch. What lies behind was never
//! acknowledged; it is cut, the cut is synced, and later segments are removed. Recovering twice gives the same log.

mod walk;

use std::path::Path;

use bytes::Bytes;
use keylane_protocol::offset::{LeaderEpoch, Offset};
use keylane_protocol::record_batch::RecordBatchHeader;

use super::index_file::{INDEX_FILE_BYTES_MAX, IndexFile};
use super::segment::Segment;
use super::{DamagedRange, Log};
use crate::disk::{Disk, DiskError, OpenMode, read_small, replace_small};
use crate::folder::layout::{index_name, parse_segment_name, segment_name};
use walk::{Walk, walk_checked, walk_headers};

/// Takes in what the producers of a partition have written, in order.
pub trait ProducerReplay {
    /// Starts from a snapshot; tells whether it could be used. If not, nothing may have changed.
    fn restore(&mut self, snapshot: &Bytes) -> bool;

    /// A batch lies in the log.
    fn on_batch(&mut self, header: &RecordBatchHeader);
}

/// What recovery found and did.
#[derive(Debug)]
pub struct Recovered {
    /// The log.
    pub log: Log,
    /// Bytes behind the log's end that were cut off, reserved ones included.
    pub cut_bytes: u64,
    /// Segments behind the log's end that were removed.
    pub removed_segments: usize,
}

/// A segment's file and what is known of it before its batches are looked at.
struct Candidate {
    base_offset: Offset,
    proof: Option<IndexFile>,
}

/// What recovery has established so far.
struct Progress {
    segments: Vec<Segment>,
    last_leader_epoch: LeaderEpoch,
    damaged: Vec<DamagedRange>,
    cut_bytes: u64,
}

/// Recovers the log in a partition's folder. The folder must exist; a folder without segments is an empty log.
///
/// # Errors
/// When the disk fails. Nothing acknowledged is lost by trying again.
pub fn recover(
    disk: &dyn Disk,
    folder: &Path,
    producers: &mut dyn ProducerReplay,
) -> Result<Recovered, DiskError> {
    let candidates = candidates(disk, folder)?;
    let last_proven = candidates
        .iter()
        .rposition(|candidate| candidate.proof.is_some());
    let mut progress = Progress {
        segments: Vec::new(),
        last_leader_epoch: LeaderEpoch::NONE,
        damaged: Vec::new(),
        cut_bytes: 0,
    };
    for (index, candidate) in candidates.iter().enumerate() {
        let next = candidates.get(index + 1).map(|next| next.base_offset);
        let segment = examine(disk, folder, candidate, &mut progress)?;
        match next.filter(|_| last_proven.is_some_and(|proven| index < proven)) {
            Some(next) => keep_below_proof(segment, next, &mut progress),
            None => {
                let end = segment.end_offset();
                cut(disk, folder, &segment, &mut progress)?;
                progress.segments.push(segment);
                if next != Some(end) {
                    break;
                }
            }
        }
    }
    let removed_segments = remove_segments(disk, folder, &candidates[progress.segments.len()..])?;
    replay(disk, folder, &candidates, &progress.segments, producers)?;
    let Progress {
        segments,
        last_leader_epoch,
        damaged,
        cut_bytes,
    } = progress;
    let log = match segments.is_empty() {
        true => Log::empty(Offset(0)),
        false => Log::recovered(segments, last_leader_epoch, damaged),
    };
    Ok(Recovered {
        log,
        cut_bytes,
        removed_segments,
    })
}

/// Writes the index file of a segment, once the segment itself is synced: at its closing, and at a clean stop.
///
/// # Errors
/// When the disk fails; the old index file, if there was one, is then still sound.
pub fn seal(
    disk: &dyn Disk,
    folder: &Path,
    segment: &Segment,
    last_leader_epoch: LeaderEpoch,
    producers: &[u8],
) -> Result<(), DiskError> {
    let file = disk.open(
        &folder.join(segment_name(segment.base_offset())),
        OpenMode::Write,
    )?;
    disk.sync(&file)?;
    let contents = IndexFile::encode(segment, last_leader_epoch, producers);
    replace_small(disk, folder, &index_name(segment.base_offset()), contents)
}

fn candidates(disk: &dyn Disk, folder: &Path) -> Result<Vec<Candidate>, DiskError> {
    let mut bases: Vec<Offset> = disk
        .list(folder)?
        .iter()
        .filter_map(|entry| parse_segment_name(&entry.name))
        .collect();
    bases.sort();
    Ok(bases
        .into_iter()
        .map(|base_offset| {
            let path = folder.join(index_name(base_offset));
            // A cache that cannot be read is no cache.
            let contents = read_small(disk, &path, INDEX_FILE_BYTES_MAX).ok();
            let proof = contents.and_then(|contents| IndexFile::decode(&contents, base_offset));
            Candidate { base_offset, proof }
        })
        .collect())
}

/// Returns the segment up to the first batch that cannot belong to the log.
fn examine(
    disk: &dyn Disk,
    folder: &Path,
    candidate: &Candidate,
    progress: &mut Progress,
) -> Result<Segment, DiskError> {
    let file = disk.open(
        &folder.join(segment_name(candidate.base_offset)),
        OpenMode::Read,
    )?;
    let file_size = disk.size(&file)?;
    let mut segment = match &candidate.proof {
        Some(proof) => {
            progress.last_leader_epoch = progress.last_leader_epoch.max(proof.last_leader_epoch);
            proof.segment.clone()
        }
        None => Segment::new(candidate.base_offset),
    };
    if segment.size_bytes() > file_size {
        // Proven bytes are missing. Which ones begins at an unknown batch: all of the segment is suspect.
        let range = DamagedRange {
            start: segment.base_offset(),
            end: segment.end_offset(),
        };
        progress.damaged.push(range);
        return Ok(segment);
    }
    let from = Walk {
        position: segment.size_bytes(),
        leader_epoch: progress.last_leader_epoch,
    };
    progress.last_leader_epoch = walk_checked(disk, &file, from, &mut segment)?;
    Ok(segment)
}

/// A later segment is proven, so this one was synced to its end: what is missing is rot, and the log goes on behind it.
fn keep_below_proof(mut segment: Segment, next: Offset, progress: &mut Progress) {
    if segment.end_offset() != next {
        let start = segment.end_offset().min(next);
        progress.damaged.push(DamagedRange { start, end: next });
        segment.stretch(next);
    }
    progress.segments.push(segment);
}

/// Cuts what lies behind the segment's last batch, so that it cannot come back.
fn cut(
    disk: &dyn Disk,
    folder: &Path,
    segment: &Segment,
    progress: &mut Progress,
) -> Result<(), DiskError> {
    let file = disk.open(
        &folder.join(segment_name(segment.base_offset())),
        OpenMode::Write,
    )?;
    let extra = disk.size(&file)?.saturating_sub(segment.size_bytes());
    if extra > 0 {
        disk.set_length(&file, segment.size_bytes())?;
        progress.cut_bytes += extra;
    }
    // What was read may still be in the page cache only: it is served from now on, so it must be durable.
    disk.sync(&file)
}

fn remove_segments(disk: &dyn Disk, folder: &Path, gone: &[Candidate]) -> Result<usize, DiskError> {
    // The last one first: a crash in between leaves no gap that could be taken for rot.
    for candidate in gone.iter().rev() {
        match disk.remove(&folder.join(index_name(candidate.base_offset))) {
            Ok(()) | Err(DiskError::NotFound) => {}
            Err(error) => return Err(error),
        }
        disk.remove(&folder.join(segment_name(candidate.base_offset)))?;
    }
    disk.sync_folder(folder)?;
    Ok(gone.len())
}

/// Brings the producers to the log's end: from the newest usable snapshot, then batch by batch.
fn replay(
    disk: &dyn Disk,
    folder: &Path,
    candidates: &[Candidate],
    segments: &[Segment],
    producers: &mut dyn ProducerReplay,
) -> Result<(), DiskError> {
    let mut from = (0, 0);
    for (index, candidate) in candidates.iter().take(segments.len()).enumerate().rev() {
        if let Some(proof) = candidate
            .proof
            .as_ref()
            .filter(|proof| producers.restore(&proof.producers))
        {
            from = (index, proof.segment.size_bytes());
            break;
        }
    }
    for (index, segment) in segments.iter().enumerate().skip(from.0) {
        let start = if index == from.0 { from.1 } else { 0 };
        if start < segment.size_bytes() {
            let file = disk.open(
                &folder.join(segment_name(segment.base_offset())),
                OpenMode::Read,
            )?;
            walk_headers(disk, &file, start, segment.size_bytes(), &mut |header| {
                producers.on_batch(header)
            })?;
        }
    }
    Ok(())
}
