//! The routed core, a router with its leaders, and a bad network in one thread, driven by one seed.
//!
//! A connection that breaks may have served some of its requests. Answers overtake one another, parts of a batch are
//! written, refused or written much later than the router's answer says, partitions are added, topics are created anew.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::{PartitionIndex, ProducerId, TopicId};
use keylane_protocol::message::routed_produce::{
    RoutedProducePartition, RoutedProduceRequest, RoutedProduceResponse,
};
use keylane_protocol::offset::{Offset, ProducerEpoch};
use keylane_protocol::record_batch::NewRecord;
use keylane_protocol::routed::PRODUCER_ID_MIN;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::super::{RoutedAppended, RoutedCore, RoutedEffects, RoutedSettings, Ticket};
use super::cluster::{Contents, Leader, RouterSessions, SubBatch};
use crate::connection::ConnectionError;
use crate::producer::receipt::Receipt;

const TOPICS: [&str; 2] = ["orders", "payments"];
const MEMORY: usize = 1 << 16;
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);

/// How often things go wrong, in percent of what could.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    /// The connection breaks.
    pub(super) breaks: u32,
    /// A part is refused for the moment.
    pub(super) refusals: u32,
    /// A part is written, but the answer says that its time ran out.
    pub(super) late_answers: u32,
    /// A part is written long after the answer said that its time ran out, or never.
    pub(super) strays: u32,
    /// A batch is refused for good, whole or in a part.
    pub(super) rejections: u32,
    /// A topic gets more partitions.
    pub(super) growth: u32,
    /// A topic is deleted and created anew.
    pub(super) recreations: u32,
    /// Leaders forget the producer, while nothing is under way.
    pub(super) forgets: u32,
    /// Time jumps beyond the delivery time-out.
    pub(super) expires: bool,
    /// Epochs have few numbers.
    pub(super) ends_epochs: bool,
    /// Bugs of the leaders.
    pub(super) never_remembers: bool,
    pub(super) ignores_previous: bool,
}

type Answer = Result<RoutedProduceResponse, ConnectionError>;

struct TopicOf {
    id: TopicId,
    partition_count: i32,
}

pub(super) struct World {
    generator: StdRng,
    faults: Faults,
    now: Instant,
    core: RoutedCore,
    memory: usize,
    connection: u64,
    requests: VecDeque<(Ticket, RoutedProduceRequest)>,
    answers: Vec<(Ticket, Answer)>,
    sessions: RouterSessions,
    contents: Contents,
    /// Sub-batches that nobody waits for any more.
    strays: Vec<SubBatch>,
    topics: Vec<TopicOf>,
    ids: u8,
    leaders: BTreeMap<(TopicId, PartitionIndex), Leader>,
    receipts: Vec<Receipt>,
    identities: i64,
}

impl World {
    pub(super) fn new(seed: u64, faults: Faults) -> Self {
        let settings = RoutedSettings {
            batch_size_bytes: Some(400),
            batch_bytes_max: 400,
            max_record_bytes: 1000,
            linger: Duration::from_millis(5),
            delivery_timeout: DELIVERY_TIMEOUT,
            in_flight_max: 4,
            number_end: if faults.ends_epochs { 9 } else { i32::MAX },
        };
        let identity = (PRODUCER_ID_MIN, ProducerEpoch(0));
        let mut world = Self {
            generator: StdRng::seed_from_u64(seed),
            faults,
            now: crate::ambient::now(),
            core: RoutedCore::new(settings, identity, seed),
            memory: MEMORY,
            connection: 1,
            requests: VecDeque::new(),
            answers: Vec::new(),
            sessions: RouterSessions::default(),
            contents: Contents::default(),
            strays: Vec::new(),
            topics: Vec::new(),
            ids: 0,
            leaders: BTreeMap::new(),
            receipts: Vec::new(),
            identities: 1,
        };
        for _ in TOPICS {
            let topic = world.new_topic();
            world.topics.push(topic);
        }
        world.tell_topics();
        world
    }

    /// Lets the next epoch be beyond the last.
    pub(super) fn start_at_last_epoch(&mut self) {
        let identity = (PRODUCER_ID_MIN, ProducerEpoch(i16::MAX));
        self.core
            .set_identity(identity, &mut RoutedEffects::default());
    }

    fn new_topic(&mut self) -> TopicOf {
        self.ids += 1;
        TopicOf {
            id: TopicId([self.ids; 16]),
            partition_count: 3,
        }
    }

    fn tell_topics(&mut self) {
        let mut effects = RoutedEffects::default();
        for (name, topic) in TOPICS.into_iter().zip(&self.topics) {
            let name = Arc::from(name);
            self.core
                .set_topic(&name, topic.id, topic.partition_count, &mut effects);
        }
        self.apply(effects);
    }

