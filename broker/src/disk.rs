//! The disk seam: what a data folder asks of a filesystem, blocking, positional, whole or an error.
//!
//! [`real`] is the machine's filesystem. [`simulated`] forgets what was not synced, tears it sector by sector, fails
//! and fills up on demand; recovery is tested on it. Nothing above this module touches a file in any other way.
//! No operation is ever retried here: after a failed write or sync nobody knows what the disk holds.

pub mod real;
pub mod simulated;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

/// Why a disk did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    /// The filesystem is full.
    #[error("no space is left on the device")]
    NoSpace,
    /// There is no such file or folder.
    #[error("no such file or folder")]
    NotFound,
    /// Another process holds the lock.
    #[error("it is locked by another process")]
    Locked,
    /// The process lacks the right, or the filesystem is mounted for reading only.
    #[error("{operation} is not permitted: {}", std::io::Error::from_raw_os_error(*errno))]
    NotPermitted {
        /// What was tried.
        operation: &'static str,
        /// The error's number.
        errno: i32,
    },
    /// Something that is not a folder is in a folder's place.
    #[error("it is not a folder")]
    NotAFolder,
    /// The process, or the machine, has no descriptor left to open files with.
    #[error("too many files are open: raise the limit of open files (`ulimit -n`)")]
    TooManyFiles,
    /// The handle belongs to a machine that has lost power since (simulation only).
    #[error("the machine has lost power")]
    PoweredOff,
    /// The operating system reports an error.
    #[error("{operation} failed: {}", std::io::Error::from_raw_os_error(*errno))]
    Failed {
        /// What was tried.
        operation: &'static str,
        /// The error's number.
        errno: i32,
    },
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// The file must exist and is only read.
    Read,
    /// The file must exist.
    Write,
    /// The file is created, or emptied if it exists.
    Create,
}

/// An open file; clones share it, the last one closes it.
#[derive(Clone, Debug)]
pub struct File(Arc<Handle>);

#[derive(Debug)]
enum Handle {
    Real(std::os::fd::OwnedFd),
    Simulated(simulated::SimulatedFile),
}

/// An entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FolderEntry {
    /// The entry's name.
    pub name: String,
    /// Whether it is a folder.
    pub is_folder: bool,
}

/// Room on a filesystem, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// What may still be written.
    pub free_bytes: u64,
    /// What the filesystem holds when empty.
    pub total_bytes: u64,
}

/// Blocking, positional, whole-or-error access to a filesystem.
pub trait Disk: Send + Sync {
    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> Result<File, DiskError>;

    /// Opens or creates a file and locks it against other processes for as long as the returned handle lives.
    fn lock(&self, path: &Path) -> Result<File, DiskError>;

    /// Writes all slices one after the other from byte `at` on.
    fn write(&self, file: &File, at: u64, slices: &[Bytes]) -> Result<(), DiskError>;

    /// Returns up to `length` bytes from byte `at` on; fewer only at the end of the file.
    fn read(&self, file: &File, at: u64, length: usize) -> Result<Bytes, DiskError>;

    /// Returns the file's size in bytes, which says nothing about how much of it was written.
    fn size(&self, file: &File) -> Result<u64, DiskError>;

    /// Makes the file's contents durable (`fdatasync`).
    fn sync(&self, file: &File) -> Result<(), DiskError>;

    /// Lets go of what memory holds of the file's synced contents, so that reads show what the disk holds.
    fn forget_cached(&self, file: &File) -> Result<(), DiskError>;

    /// Makes the creation, renaming and removal of a folder's entries durable.
    fn sync_folder(&self, path: &Path) -> Result<(), DiskError>;

    /// Reserves `length` bytes from byte `at` on, reading as zeros; the size grows.
    fn allocate(&self, file: &File, at: u64, length: u64) -> Result<(), DiskError>;

    /// Cuts or extends the file to `length` bytes.
    fn set_length(&self, file: &File, length: u64) -> Result<(), DiskError>;

    /// Renames a file, replacing what has the new name.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> Result<(), DiskError>;

    /// Creates a folder; it may exist, its parent must.
    fn create_folder(&self, path: &Path) -> Result<(), DiskError>;

    /// Removes an empty folder.
    fn remove_folder(&self, path: &Path) -> Result<(), DiskError>;

    /// Returns a folder's entries in order of their names.
    fn list(&self, path: &Path) -> Result<Vec<FolderEntry>, DiskError>;

    /// Returns the room on the filesystem that holds the path.
    fn space(&self, path: &Path) -> Result<Space, DiskError>;
}

/// Reads a whole small file.
///
/// # Errors
/// When the file is missing, larger than `bytes_max`, or cannot be read.
pub fn read_small(disk: &dyn Disk, path: &Path, bytes_max: u64) -> Result<Bytes, DiskError> {
    let file = disk.open(path, OpenMode::Read)?;
    let size = disk.size(&file)?;
    if size > bytes_max {
        return Err(DiskError::Failed {
            operation: "reading a file of unlawful size",
            errno: 27,
        });
    }
    disk.read(
        &file,
        0,
        usize::try_from(size).expect("a small file fits in memory"),
    )
}

/// Writes a small file so that a crash leaves the old contents or the new, and syncs it with its folder.
///
/// # Errors
/// When any step fails; the old contents are then still there, or the new are.
pub fn replace_small(
    disk: &dyn Disk,
    folder: &Path,
    name: &str,
    contents: Bytes,
) -> Result<(), DiskError> {
    let temporary = folder.join(format!("{name}.new"));
    let file = disk.open(&temporary, OpenMode::Create)?;
    disk.write(&file, 0, &[contents])?;
    disk.sync(&file)?;
    disk.rename(&temporary, &folder.join(name))?;
    disk.sync_folder(folder)
}
