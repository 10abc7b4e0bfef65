//! One topic of a routed producer: batches without a number, the window of those with one, and the session that sends
//! them.
//!
//! ```text
//! session ──failure of the whole──► none, until the pause is over ──► a new session, from the floor
//!    ├── another connection ──────► none ─────────────────────────────┘
//!    └── failure of one part ─────► goes on, until the pause is over ─┘
//! ```
//! So a partition that is away for a while holds up no other: to their leaders an answer that tells of a failure is no
//! more than one that is late.

use std::sync::Arc;
use std::time::Instant;

use keylane_protocol::compression::Compression;
use keylane_protocol::identifiers::{PartitionIndex, TopicId};
use keylane_protocol::message::routed_produce::{
    RoutedProducePartition, RoutedProduceRequest, RoutedProduceResponse,
};
use keylane_protocol::offset::Sequence;

use super::batching::{Batching, Hashed};
use super::pace::Pace;
use super::renewal::Renewal;
use super::session::Session;
use super::spread::Spread;
use super::verdict::{Setback, failure, weigh};
use super::window::{Numbered, Part, Unwritten, Window};
use super::{RoutedEffects, RoutedSettings};
use crate::connection::ConnectionError;
use crate::limits::PARTITIONS_MAX;
use crate::producer::batch::SealedBatch;
use crate::producer::delivery::Identity;
use crate::producer::error::DeliveryFailure;
use rand::rngs::StdRng;

/// A topic, by its id: one that is created anew is another one.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: Arc<str>,
    pub(super) id: TopicId,
    /// How many partitions the next number is split with.
    pub(super) partition_count: i32,
    pub(super) batching: Batching,
    pub(super) window: Window,
    session: Option<Session>,
    session_serial: u64,
    renewal: Renewal,
    /// A router did not know it by its id.
    is_doubted: bool,
}

/// What a topic may touch besides itself.
pub(super) struct Shared<'a> {
    pub(super) settings: &'a RoutedSettings,
    pub(super) generator: &'a mut StdRng,
    pub(super) effects: &'a mut RoutedEffects,
    pub(super) now: Instant,
}

/// What a topic is asked to send on.
#[derive(Clone, Copy)]
pub(super) struct Sending {
    pub(super) connection: u64,
    pub(super) now: Instant,
    /// Whether nothing lingers.
    pub(super) takes_all: bool,
    /// Whether batches may be given numbers.
    pub(super) may_number: bool,
    pub(super) identity: Identity,
}

/// Names a number that was sent, and the session it was sent in.
#[derive(Clone, Copy)]
pub(super) struct Sent {
    pub(super) number: Sequence,
    pub(super) session: u64,
}

impl Topic {
    pub(super) fn new(name: Arc<str>, id: TopicId, partition_count: i32) -> Self {
        Self {
            name,
            id,
            partition_count,
            batching: Batching::new(),
            window: Window::default(),
            session: None,
            session_serial: 0,
            renewal: Renewal::default(),
            is_doubted: false,
        }
    }

    /// Learns of more partitions. A topic never shrinks.
    pub(super) fn grow(&mut self, partition_count: i32) {
        let is_sound = usize::try_from(partition_count).is_ok_and(|count| count <= PARTITIONS_MAX);
        if is_sound {
            self.partition_count = self.partition_count.max(partition_count);
        }
    }

    /// Returns the next request if there is anything to send on this connection.
    pub(super) fn next_request(
        &mut self,
        sending: Sending,
        settings: &RoutedSettings,
    ) -> Option<(Sent, RoutedProduceRequest)> {
        if self.window.is_empty() && self.batching.is_empty() {
            return None;
        }
        let floor = self.window.floor();
        let session = self.session_on(sending)?;
        if session.unanswered() >= settings.in_flight_max {
            return None;
        }
        let number = session.next(floor);
        if number == self.window.next_number() {
            if !sending.may_number || number.0 >= settings.number_end {
                return None;
            }
            let opening = (settings, self.partition_count);
            let due = self
                .batching
                .due_len(opening, sending.now, sending.takes_all);
            let is_early = self.paced_until(settings) > Some(sending.now);
            if is_early || !due.is_some_and(|length| self.window.has_room(length)) {
                return None;
            }
            let batch = self.batching.take()?;
            self.number(batch, number, sending.identity);
        } else if !self.window.may_send(number) {
            return None;
        }
        self.send(session, number, sending.now)
    }

    /// Returns whether a router did not know the topic by its id, and none has known it since.
    pub(super) fn is_doubted(&self) -> bool {
        self.is_doubted
    }

