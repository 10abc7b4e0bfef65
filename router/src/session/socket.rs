//! The client's socket: whole frames in, whole frames out, and the time-outs of both.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use keylane_protocol::transport::{FrameReader, FrameWriter};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::Instant;

use super::ConnectionError;
use crate::budget::{Charge, ConnectionBudget};
use crate::server::Shared;
use keylane_protocol::transport::{Metered, Unfinished};

/// A request that waits for room in the budgets.
pub(super) struct Charging {
    pub(super) frame: Bytes,
    pub(super) read_at: std::time::Instant,
    pub(super) charge: Pin<Box<dyn Future<Output = Charge>>>,
}

/// The socket.
pub(super) struct Socket {
    pub(super) reader: FrameReader<Metered<OwnedReadHalf>>,
    pub(super) writer: FrameWriter<OwnedWriteHalf>,
    /// While there is one, nothing is read.
    pub(super) charging: Option<Charging>,
    budget: Rc<ConnectionBudget>,
    unfinished: Unfinished,
    silence: Silence,
}

/// What is watched for time-outs.
struct Silence {
    receive_timeout: std::time::Duration,
    send_timeout: std::time::Duration,
    idle_timeout: std::time::Duration,
    /// Since when a part of a frame is there and no whole one has come.
    in_frame_since: Option<Instant>,
    /// How much is to be written, and since when it has been that much.
    unwritten: (usize, Instant),
    used_at: Instant,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, shared: &Shared, budget: Rc<ConnectionBudget>) -> Self {
        let limits = &shared.config.clients;
        let (read_half, write_half) = stream.into_split();
        let unfinished = Unfinished::default();
        let metered = Metered::new(read_half, &shared.received, Arc::clone(&unfinished));
        let now = Instant::now();
        Self {
            reader: FrameReader::new(metered, limits.request_bytes_max),
            writer: FrameWriter::new(write_half),
            charging: None,
            budget,
            unfinished,
            silence: Silence {
                receive_timeout: limits.receive_timeout,
                send_timeout: limits.send_timeout,
                idle_timeout: limits.idle_timeout,
                in_frame_since: None,
                unwritten: (0, now),
                used_at: now,
            },
        }
    }

    /// Takes a frame that was read, and gives it back if there is room for it. Else it is [`Self::charging`].
    pub(super) fn on_frame(&mut self, frame: Bytes) -> Option<(Bytes, std::time::Instant, Charge)> {
        let unfinished = self.reader.buffered_bytes();
        self.unfinished.store(unfinished, Ordering::Relaxed);
        self.silence.in_frame_since = None;
        self.silence.used_at = Instant::now();
        let read_at = self.silence.used_at.into_std();
        if let Some(charge) = self.budget.try_charge(frame.len()) {
            return Some((frame, read_at, charge));
        }
        let (budget, length) = (Rc::clone(&self.budget), frame.len());
        let charge = Box::pin(async move { budget.charge(length).await });
        self.charging = Some(Charging {
            frame,
            read_at,
            charge,
        });
        None
    }

    /// Returns when [`Socket::check`] is to be called.
    pub(super) fn next_deadline(&self) -> Instant {
        let silence = &self.silence;
        let tick = silence.receive_timeout.min(silence.idle_timeout);
        Instant::now() + tick.min(silence.send_timeout)
    }

    /// Ends a connection on which nothing moves.
    pub(super) fn check(&mut self, is_reading: bool, is_idle: bool) -> Result<(), ConnectionError> {
        let now = Instant::now();
        let in_frame = is_reading && self.reader.buffered_bytes() > 0;
        let unwritten = self.writer.queued_bytes();
        let silence = &mut self.silence;
        match (in_frame, silence.in_frame_since) {
            (false, _) => silence.in_frame_since = None,
            (true, None) => silence.in_frame_since = Some(now),
            (true, Some(since)) if now >= since + silence.receive_timeout => {
                return Err(ConnectionError::ReceiveTimeout);
            }
            (true, Some(_)) => {}
        }
        if unwritten != silence.unwritten.0 || unwritten == 0 {
            silence.unwritten = (unwritten, now);
        } else if now >= silence.unwritten.1 + silence.send_timeout {
            return Err(ConnectionError::SendTimeout);
        }
        if !is_idle {
            silence.used_at = now;
        } else if now >= silence.used_at + silence.idle_timeout {
            return Err(ConnectionError::Idle);
        }
        Ok(())
    }
}
