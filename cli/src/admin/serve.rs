//! The sockets of the admin port: one request on each connection, then it is closed.
//!
//! At the bound of connections the oldest is given up, so that whoever is slow costs only itself.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::pages::{Answer, Pages};
use super::request::{Asked, HEAD_BYTES_MAX, Refused, head, read};

/// The most connections at once.
const CONNECTIONS_MAX: usize = 16;

/// The head of a request must be there by then.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// An answer must have been taken by then.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// So long, and for so many bytes, the rest of what a client sends is read and dropped: closed with bytes unread, a
/// connection is reset, and the client may lose the answer.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
const DRAIN_BYTES_MAX: u64 = 64 * 1024;

/// How long to wait after accepting failed, which it does when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves as long as the process runs.
pub(super) async fn serve(listener: TcpListener, pages: Arc<Pages>) {
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                debug!(%error, "a connection to the admin port could not be accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        open.retain(|connection| !connection.is_finished());
        if open.len() == CONNECTIONS_MAX
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
        let pages = Arc::clone(&pages);
        let connection = tokio::spawn(async move {
            if let Err(error) = answer(stream, &pages).await {
                debug!(%error, "a connection to the admin port was lost");
            }
        });
        open.push_back(connection.abort_handle());
    }
}

/// Reads one request and answers it.
async fn answer(mut stream: TcpStream, pages: &Pages) -> io::Result<()> {
    let asked = match timeout(REQUEST_TIMEOUT, receive(&mut stream)).await {
        Ok(received) => match received? {
            Some(asked) => asked,
            None => return Ok(()),
        },
        Err(_) => Err(Refused::TimedOut),
    };
    let (answer, is_head) = match asked {
        Ok(asked) => (pages.answer(asked.page).await, asked.is_head),
        Err(refused) => (Answer::refusal(refused), false),
    };
    let sent = timeout(ANSWER_TIMEOUT, send(&mut stream, &answer, is_head)).await;
    sent.unwrap_or(Err(io::ErrorKind::TimedOut.into()))?;
    drop(answer);
    let mut rest = stream.take(DRAIN_BYTES_MAX);
    let mut nowhere = tokio::io::sink();
    let drained = tokio::io::copy(&mut rest, &mut nowhere);
    // Whether the client closes is its own affair.
    let _ = timeout(DRAIN_TIMEOUT, drained).await;
    Ok(())
}

/// Waits for the head of a request; `None` if the client goes before.
async fn receive(stream: &mut TcpStream) -> io::Result<Option<Result<Asked, Refused>>> {
    let mut arrived = Vec::with_capacity(1024);
    loop {
        let left = HEAD_BYTES_MAX.saturating_sub(arrived.len());
        let mut limited = (&mut *stream).take(u64::try_from(left).unwrap_or(0));
        if limited.read_buf(&mut arrived).await? == 0 {
            return Ok(None);
        }
        match read(&arrived) {
            Ok(None) => {}
            Ok(Some(asked)) => return Ok(Some(Ok(asked))),
            Err(refused) => return Ok(Some(Err(refused))),
        }
    }
}

async fn send(stream: &mut TcpStream, answer: &Answer, is_head: bool) -> io::Result<()> {
    let head = head(answer.status, answer.content_type, answer.body.len());
    stream.write_all(head.as_bytes()).await?;
    if !is_head {
        stream.write_all(answer.body.as_bytes()).await?;
    }
    stream.shutdown().await
}
