//! A routed producer without its shell: all its topics, one id and epoch.
//!
//! No I/O, no clock: who drives it says what time it is, on which connection to send, and what came back. Memory is asked
//! for through a closure and counts until the floor has passed the batch.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use keylane_protocol::identifiers::{ProducerId, TopicId};
use keylane_protocol::message::routed_produce::{RoutedProduceRequest, RoutedProduceResponse};
use keylane_protocol::offset::ProducerEpoch;
use keylane_protocol::record_batch::{HEADER_BYTES, NewRecord};
use keylane_protocol::routed::WINDOW_BYTES_MAX;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::batching::{Batching, Opening};
use super::spread::HASH_BYTES;
use super::topic::{Sending, Sent, Shared, Topic};
use super::{RoutedAppended, RoutedEffects, RoutedSettings, Ticket};
use crate::connection::ConnectionError;
use crate::producer::accumulator::BatchSerial;
use crate::producer::batch::record_bytes_max;
use crate::producer::delivery::Identity;
use crate::producer::error::{DeliveryError, DeliveryFailure, SendError};
use crate::producer::receipt::BatchOutcome;

/// The topics of one routed producer, and under which id and epoch their batches are numbered.
#[derive(Debug)]
pub struct RoutedCore {
    settings: RoutedSettings,
    identity: Identity,
    /// Counts epochs and ids, so that answers to numbers of an earlier one are known as such.
    generation: u64,
    /// Nothing gets a number until every topic is drained: then comes the next epoch, or another id.
    is_draining: bool,
    /// The id is not to be used for another epoch.
    is_fenced: bool,
    topics: Vec<Topic>,
    by_name: HashMap<Arc<str>, usize, ahash::RandomState>,
    generator: StdRng,
    next_serial: BatchSerial,
    /// What waits to be settled, for those who flush.
    unsettled: BTreeMap<BatchSerial, Arc<BatchOutcome>>,
    is_closed: bool,
    failed: Option<(u64, DeliveryError)>,
}

impl RoutedCore {
    /// Returns a producer without topics.
    #[must_use]
    pub fn new(
        settings: RoutedSettings,
        (producer_id, epoch): (ProducerId, ProducerEpoch),
        seed: u64,
    ) -> Self {
        Self {
            settings,
            identity: Identity { producer_id, epoch },
            generation: 0,
            is_draining: false,
            is_fenced: false,
            topics: Vec::new(),
            by_name: HashMap::default(),
            generator: StdRng::seed_from_u64(seed),
            next_serial: BatchSerial(0),
            unsettled: BTreeMap::new(),
            is_closed: false,
            failed: None,
        }
    }

    /// Makes a topic known, or more partitions of it, or that another topic has its name now: then what has a number
    /// fails, and what has none goes to the other.
    pub fn set_topic(
        &mut self,
        name: &Arc<str>,
        id: TopicId,
        partition_count: i32,
        effects: &mut RoutedEffects,
    ) {
        let known = self.by_name.get(name).copied();
        if let Some(known) = known.filter(|&known| self.topics[known].id == id) {
            self.topics[known].grow(partition_count);
            return;
        }
        let mut topic = Topic::new(Arc::clone(name), id, 1);
        topic.grow(partition_count);
        if let Some(known) = known {
            let waiting = &mut self.topics[known].batching;
            topic.batching = std::mem::replace(waiting, Batching::new());
            self.retire(known, effects);
        }
        self.by_name.insert(Arc::clone(name), self.topics.len());
        self.topics.push(topic);
        effects.frees_all = true;
    }

    /// Says that no topic has this name any more: everything for it fails.
    pub fn remove_topic(&mut self, name: &str, effects: &mut RoutedEffects) {
        if let Some(known) = self.by_name.remove(name) {
            let cause = DeliveryFailure::TopicGone {
                id: self.topics[known].id,
            };
            self.topics[known].abandon_batching(&cause, effects);
            self.retire(known, effects);
        }
    }

    fn retire(&mut self, index: usize, effects: &mut RoutedEffects) {
        let cause = DeliveryFailure::TopicGone {
            id: self.topics[index].id,
        };
        self.topics[index].retire(&cause, effects);
        self.after(effects);
    }

    /// Returns the topics by name, with the ids under which they are known.
    pub fn topic_ids(&self) -> Vec<(Arc<str>, TopicId)> {
        let current = |topic: &(usize, &Topic)| self.by_name.get(&topic.1.name) == Some(&topic.0);
        let topics = self.topics.iter().enumerate().filter(current);
        topics
            .map(|(_, topic)| (Arc::clone(&topic.name), topic.id))
            .collect()
    }