    /// Returns the session on this connection, a new one if there is none and no pause is to be waited for.
    fn session_on(&mut self, sending: Sending) -> Option<Session> {
        let here = |session: &Session| session.connection == sending.connection;
        let session = self.session.filter(here);
        self.session = match self.renewal.at() {
            Some(at) if at <= sending.now => None,
            _ => session,
        };
        if self.session.is_some() {
            return self.session;
        }
        if self.renewal.at().is_some_and(|at| at > sending.now) {
            return None;
        }
        Some(Session::new(self.session_serial + 1, sending.connection))
    }

    /// Fixes what a number stands for: records, their order, and how many partitions they are split over.
    fn number(&mut self, hashed: Hashed<SealedBatch>, number: Sequence, identity: Identity) {
        let Hashed { batch, hashes } = hashed;
        let partition_count = self.partition_count;
        let spread = Spread::new(hashes, identity.producer_id, number, partition_count);
        let parts = spread.touched().into_iter().map(Part::new).collect();
        let outcome = batch.outcome();
        outcome.set_spread(spread);
        self.window.push(Numbered {
            serial: batch.serial(),
            outcome,
            partition_count,
            parts,
            reserved_bytes: batch.reserved_bytes(),
            deadline: batch.deadline(),
            bytes: batch.finish(Compression::None, Some(identity), number),
            attempts: 0,
            is_settled: false,
            last_failure: None,
        });
    }

    fn send(
        &mut self,
        mut session: Session,
        number: Sequence,
        now: Instant,
    ) -> Option<(Sent, RoutedProduceRequest)> {
        let floor = self.window.floor();
        let is_first = session.has_sent_nothing();
        let batch = self.window.get_mut(number)?;
        // No frame outlives the batch's time-out, and nothing is sent after it.
        let left = batch.deadline.checked_duration_since(now)?.as_millis();
        batch.attempts += 1;
        let request = RoutedProduceRequest {
            topic_id: self.id,
            partition_count: batch.partition_count,
            floor,
            is_first,
            timeout_ms: i32::try_from(left).unwrap_or(i32::MAX),
            records: Some(batch.bytes.clone()),
        };
        session.on_sent(number);
        if is_first {
            self.renewal.on_begun();
        }
        self.session_serial = session.serial;
        self.session = Some(session);
        let session = session.serial;
        Some((Sent { number, session }, request))
    }

    /// Takes an answer, to this session or to an older one.
    pub(super) fn on_answer(
        &mut self,
        sent: Sent,
        answer: &RoutedProduceResponse,
        shared: &mut Shared<'_>,
    ) {
        self.grow(answer.partition_count);
        self.note_answered(sent);
        if answer.error_code.is_none() {
            self.is_doubted = false;
            self.on_parts(sent, &answer.partitions, shared);
            return;
        }
        let weight = weigh(answer.error_code);
        let cause = failure(answer.error_code, answer.error_message.as_ref());
        let Some(batch) = self.window.get_mut(sent.number).filter(|b| !b.is_settled) else {
            return;
        };
        if weight.is_clean {
            batch.attempts = batch.attempts.saturating_sub(1);
        }
        shared.effects.note(weight);
        self.is_doubted |= weight.doubts_topic;
        if weight.is_final {
            let is_in_doubt = batch.attempts > 0;
            self.refuse(sent, &cause, &|_| is_in_doubt, shared.effects);
        } else {
            self.fail(sent, Setback::Whole, cause, shared);
        }
    }

    /// Says that no answer will come; `was_sent` is false if the request never left.
    pub(super) fn on_lost(
        &mut self,
        sent: Sent,
        error: ConnectionError,
        was_sent: bool,
        shared: &mut Shared<'_>,
    ) {
        self.note_answered(sent);
        if let Some(batch) = self.window.get_mut(sent.number).filter(|_| !was_sent) {
            batch.attempts = batch.attempts.saturating_sub(1);
        }
        self.fail(sent, Setback::Whole, error.into(), shared);
    }

    fn on_parts(
        &mut self,
        sent: Sent,
        answers: &[RoutedProducePartition],
        shared: &mut Shared<'_>,
    ) {
        let Some(batch) = self.window.get_mut(sent.number).filter(|b| !b.is_settled) else {
            return;
        };
        let read = batch.read_answer(answers, shared.effects);
        if read.is_news && batch.last_failure.is_some() {
            self.renewal.on_progress();
        }
        if let Some(cause) = read.refusal {
            let is_in_doubt = |partition| !read.not_written.contains(&partition);
            self.refuse(sent, &cause, &is_in_doubt, shared.effects);
            return;
        }
        // What was acknowledged to earlier attempts may make it whole whatever this answer says.
        let is_settled = self.window.settle_if_written(sent.number, shared.effects);
        if let Some((setback, cause)) = read.setback.filter(|_| !is_settled) {
            if read.is_news {
                self.window.tell_written(sent.number, shared.effects);
            }
            self.fail(sent, setback, cause, shared);
        }
    }

