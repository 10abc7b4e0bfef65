//! When a server ends: at a signal, when stdin closes, or when it cannot go on. A second signal ends it at once.

use std::fmt;
use std::io::{self, Read};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::failure::Failure;

/// Why a server ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StopReason {
    /// Ctrl-C.
    Interrupt,
    /// What `kill` and service managers send.
    Terminate,
    /// Whoever started it has closed its stdin, or has ended.
    StdinClosed,
}

impl fmt::Display for StopReason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
            Self::StdinClosed => "stdin was closed",
        })
    }
}

/// Listens for the reasons to stop, from its creation on.
pub(crate) struct StopListener {
    interrupt: Signal,
    terminate: Signal,
    stdin_closed: Option<oneshot::Receiver<()>>,
}

impl StopListener {
    /// Begins to listen; must be called inside a runtime.
    ///
    /// # Errors
    /// When the operating system refuses signal handlers or a thread.
    pub(crate) fn new(until_stdin_closes: bool) -> Result<Self, Failure> {
        Self::listen(until_stdin_closes)
            .map_err(|error| Failure::because("cannot listen for signals", &error))
    }

    fn listen(until_stdin_closes: bool) -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            stdin_closed: until_stdin_closes.then(watch_stdin).transpose()?,
        })
    }

    /// Waits for the next reason; each is given once.
    pub(crate) async fn next(&mut self) -> StopReason {
        let stdin_closed = async {
            match &mut self.stdin_closed {
                // The watching thread only ends by telling.
                Some(closed) => closed.await.unwrap_or(()),
                None => std::future::pending().await,
            }
        };
        let reason = tokio::select! {
            _ = self.interrupt.recv() => StopReason::Interrupt,
            _ = self.terminate.recv() => StopReason::Terminate,
            () = stdin_closed => StopReason::StdinClosed,
        };
        if reason == StopReason::StdinClosed {
            self.stdin_closed = None;
        }
        reason
    }

    /// Waits for the next signal; that stdin closes is no further wish of who has wished for an end.
    pub(crate) async fn next_signal(&mut self) -> StopReason {
        loop {
            let reason = self.next().await;
            if reason != StopReason::StdinClosed {
                return reason;
            }
        }
    }
}

fn watch_stdin() -> io::Result<oneshot::Receiver<()>> {
    let (tell, closed) = oneshot::channel();
    std::thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(move || {
            let mut bytes = [0; 4096];
            let mut stdin = io::stdin().lock();
            // What is written to it means nothing; an error means as much as its end.
            while stdin.read(&mut bytes).is_ok_and(|count| count > 0) {}
            let _ = tell.send(());
        })?;
    Ok(closed)
}
