//! Calls of this node to another over one link: dialled when there is something to ask, kept, dialled anew when it is lost.
//!
//! ```text
//! call ─▶ queue ─▶ task: dial ─▶ introduce ─▶ [`Dialer`] ◀─▶ the peer's internal listener
//!                   ▲  could not: all that wait are told NeverSent, and for a pause so is whoever comes
//! ```
//! Every caller is told exactly once what came of its call; nothing is ever sent twice.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::link::{HandshakeError, LinkReader, LinkWriter, ReadLinkError, introduce};
use crate::cluster::Endpoint;
use crate::error_code::ErrorCode;
use crate::link::call::{Call, Reply};
use crate::link::handshake::{Hello, Welcome};
use crate::link::limits::{
    CALLS_PENDING_MAX, CALLS_WAITING_MAX, DIAL_PAUSE_MAX, DIAL_PAUSE_MIN, DIAL_TIMEOUT,
};
use crate::link::{Body, Dialer, Fate, LinkViolation, Told};
use crate::primitive::EncodeError;

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The peer has not got it, so it had no effect.
    #[error("the call was not sent")]
    NeverSent,
    /// The peer may have got it: it may have had an effect, or have one yet.
    #[error("the call was not answered, and may have had an effect")]
    Unknown,
    /// The peer says why it does not answer.
    #[error("the call was refused with {}: {words}", error_code.name())]
    Refused {
        /// Why.
        error_code: ErrorCode,
        /// The same for people.
        words: String,
    },
}

impl From<Fate> for CallError {
    fn from(fate: Fate) -> Self {
        match fate {
            Fate::NeverSent => Self::NeverSent,
            Fate::Unknown => Self::Unknown,
        }
    }
}

