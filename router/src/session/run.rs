//! The loop of a session: wait until something happens, then do all that is due.

use bytes::Bytes;
use keylane_protocol::config::ClientLimits;
use keylane_protocol::transport::FrameWriter;
use tokio::io::AsyncWrite;
use tokio::time::sleep_until;

use super::queue::{Entry, State};
use super::socket::Socket;
use super::{ConnectionError, Current, Session, now};
use crate::limits::{ANSWER_BYTES_QUEUED_MAX, ANSWER_BYTES_UNREAD_MAX};
use crate::mailbox::{Asked, Event};
use crate::routing::Moment;
use keylane_protocol::api::ApiKey;

impl Session {
    /// Serves until the client goes, the connection fails, or the router stops and all is answered.
    pub(super) async fn run(&mut self, socket: &mut Socket) -> Result<(), ConnectionError> {
        let stopping = self.runtime.shared.stopping.clone();
        let (mailbox, limits) = (self.mailbox.clone(), self.config().clients.clone());
        loop {
            self.step(&mut socket.writer)?;
            let is_ending = self.refused.is_some() || stopping.is_cancelled();
            let has_output = socket.writer.queued_bytes() > 0;
            let is_charging = socket.charging.is_some();
            if is_ending && self.queue.is_empty() && !has_output {
                let _ = socket.writer.shutdown().await;
                return self.refused.take().map_or(Ok(()), Err);
            }
            let is_reading = !is_ending
                && !is_charging
                && self.may_take_more(&limits)
                && socket.writer.queued_bytes() <= ANSWER_BYTES_UNREAD_MAX;
            let is_idle = self.queue.is_empty() && !is_charging && !has_output;
            socket.check(is_reading, is_idle)?;
            let mut deadline = socket.next_deadline();
            if let Some(at) = self.next_deadline() {
                deadline = deadline.min(at.into());
            }
            tokio::select! {
                frame = socket.reader.next_frame(), if is_reading => match frame? {
                    Some(frame) => self.take_all(frame, socket, &limits)?,
                    None => return Ok(()),
                },
                charge = async {
                    let charging = socket.charging.as_mut().expect("it is there");
                    charging.charge.as_mut().await
                }, if is_charging && !is_ending => {
                    if let Some(charging) = socket.charging.take() {
                        self.take((charging.frame, charging.read_at), charge)?;
                    }
                }
                written = socket.writer.flush(), if has_output => {
                    written?;
                    self.fetches.on_written();
                }
                () = mailbox.filled() => {}
                () = stopping.cancelled(), if !is_ending => {}
                () = sleep_until(deadline) => {}
            }
        }
    }

    fn may_take_more(&self, limits: &ClientLimits) -> bool {
        self.refused.is_none()
            && self.change.is_none()
            && self.queue.len() < limits.connection_requests_max
    }

    /// Takes a frame and those that have arrived with it, until one has to wait for room in the budgets.
    fn take_all(
        &mut self,
        first: Bytes,
        socket: &mut Socket,
        limits: &ClientLimits,
    ) -> Result<(), ConnectionError> {
        let mut next = Some(first);
        while let Some(frame) = next {
            let Some((frame, read_at, charge)) = socket.on_frame(frame) else {
                return Ok(());
            };
            self.take((frame, read_at), charge)?;
            if !self.may_take_more(limits) {
                return Ok(());
            }
            next = socket.reader.buffered_frame()?;
        }
        Ok(())
    }

