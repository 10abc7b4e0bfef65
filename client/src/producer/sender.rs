//! The task that sends: asks the cores what is due, hands requests to connections, tells the cores what came back.
//!
//! Thin on purpose: it decides nothing about order or repetition. Everything that takes time (dialling, metadata, a new
//! producer id) runs beside it and comes back as an event, so one slow broker never holds up another.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use keylane_protocol::identifiers::BrokerId;
use keylane_protocol::message::produce::ProduceResponse;
use tokio::time::{sleep, sleep_until};

use super::Acks;
use super::accumulator::LaneId;
use super::delivery::{
    Answer, BatchRef, Delivery, DeliverySettings, Effects, Identity, PlannedRequest, Situation,
};
use super::error::{BuildProducerError, DeliveryError, DeliveryFailure};
use super::partitioned::Shared;
use super::request::{answer_for, new_identity, produce_request};
use crate::ambient;
use crate::connection::{ConnectionError, Connections, Terms};
use crate::inbox::Inbox;
use crate::limits::{BACKOFF_MAX, UNRESOLVED_BATCHES_MAX};

/// How long metadata is believed while nothing contradicts it: new partitions are found within that time.
const METADATA_AGE_MAX: Duration = Duration::from_secs(300);

/// What happened beside the sender: five answers and one dialling per broker at most, one refresh, one producer id.
enum Event {
    Answered {
        broker: BrokerId,
        batches: Vec<BatchRef>,
        answer: Result<ProduceResponse, ConnectionError>,
    },
    Dialled(BrokerId),
    Refreshed,
    Identity(Result<Identity, BuildProducerError>),
}

struct Sender {
    shared: Arc<Shared>,
    connections: Arc<Connections>,
    delivery: Delivery,
    inbox: Arc<Inbox<Event>>,
    dialling: BTreeSet<BrokerId>,
    is_refreshing: bool,
    is_asking_identity: bool,
    is_metadata_stale: bool,
    generation: u64,
    refresh_at: Instant,
}

/// Sends until the producer ends.
pub(super) async fn run(shared: Arc<Shared>, identity: Option<Identity>) {
    let mut sender = Sender::new(shared, identity);
    loop {
        let now = ambient::now();
        sender.take_events(now);
        if sender.shared.is_ending.load(Ordering::Acquire) {
            sender.end();
            return;
        }
        sender.follow_metadata();
        sender.expire(now);
        sender.send_what_is_due(now);
        sender.refresh_if_stale(now);
        let deadline = sender.next_deadline(now);
        tokio::select! {
            () = sender.shared.wake.notified() => {}
            () = sleep_until(deadline.into()) => {}
        }
    }
}

impl Sender {
    fn new(shared: Arc<Shared>, identity: Option<Identity>) -> Self {
        let config = &shared.common.config;
        let settings = DeliverySettings {
            in_flight_max: config.in_flight_requests.min(UNRESOLVED_BATCHES_MAX),
            max_request_bytes: config.max_request_bytes,
            compression: config.compression,
            delivery_timeout: config.delivery_timeout,
            resends: config.acks != Acks::None,
        };
        let inner = &shared.common.client.inner;
        Self {
            connections: Arc::new(inner.new_connections()),
            delivery: Delivery::new(settings, identity, inner.next_seed()),
            inbox: Inbox::new(&shared.wake),
            dialling: BTreeSet::new(),
            is_refreshing: false,
            is_asking_identity: false,
            is_metadata_stale: false,
            generation: 0,
            refresh_at: ambient::now() + METADATA_AGE_MAX,
            shared,
        }
    }

    fn take_events(&mut self, now: Instant) {
        let events = self.inbox.take();
        let mut effects = Effects::default();
        for event in events {
            match event {
                Event::Answered {
                    broker,
                    batches,
                    answer,
                } => {
                    self.delivery.on_request_done(broker);
                    for batch in batches {
                        let answer = self.answer(batch.lane, &answer);
                        self.delivery.on_answer(batch, answer, now, &mut effects);
                    }
                }
                Event::Dialled(broker) => {
                    self.dialling.remove(&broker);
                    // A broker that cannot be reached may have been replaced.
                    effects.is_metadata_stale |= self.connections.ready(broker).is_none();
                }
                Event::Refreshed => self.is_refreshing = false,
                Event::Identity(Ok(identity)) => {
                    self.is_asking_identity = false;
                    self.delivery.set_identity(identity, now, &mut effects);
                }
                Event::Identity(Err(error)) => {
                    tracing::warn!(%error, "no new producer id");
                    self.is_asking_identity = false;
                    effects.needs_identity = true;
                }
            }
        }
        self.apply(effects);
    }

