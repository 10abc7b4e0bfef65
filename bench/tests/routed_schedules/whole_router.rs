//! The real router between session and links: its plan, its holds, its deadlines and its answers, around the same sessions.
//!
//! Half of the schedules go through it. The others go through `router.rs` alone, where bugs can be planted.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::link::Fate;
use keylane_protocol::link::append::Outcome;
use keylane_protocol::offset::Offset;
use keylane_router::holding::Holding;
use keylane_router::merge::produce::ProduceAnswer;
use keylane_router::plan::Place as PlaceInRequest;
use keylane_router::plan::produce::SubBatch;
use keylane_router::producing::{ProduceEffect, Producing, RequestId};
use keylane_router::routing::{Moment, Routing};

use super::router::{Connection, Frame, Part, Request};
use super::world::{Event, Place, World};

const HOLD: Duration = Duration::from_millis(700);

/// A sub-batch that was handed to a link, and of which nothing was heard yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handed {
    connection: u64,
    place: PlaceInRequest,
    /// The link has sent it.
    is_sent: bool,
}

/// What a router has on one connection.
pub(crate) fn new_producing() -> Producing {
    Producing::new(Holding::new(HOLD))
}

impl World {
    /// Has the real router begin a request.
    pub(crate) fn begin(&mut self, on: &mut Connection, connection: u64, sent: &Request) {
        let mut request = sent.request.clone();
        request.timeout_ms = 2_000;
        if self.chance.happens(self.faults.refusals) {
            request.records = request.records.map(|records| bent(&records));
        }
        self.tally.whole_routers += 1;
        let id = RequestId(sent.serial);
        self.with_producing(on, connection, |producing, moment, effects| {
            producing.on_routed_request(id, request, moment, effects);
        });
    }