    /// Places a record into the open batch of its topic.
    ///
    /// # Errors
    /// When the producer is closed or the record is too large for it.
    pub fn append(
        &mut self,
        topic: &str,
        record: &NewRecord<'_>,
        now: impl Fn() -> Instant,
        mut reserve: impl FnMut(usize) -> bool,
    ) -> Result<RoutedAppended, SendError> {
        if self.is_closed {
            return Err(SendError::Closed);
        }
        let size = record_bytes_max(record);
        let size_max = self.settings.max_record_bytes;
        let size_max = size_max.min(WINDOW_BYTES_MAX - HEADER_BYTES - HASH_BYTES);
        if size > size_max {
            return Err(SendError::TooLarge {
                size_bytes: size,
                size_bytes_max: size_max,
            });
        }
        let Some(topic) = self
            .by_name
            .get(topic)
            .map(|&index| &mut self.topics[index])
        else {
            return Ok(RoutedAppended::NeedsTopic);
        };
        let opening = Opening {
            settings: &self.settings,
            partition_count: topic.partition_count,
            next_serial: &mut self.next_serial,
            unsettled: &mut self.unsettled,
        };
        Ok(topic
            .batching
            .append((record, size), opening, &now, &mut reserve))
    }

    /// Returns what to send next of any topic on this connection; to be repeated until there is nothing. Another
    /// connection has another number, and every session on the old one ends with it.
    pub fn next_request(
        &mut self,
        connection: u64,
        now: Instant,
        takes_all: bool,
    ) -> Option<(Ticket, RoutedProduceRequest)> {
        let mut indexes = 0..self.topics.len();
        indexes.find_map(|index| self.next_request_of(index, connection, now, takes_all))
    }

    /// Returns the place of the topic that has this name.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// Returns how many places there are.
    #[must_use]
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// Returns whether a batch of a topic that has a number is to be given up before anything is sent.
    #[must_use]
    pub fn is_overdue(&self, topic: usize, now: Instant) -> bool {
        let first = self
            .topics
            .get(topic)
            .and_then(|topic| topic.window.first());
        first.is_some_and(|first| first.deadline <= now)
    }

    /// Returns the topics of which a router has said that it does not know them by their ids.
    #[must_use]
    pub fn doubted_topics(&self) -> Vec<Arc<str>> {
        let doubted = self.topics.iter().filter(|topic| topic.is_doubted());
        doubted.map(|topic| Arc::clone(&topic.name)).collect()
    }

    /// Like [`Self::next_request`], of the topic in this place.
    pub fn next_request_of(
        &mut self,
        index: usize,
        connection: u64,
        now: Instant,
        takes_all: bool,
    ) -> Option<(Ticket, RoutedProduceRequest)> {
        let sending = Sending {
            connection,
            now,
            takes_all,
            may_number: !self.is_draining,
            identity: self.identity,
        };
        let (sent, request) = self.topics[index].next_request(sending, &self.settings)?;
        if sent.number.0 + 1 >= self.settings.number_end {
            self.is_draining = true;
        }
        let ticket = Ticket {
            topic: index,
            number: sent.number,
            session: sent.session,
            generation: self.generation,
        };
        Some((ticket, request))
    }

    /// Takes the answer to a request.
    pub fn on_answer(
        &mut self,
        ticket: Ticket,
        answer: &Result<RoutedProduceResponse, ConnectionError>,
        now: Instant,
        effects: &mut RoutedEffects,
    ) {
        self.change(ticket, now, effects, |topic, sent, shared| match answer {
            Ok(response) => topic.on_answer(sent, response, shared),
            Err(error) => topic.on_lost(sent, error.clone(), true, shared),
        });
    }

    /// Says that a request never left.
    pub fn on_not_sent(
        &mut self,
        ticket: Ticket,
        error: ConnectionError,
        now: Instant,
        effects: &mut RoutedEffects,
    ) {
        self.change(ticket, now, effects, |topic, sent, shared| {
            topic.on_lost(sent, error, false, shared);
        });
    }

