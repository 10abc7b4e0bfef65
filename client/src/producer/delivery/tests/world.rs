//! A producer's cores, two brokers and a bad network in one thread, driven by one seed.
//!
//! Requests of a connection are served in order. When it breaks, what was not served yet is lost, or served later: bytes
//! of a dead connection may still lie in the broker's socket. Answers may be lost although the batch was appended.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use keylane_protocol::compression::Compression;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::{BrokerId, PartitionIndex, ProducerId};
use keylane_protocol::offset::ProducerEpoch;
use keylane_protocol::record_batch::{NewRecord, RecordBatch};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::super::{Answer, BatchRef, Delivery, DeliverySettings, Effects, Identity, Situation};
use super::model::Partition;
use crate::connection::ConnectionError;
use crate::producer::accumulator::{Accumulator, AccumulatorSettings, LaneId, Placing};
use crate::producer::batch::RecordFields;
use crate::producer::error::{DeliveryError, DeliveryFailure};
use crate::producer::receipt::Receipt;

const LANES: usize = 3;
const TOPIC: &str = "orders";
const BROKERS: [BrokerId; 2] = [BrokerId(1), BrokerId(2)];
const MEMORY: usize = 1 << 16;
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);

/// How often things go wrong, in percent of what could.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    /// Connections break.
    pub(super) breaks: u32,
    /// Leaders move to the other broker.
    pub(super) moves: u32,
    /// The broker refuses for the moment and appends nothing.
    pub(super) refusals: u32,
    /// The broker appends but answers that it timed out.
    pub(super) late_answers: u32,
    /// The broker refuses a batch for good.
    pub(super) rejections: u32,
    /// The broker forgets its producers, while nothing is under way.
    pub(super) forgets: u32,
    /// Time jumps beyond the delivery time-out.
    pub(super) expires: bool,
    /// Brokers take every batch for a new one.
    pub(super) never_remembers: bool,
}

struct Request {
    batches: Vec<(BatchRef, Bytes)>,
}

#[derive(Default)]
struct Connection {
    requests: VecDeque<Request>,
    answers: VecDeque<Vec<(BatchRef, Answer)>>,
}

pub(super) struct World {
    generator: StdRng,
    faults: Faults,
    now: Instant,
    accumulator: Mutex<Accumulator>,
    delivery: Delivery,
    memory: usize,
    connections: BTreeMap<BrokerId, Connection>,
    /// Requests of dead connections that may still be served.
    strays: VecDeque<Stray>,
    partitions: Vec<Partition>,
    leaders: Vec<BrokerId>,
    receipts: Vec<(usize, Receipt)>,
    identities: usize,
}

/// A batch and the lane it belongs to.
type Stray = (LaneId, Bytes);

impl World {
    pub(super) fn new(seed: u64, faults: Faults) -> Self {
        let settings = AccumulatorSettings {
            batch_size_bytes: 300,
            max_record_bytes: 1000,
            linger: Duration::from_millis(5),
            delivery_timeout: DELIVERY_TIMEOUT,
        };
        let mut accumulator = Accumulator::new(settings, seed);
        accumulator.set_partitions(&Arc::from(TOPIC), LANES);
        let mut world = Self {
            generator: StdRng::seed_from_u64(seed),
            faults,
            now: crate::ambient::now(),
            accumulator: Mutex::new(accumulator),
            delivery: delivery(0, seed),
            memory: MEMORY,
            connections: BROKERS.map(|broker| (broker, Connection::default())).into(),
            strays: VecDeque::new(),
            partitions: Vec::new(),
            leaders: vec![BROKERS[0]; LANES],
            receipts: Vec::new(),
            identities: 1,
        };
        for _ in 0..LANES {
            let partition = Partition::new(faults.never_remembers);
            world.partitions.push(partition);
        }
        world.add_lanes();
        world
    }

    pub(super) fn start_at_last_epoch(&mut self) {
        self.delivery = delivery(i16::MAX, 0);
        self.add_lanes();
    }

    fn add_lanes(&mut self) {
        for lane in 0..LANES {
            let partition = PartitionIndex(i32::try_from(lane).expect("few"));
            self.delivery.add_lane(Arc::from(TOPIC), partition);
            self.delivery.set_leader(LaneId(lane), Some(BROKERS[0]));
        }
    }

    pub(super) fn identities(&self) -> usize {
        self.identities
    }

    fn happens(&mut self, percent: u32) -> bool {
        self.generator.random_range(0..100) < percent
    }

