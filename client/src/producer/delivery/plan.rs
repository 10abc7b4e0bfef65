//! Chooses what goes into the next requests: what is due, together with what can come along.
//!
//! At most one batch of a partition and one request per broker at a time. Batches are chosen under the accumulator's
//! lock and finished (compressed, numbered, summed) after it is released.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use bytes::Bytes;
use keylane_protocol::identifiers::BrokerId;
use std::time::Instant;

use super::{BatchRef, Delivery};
use crate::producer::accumulator::{Accumulator, LaneId};
use crate::producer::batch::SealedBatch;

/// What planning has to know of the world.
pub(crate) struct Situation<'a> {
    pub(crate) now: Instant,
    /// Whether somebody waits for memory or for a flush: then nothing lingers.
    pub(crate) takes_all: bool,
    /// Tells whether a broker can be sent to.
    pub(crate) is_ready: &'a dyn Fn(BrokerId) -> bool,
}

/// What to send, and whom to dial.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) requests: Vec<PlannedRequest>,
    pub(crate) wanted: BTreeSet<BrokerId>,
    /// Whether something is due for a partition without a leader.
    pub(crate) misses_leader: bool,
}

/// One request: at most one batch of each partition.
#[derive(Debug)]
pub(crate) struct PlannedRequest {
    pub(crate) broker: BrokerId,
    pub(crate) batches: Vec<PlannedBatch>,
}

/// A batch as it goes out.
#[derive(Debug)]
pub(crate) struct PlannedBatch {
    pub(crate) batch: BatchRef,
    pub(crate) bytes: Bytes,
}

/// A batch chosen for a request, before it is finished.
enum Chosen {
    Again(LaneId),
    New(LaneId, SealedBatch),
}

/// A request that is being filled.
#[derive(Default)]
struct Filling {
    chosen: Vec<Chosen>,
    size_bytes: usize,
}

impl Delivery {
    /// Chooses what can be sent now and takes it out of the accumulator. To be repeated until there is no request.
    pub(crate) fn plan(
        &mut self,
        accumulator: &Mutex<Accumulator>,
        situation: &Situation<'_>,
    ) -> Plan {
        let mut plan = Plan::default();
        if !self.leaders.is_empty() && self.leaders.iter().all(|&broker| !self.has_room(broker)) {
            return plan;
        }
        let filled = {
            let mut accumulator = accumulator
                .lock()
                .expect("no code panics while it holds this lock");
            let due = self.due(&accumulator, situation);
            let filling = self.brokers_with_room(&due, situation, &mut plan);
            if filling.is_empty() {
                return plan;
            }
            self.fill(filling, due, &mut accumulator, situation.now)
        };
        for (broker, filling) in filled {
            let chosen = filling.chosen.into_iter();
            let batches: Vec<PlannedBatch> = chosen
                .filter_map(|chosen| self.finish(chosen, broker))
                .collect();
            if !batches.is_empty() {
                *self.requests.entry(broker).or_default() += 1;
                plan.requests.push(PlannedRequest { broker, batches });
            }
        }
        plan
    }

    fn due(&self, accumulator: &Accumulator, situation: &Situation<'_>) -> BTreeSet<LaneId> {
        let mut due = if situation.takes_all {
            accumulator.holding()
        } else {
            accumulator.due(situation.now)
        };
        due.extend(&self.resending);
        // A topic may have been met since the lanes were counted.
        due.split_off(&LaneId(self.lanes.len()));
        due
    }

    /// Returns the brokers that something is due for and that can take a request.
    fn brokers_with_room(
        &self,
        due: &BTreeSet<LaneId>,
        situation: &Situation<'_>,
        plan: &mut Plan,
    ) -> BTreeMap<BrokerId, Filling> {
        let mut brokers = BTreeMap::new();
        for &id in due {
            plan.misses_leader |= self.lanes[id.0].broker().is_none();
            let Some(broker) = self.sendable_to(id, situation.now) else {
                continue;
            };
            if !(situation.is_ready)(broker) {
                plan.wanted.insert(broker);
            } else if self.has_room(broker) {
                brokers.insert(broker, Filling::default());
            }
        }
        brokers
    }

    fn fill(
        &mut self,
        mut filling: BTreeMap<BrokerId, Filling>,
        mut lanes: BTreeSet<LaneId>,
        accumulator: &mut Accumulator,
        now: Instant,
    ) -> BTreeMap<BrokerId, Filling> {
        // A request that goes anyway takes along what is not due yet: fewer requests, fewer syncs.
        lanes.extend(accumulator.holding());
        lanes.split_off(&LaneId(self.lanes.len()));
        let turn = self.turn;
        for &id in lanes.range(turn..).chain(lanes.range(..turn)) {
            let broker = self.sendable_to(id, now);
            let Some(request) = broker.and_then(|broker| filling.get_mut(&broker)) else {
                continue;
            };
            let again = self.lanes[id.0].first_to_resend().map(Bytes::len);
            let size = again.unwrap_or_else(|| accumulator.first_len(id));
            let fits = request.size_bytes + size <= self.settings.max_request_bytes;
            if size == 0 || !(fits || request.chosen.is_empty()) {
                continue;
            }
            let chosen = match again {
                Some(_) => Some(Chosen::Again(id)),
                None => accumulator.take(id).map(|batch| Chosen::New(id, batch)),
            };
            request.size_bytes += size;
            request.chosen.extend(chosen);
            self.turn = LaneId(id.0 + 1);
        }
        filling
    }

    fn has_room(&self, broker: BrokerId) -> bool {
        let under_way = self.requests.get(&broker).copied().unwrap_or(0);
        under_way < self.settings.in_flight_max
    }

    fn sendable_to(&self, id: LaneId, now: Instant) -> Option<BrokerId> {
        let lane = &self.lanes[id.0];
        lane.broker().filter(|_| lane.may_send(now, self.settings))
    }

    fn finish(&mut self, chosen: Chosen, broker: BrokerId) -> Option<PlannedBatch> {
        let (lane, sent) = match chosen {
            Chosen::Again(id) => (id, self.lanes[id.0].resend(broker)),
            Chosen::New(id, batch) => {
                let compression = self.settings.compression;
                let sent = self.lanes[id.0].send(batch, broker, compression);
                (id, Some(sent))
            }
        };
        self.note(lane);
        let (serial, bytes) = sent?;
        let batch = BatchRef { lane, serial };
        Some(PlannedBatch { batch, bytes })
    }
}
