//! What the figures were measured on.

use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use rustix::fs::{major, minor, stat, statfs, statvfs};
use serde::Serialize;

/// Filesystems that keep nothing on a disk: `TMPFS_MAGIC` and `RAMFS_MAGIC` of linux/magic.h.
const MEMORY_FILESYSTEMS: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// The machine, as far as it matters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// Processor cores that may be used.
    pub cores: usize,
    /// The processor's name.
    pub processor: String,
    /// The kernel's version.
    pub kernel: String,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// The type of the filesystem that held the data.
    pub filesystem: String,
}

impl Machine {
    /// Returns what this machine is, with the filesystem of a folder.
    #[must_use]
    pub fn of_folder(folder: &Path) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let value = |text: &str, name: &str| {
            let mut lines = text.lines();
            let line = lines.find(|line| line.starts_with(name));
            let value = line.and_then(|line| line.split_once(':'));
            value.map_or_else(String::new, |(_, value)| value.trim().to_owned())
        };
        let memory = value(&read("/proc/meminfo"), "MemTotal");
        let memory = memory.split(' ').next().and_then(|kib| kib.parse().ok());
        Self {
            cores: std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            processor: value(&read("/proc/cpuinfo"), "model name"),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            memory_bytes: memory.map_or(0, |kib: u64| kib * 1024),
            filesystem: filesystem(folder, &read("/proc/self/mounts")),
        }
    }
}

/// Returns the type of the filesystem with the longest mount point that leads to the folder.
fn filesystem(folder: &Path, mounts: &str) -> String {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let fields = mounts.lines().map(|line| {
        let mut fields = line.split(' ').skip(1);
        (fields.next().unwrap_or(""), fields.next().unwrap_or(""))
    });
    let leading = fields.filter(|(point, _)| folder.starts_with(point));
    let nearest = leading.max_by_key(|(point, _)| point.len());
    nearest.map_or("unknown", |(_, kind)| kind).to_owned()
}

/// Returns the first folder that is on a disk and can be written to: that for temporary files, `/var/tmp`, the current
/// one. Where nothing is kept, a sync costs nothing and measures nothing.
///
/// # Errors
/// When there is none.
pub fn disk_folder() -> io::Result<PathBuf> {
    let candidates = [
        Some(std::env::temp_dir()),
        Some(PathBuf::from("/var/tmp")),
        std::env::current_dir().ok(),
    ];
    let mut folders = candidates.into_iter().flatten();
    let found = folders.find(|folder| is_on_disk(folder) && tempfile::tempdir_in(folder).is_ok());
    found.ok_or_else(|| io::Error::other("no folder for temporary files is on a disk"))
}

fn is_on_disk(folder: &Path) -> bool {
    statfs(folder).is_ok_and(|status| {
        let kind = u64::try_from(status.f_type).unwrap_or(0);
        !MEMORY_FILESYSTEMS.contains(&kind)
    })
}

/// Returns the free bytes of the filesystem of a folder.
///
/// # Errors
/// When it cannot be asked.
pub fn free_bytes(folder: &Path) -> io::Result<u64> {
    let status = statvfs(folder)?;
    Ok(status.f_bavail.saturating_mul(status.f_frsize))
}

/// Returns how often the cache of a folder's disk was flushed since the machine's start; `None` if the kernel does not
/// tell, as for filesystems that are on no one disk.
#[must_use]
pub fn disk_flushes(folder: &Path) -> Option<u64> {
    let device = stat(folder).ok()?.st_dev;
    let path = format!("/sys/dev/block/{}:{}/stat", major(device), minor(device));
    let statistics = fs::read_to_string(path).ok()?;
    // The sixteenth field: Documentation/block/stat.rst.
    statistics.split_whitespace().nth(15)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_point_counts() {
        let mounts = "/dev/a / ext4 rw 0 0\n/dev/b /usr xfs rw 0 0\nc /us btrfs rw 0 0\n";
        assert_eq!(filesystem(Path::new("/usr/bin"), mounts), "xfs");
        assert_eq!(filesystem(Path::new("/"), mounts), "ext4");
        assert_eq!(filesystem(Path::new("/"), ""), "unknown");
    }

    #[test]
    fn this_machine_is_known() {
        let folder = disk_folder().expect("a folder");
        let machine = Machine::of_folder(&folder);
        assert!(machine.cores > 0 && machine.memory_bytes > 0);
        assert!(!machine.kernel.is_empty() && !machine.filesystem.is_empty());
        assert!(free_bytes(&folder).expect("a disk") > 0);
    }
}