    /// Lets something happen to the requests of a connection, and does what follows.
    fn with_producing(
        &mut self,
        on: &mut Connection,
        connection: u64,
        change: impl FnOnce(&mut Producing, Moment<'_>, &mut Vec<ProduceEffect>),
    ) {
        let routing: Routing = self.knowledge[on.router].routing.clone();
        let moment = Moment {
            routing: &routing,
            now: self.now(),
        };
        let mut effects = Vec::new();
        change(&mut on.producing, moment, &mut effects);
        while !effects.is_empty() {
            let mut more = Vec::new();
            for effect in effects.drain(..) {
                self.carry_out(on, connection, effect, &mut more);
            }
            effects = more;
        }
        if let Some(due) = on.producing.next_deadline() {
            let delay = self.since_start_ms(due).saturating_sub(self.now_ms).max(1);
            self.after(delay, Event::RouterDue { connection });
        }
    }

    fn carry_out(
        &mut self,
        on: &mut Connection,
        connection: u64,
        effect: ProduceEffect,
        more: &mut Vec<ProduceEffect>,
    ) {
        match effect {
            ProduceEffect::Send(id, sub_batch) => self.hand(on, connection, (id, sub_batch), more),
            ProduceEffect::LookUp(_) => {
                let delay = self.chance.one_of(&[1, 50, 1_500]);
                self.after(delay, Event::RouterLearns { router: on.router });
            }
            ProduceEffect::Withdraw(id) => {
                let of_request = (id.0, i32::MIN)..=(id.0, i32::MAX);
                let keys: Vec<(u64, i32)> =
                    self.handed.range(of_request).map(|(key, _)| *key).collect();
                let handed = keys.iter().filter_map(|key| self.handed.remove(key));
                let fates = handed.map(|handed| match handed.is_sent {
                    true => (handed.place, Fate::Unknown),
                    false => (handed.place, Fate::NeverSent),
                });
                let fates: Vec<(PlaceInRequest, Fate)> = fates.collect();
                on.producing.on_withdrawn(id, &fates, more);
            }
            ProduceEffect::Answer(id, ProduceAnswer::Routed(answer)) => {
                self.send_answer(on, id.0, answer);
            }
            other => panic!("routed requests want an answer: {other:?}"),
        }
    }

    /// Takes a sub-batch as a link does: it is sent, or waits there until it is withdrawn, or the link is lost before.
    fn hand(
        &mut self,
        on: &mut Connection,
        connection: u64,
        (id, sub_batch): (RequestId, SubBatch),
        more: &mut Vec<ProduceEffect>,
    ) {
        on.producing.on_taken(id, sub_batch.place, more);
        let is_sent = !self.chance.happens(self.faults.unsent);
        if !is_sent && self.chance.happens(500) {
            on.producing
                .on_lost((id, sub_batch.place), Fate::NeverSent, more);
            return;
        }
        let handed = Handed {
            connection,
            place: sub_batch.place,
            is_sent,
        };
        self.handed.insert((id.0, sub_batch.partition.0), handed);
        if !is_sent {
            return;
        }
        let order = sub_batch.order.expect("it is routed");
        let place: Place = (sub_batch.topic_id, sub_batch.partition);
        if self.chance.happens(self.faults.refusals / 2) {
            let part = Part::failed(place.1, ErrorCode::MessageTooLarge);
            self.after(
                5,
                Event::PartAnswered {
                    request: id.0,
                    part,
                },
            );
            return;
        }
        self.send_frame(Frame {
            place,
            request: id.0,
            floor: order.floor,
            previous: order.previous,
            batch: sub_batch.records,
            made_ms: self.now_ms,
        });
    }

    /// Lets the real router hear of one part. Returns whether it was one of its own.
    pub(crate) fn on_outcome(&mut self, request: u64, part: Part) -> bool {
        let Some(handed) = self.handed.remove(&(request, part.partition.0)) else {
            return false;
        };
        let outcome = Outcome {
            error_code: part.outcome.err().unwrap_or(ErrorCode::None),
            base_offset: Offset(part.outcome.unwrap_or(-1)),
            ..Outcome::default()
        };
        self.on_connection(handed.connection, |producing, _, effects| {
            producing.on_outcome((RequestId(request), handed.place), outcome, effects);
        });
        true
    }

    pub(crate) fn on_router_due(&mut self, connection: u64) {
        self.on_connection(connection, |producing, moment, effects| {
            producing.on_deadline(moment, effects);
        });
    }

    /// Lets a router learn how many partitions there are.
    pub(crate) fn learn(&mut self, router: usize) {
        let now = self.now();
        for topic in &mut self.topics {
            topic.known[router] = topic.partition_count;
            self.knowledge[router].learn(topic, topic.partition_count, now);
        }
        self.on_new_routing(router);
    }

    /// Lets both routers hear whether a partition has a leader.
    pub(crate) fn hear_of_leader(&mut self, place: Place, is_led: bool) {
        for router in 0..2 {
            let now = self.now();
            self.knowledge[router].hear(place, is_led, now);
            self.on_new_routing(router);
        }
    }

    fn on_new_routing(&mut self, router: usize) {
        let connections = self
            .connections
            .iter()
            .filter(|(_, on)| on.router == router);
        let connections: Vec<u64> = connections.map(|(connection, _)| *connection).collect();
        for connection in connections {
            self.on_connection(connection, |producing, moment, effects| {
                producing.on_routing(moment, effects);
            });
        }
    }

    fn on_connection(
        &mut self,
        connection: u64,
        change: impl FnOnce(&mut Producing, Moment<'_>, &mut Vec<ProduceEffect>),
    ) {
        if let Some(mut on) = self.connections.remove(&connection) {
            self.with_producing(&mut on, connection, change);
            self.connections.insert(connection, on);
        }
    }
}

/// Returns a batch one of whose bytes arrived bent.
fn bent(records: &Bytes) -> Bytes {
    let mut bent = BytesMut::from(&records[..]);
    let last = bent.len() - 1;
    bent[last] ^= 1;
    bent.freeze()
}
