//! What the machine gives without any broker: a lone fdatasync, and a round trip over the loopback interface. One record
//! in flight cannot be faster than both together.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::fs::{FallocateFlags, fallocate, fdatasync};
use rustix::io::pwrite;

use crate::clock::{monotonic_ns, nanoseconds};
use crate::latency::Latencies;

/// The probe's file, allocated ahead as a broker's log is.
const FILE_BYTES: u64 = 16 * 1024 * 1024;

/// Bytes of an acknowledgement.
const ANSWER_BYTES: usize = 64;

/// Writes `bytes` and syncs them, again and again for a while, each behind the last, in a file in `folder`.
///
/// # Errors
/// When the file cannot be made, written or synced.
pub fn probe_fdatasync(folder: &Path, bytes: usize, duration: Duration) -> io::Result<Latencies> {
    let path = folder.join("probe.log");
    let mut options = File::options();
    let file = options
        .write(true)
        .create(true)
        .truncate(true)
        .open(&path)?;
    fallocate(&file, FallocateFlags::empty(), 0, FILE_BYTES)?;
    file.sync_all()?;
    let data = vec![0x5a; bytes];
    let mut latencies = Latencies::new();
    let end = monotonic_ns() + nanoseconds(duration);
    let mut position = 0;
    loop {
        let start = monotonic_ns();
        if start >= end {
            break;
        }
        let written = pwrite(&file, &data, position)?;
        fdatasync(&file)?;
        latencies.record(monotonic_ns() - start);
        position += written as u64;
        if position + bytes as u64 > FILE_BYTES {
            position = 0;
        }
    }
    drop(file);
    std::fs::remove_file(path)?;
    Ok(latencies)
}

/// Sends `bytes` to another thread, which answers with as many as an acknowledgement has, again and again for a while.
///
/// # Errors
/// When the loopback interface cannot be used.
///
/// # Panics
/// When the answering thread has panicked.
pub fn probe_round_trip(bytes: usize, duration: Duration) -> io::Result<Latencies> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut stream = TcpStream::connect(listener.local_addr()?)?;
    let (mut peer, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    peer.set_nodelay(true)?;
    let answering = thread::Builder::new().name("round trip".to_owned());
    let answering = answering.spawn(move || {
        let mut request = vec![0; bytes];
        while peer.read_exact(&mut request).is_ok() {
            if peer.write_all(&[1; ANSWER_BYTES]).is_err() {
                break;
            }
        }
    })?;
    let request = vec![2; bytes];
    let mut answer = [0; ANSWER_BYTES];
    let mut latencies = Latencies::new();
    let end = monotonic_ns() + nanoseconds(duration);
    loop {
        let start = monotonic_ns();
        if start >= end {
            break;
        }
        stream.write_all(&request)?;
        stream.read_exact(&mut answer)?;
        latencies.record(monotonic_ns() - start);
    }
    drop(stream);
    answering.join().expect("the answering thread only ends");
    Ok(latencies)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_probes_measure_and_clean_up() {
        let folder = tempfile::tempdir().expect("a folder");
        let duration = Duration::from_millis(50);
        let syncs = probe_fdatasync(folder.path(), 1_100, duration).expect("a disk");
        assert!(syncs.count() > 0);
        assert_eq!(folder.path().read_dir().expect("a folder").count(), 0);
        let trips = probe_round_trip(1_100, duration).expect("a loopback");
        assert!(trips.count() > 10);
    }
}
