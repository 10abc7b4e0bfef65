//! Producers: the real routed core, with records to send and connections that break.

use std::collections::BTreeMap;
use std::time::Duration;

use keylane_client::routed_core::{
    RoutedAppended, RoutedCore, RoutedEffects, RoutedSettings, Ticket,
};
use keylane_client::{ConnectionError, Receipt};
use keylane_protocol::identifiers::ProducerId;
use keylane_protocol::message::routed_produce::RoutedProduceResponse;
use keylane_protocol::offset::ProducerEpoch;
use keylane_protocol::record_batch::NewRecord;
use keylane_protocol::routed::PRODUCER_ID_MIN;

use super::faults::Bug;
use super::router::{Connection, Request};
use super::world::{Event, LIFETIME_MS, World};

const REQUEST_TIMEOUT_MS: u64 = 3_000;

/// How many records a producer appends before the faults end.
const APPENDS: u64 = 8;

/// A producer, what it has sent, and on which connection.
pub(crate) struct Producer {
    core: RoutedCore,
    settings: RoutedSettings,
    epoch: ProducerEpoch,
    connection: Option<u64>,
    waiting: BTreeMap<u64, Ticket>,
    appends_left: u64,
    /// All its records in the order in which they were sent.
    pub(crate) sent: Vec<Sent>,
    /// The next request goes out as a session's first, since the one before was left out.
    has_left_out: bool,
}

/// A record, and what is known of it.
pub(crate) struct Sent {
    pub(crate) topic: usize,
    pub(crate) key: Option<u8>,
    pub(crate) at_ms: u64,
    pub(crate) receipt: Receipt,
    /// When the receipt was first seen to tell of a failure.
    pub(crate) failed_at_ms: Option<u64>,
}

impl Sent {
    /// Tells whether the record failed since then.
    pub(crate) fn failed_since(&self, at_ms: u64) -> bool {
        self.failed_at_ms.is_none_or(|failed| failed >= at_ms)
    }
}

impl Producer {
    pub(crate) fn has_appended_all(&self) -> bool {
        self.appends_left == 0
    }
}

/// Returns the value of a record: who sent it, and as which of its records.
fn value_of(producer: usize, index: usize) -> [u8; 9] {
    let mut value = [producer as u8; 9];
    value[1..].copy_from_slice(&(index as u64).to_be_bytes());
    value
}

/// Returns who sent a record, and as which of its records.
pub(crate) fn of_value(value: &[u8]) -> (usize, usize) {
    let index: [u8; 8] = value[1..].try_into().expect("nine bytes");
    (usize::from(value[0]), u64::from_be_bytes(index) as usize)
}

fn id_of(producer: usize) -> ProducerId {
    ProducerId(PRODUCER_ID_MIN.0 + producer as i64)
}

impl World {
    pub(crate) fn add_producer(&mut self, index: usize) {
        let settings = RoutedSettings {
            batch_size_bytes: Some(200),
            batch_bytes_max: 1 << 20,
            max_record_bytes: 1000,
            linger: Duration::from_millis(self.chance.one_of(&[0, 5])),
            delivery_timeout: Duration::from_millis(LIFETIME_MS),
            in_flight_max: self.chance.one_of(&[1, 3, 8]),
            number_end: self.chance.one_of(&[i32::MAX, i32::MAX, 3, 5]),
        };
        let epoch = ProducerEpoch(0);
        let core = self.new_core(index, settings, epoch);
        self.producers.push(Producer {
            core,
            settings,
            epoch,
            connection: None,
            waiting: BTreeMap::new(),
            appends_left: APPENDS,
            sent: Vec::new(),
            has_left_out: false,
        });
        self.after(0, Event::Connect { producer: index });
        self.after(1, Event::Append { producer: index });
    }

    fn new_core(
        &mut self,
        producer: usize,
        settings: RoutedSettings,
        epoch: ProducerEpoch,
    ) -> RoutedCore {
        let seed = self.chance.below(u64::MAX);
        let mut core = RoutedCore::new(settings, (id_of(producer), epoch), seed);
        for topic in &self.topics {
            let mut effects = RoutedEffects::default();
            core.set_topic(&topic.name, topic.id, topic.partition_count, &mut effects);
        }
        core
    }

