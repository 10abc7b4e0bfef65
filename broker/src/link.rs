//! The broker's end of the internal link: one task for each connection of a router or another broker.
//!
//! ```text
//! frames ─▶ Listener ─▶ calls ───────▶ tasks ─┐
//!                   └─▶ lanes, appends ─▶ shards ─┴─▶ Settled ─▶ outbox ─▶ frames
//! ```
//! The task never waits for anything but the next of these: what takes time runs beside it, bounded, and tells what came
//! of it through [`Settled`]. Whatever a peer does costs its own link only. Read [`lanes`], [`appends`]
//! and [`calls`] next.

mod accept;
mod appends;
mod calls;
mod lanes;
mod requests;
mod settled;
mod standing;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use keylane_protocol::link::handshake::{Hello, Role, Welcome};
use keylane_protocol::link::lane::{Cancel, Flow};
use keylane_protocol::link::{Correlation, Frame, Lane, LinkViolation, Listener};
use keylane_protocol::primitive::EncodeError;
use keylane_protocol::transport::HeldBytes;
use keylane_protocol::transport::link::{LinkReader, LinkWriter, ReadLinkError};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(crate) use accept::serve;

use self::appends::{Appends, Settlement};
use self::calls::Calls;
use self::lanes::Lanes;
use self::settled::{Event, Settled};
use crate::meters::LinkLevels;
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
    Outcomes,
    Room,
    Image,
    Frame(Option<Box<Frame>>),
    Written,
    Time,
    Ending,
}

/// One connection of a link that was welcomed.
struct Link {
    broker: Arc<BrokerState>,
    reader: LinkReader<OwnedReadHalf>,
    writer: LinkWriter<OwnedWriteHalf>,
    listener: Listener,
    settled: Arc<Settled>,
    calls: Calls,
    lanes: Lanes,
    appends: Appends,
    levels: LinkLevels,
    published: watch::Receiver<u64>,
    /// What the answers that were not sent hold.
    held: HeldBytes,
    /// What has arrived of a frame that is not whole.
    buffered_bytes: usize,
    /// Cancelled when nothing more is to be read.
    ending: CancellationToken,
    is_ending: bool,
}

impl Link {
    fn new(
        broker: Arc<BrokerState>,
        reader: LinkReader<OwnedReadHalf>,
        writer: LinkWriter<OwnedWriteHalf>,
        (hello, welcome): (&Hello, &Welcome),
    ) -> Self {
        let settled = Arc::default();
        // To leave its cluster well a broker needs the other nodes, and they need it.
        let ending = match hello.role {
            Role::Broker | Role::Voter => broker.left.clone(),
            _ => broker.stopping.clone(),
        };
        Self {
            lanes: Lanes::new(&broker, &settled),
            appends: Appends::new(),
            levels: LinkLevels::new(&broker.meters),
            published: broker.published.clone(),
            broker,
            reader,
            writer,
            listener: Listener::new(welcome, now()),
            settled,
            calls: Calls::default(),
            held: HeldBytes::default(),
            buffered_bytes: 0,
            ending,
            is_ending: false,
        }
    }

    /// Serves the link to its end. What has its place by then is appended.
    async fn run(mut self) -> Result<(), LinkError> {
        let served = self.serve().await;
        self.appends.hand_over_all(&self.broker).await;
        served
    }

    async fn serve(&mut self) -> Result<(), LinkError> {
        loop {
            let has_output = self.writer.fill(self.listener.outbox(), now())?;
            self.held.keep(self.listener.outbox().queued_bytes());
            self.show_levels();
            if self.is_ending && !has_output && self.is_idle() {
                return Ok(self.writer.shutdown().await?);
            }
            match self.turn(has_output).await? {
                Turn::Settled => self.take_settled(),
                Turn::Outcomes => self.settle_appends(|appends, broker, settled| {
                    appends.take_outcomes(broker, now(), settled);
                }),
                Turn::Room => self.appends.hand_on(&self.broker),
                Turn::Image => self.settle_appends(|appends, broker, settled| {
                    appends.on_image(broker, now(), settled);
                }),
                // Before anything is taken: while this process stood still, whoever sent it has given it up.
                Turn::Frame(Some(_)) if !self.listener.on_time(now()) => {
                    return Err(LinkError::Dead);
                }
                Turn::Frame(Some(frame)) => self.take_frames(*frame)?,
                Turn::Frame(None) => return Ok(()),
                Turn::Written => {}
                Turn::Time => self.on_time()?,
                Turn::Ending => {
                    self.is_ending = true;
                    self.lanes.finish_all();
                }
            }
        }
    }

    /// Shows what is under way.
    fn show_levels(&mut self) {
        let (requests, fetches) = self.lanes.under_way();
        self.levels.lanes.set(self.lanes.count());
        self.levels.waiting.set(self.lanes.waiting());
        self.levels.requests.set(requests);
        self.levels.fetches.set(fetches);
        self.levels.appends.set(self.appends.count());
        self.levels.calls.set(self.calls.count());
        self.levels.credit_bytes.set(self.listener.credit_used());
        let queued_bytes = self.listener.outbox().queued_bytes();
        self.levels.queued_bytes.set(queued_bytes);
    }

