//! From a partition's folder in any state to a valid log: plain blocking code over the disk seam.
//!
//! A segment whose index file is sound is trusted up to the end it proves: those bytes were synced, so damage there, or
//! a missing file, is rot, which is reported and never cut. Behind the last proven end batches are walked: the log ends
//! at the first one that is damaged, does not begin where the one before ended, or has a lower leader epoch. What lies
//! behind was never acknowledged; it is cut, the cut is synced, and later segments are removed. Recovering twice gives
//! the same log.

mod walk;

pub use super::proof::seal;

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use keylane_protocol::offset::Offset;
use keylane_protocol::record_batch::RecordBatchHeader;

use super::epochs::EpochHistory;
use super::index_file::IndexFile;
use super::proof::read_index;
use super::segment::Segment;
use super::{DamagedRange, Log};
use crate::disk::{Disk, DiskError, File, OpenMode};
use crate::folder::layout::{index_name, parse_index_name, parse_segment_name, segment_name};
use walk::{walk_checked, walk_headers};

/// Takes in what the producers of a partition have written, in order.
pub trait ProducerReplay {
    /// Starts from a snapshot of what had been written below `end`; tells whether it could be used. One that knows of
    /// more must not be: the log would be given offsets that it names. If it could not, nothing may have changed.
    fn restore(&mut self, snapshot: &Bytes, end: Offset) -> bool;

    /// A batch lies in the log.
    fn on_batch(&mut self, header: &RecordBatchHeader);

    /// Returns a snapshot as of the last batch.
    fn snapshot(&self) -> Bytes;
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

/// A segment and what is known of it before its batches are looked at.
struct Candidate {
    base_offset: Offset,
    proof: Option<IndexFile>,
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
    let snapshot = restore(&candidates, producers);
    let mut recovery = Recovery {
        disk,
        folder,
        producers,
        kept: Vec::new(),
        epochs: EpochHistory::default(),
        damaged: Vec::new(),
        cut_bytes: 0,
        has_unsynced_names: false,
        snapshot: None,
    };
    let last_proven = candidates
        .iter()
        .rposition(|candidate| candidate.proof.is_some());
    for (index, candidate) in candidates.iter().enumerate() {
        let replay = Replay {
            proven: snapshot.is_none_or(|snapshot| index > snapshot),
            behind: snapshot.is_none_or(|snapshot| index >= snapshot),
        };
        let examined = recovery.examine(candidate, replay)?;
        let next = candidates.get(index + 1).map(|next| next.base_offset);
        match next.filter(|_| last_proven.is_some_and(|proven| index < proven)) {
            Some(next) => recovery.keep_below_proof(examined.segment, next),
            None => {
                let end = examined.segment.end_offset();
                recovery.keep_behind_proof(examined)?;
                if next != Some(end) {
                    break;
                }
            }
        }
        if replay.behind && candidate.proof.is_none() {
            recovery.take_snapshot();
        }
    }
    let gone = &candidates[recovery.kept.len()..];
    recovery.remove(gone)?;
    recovery.prove_closed(&candidates);
    Ok(recovery.finish(gone.len()))
}

fn candidates(disk: &dyn Disk, folder: &Path) -> Result<Vec<Candidate>, DiskError> {
    let mut candidates = BTreeMap::new();
    for entry in disk.list(folder)? {
        if let Some(base_offset) = parse_segment_name(&entry.name) {
            candidates.entry(base_offset).or_insert(None);
        } else if let Some(base_offset) = parse_index_name(&entry.name) {
            let proof = read_index(disk, folder, base_offset);
            // Without its segment it still proves that there was one.
            if proof.is_some() {
                candidates.insert(base_offset, proof);
            }
        }
    }
    let candidate = |(base_offset, proof)| Candidate { base_offset, proof };
    Ok(candidates.into_iter().map(candidate).collect())
}

/// Starts the producers from the newest usable snapshot; returns which candidate has it.
fn restore(candidates: &[Candidate], producers: &mut dyn ProducerReplay) -> Option<usize> {
    candidates.iter().rposition(|candidate| {
        candidate.proof.as_ref().is_some_and(|proof| {
            let end = proof.segment.end_offset();
            !proof.producers.is_empty() && producers.restore(&proof.producers, end)
        })
    })
}

/// Which batches of a segment the producers have not taken in: their snapshot may lie before it, in it or behind it.
#[derive(Clone, Copy)]
struct Replay {
    /// Those below the end that its index file proves.
    proven: bool,
    /// Those behind it.
    behind: bool,
}

/// A segment up to the first batch that cannot belong to the log.
struct Examined {
    segment: Segment,
    /// Whether its index file proves it, and its creation, to be durable, and there is no more in the file.
    is_proven_whole: bool,
}

/// A segment of the log in the making.
struct Kept {
    segment: Segment,
    /// The leader epochs of its batches.
    epochs: EpochHistory,
}

/// A log in the making.
struct Recovery<'a> {
    disk: &'a dyn Disk,
    folder: &'a Path,
    producers: &'a mut dyn ProducerReplay,
    kept: Vec<Kept>,
    epochs: EpochHistory,
    damaged: Vec<DamagedRange>,
    cut_bytes: u64,
    /// Whether a segment's creation may not be durable yet.
    has_unsynced_names: bool,
    /// The producers as of the end of the newest segment that ended without an index file, and where that begins. One only:
    /// any number of segments may lack theirs.
    snapshot: Option<(Offset, Bytes)>,
}

