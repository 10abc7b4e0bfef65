//! The two images of a simulated file: what a process reads, and what the disk is sure to keep.

use std::collections::BTreeSet;

use bytes::Bytes;
use rand::RngExt;
use rand::rngs::SmallRng;

/// What a disk writes whole or not at all.
const SECTOR_BYTES: u64 = 512;

/// A file's contents.
#[derive(Clone, Debug, Default)]
pub(super) struct FileImage {
    volatile: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors written since the last sync.
    dirty: BTreeSet<u64>,
}

fn index(at: u64) -> usize {
    usize::try_from(at).expect("simulated files fit in memory")
}

impl FileImage {
    pub(super) fn size(&self) -> u64 {
        self.volatile.len() as u64
    }

    pub(super) fn write(&mut self, at: u64, slices: &[Bytes]) {
        let mut position = at;
        for slice in slices.iter().filter(|slice| !slice.is_empty()) {
            let end = position + slice.len() as u64;
            if end > self.size() {
                self.volatile.resize(index(end), 0);
            }
            self.volatile[index(position)..index(end)].copy_from_slice(slice);
            self.dirty
                .extend(position / SECTOR_BYTES..=(end - 1) / SECTOR_BYTES);
            position = end;
        }
    }

    pub(super) fn read(&self, at: u64, length: usize) -> Bytes {
        let start = at.min(self.size());
        let end = start.saturating_add(length as u64).min(self.size());
        Bytes::copy_from_slice(&self.volatile[index(start)..index(end)])
    }

    pub(super) fn set_length(&mut self, length: u64) {
        self.volatile.resize(index(length), 0);
        // What lies beyond reads as zeros should the file grow again.
        let first_gone = length / SECTOR_BYTES;
        self.dirty.insert(first_gone);
        self.dirty.retain(|&sector| sector <= first_gone);
    }

    pub(super) fn sync(&mut self) {
        self.durable.clone_from(&self.volatile);
        self.dirty.clear();
    }

    /// A failed sync: the pages are clean although the disk never got them.
    pub(super) fn forget_unsynced(&mut self) {
        self.dirty.clear();
    }

    pub(super) fn flip(&mut self, byte: u64, bit: u8) {
        self.volatile[index(byte)] ^= 1 << bit;
        if let Some(durable) = self.durable.get_mut(index(byte)) {
            *durable ^= 1 << bit;
        }
    }

    /// The power goes: each dirty sector and the change of size survive or not, each by itself.
    pub(super) fn tear(&mut self, random: &mut SmallRng) {
        let mut kept = self.durable.clone();
        if random.random_bool(0.5) {
            kept.resize(self.volatile.len(), 0);
        }
        for &sector in &self.dirty {
            if random.random_bool(0.5) {
                let start = index(sector * SECTOR_BYTES);
                let end = kept
                    .len()
                    .min(self.volatile.len())
                    .min(start + index(SECTOR_BYTES));
                if start < end {
                    kept[start..end].copy_from_slice(&self.volatile[start..end]);
                }
            }
        }
        self.volatile.clone_from(&kept);
        self.durable = kept;
        self.dirty.clear();
    }
}
