//! Writes frames: everything that waits goes out in as few vectored writes as possible, without being copied.
//!
//! The queue is not bounded here: who queues must wait for [`FrameWriter::flush`], or hold
//! [`FrameWriter::queued_bytes`] against a limit of its own.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::limits::WRITE_SLICES_MAX;

/// Writes frames to a connection.
#[derive(Debug)]
pub struct FrameWriter<W> {
    writer: W,
    queue: VecDeque<Bytes>,
    queued_bytes: usize,
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    /// Returns a writer with an empty queue.
    pub fn new(writer: W) -> Self {
        Self {
            writer,
            queue: VecDeque::new(),
            queued_bytes: 0,
        }
    }

    /// Adds a frame, as built by `frame::request_frame` or `frame::response_frame`, to what the next flush writes.
    pub fn queue(&mut self, segments: Vec<Bytes>) {
        for segment in segments {
            if !segment.is_empty() {
                self.queued_bytes += segment.len();
                self.queue.push_back(segment);
            }
        }
    }

    /// Returns the number of bytes that are queued and not written yet.
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Writes everything that is queued. Dropping the future leaves the rest queued, from the right byte on.
    ///
    /// # Errors
    /// When the connection fails or takes no more bytes. It must then be given up.
    pub async fn flush(&mut self) -> io::Result<()> {
        while !self.queue.is_empty() {
            match self.write_once().await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => self.advance(written),
            }
        }
        self.writer.flush().await
    }

    /// Tells the peer that nothing follows, after [`FrameWriter::flush`].
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn shutdown(&mut self) -> io::Result<()> {
        self.writer.shutdown().await
    }

    async fn write_once(&mut self) -> io::Result<usize> {
        let Self { writer, queue, .. } = self;
        let waiting = queue.iter().take(WRITE_SLICES_MAX);
        let slices: Vec<IoSlice<'_>> = waiting.map(|segment| IoSlice::new(segment)).collect();
        poll_fn(|context| Pin::new(&mut *writer).poll_write_vectored(context, &slices)).await
    }

    fn advance(&mut self, mut written: usize) {
        self.queued_bytes -= written;
        while let Some(first) = self.queue.front_mut() {
            if written < first.len() {
                first.advance(written);
                return;
            }
            written -= first.len();
            self.queue.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;