    /// Does all that is due.
    fn step<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut FrameWriter<W>,
    ) -> Result<(), ConnectionError> {
        let mailbox = self.mailbox.clone();
        while let Some(event) = mailbox.take() {
            self.on_event(event)?;
        }
        if mailbox.take_routing() {
            for asked in self.lanes.sweep() {
                self.on_lost(asked, keylane_protocol::link::Fate::NeverSent)?;
            }
            self.on_routing()?;
        }
        self.on_time()?;
        self.advance(writer)?;
        self.levels.queued.set(self.queue.len());
        self.levels.stalled.set(self.lanes.stalled());
        let sessions = self.producing.sessions().len();
        self.levels.routed_sessions.set(sessions);
        Ok(())
    }

    /// Sends answers that are due, and begins what has become the first.
    fn advance<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut FrameWriter<W>,
    ) -> Result<(), ConnectionError> {
        while let Some(entry) = self.queue.pop_known() {
            self.finish(entry, writer);
        }
        while let Some((id, first)) = self.queue.first() {
            match &mut first.state {
                State::Underway => break,
                State::Answered(_) | State::Silent => {
                    if let Some(entry) = self.queue.pop() {
                        self.finish(entry, writer);
                    }
                    if self.change == Some(id) {
                        self.change = None;
                    }
                }
                State::Waiting(_) => {
                    let unsent = writer.queued_bytes();
                    // No room is taken for records while the client has not taken those before.
                    let is_fetch = first.form.api == ApiKey::Fetch;
                    if unsent > ANSWER_BYTES_QUEUED_MAX || is_fetch && unsent > 0 {
                        break;
                    }
                    let (form, read_at) = (first.form, first.read_at);
                    let waited = now().saturating_duration_since(read_at);
                    self.runtime.shared.meters.wait.record(waited);
                    let state = std::mem::replace(&mut first.state, State::Underway);
                    if let State::Waiting(body) = state
                        && let Err(refused) = self.begin(id, form, body)
                    {
                        self.queue.set(id, State::Silent);
                        // What follows it is not served.
                        self.queue.keep_first();
                        self.refused = Some(refused);
                    }
                }
            }
        }
        Ok(())
    }

    /// Counts a request that is done, and sends its answer.
    fn finish<W: AsyncWrite + Unpin>(&self, entry: Entry, writer: &mut FrameWriter<W>) {
        let meters = &self.runtime.shared.meters;
        meters.answered(entry.form.api, entry.read_at, now());
        if let State::Answered(segments) = entry.state {
            let bytes: usize = segments.iter().map(Bytes::len).sum();
            let bytes = u64::try_from(bytes).expect("a size fits 64 bits");
            meters.sent_bytes.increment(bytes);
            writer.queue(segments);
        }
    }

    fn on_event(&mut self, event: Event) -> Result<(), ConnectionError> {
        match event {
            Event::Outcome(asked, outcome) => {
                self.lanes.settled(asked);
                if let Asked::Append(id, place) = asked {
                    self.produce(|producing, _, effects| {
                        producing.on_outcome((id, place), outcome, effects);
                    })?;
                }
                Ok(())
            }
            Event::Answer(asked, answer) => {
                self.lanes.settled(asked);
                self.on_answer(asked, &answer)
            }
            Event::Lost(asked, fate) => {
                self.lanes.settled(asked);
                self.on_lost(asked, fate)
            }
            Event::Room(broker) => {
                for (asked, offered) in self.lanes.on_room(broker) {
                    self.on_offered(asked, offered)?;
                }
                Ok(())
            }
            Event::Unknown(unknown) => self.on_unknown(&unknown),
            Event::Forwarded(id, answered) => self.on_forwarded(id, answered),
        }
    }

    fn on_routing(&mut self) -> Result<(), ConnectionError> {
        self.produce(|producing, moment, effects| producing.on_routing(moment, effects))?;
        match &mut self.current {
            Current::Fetch => {
                self.fetch(|fetching, moment, effects| fetching.on_routing(moment, effects))
            }
            Current::Asking(_) => {
                self.ask(|asking, moment, effects| asking.on_routing(moment, effects))
            }
            Current::Metadata(_) => self.on_metadata_known(),
            Current::Change(_) => self.on_change_known(),
            Current::ProducerId(_) => self.on_producer_id_routing(),
            Current::Nothing | Current::Configs(_) => Ok(()),
        }
    }

    fn on_unknown(
        &mut self,
        unknown: &std::collections::BTreeSet<crate::lookups::Missing>,
    ) -> Result<(), ConnectionError> {
        self.produce(|producing, moment, effects| {
            producing.on_unknown(unknown, moment, effects);
        })?;
        match &mut self.current {
            Current::Fetch => self
                .fetch(|fetching, moment, effects| fetching.on_unknown(unknown, moment, effects)),
            Current::Asking(_) => {
                self.ask(|asking, moment, effects| asking.on_unknown(unknown, moment, effects))
            }
            Current::Metadata(underway) => {
                underway
                    .missing
                    .retain(|missing| !unknown.contains(missing));
                self.on_metadata_known()
            }
            _ => Ok(()),
        }
    }

    fn on_time(&mut self) -> Result<(), ConnectionError> {
        let now = now();
        if !self.producing.is_idle() {
            self.produce(|producing, moment, effects| producing.on_deadline(moment, effects))?;
        }
        match &mut self.current {
            Current::Nothing => Ok(()),
            Current::Fetch => self.fetch(|fetching, _, effects| fetching.on_deadline(now, effects)),
            Current::Asking(_) => {
                self.ask(|asking, moment, effects| asking.on_deadline(moment, effects))
            }
            Current::Metadata(underway) if now >= underway.until => self.give_up_metadata(),
            Current::ProducerId(underway) if now >= underway.until => self.give_up_producer_id(),
            Current::Configs(underway) if now >= underway.until => self.finish_configs(),
            Current::Change(underway) if now >= underway.until => self.finish_change(),
            _ => Ok(()),
        }
    }

    /// Returns when [`Session::step`] has something to do without being told.
    fn next_deadline(&self) -> Option<std::time::Instant> {
        let routing = self.runtime.routing.borrow();
        let moment = Moment {
            routing: &routing,
            now: now(),
        };
        let producing = self.producing.next_deadline();
        let current = match &self.current {
            Current::Nothing => None,
            Current::Fetch => self.fetches.fetching.next_deadline(),
            Current::Asking(underway) => underway.asking.next_deadline(moment),
            Current::Metadata(underway) => Some(underway.until),
            Current::ProducerId(underway) => Some(underway.until),
            Current::Configs(underway) => Some(underway.until),
            Current::Change(underway) => Some(underway.until),
        };
        producing.into_iter().chain(current).min()
    }

    /// Drops what the client no longer waits for, sees to it that records without acknowledgement leave all the same,
    /// and closes the lanes.
    pub(super) async fn wind_up(&mut self) {
        self.current = Current::Nothing;
        self.queue.clear();
        self.producing.on_closed();
        self.lanes.drop_answered();
        let mailbox = self.mailbox.clone();
        while !(self.producing.is_idle() && self.lanes.is_idle()) {
            // The client hears of nothing any more.
            let mut nowhere = FrameWriter::new(tokio::io::sink());
            if self.step(&mut nowhere).is_err() {
                break;
            }
            let Some(at) = self.next_deadline() else {
                break;
            };
            tokio::select! {
                () = mailbox.filled() => {}
                () = sleep_until(at.into()) => {}
            }
        }
        self.lanes.close();
    }
}
