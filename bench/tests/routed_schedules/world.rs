//! Everything that a schedule consists of, in one thread: a queue of events by time, and who takes part in them.
//!
//! What happens next is decided by the seed alone. The clock is a number of milliseconds; the cores see it as they would
//! see a real one. Producers are in `client.rs`, routers in `router.rs`, leaders and their disks in `leader.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ahash::RandomState;
use keylane_protocol::identifiers::{PartitionIndex, TopicId};
use keylane_protocol::message::routed_produce::RoutedProduceResponse;

use super::chance::Chance;
use super::client::Producer;
use super::cluster::Knowledge;
use super::faults::{Bug, Faults};
use super::leader::Leader;
use super::router::{Connection, Frame, Part, Pending, Request};
use super::whole_router::Handed;

/// How long a batch may be open, a request wait for its router, and a frame be on its way.
pub(crate) const LIFETIME_MS: u64 = 20_000;

/// How long a leader remembers a producer that is silent.
pub(crate) const EXPIRY_MS: u64 = 4 * LIFETIME_MS;

/// How long a schedule is left undisturbed before it must have settled.
const UNDISTURBED_MS: u64 = 60_000;

/// What is still open for so long when the faults end must be acknowledged.
pub(crate) const TIME_TO_SETTLE_MS: u64 = 8_000;

/// The most partitions that a topic grows to.
const PARTITIONS_MAX: i32 = 4;

/// A partition of a topic.
pub(crate) type Place = (TopicId, PartitionIndex);

/// Something that happens at its time.
#[derive(Debug)]
pub(crate) enum Event {
    /// A producer gets more records.
    Append { producer: usize },
    /// Something of a producer may be due.
    Poll { producer: usize },
    /// A producer has another connection.
    Connect { producer: usize },
    /// A producer has waited long enough for an answer.
    RequestTimedOut { producer: usize, request: u64 },
    /// A router reads a request.
    RequestArrives {
        connection: u64,
        request: Box<Request>,
    },
    /// A leader gets a frame.
    FrameArrives { frame: Box<Frame> },
    /// What was appended is durable.
    Synced { place: Place, life: u64, end: i64 },
    /// A leader serves again.
    Up { place: Place },
    /// A router hears of one part of a request.
    PartAnswered { request: u64, part: Part },
    /// A router waits for no more parts of a request.
    RequestDue { request: u64 },
    /// A producer hears of a request.
    AnswerArrives {
        producer: usize,
        request: u64,
        answer: Box<RoutedProduceResponse>,
    },
    /// The time is up for something that a router has of a connection.
    RouterDue { connection: u64 },
    /// A router learns of partitions.
    RouterLearns { router: usize },
    /// Routers hear whether a partition has a leader.
    Leads { place: Place, is_led: bool },
    /// Nothing goes wrong from here on.
    Heal,
}

/// A topic, and how many partitions each router knows of.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    pub(crate) id: TopicId,
    pub(crate) partition_count: i32,
    pub(crate) known: [i32; 2],
}

/// One schedule.
pub(crate) struct World {
    pub(crate) chance: Chance,
    pub(crate) faults: Faults,
    pub(crate) bug: Option<Bug>,
    pub(crate) now_ms: u64,
    started: Instant,
    queue: BTreeMap<(u64, u64), Event>,
    serial: u64,
    pub(crate) topics: Vec<Topic>,
    pub(crate) producers: Vec<Producer>,
    pub(crate) connections: BTreeMap<u64, Connection>,
    pub(crate) pending: BTreeMap<u64, Pending>,
    pub(crate) leaders: BTreeMap<Place, Leader>,
    /// Requests go through the real router, not only through its sessions.
    pub(crate) has_whole_routers: bool,
    pub(crate) knowledge: [Knowledge; 2],
    /// What the real routers have handed to links, by request and partition.
    pub(crate) handed: BTreeMap<(u64, i32), Handed>,
    pub(crate) healed_ms: Option<u64>,
    /// The first promise that was seen to be broken while the schedule ran.
    pub(crate) broken: Option<String>,
    pub(crate) tally: Tally,
    pub(crate) trace: Trace,
}

