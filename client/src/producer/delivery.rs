//! Which batch is sent when, under which sequence, and what an answer means. The producer's promises live here.
//!
//! A core: no I/O, no clock. A sequence is given to a batch when it is first sent and never changes under its epoch; after
//! a failure nothing of that partition is sent until nothing of it is under way, then everything unresolved goes out
//! again in order. Only when a sequence can no longer be filled (a batch was refused for good or given up, or the broker
//! lost its memory) does the partition go on under a new epoch, and only with batches that are certainly not written.

mod lane;
mod plan;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use keylane_protocol::compression::Compression;
use keylane_protocol::identifiers::{BrokerId, PartitionIndex, ProducerId};
use keylane_protocol::offset::ProducerEpoch;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::time::Instant;

use self::lane::Lane;
pub(crate) use self::plan::{PlannedRequest, Situation};
pub(crate) use self::verdict::{Answer, is_clean};
use super::accumulator::{BatchSerial, LaneId};
use super::batch::SealedBatch;
use super::error::DeliveryError;
use super::receipt::{BatchOutcome, BatchResult};

/// Under which id and epoch sequences are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) producer_id: ProducerId,
    pub(crate) epoch: ProducerEpoch,
}

/// What delivery needs of the producer's settings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeliverySettings {
    /// How many requests per broker, and how many batches per partition, may be under way.
    pub(crate) in_flight_max: usize,
    pub(crate) max_request_bytes: usize,
    pub(crate) compression: Compression,
    pub(crate) delivery_timeout: Duration,
    /// Whether a batch may be sent again. Not with acks 0, where nothing tells whether it has to be.
    pub(crate) resends: bool,
}

/// A batch whose outcome is known, or will never be.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) serial: BatchSerial,
    pub(crate) outcome: Arc<BatchOutcome>,
    pub(crate) result: BatchResult,
}

/// What the shell has to do.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) settled: Vec<Settled>,
    /// Bytes of memory that are free again.
    pub(crate) released_bytes: usize,
    /// Whether what is known of the leaders proved wrong.
    pub(crate) is_metadata_stale: bool,
    /// Whether the epochs of the producer id are used up.
    pub(crate) needs_identity: bool,
}

impl Effects {
    /// Settles a batch that was never sent.
    pub(crate) fn give_back(&mut self, batch: &SealedBatch, error: DeliveryError) {
        self.released_bytes += batch.reserved_bytes();
        self.settled.push(Settled {
            serial: batch.serial(),
            outcome: batch.outcome(),
            result: Err(error),
        });
    }
}

/// Names a batch that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchRef {
    pub(crate) lane: LaneId,
    pub(crate) serial: BatchSerial,
}

/// What is under way or has to be sent again, by partition.
#[derive(Debug)]
pub(crate) struct Delivery {
    settings: DeliverySettings,
    /// `None` for a producer that is not idempotent.
    identity: Option<Identity>,
    lanes: Vec<Lane>,
    /// Lanes that hold a batch to send again.
    resending: BTreeSet<LaneId>,
    /// Lanes that hold any batch.
    unresolved: BTreeSet<LaneId>,
    requests: BTreeMap<BrokerId, usize>,
    /// Every broker that leads, or has led, a partition.
    leaders: BTreeSet<BrokerId>,
    /// Where the last request began, so that no partition is always the last.
    turn: LaneId,
    generator: StdRng,
}

/// What a lane may touch besides itself.
struct Shared<'a> {
    settings: DeliverySettings,
    identity: &'a mut Option<Identity>,
    generator: &'a mut StdRng,
    effects: &'a mut Effects,
    now: Instant,
}

impl Delivery {
    pub(crate) fn new(settings: DeliverySettings, identity: Option<Identity>, seed: u64) -> Self {
        Self {
            settings,
            identity,
            lanes: Vec::new(),
            resending: BTreeSet::new(),
            unresolved: BTreeSet::new(),
            requests: BTreeMap::new(),
            leaders: BTreeSet::new(),
            turn: LaneId(0),
            generator: StdRng::seed_from_u64(seed),
        }
    }

    pub(crate) fn lane_count(&self) -> usize {
        self.lanes.len()
    }

    pub(crate) fn add_lane(&mut self, topic: Arc<str>, partition: PartitionIndex) {
        self.lanes.push(Lane::new(topic, partition, self.identity));
    }

    /// Returns topic and partition of a lane.
    pub(crate) fn name(&self, lane: LaneId) -> (&Arc<str>, PartitionIndex) {
        self.lanes[lane.0].name()
    }

    /// Says who leads a partition. It is followed once nothing of the partition is under way to another.
    pub(crate) fn set_leader(&mut self, lane: LaneId, leader: Option<BrokerId>) {
        self.lanes[lane.0].leader = leader;
        self.leaders.extend(leader);
    }

    /// Takes up a producer id whose epochs are not used up.
    pub(crate) fn set_identity(&mut self, identity: Identity, now: Instant, effects: &mut Effects) {
        self.identity = Some(identity);
        for index in 0..self.lanes.len() {
            self.change(LaneId(index), now, effects, Lane::repair_if_drained);
        }
    }

    /// Says that a request was answered, or never will be; its batches are reported one by one.
    pub(crate) fn on_request_done(&mut self, broker: BrokerId) {
        if let Some(count) = self.requests.get_mut(&broker) {
            *count = count.saturating_sub(1);
        }
    }

    /// Takes the answer for one batch.
    pub(crate) fn on_answer(
        &mut self,
        batch: BatchRef,
        answer: Answer,
        now: Instant,
        effects: &mut Effects,
    ) {
        self.change(batch.lane, now, effects, |lane, shared| {
            lane.on_answer(batch.serial, answer, shared);
        });
    }

    /// Gives up what is older than the delivery time-out.
    pub(crate) fn expire(&mut self, now: Instant, effects: &mut Effects) {
        let unresolved: Vec<LaneId> = self.unresolved.iter().copied().collect();
        for id in unresolved {
            self.change(id, now, effects, Lane::expire);
        }
    }

    /// Gives up everything, since the producer ends.
    pub(crate) fn abandon(&mut self, effects: &mut Effects) {
        for lane in &mut self.lanes {
            lane.abandon(effects);
        }
    }

    /// Returns when a pause after a failure ends.
    pub(crate) fn next_resend(&self) -> Option<Instant> {
        let lanes = self.unresolved.iter();
        lanes.filter_map(|id| self.lanes[id.0].next_resend()).min()
    }

    fn change(
        &mut self,
        id: LaneId,
        now: Instant,
        effects: &mut Effects,
        change: impl FnOnce(&mut Lane, &mut Shared<'_>),
    ) {
        let mut shared = Shared {
            settings: self.settings,
            identity: &mut self.identity,
            generator: &mut self.generator,
            effects,
            now,
        };
        change(&mut self.lanes[id.0], &mut shared);
        self.note(id);
    }

    /// Keeps the sets of lanes in step with a lane.
    fn note(&mut self, id: LaneId) {
        let lane = &self.lanes[id.0];
        let keep = |set: &mut BTreeSet<LaneId>, is_in: bool| {
            if is_in {
                set.insert(id);
            } else {
                set.remove(&id);
            }
        };
        keep(&mut self.unresolved, lane.has_unresolved());
        keep(&mut self.resending, lane.first_to_resend().is_some());
    }
}