    pub(super) fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            self.step();
        }
    }

    fn step(&mut self) {
        match self.generator.random_range(0..10) {
            0..=3 => self.append(),
            4 => self.pass(Duration::from_millis(3)),
            5 | 6 => self.plan(),
            7 => self.serve_any(),
            8 => self.deliver_any(),
            _ => self.trouble(),
        }
    }

    fn append(&mut self) {
        let id = self.receipts.len() as u64;
        let lane = self.generator.random_range(0..LANES);
        let mut value = vec![0; self.generator.random_range(8..120)];
        value[..8].copy_from_slice(&id.to_be_bytes());
        let fields = RecordFields {
            topic: TOPIC,
            partition: Some(PartitionIndex(i32::try_from(lane).expect("few"))),
            record: NewRecord {
                value: Some(&value),
                ..NewRecord::default()
            },
        };
        let now = self.now;
        let memory = &mut self.memory;
        let reserve = |bytes: usize| {
            let is_free = *memory >= bytes;
            *memory -= if is_free { bytes } else { 0 };
            is_free
        };
        let mut accumulator = self.accumulator.lock().expect("not poisoned");
        let appended = accumulator.append(&fields, || now, reserve);
        if let Placing::Placed { receipt, .. } = appended.expect("small enough") {
            self.receipts.push((lane, receipt));
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        let mut effects = Effects::default();
        let expired = self
            .accumulator
            .lock()
            .expect("not poisoned")
            .take_expired(self.now);
        for (lane, batch) in expired {
            let (topic, partition) = self.delivery.name(lane);
            let error = DeliveryError::NotWritten {
                topic: Arc::clone(topic),
                partition: Some(partition),
                cause: DeliveryFailure::Dropped,
            };
            effects.give_back(&batch, error);
        }
        self.delivery.expire(self.now, &mut effects);
        self.apply(effects);
    }

    fn plan(&mut self) {
        loop {
            let takes_all = self.generator.random_range(0..4) == 0;
            let situation = Situation {
                now: self.now,
                takes_all,
                is_ready: &|_| true,
            };
            let plan = self.delivery.plan(&self.accumulator, &situation);
            if plan.requests.is_empty() {
                return;
            }
            for request in plan.requests {
                let batches = request.batches.into_iter();
                let batches = batches
                    .map(|planned| (planned.batch, planned.bytes))
                    .collect();
                let connection = self.connections.get_mut(&request.broker).expect("known");
                connection.requests.push_back(Request { batches });
                let open = connection.requests.len() + connection.answers.len();
                assert!(open <= 5, "{open} requests are under way to one broker");
            }
        }
    }

    fn any_broker(&mut self) -> BrokerId {
        BROKERS[self.generator.random_range(0..BROKERS.len())]
    }

    fn serve_any(&mut self) {
        if !self.strays.is_empty() && self.happens(30) {
            let (lane, bytes) = self.strays.pop_front().expect("not empty");
            let batch = RecordBatch::check(bytes).expect("sound");
            // Nobody hears the answer.
            let _ = self.partitions[lane.0].append(&batch);
            return;
        }
        let broker = self.any_broker();
        let connection = self.connections.get_mut(&broker).expect("known");
        let Some(request) = connection.requests.pop_front() else {
            return;
        };
        let mut answers = Vec::new();
        for (batch, bytes) in request.batches {
            answers.push((batch, self.serve(broker, batch.lane, bytes)));
        }
        let connection = self.connections.get_mut(&broker).expect("known");
        connection.answers.push_back(answers);
    }

    fn serve(&mut self, broker: BrokerId, lane: LaneId, bytes: Bytes) -> Answer {
        let refused = |code| Answer::Refused {
            code,
            message: None,
        };
        if self.leaders[lane.0] != broker {
            return refused(ErrorCode::NotLeaderOrFollower);
        }
        if self.happens(self.faults.refusals) {
            return refused(ErrorCode::NotEnoughReplicas);
        }
        if self.happens(self.faults.rejections) {
            return refused(ErrorCode::InvalidRecord);
        }
        let batch = RecordBatch::check(bytes).expect("sound");
        match self.partitions[lane.0].append(&batch) {
            Ok(_) if self.happens(self.faults.late_answers) => refused(ErrorCode::RequestTimedOut),
            Ok(offset) => Answer::Written(Some(offset)),
            Err(code) => refused(code),
        }
    }

    fn deliver_any(&mut self) {
        let broker = self.any_broker();
        let connection = self.connections.get_mut(&broker).expect("known");
        if let Some(answers) = connection.answers.pop_front() {
            self.deliver(broker, answers);
        }
    }

    fn deliver(&mut self, broker: BrokerId, answers: Vec<(BatchRef, Answer)>) {
        let mut effects = Effects::default();
        self.delivery.on_request_done(broker);
        for (batch, answer) in answers {
            self.delivery
                .on_answer(batch, answer, self.now, &mut effects);
        }
        if effects.is_metadata_stale {
            self.follow_leaders();
        }
        self.apply(effects);
    }

    fn follow_leaders(&mut self) {
        for lane in 0..LANES {
            self.delivery
                .set_leader(LaneId(lane), Some(self.leaders[lane]));
        }
    }

    fn trouble(&mut self) {
        let broker = self.any_broker();
        if self.happens(self.faults.breaks) {
            self.break_connection(broker);
        }
        if self.happens(self.faults.moves) {
            let lane = self.generator.random_range(0..LANES);
            self.leaders[lane] = broker;
        }
        if self.happens(self.faults.forgets) {
            self.forget();
        }
        if self.faults.expires && self.happens(2) {
            self.pass(DELIVERY_TIMEOUT);
        }
    }

    fn break_connection(&mut self, broker: BrokerId) {
        let connection = self.connections.get_mut(&broker).expect("known");
        let broken = std::mem::take(connection);
        let cause = ConnectionError::ShutDown;
        for answers in broken.answers {
            let lost = |(batch, _)| (batch, Answer::Lost(cause.clone()));
            self.deliver(broker, answers.into_iter().map(lost).collect());
        }
        let mut are_stray = self.happens(50);
        for request in broken.requests {
            if are_stray {
                let batches = request.batches.iter();
                let stray = batches.map(|(batch, bytes)| (batch.lane, bytes.clone()));
                self.strays.extend(stray);
            }
            // Bytes behind a gap cannot arrive.
            are_stray &= self.happens(50);
            let lost = |(batch, _)| (batch, Answer::Lost(cause.clone()));
            self.deliver(broker, request.batches.into_iter().map(lost).collect());
        }
    }

    /// Expiry is only harmless while nothing old can arrive: no request, no answer, nothing to be sent again.
    fn forget(&mut self) {
        let mut connections = self.connections.values();
        let is_quiet = connections
            .all(|connection| connection.requests.is_empty() && connection.answers.is_empty());
        if is_quiet && self.strays.is_empty() && self.delivery.unresolved.is_empty() {
            for partition in &mut self.partitions {
                partition.forget();
            }
        }
    }

    fn apply(&mut self, effects: Effects) {
        self.memory += effects.released_bytes;
        let mut accumulator = self.accumulator.lock().expect("not poisoned");
        for settled in effects.settled {
            accumulator.settled(settled.serial, settled.result.as_ref().err());
            settled.outcome.settle(settled.result);
        }
        drop(accumulator);
        if effects.needs_identity {
            self.identities += 1;
            let mut after = Effects::default();
            let identity = identity(i64::try_from(self.identities).expect("few"), 0);
            self.delivery.set_identity(identity, self.now, &mut after);
            assert!(!after.needs_identity, "a new producer id has epochs left");
            self.apply(after);
        }
    }

    /// Lets everything settle: no more faults, no more records.
    pub(super) fn heal(&mut self) {
        self.faults = Faults::default();
        self.accumulator.lock().expect("not poisoned").seal_all();
        for _ in 0..2000 {
            self.now += Duration::from_millis(20);
            self.follow_leaders();
            self.plan();
            for _ in 0..4 {
                self.serve_any();
                self.deliver_any();
            }
        }
    }

    pub(super) fn written(&self) -> usize {
        self.partitions
            .iter()
            .map(|partition| partition.records.len())
            .sum()
    }

    pub(super) fn failed(&self) -> usize {
        let outcomes = self
            .receipts
            .iter()
            .filter_map(|(_, receipt)| receipt.now());
        outcomes.filter(Result::is_err).count()
    }

    /// Returns the promise that was broken, if any.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.memory != MEMORY {
            return Err(format!("{} bytes of memory are gone", MEMORY - self.memory));
        }
        for (lane, partition) in self.partitions.iter().enumerate() {
            let records = &partition.records;
            let is_ascending = records.is_sorted_by(|one, other| one < other);
            if !is_ascending {
                return Err(format!("partition {lane} holds {records:?}"));
            }
        }
        for (id, (lane, receipt)) in self.receipts.iter().enumerate() {
            let records = &self.partitions[*lane].records;
            let found = records.iter().position(|&record| record == id as u64);
            match receipt.now() {
                None => return Err(format!("record {id} is not settled")),
                Some(Ok(place)) => {
                    let offset = place.offset.map(|offset| offset.0 as usize);
                    if found.is_none() || offset != found {
                        return Err(format!("record {id} is at {found:?}, not at {place:?}"));
                    }
                }
                Some(Err(error)) if !error.is_outcome_unknown() && found.is_some() => {
                    return Err(format!("record {id} is at {found:?}, yet {error}"));
                }
                Some(Err(_)) => {}
            }
        }
        Ok(())
    }
}

fn identity(producer_id: i64, epoch: i16) -> Identity {
    Identity {
        producer_id: ProducerId(producer_id),
        epoch: ProducerEpoch(epoch),
    }
}

fn delivery(epoch: i16, seed: u64) -> Delivery {
    let settings = DeliverySettings {
        in_flight_max: 5,
        max_request_bytes: 500,
        compression: Compression::None,
        delivery_timeout: DELIVERY_TIMEOUT,
        resends: true,
    };
    Delivery::new(settings, Some(identity(1, epoch)), seed)
}