impl Recovery<'_> {
    fn open(&self, base_offset: Offset, mode: OpenMode) -> Result<File, DiskError> {
        self.disk
            .open(&self.folder.join(segment_name(base_offset)), mode)
    }

    fn examine(&mut self, candidate: &Candidate, replay: Replay) -> Result<Examined, DiskError> {
        let Some(proof) = &candidate.proof else {
            let file = self.open(candidate.base_offset, OpenMode::Write)?;
            let mut segment = Segment::new(candidate.base_offset);
            self.walk(&file, &mut segment, replay)?;
            return Ok(Examined {
                segment,
                is_proven_whole: false,
            });
        };
        let mut segment = proof.segment.clone();
        let (file, file_bytes) = match self.open(candidate.base_offset, OpenMode::Write) {
            Ok(file) => {
                let file_bytes = self.disk.size(&file)?;
                (Some(file), file_bytes)
            }
            Err(DiskError::NotFound) => (None, 0),
            Err(error) => return Err(error),
        };
        self.take_epochs(proof, file.as_ref())?;
        if let Some(file) = file.as_ref().filter(|_| replay.proven) {
            let end = segment.size_bytes().min(file_bytes);
            let base_offset = segment.base_offset();
            walk_headers(self.disk, file, base_offset, end, &mut |header| {
                self.producers.on_batch(header);
            })?;
        }
        match file {
            Some(_) if segment.size_bytes() == file_bytes => {}
            Some(file) if segment.size_bytes() < file_bytes => {
                self.walk(&file, &mut segment, replay)?;
            }
            _ => self.damaged.push(DamagedRange {
                start: segment.offset_before(file_bytes),
                end: segment.end_offset(),
            }),
        }
        Ok(Examined {
            is_proven_whole: file_bytes == proof.segment.size_bytes(),
            segment,
        })
    }

    /// Adds to the segment every batch that follows its end soundly. What is read is on the disk: a sync of the process
    /// before may have failed and left in memory what the disk never got.
    fn walk(
        &mut self,
        file: &File,
        segment: &mut Segment,
        replay: Replay,
    ) -> Result<(), DiskError> {
        self.disk.sync(file)?;
        self.disk.forget_cached(file)?;
        walk_checked(self.disk, file, segment, &mut self.epochs, &mut |header| {
            if replay.behind {
                self.producers.on_batch(header);
            }
        })
    }

    /// Takes in the leader epochs up to a proven end. An index file that does not tell them tells the last one: only if
    /// that is a new one are the headers walked. They lie outside every checksum, so none is believed beyond it.
    fn take_epochs(&mut self, proof: &IndexFile, file: Option<&File>) -> Result<(), DiskError> {
        let segment = &proof.segment;
        let (base_offset, end) = (segment.base_offset(), segment.size_bytes());
        match (&proof.epochs, file) {
            (Some(epochs), _) => self.epochs.absorb(epochs),
            (None, Some(file)) if proof.last_leader_epoch > self.epochs.last() => {
                let end = end.min(self.disk.size(file)?);
                walk_headers(self.disk, file, base_offset, end, &mut |header| {
                    if header.leader_epoch <= proof.last_leader_epoch {
                        self.epochs.note(header.leader_epoch, header.base_offset);
                    }
                })?;
            }
            (None, _) => {}
        }
        // Where headers cannot be read any more, the epoch is taken to begin behind them.
        self.epochs
            .note(proof.last_leader_epoch, segment.end_offset());
        Ok(())
    }

    /// A later segment is proven, so this one was synced to its end: what is missing is rot, and the log goes on behind.
    fn keep_below_proof(&mut self, mut segment: Segment, next: Offset) {
        if segment.end_offset() < next {
            let start = segment.end_offset();
            self.damaged.push(DamagedRange { start, end: next });
            segment.stretch(next);
        }
        self.keep(segment);
    }

    /// Remembers the producers as of the end of the segment that was kept last, behind which the log goes on.
    fn take_snapshot(&mut self) {
        if let Some(kept) = self.kept.last() {
            self.snapshot = Some((kept.segment.base_offset(), self.producers.snapshot()));
        }
    }

    fn keep(&mut self, segment: Segment) {
        let epochs = self
            .epochs
            .within(segment.base_offset(), segment.end_offset());
        self.kept.push(Kept { segment, epochs });
    }

    /// Nothing proves a later segment: the log may end here. What lies behind the last batch is cut, so that it cannot
    /// come back.
    fn keep_behind_proof(&mut self, examined: Examined) -> Result<(), DiskError> {
        let segment = examined.segment;
        if !examined.is_proven_whole {
            self.has_unsynced_names = true;
            match self.open(segment.base_offset(), OpenMode::Write) {
                Ok(file) => self.cut(&file, segment.size_bytes())?,
                // It is reported as damaged.
                Err(DiskError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        self.keep(segment);
        Ok(())
    }

    fn cut(&mut self, file: &File, end: u64) -> Result<(), DiskError> {
        let extra = self.disk.size(file)?.saturating_sub(end);
        if extra > 0 {
            self.disk.set_length(file, end)?;
            self.disk.sync(file)?;
            self.cut_bytes += extra;
        }
        Ok(())
    }

    fn remove(&mut self, gone: &[Candidate]) -> Result<(), DiskError> {
        // The last one first: a crash in between leaves no gap that could be taken for rot.
        for candidate in gone.iter().rev() {
            match self
                .disk
                .remove(&self.folder.join(index_name(candidate.base_offset)))
            {
                Ok(()) | Err(DiskError::NotFound) => {}
                Err(error) => return Err(error),
            }
            self.disk
                .remove(&self.folder.join(segment_name(candidate.base_offset)))?;
        }
        if self.has_unsynced_names || !gone.is_empty() {
            self.disk.sync_folder(self.folder)?;
        }
        Ok(())
    }

    /// Writes the index files that are missing, or that lack the epochs, so that the next start need not walk these
    /// segments again.
    fn prove_closed(&mut self, candidates: &[Candidate]) {
        let closed = self.kept.len().saturating_sub(1);
        let snapshot = self.snapshot.take();
        for (kept, candidate) in self.kept[..closed].iter_mut().zip(candidates) {
            let segment = &mut kept.segment;
            segment.close();
            let is_damaged = self.damaged.iter().any(|range| range.touches(segment));
            let producers = match &candidate.proof {
                None => match &snapshot {
                    Some((base_offset, producers)) if *base_offset == segment.base_offset() => {
                        producers.clone()
                    }
                    // The next snapshot says all that is needed.
                    _ => Bytes::new(),
                },
                Some(proof) if proof.epochs.is_none() && proof.proves(segment) => {
                    proof.producers.clone()
                }
                Some(_) => continue,
            };
            if !is_damaged {
                // Only a cache.
                let _ = seal(self.disk, self.folder, segment, &kept.epochs, &producers);
            }
        }
    }

    fn finish(self, removed_segments: usize) -> Recovered {
        let mut segments: Vec<Segment> = self.kept.into_iter().map(|kept| kept.segment).collect();
        // Nothing is appended to a file of which proven bytes are missing.
        if let Some(last) = segments.last()
            && self.damaged.iter().any(|range| range.touches(last))
        {
            segments.push(Segment::new(last.end_offset()));
        }
        let log = match segments.is_empty() {
            true => Log::empty(Offset(0)),
            false => Log::recovered(segments, self.epochs, self.damaged),
        };
        Recovered {
            log,
            cut_bytes: self.cut_bytes,
            removed_segments,
        }
    }
}

impl DamagedRange {
    fn touches(&self, segment: &Segment) -> bool {
        self.start < segment.end_offset() && segment.base_offset() < self.end
    }
}