    fn answer(&self, lane: LaneId, answer: &Result<ProduceResponse, ConnectionError>) -> Answer {
        let response = match answer {
            Ok(response) => response,
            Err(error) => return Answer::Lost(error.clone()),
        };
        let (topic, partition) = self.delivery.name(lane);
        match answer_for(response, topic, partition) {
            Some(answer) => answer,
            None if self.shared.common.config.acks == Acks::None => Answer::Written(None),
            None => Answer::Refused {
                code: keylane_protocol::error_code::ErrorCode::UnknownServerError,
                message: Some("the broker's answer does not mention the partition".into()),
            },
        }
    }

    /// Tells the cores of partitions that were met or came into being, and of their leaders.
    fn follow_metadata(&mut self) {
        let view = self.shared.common.client.inner.metadata.view();
        let known = self.delivery.lane_count();
        let mut accumulator = self.shared.lock();
        let is_new_view = view.generation != self.generation;
        if is_new_view {
            for topic in view.topics.values() {
                accumulator.grow_topic(&topic.name, topic.partitions.len());
            }
        }
        let added = accumulator.lanes_after(known);
        drop(accumulator);
        for (topic, partition) in added {
            self.delivery.add_lane(topic, partition);
        }
        let first = if is_new_view { 0 } else { known };
        for lane in (first..self.delivery.lane_count()).map(LaneId) {
            let (topic, partition) = self.delivery.name(lane);
            let leader = view.leader(topic, partition);
            self.delivery.set_leader(lane, leader);
        }
        self.generation = view.generation;
    }

    fn expire(&mut self, now: Instant) {
        let mut accumulator = self.shared.lock();
        if accumulator.next_expiry().is_none_or(|first| first > now) {
            return;
        }
        let expired = accumulator.take_expired(now);
        drop(accumulator);
        let mut effects = Effects::default();
        for (lane, batch) in expired {
            let (topic, partition) = self.delivery.name(lane);
            let cause = DeliveryFailure::TimedOut {
                after: self.shared.common.config.delivery_timeout,
                last: None,
            };
            let error = DeliveryError::NotWritten {
                topic: Arc::clone(topic),
                partition: Some(partition),
                cause,
            };
            effects.give_back(&batch, error);
        }
        self.delivery.expire(now, &mut effects);
        self.apply(effects);
    }

    fn send_what_is_due(&mut self, now: Instant) {
        loop {
            let connections = Arc::clone(&self.connections);
            let situation = Situation {
                now,
                takes_all: self.shared.common.takes_all(),
                is_ready: &|broker| connections.ready(broker).is_some(),
            };
            let plan = self.delivery.plan(&self.shared.accumulator, &situation);
            for broker in plan.wanted {
                self.dial(broker);
            }
            self.is_metadata_stale |= plan.misses_leader;
            if plan.requests.is_empty() {
                break;
            }
            for request in plan.requests {
                self.send(&request, now);
            }
        }
    }

    fn send(&mut self, planned: &PlannedRequest, now: Instant) {
        let broker = planned.broker;
        let config = &self.shared.common.config;
        let timeout = self.shared.common.client.inner.settings.request_timeout;
        let timeout_ms = i32::try_from(timeout.as_millis() * 9 / 10).unwrap_or(i32::MAX);
        let request = produce_request(planned, &self.delivery, config, timeout_ms);
        let terms = Terms {
            timeout,
            is_answered: config.acks != Acks::None,
            version_max: i16::MAX,
        };
        let batches = planned.batches.iter();
        let batches: Vec<BatchRef> = batches.map(|planned| planned.batch).collect();
        let not_sent = match self.connections.ready(broker) {
            None => Err(ConnectionError::UnknownBroker { broker: broker.0 }),
            Some(connection) => {
                let inbox = Arc::clone(&self.inbox);
                let batches = batches.clone();
                connection.send(&request, terms, move |answer| {
                    inbox.push(Event::Answered {
                        broker,
                        batches,
                        answer,
                    });
                })
            }
        };
        if let Err(error) = not_sent {
            let mut effects = Effects::default();
            self.delivery.on_request_done(broker);
            for batch in batches {
                let answer = Answer::NotSent(error.clone());
                self.delivery.on_answer(batch, answer, now, &mut effects);
            }
            self.apply(effects);
        }
    }

