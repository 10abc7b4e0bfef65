//! The task that owns a connection's socket: writes what was handed over, matches answers, watches deadlines.
//!
//! Both directions keep their progress in themselves, so `select!` may drop either future at any time.

use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use keylane_protocol::header::ResponseHeader;
use tokio::time::{Instant, sleep_until};

use super::handshake::{Reader, Writer, broken, unreadable};
use super::{ConnectionError, Shared, Waiting};

pub(super) struct Halves {
    pub(super) reader: Reader,
    pub(super) writer: Writer,
}

/// Serves the connection until it breaks or its last handle is dropped.
pub(super) async fn run(shared: Arc<Shared>, mut halves: Halves) {
    let cause = tokio::select! {
        cause = serve(&shared, &mut halves) => cause,
        () = shared.end.cancelled() => ConnectionError::ShutDown,
    };
    tracing::debug!(broker = %shared.address, %cause, "connection ended");
    shared.fail(&cause);
}

async fn serve(shared: &Shared, halves: &mut Halves) -> ConnectionError {
    let Halves { reader, writer } = halves;
    // How many of the requests without an answer are in the writer's queue.
    let mut queued = 0;
    loop {
        let deadline = take_work(shared, writer, &mut queued);
        let is_writing = writer.queued_bytes() > 0;
        tokio::select! {
            biased;
            frame = reader.next_frame() => match frame {
                Ok(Some(frame)) => {
                    if let Err(cause) = answer_all(shared, reader, frame) {
                        return cause;
                    }
                }
                Ok(None) => return ConnectionError::Closed { address: shared.address() },
                Err(error) => return unreadable(&shared.address, error),
            },
            flushed = writer.flush(), if is_writing => match flushed {
                Ok(()) => written(shared, mem::take(&mut queued)),
                Err(error) => return broken(&shared.address, error),
            },
            () = shared.work.notified() => {}
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                if let Some(cause) = overdue(shared) {
                    return cause;
                }
            }
        }
    }
}

/// Moves what was handed over into the writer and returns when the first request must be done.
fn take_work(shared: &Shared, writer: &mut Writer, queued: &mut usize) -> Option<Instant> {
    let mut state = shared.lock();
    let outgoing = mem::take(&mut state.outgoing);
    *queued = state.unanswered.len();
    let deadline = state.first_due().map(|waiting| waiting.deadline);
    drop(state);
    if !outgoing.is_empty() {
        writer.queue(outgoing);
    }
    deadline
}

/// Reports the first `count` requests without an answer as done.
fn written(shared: &Shared, count: usize) {
    let done: Vec<Waiting> = shared.lock().unanswered.drain(..count).collect();
    for waiting in done {
        (waiting.on_answer)(Ok(Bytes::new()));
    }
}

/// Answers the request of a frame and of all other frames that have arrived.
fn answer_all(shared: &Shared, reader: &mut Reader, first: Bytes) -> Result<(), ConnectionError> {
    let mut next = Some(first);
    while let Some(frame) = next {
        answer(shared, frame)?;
        let buffered = reader.buffered_frame();
        next = buffered.map_err(|error| unreadable(&shared.address, error))?;
    }
    Ok(())
}

fn answer(shared: &Shared, frame: Bytes) -> Result<(), ConnectionError> {
    let malformed = |reason: String| ConnectionError::Malformed {
        address: shared.address(),
        reason,
    };
    let header = ResponseHeader::peek(&frame).map_err(|error| malformed(error.to_string()))?;
    let waiting = shared.lock().waiting.take(header.correlation_id);
    let waiting = waiting.ok_or_else(|| {
        malformed(format!(
            "nothing was asked with correlation id {}",
            header.correlation_id
        ))
    })?;
    (waiting.on_answer)(Ok(frame));
    Ok(())
}

fn overdue(shared: &Shared) -> Option<ConnectionError> {
    let state = shared.lock();
    let first = state.first_due()?;
    (first.deadline <= Instant::now()).then(|| ConnectionError::RequestTimedOut {
        address: shared.address(),
        api: first.api,
        after: first.timeout,
    })
}
