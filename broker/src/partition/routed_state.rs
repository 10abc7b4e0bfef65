//! What a partition remembers of its routed producers: which numbers lie in the log, and where.
//!
//! A core: no clock, no I/O. The shard asks [`RoutedProducers::judge`] before it assigns an offset, tells
//! [`RoutedProducers::remember`] after and [`RoutedProducers::on_durable`] when the log is durable so far. Recovery calls
//! the latter two for each batch header that survived, and arrives at a state that has heard no floor: what was lost with
//! the power is not in it, so it goes back to the real last number, and to the older epoch. It must never take a number
//! for new that may lie in the log. The snapshot's bytes are drawn in `snapshot`.

mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use ahash::AHashMap;
use keylane_protocol::identifiers::ProducerId;
use keylane_protocol::offset::{Offset, ProducerEpoch, Sequence};
use keylane_protocol::record_batch::RecordBatchHeader;
use keylane_protocol::routed::NUMBERS_MAX;

/// So many appends are kept besides those of [`APPENDS_PER_PRODUCER`].
const APPENDS_MIN: usize = 64;

/// How many appends are kept for each producer before those are dropped that are not its last.
const APPENDS_PER_PRODUCER: usize = 4;

/// What a router tells of a batch beside the batch itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Routing {
    /// Below which number the producer waits for nothing any more; [`Sequence::NONE`] if nobody told.
    pub floor: Sequence,
    /// The last number of the producer's session that touched the partition and is not below the floor;
    /// [`Sequence::NONE`] for none.
    pub previous: Sequence,
}

impl Routing {
    /// Nothing was told: the log does not keep it.
    pub const NONE: Self = Self {
        floor: Sequence::NONE,
        previous: Sequence::NONE,
    };
}

/// A part of a numbered batch, which its number stands for in this partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoutedBatch {
    /// Who numbered the batch.
    pub producer_id: ProducerId,
    /// In which epoch of the producer.
    pub epoch: ProducerEpoch,
    /// The batch's number, its base sequence.
    pub number: Sequence,
    /// Below which number the producer waits for nothing any more.
    pub floor: Sequence,
    /// The number that touched the partition before this one.
    pub previous: Sequence,
    /// How many records the batch holds, at least 1.
    pub record_count: i32,
    /// The checksum in its header, which appending does not change.
    pub crc: u32,
}

impl RoutedBatch {
    /// Returns what identifies a batch with this header.
    #[must_use]
    pub fn new(header: &RecordBatchHeader, routing: Routing) -> Self {
        Self {
            producer_id: header.producer_id,
            epoch: header.producer_epoch,
            number: header.base_sequence,
            floor: routing.floor,
            previous: routing.previous,
            record_count: header.record_count,
            crc: header.crc,
        }
    }
}

/// What becomes of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The batch is new, and nothing that belongs before it is missing: append it.
    Append,
    /// The batch was appended before: answer with this one once it is durable.
    Duplicate(Original),
    /// The batch must not be appended.
    Refused(Refusal),
}

/// Where a batch lies that was appended before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Original {
    /// The offset of its first record.
    pub base_offset: Offset,
    /// The offset after its last record.
    pub end_offset: Offset,
}

/// Why a batch must not be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The producer has written here in a later epoch.
    #[error("producer epoch {found} is fenced by {current}")]
    Fenced {
        /// The batch's epoch.
        found: ProducerEpoch,
        /// The newest epoch seen.
        current: ProducerEpoch,
    },
    /// A batch before this one may be missing, or this one may lie in the log: it is neither remembered nor new.
    #[error(
        "number {found}, which comes after {previous} with a floor of {floor}, does not follow {last}"
    )]
    OutOfOrder {
        /// The batch's number.
        found: Sequence,
        /// The number said to come before it; [`Sequence::NONE`] for none.
        previous: Sequence,
        /// The batch's floor.
        floor: Sequence,
        /// The last number appended; [`Sequence::NONE`] when nothing is known of the epoch.
        last: Sequence,
    },
    /// The number stands for another batch.
    #[error("number {number} was written with other records")]
    OtherContent {
        /// The batch's number.
        number: Sequence,
    },
    /// Too many producers are remembered, and none of them may be forgotten yet.
    #[error("{limit} routed producers are remembered in this partition")]
    TooMany {
        /// The bound.
        limit: usize,
    },
}

/// Bounds on what a partition remembers of routed producers.
#[derive(Clone, Copy, Debug)]
pub struct RoutedLimits {
    /// The most producers remembered; further ones are refused.
    pub producers_max: usize,
    /// A producer is forgotten so long after its last append, never before.
    pub expiry_ms: u64,
}