    fn apply(&mut self, effects: Effects) {
        self.is_metadata_stale |= effects.is_metadata_stale;
        if effects.released_bytes > 0 {
            self.shared
                .common
                .memory
                .add_permits(effects.released_bytes);
        }
        if !effects.settled.is_empty() {
            let mut accumulator = self.shared.lock();
            for settled in &effects.settled {
                accumulator.settled(settled.serial, settled.result.as_ref().err());
            }
            drop(accumulator);
            for settled in effects.settled {
                settled.outcome.settle(settled.result);
            }
        }
        if effects.needs_identity && !self.is_asking_identity {
            self.is_asking_identity = true;
            let client = Arc::clone(&self.shared.common.client.inner);
            self.inbox.start(async move {
                let identity = new_identity(&client).await;
                if identity.is_err() {
                    // It is asked for again when this is heard, whatever the error was.
                    sleep(BACKOFF_MAX).await;
                }
                Event::Identity(identity)
            });
        }
    }

    fn dial(&mut self, broker: BrokerId) {
        let view = self.shared.common.client.inner.metadata.view();
        let Some(address) = view.brokers.get(&broker).cloned() else {
            self.is_metadata_stale = true;
            return;
        };
        if !self.dialling.insert(broker) {
            return;
        }
        let connections = Arc::clone(&self.connections);
        self.inbox.start(async move {
            // A failure shows in that no connection is ready; the next attempt pauses by itself.
            let _ = connections.connect(broker, &address).await;
            Event::Dialled(broker)
        });
    }

    fn refresh_if_stale(&mut self, now: Instant) {
        let is_due = self.is_metadata_stale || now >= self.refresh_at;
        if !is_due || self.is_refreshing {
            return;
        }
        self.is_refreshing = true;
        self.is_metadata_stale = false;
        self.refresh_at = now + METADATA_AGE_MAX;
        let client = Arc::clone(&self.shared.common.client.inner);
        let generation = self.generation;
        self.inbox.start(async move {
            if let Err(error) = client.metadata.refresh(generation, false).await {
                tracing::debug!(%error, "metadata not refreshed");
            }
            Event::Refreshed
        });
    }

    fn next_deadline(&self, now: Instant) -> Instant {
        let accumulator = self.shared.lock();
        // What is due already waits for a connection, a leader or an answer, each of which wakes the sender.
        let is_due = accumulator.next_due(now);
        let expiry = accumulator.next_expiry();
        drop(accumulator);
        let resend = self.delivery.next_resend().filter(|&resend| resend > now);
        let deadlines = [is_due, expiry, resend];
        deadlines
            .into_iter()
            .flatten()
            .fold(self.refresh_at, Instant::min)
    }

    /// Gives up what is left, once nobody can send any more.
    fn end(&mut self) {
        let mut accumulator = self.shared.lock();
        accumulator.close();
        accumulator.seal_all();
        let lost = accumulator.unsettled_records();
        let mut left = Vec::new();
        for lane in accumulator.holding() {
            while let Some(batch) = accumulator.take(lane) {
                left.push((lane, batch));
            }
        }
        let added = accumulator.lanes_after(self.delivery.lane_count());
        drop(accumulator);
        for (topic, partition) in added {
            self.delivery.add_lane(topic, partition);
        }
        if lost > 0 {
            tracing::warn!(
                records = lost,
                "producer dropped before its records were acknowledged: call flush or close first"
            );
        }
        let mut effects = Effects::default();
        self.delivery.abandon(&mut effects);
        for (lane, batch) in left {
            let (topic, partition) = self.delivery.name(lane);
            let error = DeliveryError::NotWritten {
                topic: Arc::clone(topic),
                partition: Some(partition),
                cause: DeliveryFailure::Dropped,
            };
            effects.give_back(&batch, error);
        }
        self.apply(effects);
    }
}
