//! One client's connection: requests are read and begun in order, answers leave in the same order.
//!
//! The reading half begins a request (a Produce is handed to its shards at once, so that many share one sync) and puts
//! it in a bounded queue; the writing half finishes the head of the queue and sends. A parked Fetch at the head is
//! answered early when another kind of request waits behind it. What one client does costs its own connection only:
//! every wait here has a bound. Read [`begin`] and [`finish`] next.

mod begin;
mod budget;
mod finish;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use bytes::Bytes;
use keylane_protocol::transport::{FrameReader, FrameWriter, ReadFrameError};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};
use tracing::{debug, error};

pub(crate) use budget::RequestBudget;

use self::begin::Begun;
use self::budget::Charge;
use crate::handler::exchange::{ExchangeError, RefusedRequest};
use crate::limits::ANSWER_BYTES_QUEUED_MAX;
use crate::meters::now;
use crate::partition::waiting::ConnectionId;
use crate::server::BrokerState;
use keylane_protocol::meters::Share;
use keylane_protocol::transport::{HeldBytes, Metered, Unfinished};

/// Why a connection ended that the client did not close.
#[derive(Debug, thiserror::Error)]
enum ConnectionError {
    #[error(transparent)]
    Read(#[from] ReadFrameError),
    #[error(transparent)]
    Refused(#[from] RefusedRequest),
    #[error("a request did not arrive whole in time")]
    ReceiveTimeout,
    #[error("nothing was asked or answered for too long")]
    Idle,
    #[error("the client takes no bytes of its answers")]
    SendTimeout,
    #[error("an answer could not be sent")]
    Write(#[from] std::io::Error),
    #[error("a Produce that asked for no answer failed: {reason}")]
    UnacknowledgedProduce { reason: String },
    #[error("an answer could not be encoded")]
    Encode(#[from] keylane_protocol::primitive::EncodeError),
}

impl From<ExchangeError> for ConnectionError {
    fn from(error: ExchangeError) -> Self {
        match error {
            ExchangeError::Refused(error) => error.into(),
            ExchangeError::Encode(error) => error.into(),
        }
    }
}

/// What both halves of a connection know.
struct Connection {
    id: ConnectionId,
    local: SocketAddr,
    peer: SocketAddr,
    broker: Arc<BrokerState>,
    /// Woken when enough bytes for the parked Fetch became visible.
    wake: Arc<Notify>,
}

/// A request that was read, in the queue for its answer.
struct Queued {
    /// Counts requests of this connection.
    sequence: u64,
    read_at: std::time::Instant,
    /// Counts it as waiting until it is its turn.
    place: Share,
    begun: Begun,
    _charge: Charge,
    /// Dropped with the answer; the reading half waits for it after requests that change topics.
    _answered: Option<oneshot::Sender<()>>,
}

/// Serves a connection to its end.
pub(crate) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    id: ConnectionId,
    broker: Arc<BrokerState>,
) {
    let Ok(local) = stream.local_addr() else {
        return;
    };
    let limits = &broker.config.clients;
    let (read_half, write_half) = stream.into_split();
    let unfinished = Unfinished::default();
    let metered = Metered::new(read_half, &broker.receive_budget, Arc::clone(&unfinished));
    let reader = FrameReader::new(metered, limits.request_bytes_max);
    let writer = FrameWriter::new(write_half);
    let (queue, queued) = mpsc::channel(limits.connection_requests_max);
    let (others, last_other) = watch::channel(0);
    let connection = Connection {
        id,
        local,
        peer,
        wake: Arc::new(Notify::new()),
        broker: Arc::clone(&broker),
    };
    let reading = ReadingHalf {
        connection: &connection,
        reader,
        unfinished,
        queue,
        others,
        sequence: 0,
        budget: broker.request_budget.for_connection(),
    };
    let writing = WritingHalf {
        connection: &connection,
        writer,
        held: Vec::new(),
        queued,
        last_other,
    };
    let (read, written) = tokio::join!(reading.run(), writing.run());
    // What writing meets is the cause of what reading meets, never the reverse.
    if let Err(error) = written.and(read) {
        if let ConnectionError::Encode(error) = &error {
            error!(connection = id.0, %peer, %error, "an answer could not be encoded");
        }
        debug!(connection = id.0, %peer, error = &error as &dyn std::error::Error, "connection closed");
    }
    broker.forget_connection(id).await;
}

struct ReadingHalf<'a> {
    connection: &'a Connection,
    reader: FrameReader<Metered<OwnedReadHalf>>,
    unfinished: Unfinished,
    queue: mpsc::Sender<Queued>,
    /// The sequence of the latest request that is not a Fetch.
    others: watch::Sender<u64>,
    sequence: u64,
    budget: budget::ConnectionBudget,
}

impl ReadingHalf<'_> {
    async fn run(mut self) -> Result<(), ConnectionError> {
        let stopping = self.connection.broker.stopping.clone();
        loop {
            let queue = self.queue.clone();
            let frame = tokio::select! {
                biased;
                () = stopping.cancelled() => return Ok(()),
                () = queue.closed() => return Ok(()),
                frame = self.next_frame() => frame?,
            };
            let Some(frame) = frame else {
                return Ok(());
            };
            if !self.take(frame).await? {
                return Ok(());
            }
        }
    }

    /// Waits for the next frame; `None` at the end of the stream.
    async fn next_frame(&mut self) -> Result<Option<Bytes>, ConnectionError> {
        let limits = &self.connection.broker.config.clients;
        let tick = limits.receive_timeout.min(limits.idle_timeout);
        let mut silent_since = Instant::now();
        loop {
            let in_frame = self.reader.buffered_bytes() > 0;
            if let Ok(frame) = timeout(tick, self.reader.next_frame()).await {
                return Ok(frame?);
            }
            if in_frame {
                return Err(ConnectionError::ReceiveTimeout);
            }
            if !self.budget.is_unused() {
                silent_since = Instant::now();
            } else if silent_since.elapsed() >= limits.idle_timeout {
                return Err(ConnectionError::Idle);
            }
        }
    }

    /// Begins the request in a frame and queues it; returns false if the other half has gone.
    async fn take(&mut self, frame: Bytes) -> Result<bool, ConnectionError> {
        let read_at = now();
        let meters = &self.connection.broker.meters;
        meters.received_bytes.increment(frame.len() as u64);
        let unfinished = self.reader.buffered_bytes();
        self.unfinished.store(unfinished, Ordering::Relaxed);
        self.sequence += 1;
        // Before anything here waits: the parked Fetch may be what it would wait for.
        if !begin::is_fetch(&frame) {
            self.others.send_replace(self.sequence);
        }
        let charge = self.budget.charge(frame.len()).await;
        let begun = begin::begin(self.connection, frame).await?;
        let (answered, until_answered) = oneshot::channel();
        let changes_topics = begun.changes_topics();
        let mut place = Share::of(&meters.queued);
        place.set(1);
        let queued = Queued {
            sequence: self.sequence,
            read_at,
            place,
            begun,
            _charge: charge,
            _answered: changes_topics.then_some(answered),
        };
        let is_open = self.queue.send(queued).await.is_ok();
        if changes_topics {
            // What follows is begun when it is read, and must find the topics as this request leaves them.
            let _ = until_answered.await;
        }
        Ok(is_open)
    }
}

struct WritingHalf<'a> {
    connection: &'a Connection,
    writer: FrameWriter<OwnedWriteHalf>,
    /// What the queued answers hold.
    held: Vec<HeldBytes>,
    queued: mpsc::Receiver<Queued>,
    last_other: watch::Receiver<u64>,
}