    /// Appends one to three records, lets something else go wrong, and comes again.
    pub(crate) fn append(&mut self, producer: usize) {
        if self.producers[producer].appends_left == 0 {
            return;
        }
        self.producers[producer].appends_left -= 1;
        for _ in 0..self.chance.between(1, 4) {
            let topic = self.chance.below(self.topics.len() as u64) as usize;
            let key = self
                .chance
                .one_of(&[None, Some(0), Some(1), Some(2), Some(3)]);
            self.append_record(producer, topic, key);
        }
        self.trouble(producer);
        self.poll(producer);
        let delay = if self.chance.happens(self.faults.silence) {
            self.chance.between(LIFETIME_MS / 2, LIFETIME_MS * 5)
        } else {
            self.chance.one_of(&[1, 10, 100, 2_000])
        };
        self.after(delay, Event::Append { producer });
    }

    /// Appends the record that shows whether the producer is stuck, to each topic.
    pub(crate) fn append_last(&mut self, producer: usize) {
        for topic in 0..self.topics.len() {
            for key in [None, Some(0), Some(1), Some(2)] {
                self.append_record(producer, topic, key);
            }
        }
        self.poll(producer);
    }

    fn append_record(&mut self, producer: usize, topic: usize, key: Option<u8>) {
        let now = self.now();
        let sender = &mut self.producers[producer];
        let value = value_of(producer, sender.sent.len());
        let key_bytes = key.map(|key| [key]);
        let record = NewRecord {
            key: key_bytes.as_ref().map(|key| &key[..]),
            value: Some(&value),
            ..NewRecord::default()
        };
        let name = &self.topics[topic].name;
        let appended = sender.core.append(name, &record, || now, |_| true);
        let Ok(RoutedAppended::Placed { receipt, .. }) = appended else {
            panic!("a small record of a known topic has a place");
        };
        sender.sent.push(Sent {
            topic,
            key,
            at_ms: self.now_ms,
            receipt,
            failed_at_ms: None,
        });
    }

    /// Notes which records failed before the faults end.
    pub(crate) fn note_failures(&mut self, producer: usize) {
        for sent in &mut self.producers[producer].sent {
            if matches!(sent.receipt.now(), Some(Err(_))) {
                sent.failed_at_ms = Some(self.now_ms.saturating_sub(1));
            }
        }
    }

    fn trouble(&mut self, producer: usize) {
        if self.chance.happens(self.faults.breaks) {
            self.break_connection(producer);
        }
        if self.chance.happens(self.faults.growth) {
            self.grow();
        }
        for place in self.places() {
            if self.chance.happens(self.faults.crashes) {
                self.crash(place);
            }
        }
        if self.bug == Some(Bug::EpochWithoutDraining) && self.chance.happens(100) {
            self.begin_epoch_without_draining(producer);
        }
    }

    /// Does what is due: gives up what is too old, and sends what may be sent.
    pub(crate) fn poll(&mut self, producer: usize) {
        let now = self.now();
        let mut effects = RoutedEffects::default();
        self.producers[producer].core.expire(now, &mut effects);
        self.apply(producer, effects);
        while let Some(connection) = self.producers[producer].connection {
            let core = &mut self.producers[producer].core;
            let Some((ticket, request)) = core.next_request(connection, now, false) else {
                break;
            };
            let serial = self.next_serial();
            let sender = &mut self.producers[producer];
            sender.waiting.insert(serial, ticket);
            self.after(
                REQUEST_TIMEOUT_MS,
                Event::RequestTimedOut {
                    producer,
                    request: serial,
                },
            );
            let request = Request {
                serial,
                sent_ms: self.now_ms,
                request,
                skips_check: false,
            };
            self.send_request(producer, connection, request);
        }
        let deadline = self.producers[producer].core.next_deadline(now);
        if let Some(deadline) = deadline {
            let at = self.since_start_ms(deadline).max(self.now_ms + 1);
            self.after(at - self.now_ms, Event::Poll { producer });
        }
    }

