//! Reads frames: one large read for many small frames, a buffer of its own for each large one, none while idle.
//!
//! ```text
//! idle      owns no buffer; the first bytes land on the stack and are then copied, 4 KiB at most, 16 KiB if they were many
//! shared    64 KiB buffer; frames are slices of it, so many frames cost one system call and no copy
//! own       a frame above 32 KiB; read straight into a buffer of its length, grown as bytes arrive
//! ```
//! A length is checked before anything is allocated for it. Bytes that were read are never lost: every state is in
//! the reader, and a future that is dropped was waiting for the socket only.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use crate::frame::{FrameSplitter, InvalidFrameLength, LENGTH_PREFIX_BYTES};
use crate::limits::{
    FRAME_BUFFER_BYTES_FIRST, FRAME_SHARED_BYTES_MAX, READ_BUFFER_BYTES, READ_FIRST_BYTES,
    READ_FIRST_BYTES_MAX, READ_ROOM_BYTES_MIN,
};

/// Why no further frame can be read from a connection.
#[derive(Debug, thiserror::Error)]
pub enum ReadFrameError {
    /// The socket failed.
    #[error("the connection failed")]
    Io(#[from] io::Error),
    /// The peer announced a frame that is not taken.
    #[error(transparent)]
    InvalidLength(#[from] InvalidFrameLength),
    /// The peer closed the connection in the middle of a frame.
    #[error("the connection was closed in the middle of a frame, after {received} of its bytes")]
    ClosedInFrame {
        /// Bytes of the frame that arrived, its length prefix included.
        received: usize,
    },
}

/// Reads frames from a connection.
#[derive(Debug)]
pub struct FrameReader<R> {
    reader: R,
    shared: FrameSplitter,
    own: Option<OwnFrame>,
    /// How much is read by way of the stack.
    first_bytes: usize,
}

/// A large frame that is being read into its own buffer.
#[derive(Debug)]
struct OwnFrame {
    buffer: Vec<u8>,
    length: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Returns a reader that takes frames of up to `length_max` bytes, length prefix not counted.
    pub fn new(reader: R, length_max: usize) -> Self {
        Self {
            reader,
            shared: FrameSplitter::new(length_max),
            own: None,
            first_bytes: READ_FIRST_BYTES,
        }
    }

    /// Changes the longest frame taken, for instance after the peer has authenticated. Frames whose length was
    /// looked at already are not affected.
    pub fn set_length_max(&mut self, length_max: usize) {
        self.shared.set_length_max(length_max);
    }

    /// Returns the bytes that have arrived and belong to no frame returned yet.
    pub fn buffered_bytes(&self) -> usize {
        let own = self.own.as_ref().map_or(0, |own| own.buffer.len());
        own + self.shared.buffer.len()
    }

    /// Returns the next frame if it has arrived whole, without reading from the connection. A caller that drains
    /// frames after one wake-up uses this after [`FrameReader::next_frame`].
    ///
    /// # Errors
    /// When the length of the next frame is not taken.
    pub fn buffered_frame(&mut self) -> Result<Option<Bytes>, ReadFrameError> {
        if self.own.is_some() {
            return Ok(None);
        }
        Ok(self.shared.next_frame()?)
    }

    /// Waits for the next frame and returns it without its length prefix; `None` if the peer closed the connection
    /// after a whole frame. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When the connection fails, closes within a frame, or announces a length that is not taken. The connection
    /// must then be given up.
    pub async fn next_frame(&mut self) -> Result<Option<Bytes>, ReadFrameError> {
        loop {
            if let Some(frame) = self.take_own_frame() {
                return Ok(Some(frame));
            }
            if let Some(frame) = self.buffered_frame()? {
                return Ok(Some(frame));
            }
            self.start_own_frame()?;
            if self.read().await? == 0 {
                return self.closed();
            }
        }
    }

    fn closed(&self) -> Result<Option<Bytes>, ReadFrameError> {
        let prefix = self.own.as_ref().map_or(0, |_| LENGTH_PREFIX_BYTES);
        match prefix + self.buffered_bytes() {
            0 => Ok(None),
            received => Err(ReadFrameError::ClosedInFrame { received }),
        }
    }

    fn take_own_frame(&mut self) -> Option<Bytes> {
        let is_whole = |own: &mut OwnFrame| own.buffer.len() == own.length;
        let own = self.own.take_if(is_whole)?;
        Some(own.buffer.into())
    }

    /// Moves to a buffer of its own if the next frame, which has not arrived whole, is large.
    fn start_own_frame(&mut self) -> Result<(), ReadFrameError> {
        if self.own.is_some() {
            return Ok(());
        }
        let Some(length) = self.shared.next_length()? else {
            return Ok(());
        };
        if length > FRAME_SHARED_BYTES_MAX {
            // What of it is read by way of the stack is copied once more.
            self.first_bytes = READ_FIRST_BYTES;
            let mut arrived = std::mem::take(&mut self.shared.buffer);
            arrived.advance(LENGTH_PREFIX_BYTES);
            let capacity = length.min(FRAME_BUFFER_BYTES_FIRST).max(arrived.len());
            let mut buffer = Vec::with_capacity(capacity);
            buffer.extend_from_slice(&arrived);
            self.own = Some(OwnFrame { buffer, length });
        }
        Ok(())
    }

    /// Reads once into the buffer that is due and returns the number of bytes; 0 at the end of the stream.
    async fn read(&mut self) -> io::Result<usize> {
        if let Some(own) = &mut self.own {
            own.make_room();
            let room = own.buffer.capacity().min(own.length) - own.buffer.len();
            let mut target = (&mut own.buffer).limit(room);
            return self.reader.read_buf(&mut target).await;
        }
        let buffer = &mut self.shared.buffer;
        if buffer.is_empty() {
            return self.read_first().await;
        }
        if buffer.capacity() - buffer.len() < READ_ROOM_BYTES_MIN {
            buffer.reserve(READ_BUFFER_BYTES);
        }
        self.reader.read_buf(buffer).await
    }

    /// Reads what an idle connection begins with by way of the stack, so that waiting needs no buffer.
    async fn read_first(&mut self) -> io::Result<usize> {
        self.shared.buffer = BytesMut::new();
        let Self {
            reader,
            shared,
            first_bytes,
            ..
        } = self;
        poll_fn(|context| {
            let mut stack = [MaybeUninit::uninit(); READ_FIRST_BYTES_MAX];
            let mut first = ReadBuf::uninit(&mut stack[..*first_bytes]);
            let polled = Pin::new(&mut *reader).poll_read(context, &mut first);
            polled.map_ok(|()| {
                shared.buffer.extend_from_slice(first.filled());
                if first.remaining() == 0 {
                    *first_bytes = READ_FIRST_BYTES_MAX;
                }
                first.filled().len()
            })
        })
        .await
    }
}

impl OwnFrame {
    /// Grows a full buffer to twice its size, at most to the frame's length.
    fn make_room(&mut self) {
        if self.buffer.len() == self.buffer.capacity() {
            let missing = self.length - self.buffer.len();
            let more = self.buffer.len().clamp(1, missing);
            self.buffer.reserve_exact(more);
        }
    }
}

#[cfg(test)]
mod tests;
