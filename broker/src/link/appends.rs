//! Sub-batches of append frames: each is checked, refused and told of by itself.
//!
//! ```text
//! sub-batch ─▶ arrived ─▶ standing ─▶ checked ─▶ in one message per frame and shard ─▶ durable or refused ─▶ Outcome, credit
//!                             └─ this broker's image is older: behind others of its partition, bounded, and again ─┘
//! ```
//! The credit comes back when its fate is known, so a link never has more in memory than it was granted. Nothing here
//! waits: a message that finds a shard's mailbox full stays in line, and the link is not read meanwhile.

mod ticket;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use keylane_protocol::api::ApiKey;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::{PartitionIndex, TopicId};
use keylane_protocol::link::append::{Append, SubBatch, cost};
use keylane_protocol::link::{Correlation, Lane};
use keylane_protocol::rising::RisingMap;
use tokio::sync::mpsc::error::TrySendError;

pub(super) use self::ticket::Settlement;
use self::ticket::Ticket;
use super::standing::{Standing, standing};
use crate::handler::produce::{self, Fault, Way};
use crate::limits::LINK_IMAGE_WAIT;
use crate::server::BrokerState;
use crate::shard::receipts::Outcomes;
use crate::shard::request::{AppendEach, LonePart, ShardRequest};

/// The version whose rules hold for batches: routers have checked what older ones forbid.
const PRODUCE_VERSION: i16 = i16::MAX;

/// A sub-batch of which this broker's image does not know yet.
#[derive(Debug)]
struct Deferred {
    ticket: Ticket,
    sub_batch: SubBatch,
    frame_bytes: usize,
}

/// Those of one partition, in order.
#[derive(Debug)]
struct Line {
    until: Instant,
    deferred: VecDeque<Deferred>,
}

/// The sub-batches of one link that are under way.
pub(super) struct Appends {
    outcomes: Arc<Outcomes>,
    tickets: RisingMap<u64, Ticket>,
    last_number: u64,
    /// What has arrived together, in order.
    arrived: Vec<Deferred>,
    lines: BTreeMap<(TopicId, PartitionIndex), Line>,
    /// Messages for shards whose mailboxes were full, in order.
    handing: VecDeque<(usize, AppendEach)>,
}

/// Messages to shards, while they are filled.
type ByShard = BTreeMap<usize, AppendEach>;

/// What a frame, or a newer image, makes of sub-batches.
struct Round<'a> {
    broker: &'a BrokerState,
    now: Instant,
    by_shard: ByShard,
    settled: &'a mut Vec<Settlement>,
}

impl Appends {
    pub(super) fn new() -> Self {
        Self {
            outcomes: Arc::default(),
            tickets: RisingMap::default(),
            last_number: 0,
            arrived: Vec::new(),
            lines: BTreeMap::new(),
            handing: VecDeque::new(),
        }
    }

    /// Notes an append frame, for [`Appends::take`].
    pub(super) fn arrived(&mut self, append: Append, now: Instant) {
        let sizes = append.sub_batches.iter();
        let frame_bytes = sizes.map(|part| cost(part.records.len())).sum();
        let sub_batches = append.sub_batches.into_iter();
        self.arrived.extend(sub_batches.map(|sub_batch| Deferred {
            ticket: Ticket::new(&sub_batch, now),
            sub_batch,
            frame_bytes,
        }));
    }

    /// Gives what has arrived its places; adds what is refused at once to `settled`.
    pub(super) fn take(
        &mut self,
        broker: &BrokerState,
        now: Instant,
        settled: &mut Vec<Settlement>,
    ) {
        if self.arrived.is_empty() {
            return;
        }
        let mut round = Round::new(broker, now, settled);
        for deferred in std::mem::take(&mut self.arrived) {
            let ticket = deferred.ticket;
            let key = (ticket.topic_id, ticket.partition);
            // Behind others of its partition it keeps its place.
            if let Some(line) = self.lines.get_mut(&key) {
                line.deferred.push_back(deferred);
            } else if let Some(deferred) = self.place(deferred, &mut round) {
                let line = Line {
                    until: ticket.deadline.min(now + LINK_IMAGE_WAIT),
                    deferred: VecDeque::from([deferred]),
                };
                self.lines.insert(key, line);
            }
        }
        let by_shard = round.by_shard;
        self.hand_over(broker, by_shard);
    }

    /// Puts a sub-batch into the message for its shard, or refuses it; gives it back if the image is not there yet.
    fn place(&mut self, deferred: Deferred, round: &mut Round<'_>) -> Option<Deferred> {
        let ticket = deferred.ticket;
        if let Some(fault) = ticket.fault(round.now) {
            round.broker.meters.records.late.increment(1);
            round.settled.push(ticket.refused(fault));
            return None;
        }
        let key = (ticket.topic_id, ticket.partition);
        let image = round.broker.topics.load();
        let own = round.broker.config.id;
        let topic = match standing(&image, own, key, ticket.leader_epoch) {
            Standing::Led(topic) => topic,
            Standing::Behind(_) => return Some(deferred),
            Standing::NotLed(not_leader) => {
                round.settled.push(ticket.not_led(not_leader));
                return None;
            }
        };
        let records = deferred.sub_batch.records.into_bytes();
        let way = match ticket.routing {
            Some(routing) => Way::Routed(routing),
            None => Way::Plain(PRODUCE_VERSION),
        };
        match produce::check(Some(records), &topic, way) {
            Ok(batch) => {
                self.last_number += 1;
                self.tickets.insert(self.last_number, ticket);
                let receipt = self.outcomes.receipt(self.last_number);
                round.put(ticket.part(batch, receipt), deferred.frame_bytes);
            }
            Err(fault) => round.settled.push(ticket.refused(fault)),
        }
        None
    }