    fn change(
        &mut self,
        ticket: Ticket,
        now: Instant,
        effects: &mut RoutedEffects,
        change: impl FnOnce(&mut Topic, Sent, &mut Shared<'_>),
    ) {
        if ticket.generation != self.generation {
            return;
        }
        let Some(topic) = self.topics.get_mut(ticket.topic) else {
            return;
        };
        let sent = Sent {
            number: ticket.number,
            session: ticket.session,
        };
        let mut shared = Shared {
            settings: &self.settings,
            generator: &mut self.generator,
            effects,
            now,
        };
        change(topic, sent, &mut shared);
        self.after(effects);
    }

    /// Gives up what is older than the delivery time-out, and closes batches that have waited for a quarter of it.
    pub fn expire(&mut self, now: Instant, effects: &mut RoutedEffects) {
        for topic in &mut self.topics {
            let mut shared = Shared {
                settings: &self.settings,
                generator: &mut self.generator,
                effects,
                now,
            };
            topic.expire(&mut shared);
        }
        self.after(effects);
    }

    /// Takes up another id, which was asked for.
    ///
    /// # Panics
    /// When a topic is not drained: it was not asked for then.
    pub fn set_identity(
        &mut self,
        (producer_id, epoch): (ProducerId, ProducerEpoch),
        effects: &mut RoutedEffects,
    ) {
        self.is_fenced = false;
        self.begin(Identity { producer_id, epoch }, effects);
    }

    /// Keeps account of what was settled, and goes on to the next epoch once everything is drained.
    fn after(&mut self, effects: &mut RoutedEffects) {
        for settled in &mut effects.settled {
            self.unsettled.remove(&settled.serial);
            if let Some((records, error)) = settled.failed.take() {
                let failed = self.failed.get_or_insert((0, error));
                failed.0 += u64::from(records);
            }
        }
        if std::mem::take(&mut effects.is_fenced) {
            self.is_fenced = true;
            self.is_draining = true;
        }
        if !self.is_draining || self.topics.iter().any(|topic| !topic.window.is_empty()) {
            return;
        }
        let ProducerEpoch(epoch) = self.identity.epoch;
        match epoch.checked_add(1).filter(|_| !self.is_fenced) {
            Some(next) => {
                let epoch = ProducerEpoch(next);
                self.begin(
                    Identity {
                        epoch,
                        ..self.identity
                    },
                    effects,
                );
            }
            None => effects.needs_identity = true,
        }
    }

    fn begin(&mut self, identity: Identity, effects: &mut RoutedEffects) {
        for topic in &mut self.topics {
            topic.restart();
        }
        self.identity = identity;
        self.generation += 1;
        self.is_draining = false;
        effects.frees_all = true;
    }

    /// Gives up everything, since the producer ends.
    pub fn abandon(&mut self, effects: &mut RoutedEffects) {
        self.is_closed = true;
        for topic in &mut self.topics {
            topic.abandon_batching(&DeliveryFailure::Dropped, effects);
            topic.abandon_window(&DeliveryFailure::Dropped, effects);
        }
        self.is_draining = false;
        self.after(effects);
    }

    /// Takes no record from now on.
    pub fn close(&mut self) {
        self.is_closed = true;
    }

    /// Makes every batch due, and returns whether any waits for its number.
    pub fn seal_all(&mut self) -> bool {
        let mut waits = false;
        for topic in &mut self.topics {
            topic.batching.seal_all();
            waits |= !topic.batching.is_empty();
        }
        waits
    }

    /// Returns when something is to be done that no answer and no connection brings about.
    #[must_use]
    pub fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let topics = self.topics.iter();
        let deadlines = topics.filter_map(|topic| topic.next_deadline(now, &self.settings));
        deadlines.min()
    }

    /// Like [`Self::next_deadline`], of the topic that has this name.
    #[must_use]
    pub fn next_deadline_of(&self, topic: &str, now: Instant) -> Option<Instant> {
        let topic = &self.topics[self.topic(topic)?];
        topic.next_deadline(now, &self.settings)
    }

    /// Returns until when the topic in this place saves its numbers, if something waits for one; it may be over.
    #[must_use]
    pub fn paced_until(&self, topic: usize) -> Option<Instant> {
        let topic = self.topics.get(topic)?;
        let waiting = (!topic.batching.is_empty()).then_some(topic)?;
        waiting.paced_until(&self.settings)
    }

    /// Returns whether anything is not settled.
    #[must_use]
    pub fn has_unsettled(&self) -> bool {
        !self.unsettled.is_empty()
    }

    /// Returns the outcomes of all batches that are not settled.
    pub(crate) fn outcomes(&self) -> Vec<Arc<BatchOutcome>> {
        self.unsettled.values().map(Arc::clone).collect()
    }

    /// Returns how many records failed since this was called last, and the first failure.
    pub fn take_failed(&mut self) -> Option<(u64, DeliveryError)> {
        self.failed.take()
    }
}
