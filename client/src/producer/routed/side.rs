//! The shell of a routed producer: hands requests to the connection it shares, and tells the core what came back.
//!
//! There is no task between a record and the socket: whoever sends, and the connection's task when an answer arrives,
//! call the core under a short lock. The producer's own task wakes for what has a time: lingering, pauses, expiry.
//! A connection's handle must never be dropped under that lock: the last one reports to those who wait.

use std::cell::LazyCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::ProducerId;
use keylane_protocol::message::routed_produce::{RoutedProduceRequest, RoutedProduceResponse};
use keylane_protocol::offset::ProducerEpoch;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, sleep_until};

use super::{RoutedAppended, RoutedCore, RoutedEffects, RoutedSettings, Ticket};
use crate::ambient;
use crate::connection::{ConnectionError, Terms};
use crate::limits::{BACKOFF_MAX, ROUTED_BATCH_BYTES_MAX};
use crate::metadata::{ClusterView, TopicView};
use crate::producer::batch::RecordFields;
use crate::producer::error::{BuildProducerError, DeliveryError, SendError};
use crate::producer::receipt::BatchOutcome;
use crate::producer::request::new_routed_identity;
use crate::producer::{Appended, Common};
use crate::routers::{RouterLink, RouterSlot};

/// The routed half of a producer.
#[derive(Debug)]
pub(crate) struct RoutedSide {
    shared: Arc<Shared>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// What senders, the connection's task and the producer's own have in common.
#[derive(Debug)]
struct Shared {
    common: Arc<Common>,
    slot: Arc<RouterSlot>,
    state: Mutex<State>,
    /// Wakes the producer's task.
    wake: Notify,
    is_ending: AtomicBool,
}

#[derive(Debug)]
struct State {
    core: RoutedCore,
    /// When the producer's task looks again by itself.
    armed: Option<Instant>,
    /// The metadata that partitions were last counted by.
    generation: u64,
    is_asking_identity: bool,
    is_looking_up: bool,
}

/// Which topics may have something to send.
enum Which<'a> {
    Named(&'a str),
    Of(Ticket),
    All,
}

impl RoutedSide {
    /// Starts the routed half under an id of its own.
    pub(crate) async fn start(common: Arc<Common>) -> Result<Self, BuildProducerError> {
        let config = &common.config;
        let client = &common.client.inner;
        let identity = new_routed_identity(client, config.delivery_timeout).await?;
        let settings = RoutedSettings {
            batch_size_bytes: config.routed_batch_size_bytes,
            // So that several fit into the memory.
            batch_bytes_max: (config.memory_bytes / 8).clamp(1024, ROUTED_BATCH_BYTES_MAX),
            max_record_bytes: config.max_record_bytes,
            linger: config.linger,
            delivery_timeout: config.delivery_timeout,
            in_flight_max: config.in_flight_requests,
            number_end: i32::MAX,
        };
        let state = State {
            core: RoutedCore::new(settings, identity, client.next_seed()),
            armed: None,
            generation: 0,
            is_asking_identity: false,
            is_looking_up: false,
        };
        let shared = Arc::new(Shared {
            slot: client.routers.join(),
            state: Mutex::new(state),
            wake: Notify::new(),
            is_ending: AtomicBool::new(false),
            common,
        });
        let task = tokio::spawn(run(Arc::clone(&shared)));
        Ok(Self {
            shared,
            task: Mutex::new(Some(task)),
        })
    }

    /// Places a record, and sends what is due by that.
    pub(crate) fn place(
        &self,
        fields: &RecordFields<'_>,
        reserve: impl FnMut(usize) -> bool,
    ) -> Result<Appended, SendError> {
        let shared = &self.shared;
        // Declared before the lock, so that it is dropped after it.
        let mut link = None;
        let mut effects = RoutedEffects::default();
        // Most records join an open batch and need no clock; one that is sent at once needs the same time twice.
        let now = LazyCell::new(ambient::now_through_suspend);
        let mut state = shared.lock();
        let appended = state
            .core
            .append(fields.topic, &fields.record, || *now, reserve)?;
        let (receipt, opened, is_due) = match appended {
            RoutedAppended::NeedsTopic => return Ok(Appended::NeedsTopic),
            RoutedAppended::NeedsMemory(bytes) => return Ok(Appended::NeedsMemory(bytes)),
            RoutedAppended::Placed {
                receipt,
                opened,
                is_due,
            } => (receipt, opened, is_due),
        };
        if is_due {
            link = shared.slot.ready();
            let which = Which::Named(fields.topic);
            shared.send(&mut state, link.as_ref(), (&which, *now), &mut effects);
        }
        if let Some(due) = opened {
            let first = match is_due {
                // What was sent has nothing left but its time-out, which is no earlier than those of others before it.
                true => state.core.next_deadline_of(fields.topic, *now),
                false => Some(due),
            };
            if let Some(first) = first {
                shared.look_by(&mut state, first);
            }
        }
        drop(state);
        shared.apply(effects);
        drop(link);
        Ok(Appended::Placed(receipt))
    }