    /// Waits for what is to be done next.
    async fn turn(&mut self, has_output: bool) -> Result<Turn, LinkError> {
        let reads = self.reads();
        let pulse = self.listener.next_deadline();
        let deadline = self
            .appends
            .next_deadline()
            .map_or(pulse, |at| at.min(pulse));
        let full = self.appends.waits_for_shard();
        let shard = &self.broker.shards[full.unwrap_or(0)];
        let outcomes = Arc::clone(self.appends.outcomes());
        let waits_for_image = self.appends.waits_for_image();
        tokio::select! {
            () = self.settled.ready() => Ok(Turn::Settled),
            () = outcomes.ready() => Ok(Turn::Outcomes),
            // Who else takes the room meanwhile makes it be waited for again.
            _ = shard.reserve(), if full.is_some() => Ok(Turn::Room),
            _ = self.published.changed(), if waits_for_image => Ok(Turn::Image),
            written = self.writer.flush(), if has_output => Ok(written.map(|()| Turn::Written)?),
            frame = self.reader.next(), if reads => Ok(Turn::Frame(frame?.map(Box::new))),
            () = tokio::time::sleep_until(deadline.into()) => Ok(Turn::Time),
            () = self.ending.cancelled(), if !self.is_ending => Ok(Turn::Ending),
        }
    }

    /// Tells whether frames are read: not while there is no room for what follows from them.
    fn reads(&self) -> bool {
        let has_room = self.appends.waits_for_shard().is_none();
        !self.is_ending && has_room && !self.listener.is_full()
    }

    /// Tells whether nothing is under way.
    fn is_idle(&self) -> bool {
        self.calls.is_empty() && self.lanes.is_idle() && self.appends.is_empty()
    }

    /// Takes a frame, and others that have arrived with it. Appends get their places at the end, so that of a lane that
    /// closes meanwhile nothing is appended.
    fn take_frames(&mut self, first: Frame) -> Result<(), LinkError> {
        let taken = self.take_those_with(first);
        self.take_arrived();
        taken
    }

    fn take_those_with(&mut self, first: Frame) -> Result<(), LinkError> {
        self.take_frame(first)?;
        for _ in 1..FRAMES_AT_ONCE {
            if !self.reads() {
                break;
            }
            match self.reader.buffered()? {
                Some(frame) => self.take_frame(frame)?,
                None => break,
            }
        }
        Ok(())
    }

    fn take_frame(&mut self, frame: Frame) -> Result<(), LinkError> {
        let now = now();
        let Some(frame) = self.listener.on_frame(frame, now)? else {
            return Ok(());
        };
        match frame {
            Frame::Append(append) => self.appends.arrived(append, now),
            Frame::Request(request) => {
                // What the lane has appended before it must be seen by it.
                self.take_arrived();
                if let Some(answer) = self.lanes.take(request, now) {
                    self.answer(answer);
                }
            }
            Frame::Call(call) => {
                let refused = self.calls.begin(call, &self.broker, &self.settled);
                if let Some(reply) = refused {
                    self.reply(reply);
                }
            }
            Frame::LaneOpen(open) => self.lanes.opened(open),
            Frame::LaneClose(close) => {
                self.lanes.closed(close.lane);
                self.drop_appends(close.lane, None);
            }
            Frame::Finish(finish) => self.lanes.finish(finish.lane, finish.correlation),
            Frame::Cancel(cancel) => self.cancel(&cancel),
            // The core passes nothing else up.
            _ => {}
        }
        Ok(())
    }

    /// Gives what has arrived its places.
    fn take_arrived(&mut self) {
        self.settle_appends(|appends, broker, settled| appends.take(broker, now(), settled));
    }

    fn cancel(&mut self, cancel: &Cancel) {
        let correlation = cancel.correlation;
        let Flow::Lane(lane) = cancel.flow else {
            return self.calls.cancel(cancel);
        };
        self.lanes.cancel(lane, correlation);
        self.drop_appends(lane, Some(correlation));
    }

    /// Drops what of a lane has no place yet, and counts it.
    fn drop_appends(&mut self, lane: Lane, only: Option<Correlation>) {
        let mut count = 0;
        self.settle_appends(|appends, _, settled| {
            appends.drop_waiting(lane, only, settled);
            count = settled.len() as u64;
        });
        let dropped = &self.broker.dropped_sub_batches;
        dropped.fetch_add(count, Ordering::Relaxed);
    }

    fn take_settled(&mut self) {
        for event in self.settled.take() {
            match event {
                Event::Reply(reply) => {
                    self.calls.ended(reply.correlation);
                    self.reply(reply);
                }
                Event::Answer(answered) => {
                    if self.lanes.ended(&answered) {
                        self.held.join(answered.held);
                        self.answer(answered.answer);
                    }
                }
            }
        }
    }

    /// Does something with the sub-batches, and tells what has become of some.
    fn settle_appends(
        &mut self,
        act: impl FnOnce(&mut Appends, &BrokerState, &mut Vec<Settlement>),
    ) {
        let mut settled = Vec::new();
        act(&mut self.appends, &self.broker, &mut settled);
        for settlement in settled {
            self.listener.release(settlement.records_length);
            if let Some(outcome) = settlement.outcome {
                self.listener.outbox().outcome(outcome);
            }
        }
    }

    fn on_time(&mut self) -> Result<(), LinkError> {
        let now = now();
        self.settle_appends(|appends, broker, settled| appends.on_time(broker, now, settled));
        let buffered_bytes = self.reader.buffered_bytes();
        // Whose frames this broker does not read cannot give a sign of life.
        let has_no_room = self.is_ending || self.appends.waits_for_shard().is_some();
        if buffered_bytes != self.buffered_bytes || has_no_room {
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