/// How often each thing happened that schedules are there for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) appended: u64,
    pub(crate) duplicates: u64,
    /// Duplicates of what was not durable yet.
    pub(crate) waited: u64,
    pub(crate) out_of_order: u64,
    pub(crate) fenced: u64,
    /// Batches that a leader lost with the power.
    pub(crate) lost: u64,
    /// Batches of a producer that its leader had forgotten.
    pub(crate) after_expiry: u64,
    /// Batches that were split by fewer partitions than their topic had.
    pub(crate) split_as_before: u64,
    pub(crate) sessions_refused: u64,
    /// Requests read from connections that their clients had given up.
    pub(crate) read_late: u64,
    pub(crate) epochs: u64,
    /// Requests that went through the real router.
    pub(crate) whole_routers: u64,
    pub(crate) acknowledged: u64,
    pub(crate) failed: u64,
}

/// What happened, as one number, and in words if these are wanted.
pub(crate) struct Trace {
    hasher: RandomState,
    pub(crate) fingerprint: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    fn new(is_wanted: bool) -> Self {
        Self {
            hasher: RandomState::with_seeds(1, 2, 3, 4),
            fingerprint: 0,
            lines: is_wanted.then(Vec::new),
        }
    }

    /// Notes what happened.
    pub(crate) fn note(&mut self, now_ms: u64, what: &'static str, numbers: [i64; 3]) {
        let before = self.fingerprint;
        self.fingerprint = self.hasher.hash_one((before, now_ms, what, numbers));
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{now_ms:7} ms  {what} {numbers:?}"));
        }
    }

    /// Notes details that no decision depends on.
    pub(crate) fn detail(&mut self, detail: &dyn Debug) {
        if let Some(lines) = &mut self.lines {
            lines.push(format!("            {detail:?}"));
        }
    }

    /// Returns what happened in words.
    pub(crate) fn text(&self) -> String {
        self.lines
            .as_ref()
            .map_or(String::new(), |lines| lines.join("\n"))
    }
}

impl Tally {
    /// Adds up.
    pub(crate) fn add(&mut self, other: &Self) {
        self.appended += other.appended;
        self.duplicates += other.duplicates;
        self.waited += other.waited;
        self.out_of_order += other.out_of_order;
        self.fenced += other.fenced;
        self.lost += other.lost;
        self.after_expiry += other.after_expiry;
        self.split_as_before += other.split_as_before;
        self.sessions_refused += other.sessions_refused;
        self.read_late += other.read_late;
        self.epochs += other.epochs;
        self.whole_routers += other.whole_routers;
        self.acknowledged += other.acknowledged;
        self.failed += other.failed;
    }

    /// Returns the least of all counts.
    pub(crate) fn least(&self) -> u64 {
        let counts = [
            self.appended,
            self.duplicates,
            self.waited,
            self.out_of_order,
            self.fenced,
            self.lost,
            self.after_expiry,
            self.split_as_before,
            self.sessions_refused,
            self.read_late,
            self.epochs,
            self.whole_routers,
            self.acknowledged,
            self.failed,
        ];
        counts.into_iter().min().unwrap_or(0)
    }
}

impl World {
    pub(crate) fn new(seed: u64, bug: Option<Bug>, is_told: bool) -> Self {
        let mut chance = Chance::new(seed);
        let faults = Faults::of(&mut chance);
        let has_whole_routers = chance.happens(500);
        let started = tokio::time::Instant::now().into_std();
        let mut world = Self {
            chance,
            faults,
            bug,
            now_ms: 0,
            started,
            queue: BTreeMap::new(),
            serial: 0,
            topics: Vec::new(),
            producers: Vec::new(),
            connections: BTreeMap::new(),
            pending: BTreeMap::new(),
            leaders: BTreeMap::new(),
            has_whole_routers: has_whole_routers && !bug.is_some_and(Bug::is_of_routers),
            knowledge: [Knowledge::new(started), Knowledge::new(started)],
            handed: BTreeMap::new(),
            healed_ms: None,
            broken: None,
            tally: Tally::default(),
            trace: Trace::new(is_told),
        };
        for index in 0..world.chance.between(1, 3) {
            let partition_count = world.chance.between(1, 3) as i32;
            world.topics.push(Topic {
                name: Arc::from(format!("topic-{index}")),
                id: TopicId([index as u8 + 1; 16]),
                partition_count,
                known: [partition_count; 2],
            });
        }
        world.learn(0);
        world.learn(1);
        for index in 0..world.chance.between(1, 4) as usize {
            world.add_producer(index);
        }
        world
    }

