//! The null broker's one file: allocated at the start, written by one vectored write per group.

use std::fs::File;
use std::io::{self, IoSlice};
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate, fdatasync};
use rustix::io::{pread, pwritev};

/// The most slices the kernel takes in one call (`IOV_MAX`).
const SLICES_MAX: usize = 1024;

/// The file and what was done to it.
#[derive(Debug)]
pub(super) struct Store {
    file: File,
    capacity: u64,
    position: u64,
    is_durable: bool,
    pub(super) writes: u64,
    pub(super) syncs: u64,
}

impl Store {
    pub(super) fn create(folder: &Path, capacity: u64, is_durable: bool) -> io::Result<Self> {
        let path = folder.join("null.log");
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(true);
        let file = file.open(path)?;
        // The size is set ahead as well, so that a sync need not write the inode each time.
        fallocate(&file, FallocateFlags::empty(), 0, capacity)?;
        file.sync_all()?;
        Ok(Self {
            file,
            capacity,
            position: 0,
            is_durable,
            writes: 0,
            syncs: 0,
        })
    }

    /// Returns where a group of this size will lie: behind the last one, or at the front if it does not fit.
    pub(super) fn place(&mut self, bytes: u64) -> io::Result<u64> {
        if bytes > self.capacity {
            return Err(io::Error::other("a group is larger than the file"));
        }
        if self.position + bytes > self.capacity {
            self.position = 0;
        }
        let place = self.position;
        self.position += bytes;
        Ok(place)
    }

    /// Writes a group where `place` said, and syncs it if the mode asks for it.
    pub(super) fn write(&mut self, mut place: u64, slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        let mut rest = slices;
        while !rest.is_empty() {
            let count = rest.len().min(SLICES_MAX);
            let written = pwritev(&self.file, &rest[..count], place)?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.writes += 1;
            place += written as u64;
            IoSlice::advance_slices(&mut rest, written);
        }
        if self.is_durable {
            fdatasync(&self.file)?;
            self.syncs += 1;
        }
        Ok(())
    }

    /// Reads `length` bytes; fewer if the file ends.
    pub(super) fn read(&self, mut position: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; length];
        let mut filled = 0;
        while filled < length {
            let read = pread(&self.file, &mut buffer[filled..], position)?;
            if read == 0 {
                break;
            }
            filled += read;
            position += read as u64;
        }
        buffer.truncate(filled);
        Ok(buffer)
    }
}