/// A number that lies in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Written {
    epoch: ProducerEpoch,
    number: Sequence,
    base_offset: Offset,
    record_count: i32,
    crc: u32,
}

impl Written {
    fn place(&self) -> (ProducerEpoch, Sequence) {
        (self.epoch, self.number)
    }

    fn end_offset(&self) -> Offset {
        self.base_offset.plus(i64::from(self.record_count))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Producer {
    /// Ascending by epoch and number, which is also the order in the log; never empty. Those of an older epoch wait for
    /// the newest to be durable.
    written: VecDeque<Written>,
    /// The highest floor heard in the newest epoch; [`Sequence::NONE`] without one.
    floor: Sequence,
}

/// That a producer appended.
#[derive(Clone, Copy, Debug)]
struct Appended {
    producer_id: ProducerId,
    base_offset: Offset,
    /// The shard's clock then, or at recovery: never a record's timestamp.
    at_ms: u64,
}

impl Producer {
    fn last(&self) -> &Written {
        self.written
            .back()
            .expect("a producer is remembered for a batch")
    }

    /// Returns the lowest number that a repetition may carry.
    fn lowest(&self) -> Sequence {
        // No floor can be lower: numbers reach from the floor to less than that beyond it.
        let of_window = self.last().number.0.saturating_sub(NUMBERS_MAX - 1);
        Sequence(of_window.max(self.floor.0))
    }

    fn find(&self, batch: &RoutedBatch) -> Option<&Written> {
        let wanted = (batch.epoch, batch.number);
        let at = self
            .written
            .partition_point(|written| written.place() < wanted);
        self.written
            .get(at)
            .filter(|written| written.place() == wanted)
    }

    fn judge(&self, batch: &RoutedBatch) -> Judgement {
        let last = self.last();
        if batch.epoch < last.epoch {
            return Judgement::Refused(Refusal::Fenced {
                found: batch.epoch,
                current: last.epoch,
            });
        }
        if batch.epoch > last.epoch {
            return judge_unknown(batch);
        }
        if let Some(written) = self.find(batch) {
            let is_same = written.record_count == batch.record_count && written.crc == batch.crc;
            return match is_same {
                true => Judgement::Duplicate(Original {
                    base_offset: written.base_offset,
                    end_offset: written.end_offset(),
                }),
                false => Judgement::Refused(Refusal::OtherContent {
                    number: batch.number,
                }),
            };
        }
        let follows = match batch.previous {
            Sequence::NONE => last.number < batch.floor,
            previous => previous == last.number,
        };
        match batch.number > last.number && follows {
            true => Judgement::Append,
            false => Judgement::Refused(batch.out_of_order(last.number)),
        }
    }

    /// Takes note of a batch's floor. Floors of the other epochs tell nothing of this one's numbers.
    fn hear(&mut self, batch: &RoutedBatch) {
        if batch.epoch == self.last().epoch {
            self.floor = self.floor.max(batch.floor);
        }
    }

    /// Forgets what nobody may repeat. What is not durable may still be lost, and then the last number is that of the last
    /// durable batch, which therefore stays.
    fn trim(&mut self, durable_end: Offset) {
        let (newest, lowest) = (self.last().epoch, self.lowest());
        while let (Some(first), Some(second)) = (self.written.front(), self.written.get(1)) {
            let is_settled = first.place() < (newest, lowest);
            if !is_settled || second.end_offset() > durable_end {
                return;
            }
            self.written.pop_front();
        }
    }
}

impl RoutedBatch {
    fn out_of_order(&self, last: Sequence) -> Refusal {
        Refusal::OutOfOrder {
            found: self.number,
            previous: self.previous,
            floor: self.floor,
            last,
        }
    }
}

/// Decides on a batch of an epoch of which nothing is known.
fn judge_unknown(batch: &RoutedBatch) -> Judgement {
    match batch.previous {
        Sequence::NONE => Judgement::Append,
        _ => Judgement::Refused(batch.out_of_order(Sequence::NONE)),
    }
}

/// The routed producers of one partition. Each is remembered for at most [`NUMBERS_MAX`] numbers, those that are not
/// durable, and one more.
#[derive(Debug)]
pub struct RoutedProducers {
    limits: RoutedLimits,
    by_id: AHashMap<ProducerId, Producer>,
    /// Who appended where and when, in this order. The last of each producer is here; earlier ones may be.
    appends: VecDeque<Appended>,
    /// Behind the last batch remembered.
    end_offset: Offset,
    /// What lies below is not lost with the power.
    durable_end: Offset,
}

impl RoutedProducers {
    /// Returns the state of a partition in which nobody has written.
    #[must_use]
    pub fn new(limits: RoutedLimits) -> Self {
        assert!(limits.producers_max > 0);
        Self {
            limits,
            by_id: AHashMap::new(),
            appends: VecDeque::new(),
            end_offset: Offset(0),
            durable_end: Offset(0),
        }
    }

    /// Returns how many producers are remembered.
    #[must_use]
    pub fn count(&self) -> usize {
        self.by_id.len()
    }

    /// Returns the offset behind the last batch that was ever remembered.
    #[must_use]
    pub fn end_offset(&self) -> Offset {
        self.end_offset
    }

    /// Decides what becomes of a batch; changes nothing but to forget who has expired, and what is below the batch's floor.
    pub fn judge(&mut self, batch: &RoutedBatch, now_ms: u64) -> Judgement {
        self.expire(now_ms);
        let is_full = self.by_id.len() >= self.limits.producers_max;
        let Some(producer) = self.by_id.get_mut(&batch.producer_id) else {
            return match judge_unknown(batch) {
                Judgement::Append if is_full => Judgement::Refused(Refusal::TooMany {
                    limit: self.limits.producers_max,
                }),
                judgement => judgement,
            };
        };
        let judgement = producer.judge(batch);
        producer.hear(batch);
        producer.trim(self.durable_end);
        judgement
    }

    /// Notes that a batch lies in the log at `base_offset`, behind all others. One that cannot, as only a damaged header
    /// says, changes nothing.
    ///
    /// More producers than the bound are met in a log only, in which some have expired: those who were silent longest.
    pub fn remember(&mut self, batch: &RoutedBatch, base_offset: Offset, now_ms: u64) {
        let written = Written {
            epoch: batch.epoch,
            number: batch.number,
            base_offset,
            record_count: batch.record_count,
            crc: batch.crc,
        };
        if !self.can_follow(&written) {
            return;
        }
        let producer = match self.by_id.get_mut(&batch.producer_id) {
            Some(producer) if written.place() <= producer.last().place() => return,
            Some(producer) => {
                if producer.last().epoch < written.epoch {
                    producer.floor = Sequence::NONE;
                }
                producer.written.push_back(written);
                producer
            }
            None => self.by_id.entry(batch.producer_id).or_insert(Producer {
                written: VecDeque::from([written]),
                floor: Sequence::NONE,
            }),
        };
        producer.hear(batch);
        producer.trim(self.durable_end);
        self.note_append(Appended {
            producer_id: batch.producer_id,
            base_offset,
            at_ms: now_ms,
        });
        self.end_offset = written.end_offset();
        while self.by_id.len() > self.limits.producers_max {
            self.forget_first();
        }
    }

    fn can_follow(&self, written: &Written) -> bool {
        let end = written
            .base_offset
            .0
            .checked_add(i64::from(written.record_count));
        written.base_offset >= self.end_offset
            && written.record_count > 0
            && written.epoch.0 >= 0
            && written.number.0 >= 0
            && end.is_some()
    }

    /// Notes that everything below `end` is durable.
    pub fn on_durable(&mut self, end: Offset) {
        // Each producer forgets when it is next heard of: reports come often, and concern few.
        self.durable_end = self.durable_end.max(end);
    }

    fn expire(&mut self, now_ms: u64) {
        let expiry_ms = self.limits.expiry_ms;
        // Time goes forward: behind one that is not old there is none.
        let is_old = |first: &Appended| now_ms.saturating_sub(first.at_ms) >= expiry_ms;
        while self.appends.front().is_some_and(is_old) {
            self.forget_first();
        }
    }

    fn note_append(&mut self, appended: Appended) {
        self.appends.push_back(appended);
        if self.appends.len() > APPENDS_MIN + APPENDS_PER_PRODUCER * self.by_id.len() {
            let by_id = &self.by_id;
            self.appends.retain(|appended| appended.is_last(by_id));
        }
    }

    /// Takes out the first append, and forgets its producer if that was the last.
    fn forget_first(&mut self) {
        let Some(first) = self.appends.pop_front() else {
            return;
        };
        if first.is_last(&self.by_id) {
            self.by_id.remove(&first.producer_id);
        }
    }
}

impl Appended {
    /// Tells whether the producer has not appended since.
    fn is_last(&self, by_id: &AHashMap<ProducerId, Producer>) -> bool {
        let producer = by_id.get(&self.producer_id);
        producer.is_some_and(|producer| producer.last().base_offset == self.base_offset)
    }
}