    /// Runs to the end, and returns the first promise that was broken.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        while let Some(((at, _), event)) = self.queue.pop_first() {
            let end = self
                .healed_ms
                .map_or(u64::MAX, |healed| healed + UNDISTURBED_MS);
            if at > end || self.broken.is_some() {
                break;
            }
            self.now_ms = at;
            self.happen(event);
            let is_over = self.producers.iter().all(Producer::has_appended_all);
            if is_over && self.healed_ms.is_none() {
                self.heal();
            }
        }
        match self.broken.take() {
            Some(broken) => Err(broken),
            None => super::checker::check(self).map(|receipts| {
                self.tally.acknowledged = receipts.acknowledged;
                self.tally.failed = receipts.failed;
            }),
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Append { producer } => self.append(producer),
            Event::Poll { producer } => self.poll(producer),
            Event::Connect { producer } => self.connect(producer),
            Event::RequestTimedOut { producer, request } => self.time_out(producer, request),
            Event::RequestArrives {
                connection,
                request,
            } => self.read(connection, &request),
            Event::FrameArrives { frame } => self.receive(&frame),
            Event::Synced { place, life, end } => self.on_synced(place, life, end),
            Event::Up { place } => self.leader(place).is_up = true,
            Event::PartAnswered { request, part } => self.on_part(request, part),
            Event::RequestDue { request } => self.on_due(request),
            Event::AnswerArrives {
                producer,
                request,
                answer,
            } => {
                self.on_answer(producer, request, &answer);
            }
            Event::RouterDue { connection } => self.on_router_due(connection),
            Event::RouterLearns { router } => self.learn(router),
            Event::Leads { place, is_led } => self.hear_of_leader(place, is_led),
            Event::Heal => self.end_faults(),
        }
    }

    /// Lets an event happen after so many milliseconds.
    pub(crate) fn after(&mut self, delay_ms: u64, event: Event) {
        self.serial += 1;
        self.queue
            .insert((self.now_ms + delay_ms, self.serial), event);
    }

    /// Returns a number that nothing else has.
    pub(crate) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// Returns the present as the cores see it.
    pub(crate) fn now(&self) -> Instant {
        self.started + Duration::from_millis(self.now_ms)
    }

    /// Returns how long after the schedule's begin a moment is, in milliseconds.
    pub(crate) fn since_start_ms(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.started);
        u64::try_from(since.as_micros().div_ceil(1000)).unwrap_or(u64::MAX)
    }

    pub(crate) fn leader(&mut self, place: Place) -> &mut Leader {
        let bug = self.bug;
        self.leaders
            .entry(place)
            .or_insert_with(|| Leader::new(bug))
    }

    /// Lets the faults go on for a moment after the last records, then end.
    fn heal(&mut self) {
        self.healed_ms = Some(u64::MAX - UNDISTURBED_MS);
        let delay = self.chance.one_of(&[1, 50, 1_000, 10_000]);
        self.after(delay, Event::Heal);
    }

    fn end_faults(&mut self) {
        self.trace.note(self.now_ms, "the faults end", [0; 3]);
        self.faults = Faults::default();
        self.healed_ms = Some(self.now_ms);
        for producer in 0..self.producers.len() {
            self.note_failures(producer);
            self.append_last(producer);
        }
    }

    /// Gives a topic one more partition; routers learn of it one after the other.
    pub(crate) fn grow(&mut self) {
        let index = self.chance.below(self.topics.len() as u64) as usize;
        let topic = &mut self.topics[index];
        if topic.partition_count < PARTITIONS_MAX {
            topic.partition_count += 1;
            let router = self.chance.below(2) as usize;
            let numbers = [
                index as i64,
                i64::from(topic.partition_count),
                router as i64,
            ];
            self.trace.note(self.now_ms, "a topic grows", numbers);
            self.learn(router);
        }
    }

    /// Returns the topics' places that anything was sent to.
    pub(crate) fn places(&self) -> BTreeSet<Place> {
        self.leaders.keys().copied().collect()
    }
}