    /// Makes a topic known.
    pub(crate) fn learn(&self, topic: &TopicView) {
        let mut effects = RoutedEffects::default();
        let count = partition_count(topic);
        let mut state = self.shared.lock();
        // What is known may be newer than the metadata this was read from.
        if state.core.topic(&topic.name).is_none() {
            state
                .core
                .set_topic(&topic.name, topic.id, count, &mut effects);
        }
        drop(state);
        self.shared.apply(effects);
    }

    /// Makes everything due, and returns the outcomes of what is not settled.
    pub(crate) fn seal_all(&self) -> Vec<Arc<BatchOutcome>> {
        let shared = &self.shared;
        // Declared before the lock, so that it is dropped after it.
        let mut link = None;
        let mut effects = RoutedEffects::default();
        let mut state = shared.lock();
        let outcomes = state.core.outcomes();
        if state.core.seal_all() {
            link = shared.slot.ready();
            let what = (&Which::All, ambient::now_through_suspend());
            shared.send(&mut state, link.as_ref(), what, &mut effects);
        }
        drop(state);
        shared.apply(effects);
        drop(link);
        outcomes
    }

    pub(crate) fn take_failed(&self) -> Option<(u64, DeliveryError)> {
        self.shared.lock().core.take_failed()
    }

    /// Lets the producer's task look at once.
    pub(crate) fn wake(&self) {
        self.shared.wake.notify_one();
    }

    pub(crate) fn close(&self) {
        self.shared.lock().core.close();
    }

    pub(crate) fn end(&self) {
        self.shared.is_ending.store(true, Ordering::Release);
        self.shared.wake.notify_one();
    }

