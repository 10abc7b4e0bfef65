//! The one place that makes operating-system threads: a current-thread runtime on each of its own.
//!
//! What runs on a runtime shares its state without locks, so its futures stay on their thread.

use std::future::Future;
use std::io;
use std::thread::{self, JoinHandle};

use tokio::task::LocalSet;

/// Runs a future and what it spawns on a thread of its own; when the future ends, what it spawned is dropped.
pub(crate) fn spawn_runtime<F: Future<Output = ()>>(
    name: &str,
    main: impl FnOnce() -> F + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || LocalSet::new().block_on(&runtime, async { main().await }))
}

/// Waits for threads to end. A panic in any of them has ended the process already.
pub(crate) fn join(threads: Vec<JoinHandle<()>>) {
    for thread in threads {
        let name = thread.thread().name().unwrap_or_default().to_owned();
        if thread.join().is_err() {
            tracing::error!(thread = name, "a thread panicked");
        }
    }
}

/// Returns how many runtimes to run where none are configured: half of the cores, so that brokers and clients on the
/// same machine have theirs.
pub(crate) fn default_runtimes() -> usize {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    (cores / 2).max(1)
}
