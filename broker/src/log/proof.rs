//! Writing and reading the index file beside a segment, which proves that everything up to its end is durable.
//!
//! The proof is what tells rot from a torn write, so nothing is written here before it is true.

use std::path::Path;

use keylane_protocol::offset::Offset;

use super::epochs::EpochHistory;
use super::index_file::{INDEX_FILE_BYTES_MAX, IndexFile};
use super::segment::Segment;
use crate::disk::{Disk, DiskError, File, OpenMode, read_small, replace_small};
use crate::folder::layout::{index_name, parse_segment_name, segment_name};

/// Writes the index file of a segment that takes no more batches, or none before the next start, and cuts off what was
/// reserved behind them. Everything up to its end is synced first, the names of the segments too, so that an index file
/// also proves all segments before its own. `epochs` are those of the segment's batches.
///
/// # Errors
/// When the disk fails; the old index file, if there was one, is then still sound.
pub fn seal(
    disk: &dyn Disk,
    folder: &Path,
    segment: &Segment,
    epochs: &EpochHistory,
    producers: &[u8],
) -> Result<(), DiskError> {
    let file = disk.open(
        &folder.join(segment_name(segment.base_offset())),
        OpenMode::Write,
    )?;
    // What was reserved ahead would make the next start look for batches there.
    if disk.size(&file)? > segment.size_bytes() {
        disk.set_length(&file, segment.size_bytes())?;
    }
    sync_records(disk, &file)?;
    let mut earlier: Vec<Offset> = disk
        .list(folder)?
        .iter()
        .filter_map(|entry| parse_segment_name(&entry.name))
        .filter(|base_offset| *base_offset < segment.base_offset())
        .collect();
    let mut next = segment.base_offset();
    earlier.sort();
    for base_offset in earlier.into_iter().rev() {
        // One from a clean stop may prove less than the segment has become since.
        let proof = read_index(disk, folder, base_offset);
        if proof.is_some_and(|proof| proof.segment.end_offset() == next) {
            break;
        }
        sync_segment(disk, folder, base_offset)?;
        next = base_offset;
    }
    // The index file's own name must not outlive those of the segments it proves.
    disk.sync_folder(folder)?;
    let contents = IndexFile::encode(segment, epochs, producers);
    replace_small(disk, folder, &index_name(segment.base_offset()), contents)
}

fn sync_segment(disk: &dyn Disk, folder: &Path, base_offset: Offset) -> Result<(), DiskError> {
    let file = disk.open(&folder.join(segment_name(base_offset)), OpenMode::Write)?;
    sync_records(disk, &file)
}

/// Syncs a segment. One that finds no room has failed like any other, and must not pass for a full disk: records of a
/// topic that is not synced on each append may be lost.
fn sync_records(disk: &dyn Disk, file: &File) -> Result<(), DiskError> {
    const NO_SPACE_ERRNO: i32 = 28;
    disk.sync(file).map_err(|error| match error {
        DiskError::NoSpace => DiskError::Failed {
            operation: "syncing a segment",
            errno: NO_SPACE_ERRNO,
        },
        error => error,
    })
}

/// Returns what the index file of a segment says, if it is sound: a cache that cannot be read is no cache.
pub(super) fn read_index(disk: &dyn Disk, folder: &Path, base_offset: Offset) -> Option<IndexFile> {
    let path = folder.join(index_name(base_offset));
    let contents = read_small(disk, &path, INDEX_FILE_BYTES_MAX).ok()?;
    IndexFile::decode(&contents, base_offset)
}