    /// Tries again what has waited for a newer image, now that there is one.
    pub(super) fn on_image(
        &mut self,
        broker: &BrokerState,
        now: Instant,
        settled: &mut Vec<Settlement>,
    ) {
        let mut round = Round::new(broker, now, settled);
        for (key, mut line) in std::mem::take(&mut self.lines) {
            while let Some(first) = line.deferred.pop_front() {
                if let Some(first) = self.place(first, &mut round) {
                    line.deferred.push_front(first);
                    self.lines.insert(key, line);
                    break;
                }
            }
        }
        let by_shard = round.by_shard;
        self.hand_over(broker, by_shard);
    }

    /// Refuses what has waited too long, and with it what came after it for the same partition: the client tries it again,
    /// and it would come behind.
    pub(super) fn on_time(
        &mut self,
        broker: &BrokerState,
        now: Instant,
        settled: &mut Vec<Settlement>,
    ) {
        let due = |line: &Line| line.until <= now;
        let is_due = self.lines.iter().filter(|(_, line)| due(line));
        let keys: Vec<_> = is_due.map(|(key, _)| *key).collect();
        for key in keys {
            let Some(line) = self.lines.remove(&key) else {
                continue;
            };
            let image = broker.topics.load();
            for Deferred { ticket, .. } in line.deferred {
                let own = broker.config.id;
                settled.push(match standing(&image, own, key, ticket.leader_epoch) {
                    Standing::Behind(not_leader) | Standing::NotLed(not_leader) => {
                        ticket.not_led(not_leader)
                    }
                    Standing::Led(_) => ticket.refused(Fault::new(
                        ErrorCode::NotLeaderOrFollower,
                        "this broker leads the partition only just now",
                    )),
                });
            }
        }
    }

    /// Returns when [`Appends::on_time`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.lines.values().map(|line| line.until).min()
    }

    /// Tells whether anything waits for a newer image.
    pub(super) fn waits_for_image(&self) -> bool {
        !self.lines.is_empty()
    }

    /// Drops what of a lane has not got its place, one sub-batch or everything that wants an answer.
    pub(super) fn drop_waiting(
        &mut self,
        lane: Lane,
        only: Option<Correlation>,
        settled: &mut Vec<Settlement>,
    ) {
        let mut is_kept = |deferred: &Deferred| {
            let ticket = deferred.ticket;
            let is_meant = match only {
                Some(correlation) => ticket.correlation == correlation,
                None => ticket.acks != 0,
            };
            let is_dropped = ticket.lane == lane && is_meant;
            if is_dropped {
                settled.push(ticket.dropped());
            }
            !is_dropped
        };
        self.arrived.retain(&mut is_kept);
        for line in self.lines.values_mut() {
            line.deferred.retain(&mut is_kept);
        }
        self.lines.retain(|_, line| !line.deferred.is_empty());
    }

    /// Gives messages to their shards, behind those that wait.
    fn hand_over(&mut self, broker: &BrokerState, by_shard: ByShard) {
        for (shard, message) in by_shard {
            self.handing.push_back((shard, message));
        }
        self.hand_on(broker);
    }

    /// Gives messages to their shards as long as there is room.
    pub(super) fn hand_on(&mut self, broker: &BrokerState) {
        while let Some((shard, message)) = self.handing.pop_front() {
            let sent = broker.shards[shard].try_send(ShardRequest::AppendEach(message));
            if let Err(TrySendError::Full(ShardRequest::AppendEach(message))) = sent {
                self.handing.push_front((shard, message));
                return;
            }
            // A shard that has gone drops the receipts, which says so.
        }
    }

    /// Returns the shard whose mailbox is waited for, if any is.
    pub(super) fn waits_for_shard(&self) -> Option<usize> {
        self.handing.front().map(|(shard, _)| *shard)
    }

    /// Gives everything that has its place to its shard, now that the link is over.
    pub(super) async fn hand_over_all(&mut self, broker: &BrokerState) {
        for (shard, message) in self.handing.drain(..) {
            let _ = broker.shards[shard]
                .send(ShardRequest::AppendEach(message))
                .await;
        }
    }

    /// Returns where shards tell what became of batches.
    pub(super) fn outcomes(&self) -> &Arc<Outcomes> {
        &self.outcomes
    }

    /// Takes what shards have told.
    pub(super) fn take_outcomes(
        &mut self,
        broker: &BrokerState,
        now: Instant,
        settled: &mut Vec<Settlement>,
    ) {
        for (number, outcome) in self.outcomes.take() {
            if let Some(ticket) = self.tickets.remove(number) {
                let meters = &broker.meters.link;
                meters.answered(ApiKey::Produce, ticket.taken_at, now);
                settled.push(ticket.settled(outcome));
            }
        }
    }

    /// Returns how many are under way.
    pub(super) fn count(&self) -> usize {
        let lines = self.lines.values();
        let deferred: usize = lines.map(|line| line.deferred.len()).sum();
        self.tickets.len() + deferred
    }

    /// Tells whether none is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.tickets.is_empty() && self.lines.is_empty() && self.arrived.is_empty()
    }
}

impl<'a> Round<'a> {
    fn new(broker: &'a BrokerState, now: Instant, settled: &'a mut Vec<Settlement>) -> Self {
        Self {
            broker,
            now,
            by_shard: ByShard::new(),
            settled,
        }
    }

    fn put(&mut self, part: LonePart, frame_bytes: usize) {
        let message = self.by_shard.entry(self.broker.shard_of(part.partition));
        let message = message.or_insert_with(|| AppendEach {
            parts: Vec::new(),
            frame_bytes,
            sent_at: self.now,
        });
        message.parts.push(part);
    }
}
