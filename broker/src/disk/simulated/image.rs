//! The two images of a simulated file: what a process reads, and what the disk is sure to keep.

use std::collections::BTreeMap;

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
    /// Sectors written since the last sync, with what earlier unsynced writes made of them; the last is in `volatile`.
    dirty: BTreeMap<u64, Vec<Vec<u8>>>,
    /// The sizes that the file had since the last sync, in order.
    sizes: Vec<u64>,
}

fn index(at: u64) -> usize {
    usize::try_from(at).expect("simulated files fit in memory")
}

/// Puts bytes into an image, as far as its size allows.
fn put(image: &mut [u8], at: usize, bytes: &[u8]) {
    let end = image.len().min(at + bytes.len());
    if at < end {
        image[at..end].copy_from_slice(&bytes[..end - at]);
    }
}

impl FileImage {
    pub(super) fn size(&self) -> u64 {
        self.volatile.len() as u64
    }

    pub(super) fn write(&mut self, at: u64, slices: &[Bytes]) {
        let bytes = slices.concat();
        if bytes.is_empty() {
            return;
        }
        let end = at + bytes.len() as u64;
        for sector in at / SECTOR_BYTES..=(end - 1) / SECTOR_BYTES {
            let before = self.sector(sector).to_vec();
            match self.dirty.get_mut(&sector) {
                Some(versions) => versions.push(before),
                None => {
                    self.dirty.insert(sector, Vec::new());
                }
            }
        }
        if end > self.size() {
            self.set_length(end);
        }
        put(&mut self.volatile, index(at), &bytes);
    }

    fn sector(&self, sector: u64) -> &[u8] {
        let start = index(sector * SECTOR_BYTES).min(self.volatile.len());
        let end = (start + index(SECTOR_BYTES)).min(self.volatile.len());
        &self.volatile[start..end]
    }

    pub(super) fn read(&self, at: u64, length: usize) -> Bytes {
        let start = at.min(self.size());
        let end = start.saturating_add(length as u64).min(self.size());
        Bytes::copy_from_slice(&self.volatile[index(start)..index(end)])
    }

    pub(super) fn set_length(&mut self, length: u64) {
        if length != self.size() {
            self.volatile.resize(index(length), 0);
            self.dirty
                .retain(|&sector, _| sector * SECTOR_BYTES < length);
            self.sizes.push(length);
        }
    }

    pub(super) fn sync(&mut self) {
        for size in self.sizes.drain(..) {
            self.durable.resize(index(size), 0);
        }
        self.durable.resize(self.volatile.len(), 0);
        for sector in std::mem::take(&mut self.dirty).into_keys() {
            let bytes = self.sector(sector).to_vec();
            put(&mut self.durable, index(sector * SECTOR_BYTES), &bytes);
        }
    }

    /// A failed sync: the pages are clean although the disk never got them, and no later sync writes them.
    pub(super) fn forget_unsynced(&mut self) {
        self.dirty.clear();
        self.sizes.clear();
    }

    /// Reads show what the disk holds, except where it is still owed something.
    pub(super) fn forget_cached(&mut self) {
        if self.dirty.is_empty() && self.sizes.is_empty() {
            self.volatile.clone_from(&self.durable);
        }
    }

    pub(super) fn flip(&mut self, byte: u64, bit: u8) {
        self.volatile[index(byte)] ^= 1 << bit;
        if let Some(durable) = self.durable.get_mut(index(byte)) {
            *durable ^= 1 << bit;
        }
    }

    /// The sector that holds the byte reads as zeros.
    pub(super) fn lose_sector(&mut self, byte: u64) {
        let start = index(byte / SECTOR_BYTES * SECTOR_BYTES);
        let zeros = [0; SECTOR_BYTES as usize];
        put(&mut self.volatile, start, &zeros);
        put(&mut self.durable, start, &zeros);
    }

    /// The power goes: each change of size and each dirty sector, in any of its versions, survives or not by itself.
    pub(super) fn tear(&mut self, random: &mut SmallRng) {
        let mut kept = self.durable.clone();
        for size in std::mem::take(&mut self.sizes) {
            if random.random_bool(0.5) {
                kept.resize(index(size), 0);
            }
        }
        for (sector, versions) in std::mem::take(&mut self.dirty) {
            if random.random_bool(0.5) {
                let chosen = random.random_range(0..=versions.len());
                let last = self.sector(sector);
                let bytes = versions.get(chosen).map_or(last, Vec::as_slice);
                put(&mut kept, index(sector * SECTOR_BYTES), bytes);
            }
        }
        self.volatile.clone_from(&kept);
        self.durable = kept;
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn write(image: &mut FileImage, at: u64, byte: u8, length: usize) {
        image.write(at, &[Bytes::from(vec![byte; length])]);
    }

    fn torn(image: &FileImage, seed: u64) -> Vec<u8> {
        let mut image = image.clone();
        image.tear(&mut SmallRng::seed_from_u64(seed));
        image.durable
    }

    #[test]
    fn what_is_synced_is_what_is_read_whatever_came_before() {
        let mut random = SmallRng::seed_from_u64(1);
        let mut image = FileImage::default();
        for byte in 0..200 {
            if random.random_bool(0.3) {
                image.set_length(random.random_range(0..5000));
            } else {
                let length = random.random_range(1..1500);
                write(&mut image, random.random_range(0..5000), byte, length);
            }
            if random.random_bool(0.2) {
                image.sync();
                assert_eq!(image.volatile, image.durable);
                assert_eq!(torn(&image, 1), image.volatile);
            }
        }
    }

    #[test]
    fn a_failed_sync_is_not_healed_by_the_next() {
        let mut image = FileImage::default();
        write(&mut image, 0, 1, 1024);
        image.sync();
        write(&mut image, 0, 2, 512);
        image.forget_unsynced();
        write(&mut image, 512, 3, 512);
        image.sync();
        assert_eq!(image.read(0, 1)[0], 2, "the page cache still has it");
        assert_eq!(torn(&image, 1)[..512], [1; 512], "the disk never got it");
        assert_eq!(torn(&image, 1)[512..], [3; 512]);
        image.forget_cached();
        assert_eq!(image.read(0, 1)[0], 1, "the disk is asked");
    }

    #[test]
    fn every_size_and_every_version_of_a_sector_can_survive() {
        let mut image = FileImage::default();
        write(&mut image, 0, 1, 512);
        image.sync();
        write(&mut image, 0, 2, 512);
        write(&mut image, 0, 3, 512);
        image.set_length(2000);
        image.set_length(1000);
        let outcomes: Vec<Vec<u8>> = (0..200).map(|seed| torn(&image, seed)).collect();
        for first in 1..=3 {
            assert!(outcomes.iter().any(|kept| kept[0] == first));
        }
        for size in [512, 1000, 2000] {
            assert!(outcomes.iter().any(|kept| kept.len() == size));
        }
    }
}
