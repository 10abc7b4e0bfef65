//! The broker's end of the internal link: one task for each connection of a router or another broker.
//!
//! ```text
//! frames ─▶ Listener ─▶ calls ───────▶ tasks ─┐
//!                   └─▶ lanes, appends ─▶ shards ─┴─▶ Settled ─▶ outbox ─▶ frames
//! ```
//! The task never waits for anything but the next of these: what takes time runs beside it, bounded, and tells what came
//! of it through [`Settled`]. Whatever a peer does costs its own link only. Read [`accept`] and [`calls`] next.

mod accept;
mod calls;
mod settled;

use std::sync::Arc;
use std::time::Instant;

use keylane_protocol::link::handshake::Welcome;
use keylane_protocol::link::{Frame, LinkViolation, Listener};
use keylane_protocol::primitive::EncodeError;
use keylane_protocol::transport::link::{LinkReader, LinkWriter, ReadLinkError};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

pub(crate) use accept::serve;

use self::calls::Calls;
use self::settled::{Event, Settled};
use crate::server::BrokerState;

/// So many frames that have arrived are taken before answers are written.
const FRAMES_AT_ONCE: usize = 64;

/// Why a link ended that the peer did not close.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error(transparent)]
    Read(#[from] ReadLinkError),
    #[error("the peer broke the rules of the link: {0}")]
    Violation(#[from] LinkViolation),
    #[error("frames could not be sent")]
    Write(#[from] std::io::Error),
    #[error("a frame could not be encoded")]
    Encode(#[from] EncodeError),
    #[error("the peer gives no sign of life")]
    Dead,
}

/// What a link's task has to do next.
enum Turn {
    Settled,
    Frame(Option<Box<Frame>>),
    Written,
    Time,
    Stopping,
}

/// One connection of a link that was welcomed.
struct Link {
    broker: Arc<BrokerState>,
    reader: LinkReader<OwnedReadHalf>,
    writer: LinkWriter<OwnedWriteHalf>,
    listener: Listener,
    settled: Arc<Settled>,
    calls: Calls,
    /// What has arrived of a frame that is not whole.
    buffered_bytes: usize,
    is_stopping: bool,
}

impl Link {
    fn new(
        broker: Arc<BrokerState>,
        reader: LinkReader<OwnedReadHalf>,
        writer: LinkWriter<OwnedWriteHalf>,
        welcome: &Welcome,
    ) -> Self {
        Self {
            broker,
            reader,
            writer,
            listener: Listener::new(welcome, now()),
            settled: Arc::default(),
            calls: Calls::default(),
            buffered_bytes: 0,
            is_stopping: false,
        }
    }

    /// Serves the link to its end.
    async fn run(mut self) -> Result<(), LinkError> {
        loop {
            let has_output = self.writer.fill(self.listener.outbox(), now())?;
            if self.is_stopping && !has_output && self.is_idle() {
                return Ok(self.writer.shutdown().await?);
            }
            match self.turn(has_output).await? {
                Turn::Settled => self.take_settled(),
                Turn::Frame(Some(frame)) => self.take_frames(*frame)?,
                Turn::Frame(None) => return Ok(()),
                Turn::Written => {}
                Turn::Time => self.on_time()?,
                Turn::Stopping => self.is_stopping = true,
            }
        }
    }

    /// Waits for what is to be done next.
    async fn turn(&mut self, has_output: bool) -> Result<Turn, LinkError> {
        let reads = !self.is_stopping && !self.listener.is_full();
        let deadline = self.listener.next_deadline().into();
        let Self {
            reader,
            writer,
            settled,
            broker,
            ..
        } = self;
        tokio::select! {
            () = settled.ready() => Ok(Turn::Settled),
            written = writer.flush(), if has_output => Ok(written.map(|()| Turn::Written)?),
            frame = reader.next(), if reads => Ok(Turn::Frame(frame?.map(Box::new))),
            () = tokio::time::sleep_until(deadline) => Ok(Turn::Time),
            () = broker.stopping.cancelled(), if !self.is_stopping => Ok(Turn::Stopping),
        }
    }

    /// Tells whether nothing is under way.
    fn is_idle(&self) -> bool {
        self.calls.is_empty()
    }

    /// Takes a frame, and others that have arrived with it.
    fn take_frames(&mut self, first: Frame) -> Result<(), LinkError> {
        let mut next = Some(first);
        for _ in 0..FRAMES_AT_ONCE {
            let Some(frame) = next.take() else {
                break;
            };
            self.take_frame(frame)?;
            next = self.reader.buffered()?;
        }
        match next {
            Some(frame) => self.take_frame(frame),
            None => Ok(()),
        }
    }

    fn take_frame(&mut self, frame: Frame) -> Result<(), LinkError> {
        let Some(frame) = self.listener.on_frame(frame, now())? else {
            return Ok(());
        };
        if let Frame::Call(call) = frame {
            let refused = self.calls.begin(call, &self.broker, &self.settled);
            if let Some(reply) = refused {
                self.put(Event::Reply(reply));
            }
        } else if let Frame::Cancel(cancel) = frame {
            self.calls.cancel(&cancel);
        }
        Ok(())
    }

    fn take_settled(&mut self) {
        for event in self.settled.take() {
            self.put(event);
        }
    }

    /// Queues what came of something.
    fn put(&mut self, event: Event) {
        match event {
            Event::Reply(reply) => {
                self.calls.ended(reply.correlation);
                self.reply(reply);
            }
        }
    }

    fn on_time(&mut self) -> Result<(), LinkError> {
        let now = now();
        let buffered_bytes = self.reader.buffered_bytes();
        // A peer whose frames are not read cannot give a sign of life.
        if buffered_bytes != self.buffered_bytes || self.is_stopping {
            self.buffered_bytes = buffered_bytes;
            self.listener.on_bytes(now);
        }
        match self.listener.on_time(now) {
            true => Ok(()),
            false => Err(LinkError::Dead),
        }
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