    fn send_request(&mut self, producer: usize, connection: u64, mut request: Request) {
        if self.bug == Some(Bug::SessionBeginsAboveFloor) {
            let sender = &mut self.producers[producer];
            if sender.has_left_out {
                request.request.is_first = true;
                request.skips_check = true;
                sender.has_left_out = false;
            } else if request.request.is_first && self.chance.happens(100) {
                self.producers[producer].has_left_out = true;
                return;
            }
        }
        self.travel(connection, request);
    }

    pub(crate) fn connect(&mut self, producer: usize) {
        if self.producers[producer].connection.is_some() {
            return;
        }
        let connection = self.next_serial();
        let router = self.chance.below(2) as usize;
        self.connections
            .insert(connection, Connection::new(producer, router));
        let sender = &mut self.producers[producer];
        sender.connection = Some(connection);
        sender.has_left_out = false;
        let numbers = [producer as i64, connection as i64, router as i64];
        self.trace.note(self.now_ms, "a producer connects", numbers);
        self.poll(producer);
    }

    pub(crate) fn time_out(&mut self, producer: usize, request: u64) {
        if self.producers[producer].waiting.contains_key(&request) {
            self.break_connection(producer);
        }
    }

    /// Breaks the producer's connection. Its router may go on to read what is on its way.
    fn break_connection(&mut self, producer: usize) {
        let Some(connection) = self.producers[producer].connection.take() else {
            return;
        };
        self.trace.note(
            self.now_ms,
            "a connection breaks",
            [producer as i64, connection as i64, 0],
        );
        if let Some(connection) = self.connections.get_mut(&connection) {
            connection.is_heard = false;
        }
        let now = self.now();
        let waiting = std::mem::take(&mut self.producers[producer].waiting);
        for ticket in waiting.into_values() {
            let mut effects = RoutedEffects::default();
            let lost = Err(ConnectionError::ShutDown);
            self.producers[producer]
                .core
                .on_answer(ticket, &lost, now, &mut effects);
            self.apply(producer, effects);
        }
        let delay = self.chance.one_of(&[1, 20, 200]);
        self.after(delay, Event::Connect { producer });
        self.poll(producer);
    }

    pub(crate) fn on_answer(
        &mut self,
        producer: usize,
        request: u64,
        answer: &RoutedProduceResponse,
    ) {
        let Some(ticket) = self.producers[producer].waiting.remove(&request) else {
            return;
        };
        let now = self.now();
        let numbers = [
            producer as i64,
            request as i64,
            i64::from(answer.error_code.code()),
        ];
        self.trace
            .note(self.now_ms, "a producer is answered", numbers);
        self.trace.detail(&answer.partitions);
        let mut effects = RoutedEffects::default();
        let answer = Ok(answer.clone());
        self.producers[producer]
            .core
            .on_answer(ticket, &answer, now, &mut effects);
        self.apply(producer, effects);
        self.poll(producer);
    }

    fn apply(&mut self, producer: usize, mut effects: RoutedEffects) {
        effects.settle_receipts();
        if effects.needs_identity {
            self.broken = Some(format!("producer {producer} was fenced by nobody"));
        }
    }

    /// Numbers everything anew that is not settled, in the next epoch.
    fn begin_epoch_without_draining(&mut self, producer: usize) {
        let settings = self.producers[producer].settings;
        let epoch = ProducerEpoch(self.producers[producer].epoch.0 + 1);
        let core = self.new_core(producer, settings, epoch);
        let now = self.now();
        let sender = &mut self.producers[producer];
        sender.core = core;
        sender.epoch = epoch;
        sender.waiting.clear();
        for (index, sent) in sender.sent.iter_mut().enumerate() {
            if sent.receipt.now().is_some() {
                continue;
            }
            let value = value_of(producer, index);
            let key_bytes = sent.key.map(|key| [key]);
            let record = NewRecord {
                key: key_bytes.as_ref().map(|key| &key[..]),
                value: Some(&value),
                ..NewRecord::default()
            };
            let name = &self.topics[sent.topic].name;
            let appended = sender.core.append(name, &record, || now, |_| true);
            if let Ok(RoutedAppended::Placed { receipt, .. }) = appended {
                sent.receipt = receipt;
            }
        }
        self.break_connection(producer);
    }
}
