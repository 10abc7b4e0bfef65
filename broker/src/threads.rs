//! The one place that makes operating-system threads and waits for them: a current-thread runtime on each of its own,
//! blocking work beside them, and the flag that says why the broker failed.

use std::future::Future;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// Runs blocking work on a thread of its own.
pub(crate) fn spawn(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(work)
}

/// Runs a future and what it spawns on a current-thread runtime on a thread of its own; when the future ends, what it
/// spawned is dropped.
pub(crate) fn spawn_runtime(
    name: &str,
    main: impl Future<Output = ()> + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    spawn(name, move || runtime.block_on(main))
}

/// Runs a future as [`spawn_runtime`] does, and when the runtime with all it held is gone, blocking work on the same
/// thread.
pub(crate) fn spawn_runtime_then(
    name: &str,
    main: impl Future<Output = ()> + Send + 'static,
    then: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    spawn(name, move || {
        runtime.block_on(main);
        drop(runtime);
        then();
    })
}

/// Waits on this thread, which must not be a runtime's, for something that needs neither timers nor sockets.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime without drivers needs nothing of the system");
    runtime.block_on(future)
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

/// Returns how many runtimes to run where none are configured: half of the cores, so that disk and clients have theirs.
pub(crate) fn default_runtimes() -> usize {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    (cores / 2).max(1)
}

/// Says once, to everybody who waits, that the broker failed or was stopped.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ending {
    shared: Arc<(Mutex<EndingState>, Condvar)>,
}

#[derive(Debug, Default)]
struct EndingState {
    ended: bool,
    failure: Option<String>,
}

impl Ending {
    /// Notes a failure; only the first counts.
    pub(crate) fn fail(&self, reason: String) {
        let mut state = self.lock();
        if !state.ended {
            state.ended = true;
            state.failure = Some(reason);
        }
        self.shared.1.notify_all();
    }

    /// Notes that the broker was stopped as it was asked to.
    pub(crate) fn stop(&self) {
        self.lock().ended = true;
        self.shared.1.notify_all();
    }

    /// Blocks until either; returns the failure if it was one.
    pub(crate) fn wait(&self) -> Option<String> {
        let mut state = self.lock();
        while !state.ended {
            state = self
                .shared
                .1
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.failure.clone()
    }

    /// Returns the failure so far.
    pub(crate) fn failure(&self) -> Option<String> {
        self.lock().failure.clone()
    }

    fn lock(&self) -> MutexGuard<'_, EndingState> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
