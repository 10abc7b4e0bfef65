//! One connection of a link: dialled, then moved on turn by turn.

use std::cell::RefCell;
use std::io;

use keylane_protocol::cluster::Endpoint;
use keylane_protocol::link::handshake::{Hello, Welcome};
use keylane_protocol::link::{Dialer, Fate, Frame, LinkViolation, Told};
use keylane_protocol::primitive::EncodeError;
use keylane_protocol::transport::link::{
    HandshakeError, LinkReader, LinkWriter, ReadLinkError, introduce,
};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

use crate::limits::DIAL_TIME_OUT;

/// Why there is no link, or none any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("the broker could not be reached in time")]
    DialTimeout,
    #[error("the broker could not be reached: {0}")]
    Dial(io::Error),
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    #[error(transparent)]
    Read(#[from] ReadLinkError),
    #[error("a frame could not be written: {0}")]
    Write(#[from] io::Error),
    #[error(transparent)]
    Encode(#[from] EncodeError),
    #[error("the broker has broken a rule of the link: {0}")]
    Violation(#[from] LinkViolation),
    #[error("the broker has closed the link")]
    Closed,
    #[error("the broker is silent")]
    Silent,
}

/// The dialing end, shared by the task that moves its bytes and those who ask.
#[derive(Debug)]
pub(crate) struct Port<T> {
    /// `None` once the connection is lost.
    dialer: RefCell<Option<Dialer<T>>>,
    /// Woken when there is something to write.
    wake: Notify,
}

impl<T> Port<T> {
    pub(crate) fn new(dialer: Dialer<T>) -> Self {
        Self {
            dialer: RefCell::new(Some(dialer)),
            wake: Notify::new(),
        }
    }

    /// Uses the dialer, and has written what it has to say; `None` if the connection is lost.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut Dialer<T>) -> R) -> Option<R> {
        let done = self.dialer.borrow_mut().as_mut().map(act);
        self.wake.notify_one();
        done
    }

    /// Looks at the dialer, if the connection is not lost.
    pub(crate) fn look(&self, at: impl FnOnce(&Dialer<T>)) {
        if let Some(dialer) = &*self.dialer.borrow() {
            at(dialer);
        }
    }

    /// Tells whether the connection is lost.
    pub(crate) fn is_lost(&self) -> bool {
        self.dialer.borrow().is_none()
    }

    /// Gives up, and returns the fate of all that is pending.
    pub(crate) fn lose(&self) -> Vec<(T, Fate)> {
        let dialer = self.dialer.borrow_mut().take();
        dialer.map_or(Vec::new(), Dialer::lose)
    }
}

/// The bytes of a link.
pub(crate) struct Wire {
    reader: LinkReader<OwnedReadHalf>,
    writer: LinkWriter<OwnedWriteHalf>,
    /// How much of a frame had arrived at the last look.
    buffered_bytes: usize,
}

/// What ended a wait.
enum Happened {
    Frame(Option<Frame>),
    Other,
}

impl Wire {
    /// Connects to a broker and introduces this router.
    pub(crate) async fn dial(
        endpoint: &Endpoint,
        hello: &Hello,
    ) -> Result<(Self, Welcome), LinkError> {
        let dialled = timeout(DIAL_TIME_OUT, Self::connect(endpoint, hello)).await;
        dialled.unwrap_or(Err(LinkError::DialTimeout))
    }

    async fn connect(endpoint: &Endpoint, hello: &Hello) -> Result<(Self, Welcome), LinkError> {
        let address = (&*endpoint.host, endpoint.port);
        let stream = TcpStream::connect(address).await.map_err(LinkError::Dial)?;
        stream.set_nodelay(true).map_err(LinkError::Dial)?;
        let (read_half, write_half) = stream.into_split();
        let mut wire = Self {
            reader: LinkReader::new(read_half),
            writer: LinkWriter::new(write_half),
            buffered_bytes: 0,
        };
        let welcome = introduce(&mut wire.reader, &mut wire.writer, hello).await?;
        Ok((wire, welcome))
    }

    /// Waits until something happens, and does what is due. Dropping the future loses nothing.
    pub(crate) async fn turn<T>(
        &mut self,
        port: &Port<T>,
        told: &mut Vec<Told<T>>,
    ) -> Result<(), LinkError> {
        let (has_output, deadline) = {
            let mut dialer = port.dialer.borrow_mut();
            let dialer = dialer.as_mut().ok_or(LinkError::Closed)?;
            let now = Instant::now().into_std();
            let has_output = self.writer.fill(dialer.outbox(), now)?;
            (has_output, dialer.next_deadline())
        };
        let happened = tokio::select! {
            frame = self.reader.next() => Happened::Frame(frame?),
            written = self.writer.flush(), if has_output => {
                written?;
                Happened::Other
            }
            () = port.wake.notified() => Happened::Other,
            () = sleep_until(deadline.into()) => Happened::Other,
        };
        let now = Instant::now().into_std();
        let mut dialer = port.dialer.borrow_mut();
        let dialer = dialer.as_mut().ok_or(LinkError::Closed)?;
        if let Happened::Frame(frame) = happened {
            dialer.on_frame(frame.ok_or(LinkError::Closed)?, now, told)?;
            while let Some(frame) = self.reader.buffered()? {
                dialer.on_frame(frame, now, told)?;
            }
        }
        let buffered_bytes = self.reader.buffered_bytes();
        if buffered_bytes != self.buffered_bytes {
            self.buffered_bytes = buffered_bytes;
            dialer.on_bytes(now);
        }
        match dialer.on_time(now, told) {
            true => Ok(()),
            false => Err(LinkError::Silent),
        }
    }
}
