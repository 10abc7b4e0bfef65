//! Gives each slot of a page-cache scenario memory in the same state.
//!
//! Such a slot measures how fast the system takes bytes into memory, and that depends on the memory as much as on the
//! server: pages that a virtual machine's host must first provide take writes up to ten times slower than pages just
//! given back. So a file is written, synced and removed right before each slot, and the slot sends at most half of it.

use std::fs::{File, read_to_string, remove_file};
use std::io::{self, Write};
use std::path::Path;

/// The most bytes that are warmed: those of a slot twice, since the system takes other pages as well.
const WARM_BYTES_MAX: u64 = 4 << 30;

/// The share of the available memory that may be warmed; half of it stays below what Linux begins to write back.
const MEMORY_SHARE: u64 = 5;

/// How much is written at once.
const CHUNK_BYTES: usize = 1 << 20;

/// How many bytes a slot that measures memory may send, of which twice as many are warmed.
pub(super) fn warm_slot_bytes(slot_bytes_max: u64) -> u64 {
    let memory = available_memory().map_or(u64::MAX, |bytes| bytes / MEMORY_SHARE);
    slot_bytes_max.min(WARM_BYTES_MAX).min(memory) / 2
}

/// Makes the system have at hand the memory that a slot of `slot_bytes` takes.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn warm(folder: &Path, slot_bytes: u64) -> io::Result<()> {
    let path = folder.join("warm");
    let chunk = vec![0x6b; CHUNK_BYTES];
    let mut file = File::create(&path)?;
    for _ in 0..slot_bytes * 2 / CHUNK_BYTES as u64 {
        file.write_all(&chunk)?;
    }
    file.sync_all()?;
    remove_file(&path)
}

/// Returns the bytes of memory that can be had without swapping; `None` if the kernel does not tell.
fn available_memory() -> Option<u64> {
    let text = read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find(|line| line.starts_with("MemAvailable:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}
