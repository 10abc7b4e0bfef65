//! A socket that is read only while there is room for requests that have not arrived whole.
//!
//! The beginning of a request is always read; a large one takes chunks of a budget that all connections share, so that
//! half-sent requests cannot fill the memory. Whoever holds chunks must finish within the receive timeout.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::PollSemaphore;

/// So many bytes of a request that has not arrived whole are always read.
const RECEIVE_FREE_BYTES: usize = 256 << 10;

/// What a request that has not arrived whole takes at a time from the budget of all connections.
const RECEIVE_CHUNK_BYTES: usize = 1 << 20;

/// The chunks that all connections share.
#[derive(Clone, Debug)]
pub struct ReceiveBudget {
    chunks: Arc<Semaphore>,
}

/// The bytes of a connection that belong to no whole request; set by who reads requests, after each.
pub type Unfinished = Arc<AtomicUsize>;

/// The metered socket.
#[derive(Debug)]
pub struct Metered<R> {
    reader: R,
    chunks: PollSemaphore,
    held: Vec<OwnedSemaphorePermit>,
    unfinished: Unfinished,
}

impl ReceiveBudget {
    /// Returns a budget of so many bytes, at least one chunk.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        let chunks = bytes_max.div_ceil(RECEIVE_CHUNK_BYTES).max(1);
        Self {
            chunks: Arc::new(Semaphore::new(chunks)),
        }
    }
}

impl<R> Metered<R> {
    /// Returns the socket, metered.
    pub fn new(reader: R, budget: &ReceiveBudget, unfinished: Unfinished) -> Self {
        Self {
            reader,
            chunks: PollSemaphore::new(Arc::clone(&budget.chunks)),
            held: Vec::new(),
            unfinished,
        }
    }

    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let unfinished = self.unfinished.load(Ordering::Relaxed);
        let needed = unfinished
            .saturating_sub(RECEIVE_FREE_BYTES)
            .div_ceil(RECEIVE_CHUNK_BYTES);
        self.held.truncate(needed);
        while self.held.len() < needed {
            match ready!(self.chunks.poll_acquire(context)) {
                Some(chunk) => self.held.push(chunk),
                None => break,
            }
        }
        Poll::Ready(())
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Metered<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_room(context));
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.reader).poll_read(context, buffer))?;
        let read = buffer.filled().len() - before;
        self.unfinished.fetch_add(read, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncReadExt;
    use tokio::time::timeout;

    use super::*;

    async fn read_all(socket: &mut Metered<&[u8]>) -> bool {
        let mut sink = vec![0; socket.reader.len()];
        timeout(Duration::from_millis(10), socket.read_exact(&mut sink))
            .await
            .is_ok()
    }

    #[tokio::test]
    async fn large_unfinished_requests_share_the_budget_and_small_ones_need_none() {
        let budget = ReceiveBudget::new(RECEIVE_CHUNK_BYTES);
        let large = vec![0; RECEIVE_FREE_BYTES + RECEIVE_CHUNK_BYTES];
        let small = vec![0; RECEIVE_FREE_BYTES];
        let mut first = Metered::new(large.as_slice(), &budget, Unfinished::default());
        let first_unfinished = Arc::clone(&first.unfinished);
        assert!(read_all(&mut first).await);
        // Its next read takes the only chunk; what is read may pass the mark by one read.
        let mut one = [0];
        assert_eq!(
            first
                .read_buf(&mut one.as_mut_slice())
                .await
                .expect("the end"),
            0
        );
        let mut second = Metered::new(large.as_slice(), &budget, Unfinished::default());
        assert!(read_all(&mut second).await, "one read may be that large");
        assert!(
            timeout(
                Duration::from_millis(10),
                second.read_buf(&mut one.as_mut_slice())
            )
            .await
            .is_err(),
            "no chunk is left"
        );
        let mut third = Metered::new(small.as_slice(), &budget, Unfinished::default());
        assert!(read_all(&mut third).await);
        first_unfinished.store(0, Ordering::Relaxed);
        let _ = first.read_buf(&mut one.as_mut_slice()).await;
        assert!(second.read_buf(&mut one.as_mut_slice()).await.is_ok());
    }
}