/// Why a link did not come about, or is gone.
#[derive(Debug, thiserror::Error)]
enum LostLink {
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("no connection within {} s", DIAL_TIMEOUT.as_secs())]
    Late,
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    #[error(transparent)]
    Read(#[from] ReadLinkError),
    #[error("cannot write: {0}")]
    Write(#[from] io::Error),
    #[error(transparent)]
    Encode(#[from] EncodeError),
    #[error(transparent)]
    Violation(#[from] LinkViolation),
    #[error("the peer closed the connection")]
    Closed,
    #[error("the peer was silent")]
    Silent,
}

/// Who waits for an answer.
type Asker = oneshot::Sender<Result<Bytes, CallError>>;

/// A call on its way to the task.
struct Asked {
    call: Call,
    deadline: Instant,
    asker: Asker,
}

/// Calls one peer. When the last clone is dropped, the link is closed.
#[derive(Clone, Debug)]
pub struct LinkCalls {
    asked: mpsc::Sender<Asked>,
    fault: watch::Receiver<Option<String>>,
}

impl LinkCalls {
    /// Returns what calls the peer that listens at `to`. `hello` says who dials, and is asked at every dial, for a node
    /// may learn meanwhile which cluster it belongs to. The link is served by a task of `runtime`.
    pub fn start(
        runtime: &Handle,
        to: Endpoint,
        hello: impl Fn() -> Hello + Send + Sync + 'static,
    ) -> Self {
        let (asked, waiting) = mpsc::channel(CALLS_WAITING_MAX);
        let (tell_fault, fault) = watch::channel(None);
        let task = Task {
            tell_fault,
            to,
            hello: Box::new(hello),
            waiting,
            pause: DIAL_PAUSE_MIN,
        };
        runtime.spawn(task.run());
        Self { asked, fault }
    }

    /// Returns why there is no link, in words; `None` while there is one, or nobody has asked yet.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        self.fault.borrow().clone()
    }

    /// Calls the peer and returns its reply. Any number of calls may be under way at once; their replies come in any
    /// order. Dropping the future gives up the answer, not the call.
    ///
    /// # Errors
    /// When there is no reply within `within`, or none will come.
    pub async fn call(
        &self,
        kind: u16,
        version: i16,
        body: Bytes,
        within: Duration,
    ) -> Result<Bytes, CallError> {
        let deadline = Instant::now() + within;
        let (asker, answered) = oneshot::channel();
        let call = Call {
            kind,
            version,
            chunk: Body::from(body),
            ..Call::default()
        };
        let asked = Asked {
            call,
            deadline,
            asker,
        };
        match timeout_at(deadline, self.asked.send(asked)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return Err(CallError::NeverSent),
        }
        match timeout_at(deadline, answered).await {
            Ok(Ok(answer)) => answer,
            // The task has ended with its runtime, or is late to say what it knows.
            Ok(Err(_)) | Err(_) => Err(CallError::Unknown),
        }
    }
}

/// What serves the link.
struct Task {
    to: Endpoint,
    hello: Box<dyn Fn() -> Hello + Send + Sync>,
    waiting: mpsc::Receiver<Asked>,
    tell_fault: watch::Sender<Option<String>>,
    /// How long to wait after the next dial that fails.
    pause: Duration,
}

impl Task {
    /// Works until nobody can call any more.
    async fn run(mut self) {
        while let Some(first) = self.waiting.recv().await {
            if first.asker.is_closed() {
                continue;
            }
            let lost = match self.dial().await {
                Ok((reader, writer, welcome)) => {
                    self.pause = DIAL_PAUSE_MIN;
                    self.tell_fault.send_replace(None);
                    let link = Link {
                        dialer: Dialer::new(&welcome, Instant::now().into_std()),
                        reader,
                        writer,
                        told: Vec::new(),
                        arrived: 0,
                    };
                    match link.serve(first, &mut self.waiting).await {
                        Ok(()) => return,
                        Err(lost) => lost,
                    }
                }
                Err(lost) => {
                    self.tell_fault.send_replace(Some(lost.to_string()));
                    // Whoever asked may have gone.
                    let _ = first.asker.send(Err(CallError::NeverSent));
                    lost
                }
            };
            self.tell_fault.send_replace(Some(lost.to_string()));
            self.refuse_for_a_while().await;
        }
    }

    async fn dial(
        &self,
    ) -> Result<
        (
            LinkReader<impl AsyncRead + Unpin + Send + use<>>,
            LinkWriter<impl AsyncWrite + Unpin + Send + use<>>,
            Welcome,
        ),
        LostLink,
    > {
        let hello = (self.hello)();
        let dialled = async {
            let to = (&*self.to.host, self.to.port);
            let stream = TcpStream::connect(to).await.map_err(LostLink::Connect)?;
            stream.set_nodelay(true).map_err(LostLink::Connect)?;
            let (reader, writer) = stream.into_split();
            let (mut reader, mut writer) = (LinkReader::new(reader), LinkWriter::new(writer));
            let welcome = introduce(&mut reader, &mut writer, &hello).await?;
            Ok((reader, writer, welcome))
        };
        let dialled = timeout(DIAL_TIMEOUT, dialled).await;
        dialled.unwrap_or(Err(LostLink::Late))
    }

    /// Nobody is to dial in a loop: whoever calls meanwhile, or has waited, learns that nothing is sent.
    async fn refuse_for_a_while(&mut self) {
        let end = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(DIAL_PAUSE_MAX);
        let refused = async {
            while let Some(asked) = self.waiting.recv().await {
                let _ = asked.asker.send(Err(CallError::NeverSent));
            }
        };
        // When nobody can call any more there is nothing to wait for.
        let _ = timeout_at(end, refused).await;
    }
}

/// A link that has come about.
struct Link<R, W> {
    dialer: Dialer<Asker>,
    reader: LinkReader<R>,
    writer: LinkWriter<W>,
    told: Vec<Told<Asker>>,
    /// How much of a frame had arrived when it was last looked at.
    arrived: usize,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Link<R, W> {
    /// Carries calls until nobody can call any more and nothing is under way, or the link is lost: then everybody is told.
    async fn serve(
        mut self,
        first: Asked,
        waiting: &mut mpsc::Receiver<Asked>,
    ) -> Result<(), LostLink> {
        self.ask(first);
        let served = self.carry(waiting).await;
        self.tell();
        for (asker, fate) in self.dialer.lose() {
            let _ = asker.send(Err(fate.into()));
        }
        served
    }

    async fn carry(&mut self, waiting: &mut mpsc::Receiver<Asked>) -> Result<(), LostLink> {
        loop {
            let now = Instant::now().into_std();
            let is_writing = self.writer.fill(self.dialer.outbox(), now)?;
            let has_room = self.dialer.pending() < CALLS_PENDING_MAX;
            let deadline = Instant::from_std(self.dialer.next_deadline());
            tokio::select! {
                frame = self.reader.next() => {
                    let now = Instant::now().into_std();
                    let mut frame = Some(frame?.ok_or(LostLink::Closed)?);
                    while let Some(arrived) = frame {
                        self.dialer.on_frame(arrived, now, &mut self.told)?;
                        frame = self.reader.buffered()?;
                    }
                }
                flushed = self.writer.flush(), if is_writing => flushed?,
                asked = waiting.recv(), if has_room => match asked {
                    Some(asked) => self.ask(asked),
                    None => return Ok(()),
                },
                () = sleep_until(deadline) => self.look(),
            }
            if !self
                .dialer
                .on_time(Instant::now().into_std(), &mut self.told)
            {
                return Err(LostLink::Silent);
            }
            self.tell();
        }
    }

    fn ask(&mut self, asked: Asked) {
        // Nobody waits for the answer: the deadline has passed in the queue.
        if asked.asker.is_closed() {
            return;
        }
        let Asked {
            call,
            deadline,
            asker,
        } = asked;
        if let Err(refused) = self.dialer.call(call, deadline.into_std(), asker) {
            let (_, asker) = refused.item;
            let _ = asker.send(Err(CallError::NeverSent));
        }
    }

    /// Part of a long frame is a sign of life too.
    fn look(&mut self) {
        let arrived = self.reader.buffered_bytes();
        if arrived != self.arrived && arrived > 0 {
            self.dialer.on_bytes(Instant::now().into_std());
        }
        self.arrived = arrived;
    }

    fn tell(&mut self) {
        for told in self.told.drain(..) {
            // Whoever asked may have gone.
            match told {
                Told::Reply(asker, reply) => drop(asker.send(body(reply))),
                Told::Lost(asker, fate) => drop(asker.send(Err(fate.into()))),
                _ => {}
            }
        }
    }
}

fn body(reply: Reply) -> Result<Bytes, CallError> {
    if reply.error_code.is_none() {
        return Ok(reply.chunk.into_bytes());
    }
    Err(CallError::Refused {
        error_code: reply.error_code,
        words: reply.words.unwrap_or_default().to_string(),
    })
}

#[cfg(test)]
mod tests;