    pub(super) fn identities(&self) -> i64 {
        self.identities
    }

    fn happens(&mut self, percent: u32) -> bool {
        self.generator.random_range(0..100) < percent
    }

    pub(super) fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            match self.generator.random_range(0..10) {
                0..=3 => self.append(),
                4 => self.pass(Duration::from_millis(3)),
                5 | 6 => self.send(),
                7 => self.serve_any(),
                8 => self.deliver_any(),
                _ => self.trouble(),
            }
        }
    }

    fn append(&mut self) {
        let id = self.receipts.len() as u64;
        let mut value = vec![0; self.generator.random_range(8..120)];
        value[..8].copy_from_slice(&id.to_be_bytes());
        let key = [self.generator.random_range(0..6u8)];
        let record = NewRecord {
            key: (key[0] > 0).then_some(&key),
            value: Some(&value),
            ..NewRecord::default()
        };
        let topic = TOPICS[self.generator.random_range(0..TOPICS.len())];
        let (now, memory) = (self.now, &mut self.memory);
        let reserve = |bytes: usize| {
            let is_free = *memory >= bytes;
            *memory -= if is_free { bytes } else { 0 };
            is_free
        };
        let appended = self.core.append(topic, &record, || now, reserve);
        if let RoutedAppended::Placed { receipt, .. } = appended.expect("small enough") {
            self.receipts.push(receipt);
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        let mut effects = RoutedEffects::default();
        self.core.expire(self.now, &mut effects);
        self.apply(effects);
    }

    fn send(&mut self) {
        let takes_all = self.happens(25);
        while let Some((ticket, request)) =
            self.core.next_request(self.connection, self.now, takes_all)
        {
            if self.happens(self.faults.breaks) {
                let mut effects = RoutedEffects::default();
                let error = ConnectionError::ShutDown;
                self.core.on_not_sent(ticket, error, self.now, &mut effects);
                self.apply(effects);
                // A connection takes requests or it does not.
                self.break_connection();
                return;
            }
            self.requests.push_back((ticket, request));
        }
    }

    fn serve_any(&mut self) {
        if !self.strays.is_empty() && self.happens(30) {
            let index = self.generator.random_range(0..self.strays.len());
            let stray = self.strays.remove(index);
            // Nobody hears the answer.
            let _ = self.leader(&stray).append(&stray);
            return;
        }
        if let Some((ticket, request)) = self.requests.pop_front() {
            let answer = self.serve(&request);
            self.answers.push((ticket, Ok(answer)));
        }
    }

    fn serve(&mut self, request: &RoutedProduceRequest) -> RoutedProduceResponse {
        let refused = |error_code| RoutedProduceResponse {
            error_code,
            ..Default::default()
        };
        let topic = self
            .topics
            .iter()
            .find(|topic| topic.id == request.topic_id);
        let Some(partition_count) = topic.map(|topic| topic.partition_count) else {
            return refused(ErrorCode::UnknownTopicId);
        };
        if self.happens(self.faults.rejections) {
            self.sessions.end(request);
            return refused(ErrorCode::InvalidRecord);
        }
        let parts = match self.sessions.split(request, &mut self.contents) {
            Ok(parts) => parts,
            Err(code) => return refused(code),
        };
        // The number touches its partitions all the same.
        if self.happens(self.faults.rejections) {
            return refused(ErrorCode::MessageTooLarge);
        }
        let mut partitions: Vec<RoutedProducePartition> = parts
            .into_iter()
            .map(|part| self.serve_part(part))
            .collect();
        if self.happens(self.faults.refusals) {
            partitions.pop();
        }
        RoutedProduceResponse {
            partition_count,
            partitions,
            ..Default::default()
        }
    }

    fn serve_part(&mut self, part: SubBatch) -> RoutedProducePartition {
        let partition = part.partition;
        let result = if self.happens(self.faults.refusals) {
            Err(ErrorCode::NotLeaderOrFollower)
        } else if self.happens(self.faults.strays) {
            if self.happens(70) {
                self.strays.push(part);
            }
            Err(ErrorCode::RequestTimedOut)
        } else if self.happens(self.faults.rejections) {
            Err(ErrorCode::InvalidRecord)
        } else {
            self.leader(&part).append(&part)
        };
        let is_late = result.is_ok() && self.happens(self.faults.late_answers);
        let error = result.err().unwrap_or(ErrorCode::None);
        RoutedProducePartition {
            partition,
            error_code: if is_late {
                ErrorCode::RequestTimedOut
            } else {
                error
            },
            base_offset: result.unwrap_or(Offset(-1)),
            ..Default::default()
        }
    }

    fn leader(&mut self, part: &SubBatch) -> &mut Leader {
        let faults = self.faults;
        let place = (part.topic, part.partition);
        self.leaders.entry(place).or_insert_with(|| Leader {
            never_remembers: faults.never_remembers,
            ignores_previous: faults.ignores_previous,
            ..Leader::default()
        })
    }

    /// Answers of routed requests may overtake one another.
    fn deliver_any(&mut self) {
        if !self.answers.is_empty() {
            let index = self.generator.random_range(0..self.answers.len());
            let (ticket, answer) = self.answers.remove(index);
            self.deliver(ticket, &answer);
        }
    }

    fn deliver(&mut self, ticket: Ticket, answer: &Answer) {
        let mut effects = RoutedEffects::default();
        self.core.on_answer(ticket, answer, self.now, &mut effects);
        self.apply(effects);
    }

    fn trouble(&mut self) {
        if self.happens(self.faults.breaks) {
            self.break_connection();
        }
        let index = self.generator.random_range(0..self.topics.len());
        if self.happens(self.faults.growth) && self.topics[index].partition_count < 9 {
            self.topics[index].partition_count += 1;
        }
        if self.happens(self.faults.recreations) && self.ids < u8::MAX {
            self.topics[index] = self.new_topic();
        }
        if self.happens(self.faults.forgets) {
            self.forget();
        }
        if self.faults.expires && self.happens(2) {
            self.pass(DELIVERY_TIMEOUT);
        }
    }

    fn break_connection(&mut self) {
        let mut lost: Vec<Ticket> = self.answers.drain(..).map(|(ticket, _)| ticket).collect();
        let mut are_served = self.happens(50);
        for (ticket, request) in std::mem::take(&mut self.requests) {
            if are_served {
                let _ = self.serve(&request);
            }
            // Bytes behind a gap cannot arrive.
            are_served &= self.happens(50);
            lost.push(ticket);
        }
        self.sessions = RouterSessions::default();
        self.connection += 1;
        for ticket in lost {
            self.deliver(ticket, &Err(ConnectionError::ShutDown));
        }
    }

    /// Expiry is only harmless while nothing old can arrive.
    fn forget(&mut self) {
        let is_quiet = self.requests.is_empty() && self.answers.is_empty();
        if is_quiet && self.strays.is_empty() && !self.core.has_unsettled() {
            for leader in self.leaders.values_mut() {
                leader.forget();
            }
        }
    }

    fn apply(&mut self, mut effects: RoutedEffects) {
        self.memory += effects.released_bytes;
        effects.settle_receipts();
        if effects.needs_identity {
            self.identities += 1;
            let id = ProducerId(PRODUCER_ID_MIN.0 + self.identities);
            let mut after = RoutedEffects::default();
            self.core.set_identity((id, ProducerEpoch(0)), &mut after);
            assert!(!after.needs_identity, "a new id has epochs left");
            self.apply(after);
        }
        if effects.doubts_topic {
            self.tell_topics();
        }
    }

    /// Lets everything settle: no more faults, no more records.
    pub(super) fn heal(&mut self) {
        self.faults = Faults {
            never_remembers: self.faults.never_remembers,
            ignores_previous: self.faults.ignores_previous,
            ..Faults::default()
        };
        self.core.seal_all();
        for _ in 0..2000 {
            self.now += Duration::from_millis(20);
            self.send();
            for _ in 0..4 {
                self.serve_any();
                self.deliver_any();
            }
        }
    }

    pub(super) fn failed(&self) -> usize {
        let outcomes = self.receipts.iter().filter_map(Receipt::now);
        outcomes.filter(Result::is_err).count()
    }

    pub(super) fn written(&self) -> usize {
        self.leaders
            .values()
            .map(|leader| leader.records.len())
            .sum()
    }

    /// Returns the promise that was broken, if any.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.memory != MEMORY {
            return Err(format!("{} bytes of memory are gone", MEMORY - self.memory));
        }
        let mut found = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for (place, leader) in &self.leaders {
            if !leader.records.is_sorted_by(|one, other| one < other) {
                return Err(format!("{place:?} holds {:?}", leader.records));
            }
            for (offset, &id) in (0..).zip(&leader.records) {
                found.insert(id, (place.1, Some(Offset(offset))));
                if !seen.insert(id) {
                    return Err(format!("record {id} is written twice"));
                }
            }
        }
        for (id, receipt) in (0..).zip(&self.receipts) {
            let found = found.get(&id).copied();
            match receipt.now() {
                None => return Err(format!("record {id} is not settled")),
                Some(Ok(place)) if found != Some((place.partition, place.offset)) => {
                    return Err(format!("record {id} is at {found:?}, not at {place:?}"));
                }
                Some(Err(error)) if !error.is_outcome_unknown() && found.is_some() => {
                    return Err(format!("record {id} is at {found:?}, yet {error}"));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}