    /// Takes the task, to wait for its end.
    pub(crate) fn task(&self) -> Option<JoinHandle<()>> {
        let mut task = self.task.lock();
        task.as_mut()
            .expect("no code panics while it holds this lock")
            .take()
    }
}

/// Looks whenever something has its time, until the producer ends.
async fn run(shared: Arc<Shared>) {
    let mut moved = shared.slot.subscribe();
    loop {
        if shared.is_ending.load(Ordering::Acquire) {
            shared.end();
            return;
        }
        moved.mark_unchanged();
        let armed = shared.look();
        let wait = async {
            match armed {
                Some(at) => sleep_until(ambient::waking_time(at)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shared.wake.notified() => {}
            _ = moved.changed() => {}
            () = wait => {}
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no code panics while it holds this lock")
    }

    /// Does what is due by now and returns when to look again.
    fn look(self: &Arc<Self>) -> Option<Instant> {
        let link = self.slot.ready();
        let mut effects = RoutedEffects::default();
        let mut state = self.lock();
        let now = ambient::now_through_suspend();
        state.core.expire(now, &mut effects);
        self.follow_metadata(&mut state, &mut effects);
        let what = (&Which::All, now);
        self.send(&mut state, link.as_ref(), what, &mut effects);
        let armed = state.core.next_deadline(ambient::now_through_suspend());
        state.armed = armed;
        drop(state);
        self.apply(effects);
        armed
    }

    /// Sees to it that the producer's task looks no later than this.
    fn look_by(&self, state: &mut State, at: Instant) {
        if state.armed.is_none_or(|armed| at < armed) {
            state.armed = Some(at);
            self.wake.notify_one();
        }
    }

    /// Hands over what can be sent at this time.
    fn send(
        self: &Arc<Self>,
        state: &mut State,
        link: Option<&RouterLink>,
        what: (&Which<'_>, Instant),
        effects: &mut RoutedEffects,
    ) {
        match link {
            Some(link) => self.send_on(link, state, what, effects),
            None if state.core.has_unsettled() => self.slot.want(&self.common.client.inner),
            None => {}
        }
        if let Some(until) = effects.paused_until.take() {
            self.look_by(state, until);
        }
    }

    fn send_on(
        self: &Arc<Self>,
        link: &RouterLink,
        state: &mut State,
        (which, now): (&Which<'_>, Instant),
        effects: &mut RoutedEffects,
    ) {
        let topics = match which {
            Which::Named(name) => state.core.topic(name).map(|topic| topic..topic + 1),
            Which::Of(ticket) => Some(ticket.topic..ticket.topic + 1),
            Which::All => Some(0..state.core.topic_count()),
        };
        let takes_all = self.common.takes_all();
        for topic in topics.into_iter().flatten() {
            if state.core.is_overdue(topic, now) {
                state.core.expire(now, effects);
            }
            while let Some((ticket, request)) =
                state
                    .core
                    .next_request_of(topic, link.serial, now, takes_all)
            {
                if let Err(error) = self.hand_over(link, ticket, request) {
                    state.core.on_not_sent(ticket, error, now, effects);
                }
            }
            if let Some(until) = state.core.paced_until(topic).filter(|&until| until > now) {
                self.look_by(state, until);
            }
        }
    }

    fn hand_over(
        self: &Arc<Self>,
        link: &RouterLink,
        ticket: Ticket,
        mut request: RoutedProduceRequest,
    ) -> Result<(), ConnectionError> {
        let timeout = self.common.client.inner.settings.request_timeout;
        let patience = i32::try_from(timeout.as_millis() * 9 / 10).unwrap_or(i32::MAX);
        request.timeout_ms = request.timeout_ms.min(patience);
        let terms = Terms {
            timeout,
            is_answered: true,
            version_max: i16::MAX,
        };
        let shared = Arc::clone(self);
        let on_answer = move |answer| shared.on_answer(ticket, &answer);
        link.connection.send(&request, terms, on_answer)
    }

    /// Runs on the connection's task.
    fn on_answer(
        self: &Arc<Self>,
        ticket: Ticket,
        answer: &Result<RoutedProduceResponse, ConnectionError>,
    ) {
        let link = self.slot.ready();
        let mut effects = RoutedEffects::default();
        let now = ambient::now_through_suspend();
        let mut state = self.lock();
        state.core.on_answer(ticket, answer, now, &mut effects);
        let which = if effects.frees_all {
            Which::All
        } else {
            Which::Of(ticket)
        };
        self.send(&mut state, link.as_ref(), (&which, now), &mut effects);
        drop(state);
        self.apply(effects);
    }

    fn apply(self: &Arc<Self>, mut effects: RoutedEffects) {
        if effects.released_bytes > 0 {
            self.common.memory.add_permits(effects.released_bytes);
        }
        effects.settle_receipts();
        if effects.doubts_topic {
            self.look_up_topics();
        }
        if effects.needs_identity {
            self.ask_identity();
        }
    }

    /// Asks for metadata, since a topic may be another one by now.
    fn look_up_topics(self: &Arc<Self>) {
        if std::mem::replace(&mut self.lock().is_looking_up, true) {
            return;
        }
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            let metadata = &shared.common.client.inner.metadata;
            let seen = metadata.view().generation;
            let refreshed = metadata.refresh(seen, false).await;
            if let Err(error) = &refreshed {
                tracing::debug!(%error, "metadata not refreshed");
            }
            let mut effects = RoutedEffects::default();
            let mut state = shared.lock();
            state.is_looking_up = false;
            if let Ok(view) = refreshed {
                state.settle_doubts(&view, &mut effects);
            }
            drop(state);
            shared.apply(effects);
            shared.wake.notify_one();
        });
    }

    /// Learns of partitions that were added. Another id is believed only in answer to a doubt: a router that lags behind
    /// may still name the one before.
    fn follow_metadata(&self, state: &mut State, effects: &mut RoutedEffects) {
        let view = self.common.client.inner.metadata.view();
        if view.generation == std::mem::replace(&mut state.generation, view.generation) {
            return;
        }
        for (name, id) in state.core.topic_ids() {
            let topic = view.topics.get(&name).filter(|topic| topic.id == id);
            if let Some(topic) = topic {
                state
                    .core
                    .set_topic(&name, id, partition_count(topic), effects);
            }
        }
    }

    /// Asks for another id, for as long as it takes.
    fn ask_identity(self: &Arc<Self>) {
        if std::mem::replace(&mut self.lock().is_asking_identity, true) {
            return;
        }
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            let identity = loop {
                if shared.is_ending.load(Ordering::Acquire) {
                    return;
                }
                let client = &shared.common.client.inner;
                let timeout = shared.common.config.delivery_timeout;
                match new_routed_identity(client, timeout).await {
                    Ok(identity) => break identity,
                    Err(error) => tracing::warn!(%error, "no new producer id"),
                }
                sleep(BACKOFF_MAX).await;
            };
            shared.take_identity(identity);
        });
    }

    fn take_identity(self: &Arc<Self>, identity: (ProducerId, ProducerEpoch)) {
        let mut effects = RoutedEffects::default();
        let mut state = self.lock();
        state.is_asking_identity = false;
        state.core.set_identity(identity, &mut effects);
        drop(state);
        self.wake.notify_one();
        self.apply(effects);
    }

    /// Gives up what is left, once nobody can send any more.
    fn end(self: &Arc<Self>) {
        let mut effects = RoutedEffects::default();
        let mut state = self.lock();
        // What failed before is another matter.
        let _ = state.core.take_failed();
        state.core.abandon(&mut effects);
        let lost = state.core.take_failed();
        drop(state);
        if let Some((lost, _)) = lost {
            tracing::warn!(
                records = lost,
                "producer dropped before its records were acknowledged: call flush or close first"
            );
        }
        effects.needs_identity = false;
        self.apply(effects);
    }
}

impl State {
    /// Does what the metadata say of topics that a router did not know by their ids.
    fn settle_doubts(&mut self, view: &ClusterView, effects: &mut RoutedEffects) {
        for name in self.core.doubted_topics() {
            let Some(topic) = view.topics.get(&name) else {
                continue;
            };
            if !topic.partitions.is_empty() {
                let count = partition_count(topic);
                self.core.set_topic(&topic.name, topic.id, count, effects);
            } else if topic.error == ErrorCode::UnknownTopicOrPartition {
                self.core.remove_topic(&name, effects);
            }
        }
    }
}

fn partition_count(topic: &TopicView) -> i32 {
    i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX)
}
