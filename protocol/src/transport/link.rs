//! Frames of the internal link over sockets: a reader, a writer that an outbox fills, and the handshake of both ends.
//!
//! Nothing is decided here: what is sent when is the [`Outbox`]'s, what arrives is put together by
//! [`crate::link::Inbox`]. Both ends keep their progress in themselves, so that dropping a future of theirs loses
//! nothing, except for the handshakes. Timeouts are the caller's.

use std::io;
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite};

use super::{FrameReader, FrameWriter, ReadFrameError};
use crate::link::handshake::{Hello, Refused, UnfitWelcome, Welcome, answer};
use crate::link::limits::{HANDSHAKE_FRAME_BYTES_MAX, LINK_FRAME_BYTES_MAX, WRITE_BYTES_AHEAD};
use crate::link::{Frame, FrameError, Outbox};
use crate::primitive::EncodeError;

/// Why no further frame of a link can be read; it must be closed.
#[derive(Debug, thiserror::Error)]
pub enum ReadLinkError {
    /// The connection failed, or the peer announced a frame that is not taken.
    #[error(transparent)]
    Read(#[from] ReadFrameError),
    /// What arrived is no frame of the link.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// Why a link did not come about.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// No frame could be read.
    #[error(transparent)]
    Read(#[from] ReadLinkError),
    /// No frame could be written.
    #[error("the connection failed")]
    Io(#[from] io::Error),
    /// What this side has to say is too long.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The peer closed the connection instead.
    #[error("the peer closed the connection during the handshake")]
    Closed,
    /// The peer sent something else.
    #[error("the peer sent a frame {name} during the handshake")]
    Unexpected {
        /// The frame's kind.
        name: &'static str,
    },
    /// The listener refused the link.
    #[error("the link was refused: {}", .0.words)]
    Refused(Refused),
    /// This listener refused the link.
    #[error("refused a link: {}", .0.words)]
    HasRefused(Refused),
    /// The listener's answer does not fit.
    #[error(transparent)]
    Unfit(#[from] UnfitWelcome),
}

/// Reads frames of a link.
#[derive(Debug)]
pub struct LinkReader<R> {
    reader: FrameReader<R>,
}

impl<R: AsyncRead + Unpin> LinkReader<R> {
    /// Returns a reader that takes short frames only, until the handshake is over.
    pub fn new(reader: R) -> Self {
        Self {
            reader: FrameReader::new(reader, HANDSHAKE_FRAME_BYTES_MAX),
        }
    }

    /// Waits for the next frame; `None` if the peer closed the connection after a whole one. Dropping the future loses
    /// nothing.
    ///
    /// # Errors
    /// When the connection fails or what arrives is no frame.
    pub async fn next(&mut self) -> Result<Option<Frame>, ReadLinkError> {
        let bytes = self.reader.next_frame().await?;
        Ok(bytes.map(Frame::decode).transpose()?)
    }

    /// Returns the next frame if it has arrived whole, without reading from the connection.
    ///
    /// # Errors
    /// When what has arrived is no frame.
    pub fn buffered(&mut self) -> Result<Option<Frame>, ReadLinkError> {
        let bytes = self.reader.buffered_frame()?;
        Ok(bytes.map(Frame::decode).transpose()?)
    }

    /// Returns the bytes of a frame that has arrived in part; that they grow is a sign of life.
    pub fn buffered_bytes(&self) -> usize {
        self.reader.buffered_bytes()
    }

    async fn handshake(&mut self) -> Result<Frame, HandshakeError> {
        self.next().await?.ok_or(HandshakeError::Closed)
    }
}

/// Writes frames of a link.
#[derive(Debug)]
pub struct LinkWriter<W> {
    writer: FrameWriter<W>,
}

impl<W: AsyncWrite + Unpin> LinkWriter<W> {
    /// Returns a writer with nothing to write.
    pub fn new(writer: W) -> Self {
        Self {
            writer: FrameWriter::new(writer),
        }
    }

    /// Takes frames from the outbox until enough wait for one write, and returns whether any wait. More would only keep
    /// acknowledgements from overtaking.
    ///
    /// # Errors
    /// When a frame holds a text too long to be encoded.
    pub fn fill(&mut self, outbox: &mut Outbox, now: Instant) -> Result<bool, EncodeError> {
        while self.writer.queued_bytes() < WRITE_BYTES_AHEAD {
            let Some(frame) = outbox.next_frame(now) else {
                break;
            };
            self.writer.queue(frame.encode()?);
        }
        Ok(self.writer.queued_bytes() > 0)
    }

    /// Writes everything that was taken. Dropping the future leaves the rest to be written, from the right byte on.
    ///
    /// # Errors
    /// When the connection fails. It must then be given up.
    pub async fn flush(&mut self) -> io::Result<()> {
        self.writer.flush().await
    }

    /// Tells the peer that nothing follows, after [`LinkWriter::flush`].
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn shutdown(&mut self) -> io::Result<()> {
        self.writer.shutdown().await
    }

    async fn handshake(&mut self, frame: impl Into<Frame>) -> Result<(), HandshakeError> {
        self.writer.queue(frame.into().encode()?);
        Ok(self.writer.flush().await?)
    }
}

/// Introduces a dialer and returns how it was welcomed.
///
/// # Errors
/// When the listener refuses, does not fit, or does not speak of links at all.
pub async fn introduce<R, W>(
    reader: &mut LinkReader<R>,
    writer: &mut LinkWriter<W>,
    hello: &Hello,
) -> Result<Welcome, HandshakeError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    writer.handshake(hello.clone()).await?;
    match reader.handshake().await? {
        Frame::Welcome(welcome) => {
            hello.check(&welcome)?;
            reader.reader.set_length_max(LINK_FRAME_BYTES_MAX);
            Ok(welcome)
        }
        Frame::Refused(refused) => Err(HandshakeError::Refused(refused)),
        other => Err(HandshakeError::Unexpected { name: other.name() }),
    }
}

/// Waits for a dialer to introduce itself, and welcomes it with what `welcome` says, or refuses it.
///
/// # Errors
/// When the dialer is refused, which it has been told, or does not speak of links at all.
pub async fn receive<R, W>(
    reader: &mut LinkReader<R>,
    writer: &mut LinkWriter<W>,
    welcome: &Welcome,
) -> Result<(Hello, Welcome), HandshakeError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let hello = match reader.handshake().await? {
        Frame::Hello(hello) => hello,
        other => return Err(HandshakeError::Unexpected { name: other.name() }),
    };
    match answer(&hello, welcome) {
        Ok(agreed) => {
            writer.handshake(agreed.clone()).await?;
            reader.reader.set_length_max(LINK_FRAME_BYTES_MAX);
            Ok((hello, agreed))
        }
        Err(refused) => {
            writer.handshake(refused.clone()).await?;
            Err(HandshakeError::HasRefused(refused))
        }
    }
}

#[cfg(test)]
mod tests;