    fn note_answered(&mut self, sent: Sent) {
        if let Some(session) = &mut self.session
            && session.serial == sent.session
        {
            session.on_answered();
        }
    }

    /// Sees to it that another session begins, unless it is an older one that failed or the batch is settled. This one
    /// ends unless no more than parts have failed.
    fn fail(
        &mut self,
        sent: Sent,
        setback: Setback,
        cause: DeliveryFailure,
        shared: &mut Shared<'_>,
    ) {
        let Some(batch) = self.window.get_mut(sent.number).filter(|b| !b.is_settled) else {
            return;
        };
        batch.last_failure = Some(cause);
        let failed = |session: &Session| session.serial == sent.session;
        if self.session.as_ref().is_some_and(failed) {
            if setback == Setback::Whole {
                self.session = None;
            }
            let at = self
                .renewal
                .on_setback(setback, shared.now, shared.generator);
            let first = shared.effects.paused_until.get_or_insert(at);
            *first = at.min(*first);
        }
    }

    /// Settles a batch that is refused for good, and begins another session behind it.
    fn refuse(
        &mut self,
        sent: Sent,
        cause: &DeliveryFailure,
        is_in_doubt: &dyn Fn(PartitionIndex) -> bool,
        effects: &mut RoutedEffects,
    ) {
        let why = Unwritten {
            topic: &self.name,
            cause,
            is_in_doubt,
        };
        self.window.refuse(sent.number, &why, effects);
        self.session = None;
    }

    /// Gives up what is older than the delivery time-out, the oldest first, and lets nothing join what is getting there.
    pub(super) fn expire(&mut self, shared: &mut Shared<'_>) {
        let after = shared.settings.delivery_timeout;
        self.batching.seal_if_old(shared.settings, shared.now);
        while let Some(first) = self.window.first()
            && first.deadline <= shared.now
        {
            let is_in_doubt = first.attempts > 0;
            let cause = DeliveryFailure::TimedOut {
                after,
                last: first.last_failure.clone().map(Arc::new),
            };
            let why = Unwritten {
                topic: &self.name,
                cause: &cause,
                is_in_doubt: &|_| is_in_doubt,
            };
            self.window.give_up_first(&why, shared.effects);
        }
        while let Some(batch) = self.batching.take_expired(shared.now) {
            let cause = DeliveryFailure::TimedOut { after, last: None };
            shared.effects.give_back(&batch.batch, &self.name, cause);
        }
    }

    /// Gives up every batch that has a number, since it can never be acknowledged.
    pub(super) fn abandon_window(&mut self, cause: &DeliveryFailure, effects: &mut RoutedEffects) {
        while let Some(first) = self.window.first() {
            let is_in_doubt = first.attempts > 0;
            let why = Unwritten {
                topic: &self.name,
                cause,
                is_in_doubt: &|_| is_in_doubt,
            };
            self.window.give_up_first(&why, effects);
        }
        self.session = None;
    }

    /// Gives up every batch that has no number.
    pub(super) fn abandon_batching(
        &mut self,
        cause: &DeliveryFailure,
        effects: &mut RoutedEffects,
    ) {
        while let Some(batch) = self.batching.take() {
            effects.give_back(&batch.batch, &self.name, cause.clone());
        }
    }

    /// Forgets what was said of a topic that is no more.
    pub(super) fn retire(&mut self, cause: &DeliveryFailure, effects: &mut RoutedEffects) {
        self.is_doubted = false;
        self.abandon_window(cause, effects);
    }

    /// Starts at 0 again, under another epoch or id.
    pub(super) fn restart(&mut self) {
        self.window.restart();
        self.session = None;
    }

    /// Returns when what waits for a number may have one, if the floor has stood for so long that numbers are saved.
    pub(super) fn paced_until(&self, settings: &RoutedSettings) -> Option<Instant> {
        let first = self.window.first()?;
        let begun = first.deadline.checked_sub(settings.delivery_timeout)?;
        Pace::of(settings).next_number(begun, self.window.len())
    }

    /// Returns when something is to be done that no answer and no connection brings about.
    pub(super) fn next_deadline(&self, now: Instant, settings: &RoutedSettings) -> Option<Instant> {
        let later = |at: &Instant| *at > now;
        let first = self.window.first().map(|first| first.deadline);
        let paced = self.paced_until(settings);
        [
            first,
            self.batching.first_deadline(),
            self.batching.next_due().filter(later),
            self.batching.closes_at(settings),
            self.renewal.at().filter(later),
            paced.filter(|at| later(at) && !self.batching.is_empty()),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}
