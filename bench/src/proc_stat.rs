//! What the kernel counts for a process: processor time, what it wrote, and its sockets.

use std::fs;
use std::io;
use std::time::Duration;

use rustix::param::clock_ticks_per_second;

/// The counters of a process at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessCounters {
    /// Processor time of all its threads, user and system.
    pub processor: Duration,
    /// Bytes it caused to be written to disks.
    pub bytes_written: u64,
    /// Its calls that write.
    pub write_calls: u64,
}

impl ProcessCounters {
    /// Reads the counters of a process; its own are those of `std::process::id()`.
    ///
    /// # Errors
    /// When the process is gone, or `/proc` is not what it should be.
    pub fn read(process: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
        let odd = || io::Error::other("/proc is not as documented in proc(5)");
        let processor = processor_time(&stat).ok_or_else(odd)?;
        // Not readable without privileges in some containers; then it is not told.
        let io = fs::read_to_string(format!("/proc/{process}/io")).unwrap_or_default();
        Ok(Self {
            processor,
            bytes_written: field(&io, "write_bytes: "),
            write_calls: field(&io, "syscw: "),
        })
    }

    /// Returns what was counted since an earlier moment.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            processor: self.processor.saturating_sub(earlier.processor),
            bytes_written: self.bytes_written.saturating_sub(earlier.bytes_written),
            write_calls: self.write_calls.saturating_sub(earlier.write_calls),
        }
    }

    /// Adds what was counted in another period.
    pub fn add(&mut self, other: &Self) {
        self.processor += other.processor;
        self.bytes_written += other.bytes_written;
        self.write_calls += other.write_calls;
    }
}

/// Returns how many sockets a process holds.
///
/// # Errors
/// When the process is gone or not ours to look at.
pub fn sockets(process: u32) -> io::Result<u64> {
    let mut count = 0;
    for descriptor in fs::read_dir(format!("/proc/{process}/fd"))? {
        // One that was closed meanwhile leads nowhere.
        let leads_to = descriptor.and_then(|found| fs::read_link(found.path()));
        let is_socket =
            leads_to.is_ok_and(|to| to.as_os_str().as_encoded_bytes().starts_with(b"socket:"));
        count += u64::from(is_socket);
    }
    Ok(count)
}

/// Fields 14 and 15, counted behind the command, which may hold anything but a last `)`.
fn processor_time(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let ticks = user + system;
    Some(Duration::from_nanos(
        ticks * (1_000_000_000 / clock_ticks_per_second()),
    ))
}

fn field(text: &str, name: &str) -> u64 {
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(name));
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_any_command() {
        let stat = "7 (a) b (c)) S 1 1 1 0 -1 0 0 0 0 0 150 50 0 0 20 0";
        assert_eq!(processor_time(stat), Some(Duration::from_secs(2)));
        assert_eq!(processor_time("7 (a) S 1"), None);
    }

    #[test]
    fn sockets_of_this_process_are_counted() {
        let held: Vec<_> = (0..100)
            .map(|_| std::net::UdpSocket::bind("127.0.0.1:0").expect("a port"))
            .collect();
        assert!(sockets(std::process::id()).expect("proc") >= 100);
        drop(held);
        assert!(sockets(0).is_err());
    }

    #[test]
    fn work_of_this_process_is_counted() {
        let before = ProcessCounters::read(std::process::id()).expect("proc");
        let until = crate::clock::monotonic_ns() + 60_000_000;
        while crate::clock::monotonic_ns() < until {}
        let after = ProcessCounters::read(std::process::id()).expect("proc");
        assert!(after.since(&before).processor >= Duration::from_millis(20));
    }
}