impl WritingHalf<'_> {
    async fn run(mut self) -> Result<(), ConnectionError> {
        while let Some(queued) = self.next().await? {
            let (sequence, read_at) = (queued.sequence, queued.read_at);
            let api = queued.begun.api();
            drop(queued.place);
            let meters = &self.connection.broker.meters;
            let waited = now().saturating_duration_since(read_at);
            meters.waits.connection.record(waited);
            let last_other = self.last_other.clone();
            let connection = self.connection;
            let finishing = finish::finish(connection, queued.begun, sequence, last_other);
            let mut finishing = pin!(finishing);
            // Answers that are ready leave together; before waiting, what is ready leaves.
            let at_once = std::future::poll_fn(|context| {
                Poll::Ready(match finishing.as_mut().poll(context) {
                    Poll::Ready(answer) => Some(answer),
                    Poll::Pending => None,
                })
            })
            .await;
            let answer = match at_once {
                Some(answer) => answer?,
                None => {
                    self.flush().await?;
                    finishing.await?
                }
            };
            meters.kafka.answered(api, read_at, now());
            let bytes: usize = answer.segments.iter().map(Bytes::len).sum();
            meters.sent_bytes.increment(bytes as u64);
            self.writer.queue(answer.segments);
            self.held.extend(answer.held);
            if self.writer.queued_bytes() > ANSWER_BYTES_QUEUED_MAX {
                self.flush().await?;
            }
        }
        self.flush().await?;
        Ok(self.writer.shutdown().await?)
    }

    async fn next(&mut self) -> Result<Option<Queued>, ConnectionError> {
        if let Ok(queued) = self.queued.try_recv() {
            return Ok(Some(queued));
        }
        self.flush().await?;
        Ok(self.queued.recv().await)
    }

    /// Sends what is queued, as long as the client takes some of it in time.
    async fn flush(&mut self) -> Result<(), ConnectionError> {
        let patience = self.connection.broker.config.clients.send_timeout;
        loop {
            let before = self.writer.queued_bytes();
            match timeout(patience, self.writer.flush()).await {
                Ok(flushed) => {
                    self.held.clear();
                    return Ok(flushed?);
                }
                Err(_) if self.writer.queued_bytes() == before => {
                    return Err(ConnectionError::SendTimeout);
                }
                Err(_) => {}
            }
        }
    }
}
