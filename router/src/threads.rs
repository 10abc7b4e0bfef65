//! The one place that makes operating-system threads: a current-thread runtime on each of its own.
//!
//! What runs on a runtime shares its state without locks, so its futures stay on their thread.

use std::future::Future;
use std::io;
use std::thread::{self, JoinHandle};

use tokio::sync::{mpsc, oneshot};
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

/// Asks a runtime whether it still turns.
#[derive(Clone, Debug)]
pub(crate) struct Pulse(mpsc::Sender<oneshot::Sender<()>>);

impl Pulse {
    /// Returns a pulse, and what answers it as long as it runs.
    pub(crate) fn new() -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (ask, mut asked) = mpsc::channel::<oneshot::Sender<()>>(1);
        let answering = async move {
            while let Some(answer) = asked.recv().await {
                // Who asked may have waited long enough.
                let _ = answer.send(());
            }
        };
        (Self(ask), answering)
    }

    /// Waits until the runtime has answered, or has ended.
    pub(crate) async fn felt(&self) {
        let (answer, answered) = oneshot::channel();
        if self.0.send(answer).await.is_ok() {
            let _ = answered.await;
        }
    }
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
