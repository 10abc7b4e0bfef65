//! The machine's filesystem behind the disk seam, through system calls on the calling thread.

use std::io::IoSlice;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::fs::{
    self, Advice, AtFlags, CWD, Dir, FallocateFlags, FileType, FlockOperation, Mode, OFlags,
};
use rustix::io::Errno;

use super::{Disk, DiskError, File, FolderEntry, Handle, OpenMode, Space};

/// The most slices of one system call (`IOV_MAX`).
const SLICES_MAX: usize = 1024;

/// The filesystem of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

fn failed(operation: &'static str) -> impl Fn(Errno) -> DiskError {
    move |errno| match errno {
        Errno::NOSPC | Errno::DQUOT => DiskError::NoSpace,
        Errno::NOENT => DiskError::NotFound,
        Errno::NOTDIR => DiskError::NotAFolder,
        Errno::MFILE | Errno::NFILE => DiskError::TooManyFiles,
        Errno::ACCESS | Errno::PERM | Errno::ROFS => DiskError::NotPermitted {
            operation,
            errno: errno.raw_os_error(),
        },
        errno => DiskError::Failed {
            operation,
            errno: errno.raw_os_error(),
        },
    }
}

fn descriptor(file: &File) -> &OwnedFd {
    match &*file.0 {
        Handle::Real(descriptor) => descriptor,
        Handle::Simulated(_) => panic!("a simulated file was given to the real disk"),
    }
}

fn open(path: &Path, flags: OFlags) -> Result<File, DiskError> {
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP;
    let descriptor = fs::open(path, flags | OFlags::CLOEXEC, mode).map_err(failed("open"))?;
    Ok(File(Arc::new(Handle::Real(descriptor))))
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> Result<File, DiskError> {
        let flags = match mode {
            OpenMode::Read => OFlags::RDONLY,
            OpenMode::Write => OFlags::RDWR,
            OpenMode::Create => OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC,
        };
        open(path, flags)
    }

    fn lock(&self, path: &Path) -> Result<File, DiskError> {
        let file = open(path, OFlags::RDWR | OFlags::CREATE)?;
        match fs::flock(descriptor(&file), FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(file),
            Err(Errno::WOULDBLOCK) => Err(DiskError::Locked),
            Err(errno) => Err(failed("flock")(errno)),
        }
    }

    fn write(&self, file: &File, at: u64, slices: &[Bytes]) -> Result<(), DiskError> {
        let mut at = at;
        for some in slices.chunks(SLICES_MAX) {
            at += write_all(descriptor(file), at, some)?;
        }
        Ok(())
    }

    fn read(&self, file: &File, at: u64, length: usize) -> Result<Bytes, DiskError> {
        // A length asked for may exceed the file: memory follows the file.
        let size = self.size(file)?;
        let there = usize::try_from(size.saturating_sub(at)).unwrap_or(usize::MAX);
        let length = length.min(there);
        let mut buffer = Vec::with_capacity(length);
        while buffer.len() < length {
            let from = at + buffer.len() as u64;
            match rustix::io::pread(descriptor(file), spare_capacity(&mut buffer), from) {
                Ok(0) => break,
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(failed("pread")(errno)),
            }
        }
        // The capacity may be larger than what was asked for.
        buffer.truncate(length);
        Ok(buffer.into())
    }

    fn size(&self, file: &File) -> Result<u64, DiskError> {
        let status = fs::fstat(descriptor(file)).map_err(failed("fstat"))?;
        Ok(u64::try_from(status.st_size).unwrap_or(0))
    }

    fn sync(&self, file: &File) -> Result<(), DiskError> {
        fs::fdatasync(descriptor(file)).map_err(failed("fdatasync"))
    }

    fn forget_cached(&self, file: &File) -> Result<(), DiskError> {
        fs::fadvise(descriptor(file), 0, None, Advice::DontNeed).map_err(failed("fadvise"))
    }

    fn sync_folder(&self, path: &Path) -> Result<(), DiskError> {
        let folder = open(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        fs::fsync(descriptor(&folder)).map_err(failed("fsync"))
    }

    fn allocate(&self, file: &File, at: u64, length: u64) -> Result<(), DiskError> {
        match fs::fallocate(descriptor(file), FallocateFlags::empty(), at, length) {
            // Filesystems without reservation still grow the file, so that its size need not change later.
            Err(Errno::OPNOTSUPP) => self.set_length(file, (at + length).max(self.size(file)?)),
            result => result.map_err(failed("fallocate")),
        }
    }

    fn set_length(&self, file: &File, length: u64) -> Result<(), DiskError> {
        fs::ftruncate(descriptor(file), length).map_err(failed("ftruncate"))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        fs::rename(from, to).map_err(failed("rename"))
    }

    fn remove(&self, path: &Path) -> Result<(), DiskError> {
        fs::unlink(path).map_err(failed("unlink"))
    }

    fn create_folder(&self, path: &Path) -> Result<(), DiskError> {
        match fs::mkdir(path, Mode::RWXU | Mode::RGRP | Mode::XGRP) {
            Err(Errno::EXIST) if path.is_dir() => Ok(()),
            Err(Errno::EXIST) => Err(DiskError::NotAFolder),
            result => result.map_err(failed("mkdir")),
        }
    }

    fn remove_folder(&self, path: &Path) -> Result<(), DiskError> {
        fs::unlinkat(CWD, path, AtFlags::REMOVEDIR).map_err(failed("rmdir"))
    }

    fn list(&self, path: &Path) -> Result<Vec<FolderEntry>, DiskError> {
        let folder = open(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut entries = Vec::new();
        for entry in Dir::read_from(descriptor(&folder).as_fd()).map_err(failed("readdir"))? {
            let entry = entry.map_err(failed("readdir"))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                let is_folder = match entry.file_type() {
                    FileType::Unknown => path.join(&name).is_dir(),
                    kind => kind == FileType::Directory,
                };
                entries.push(FolderEntry { name, is_folder });
            }
        }
        entries.sort();
        Ok(entries)
    }

    fn space(&self, path: &Path) -> Result<Space, DiskError> {
        let status = fs::statvfs(path).map_err(failed("statvfs"))?;
        Ok(Space {
            free_bytes: status.f_bavail.saturating_mul(status.f_frsize),
            total_bytes: status.f_blocks.saturating_mul(status.f_frsize),
        })
    }
}

fn write_all(descriptor: &OwnedFd, at: u64, slices: &[Bytes]) -> Result<u64, DiskError> {
    let mut parts: Vec<IoSlice<'_>> = slices.iter().map(|slice| IoSlice::new(slice)).collect();
    let mut rest = parts.as_mut_slice();
    let mut written = 0;
    while rest.iter().any(|slice| !slice.is_empty()) {
        match rustix::io::pwritev(descriptor, rest, at + written) {
            Ok(0) => return Err(DiskError::NoSpace),
            Ok(count) => {
                written += count as u64;
                IoSlice::advance_slices(&mut rest, count);
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(failed("pwritev")(errno)),
        }
    }
    Ok(written)
}
