//! What a partition remembers of its producers: sequences, duplicates, fencing (KIP-98, Kafka's `ProducerAppendInfo`).
//!
//! A core: no clock, no I/O. The shard asks [`Producers::judge`] before it assigns an offset and tells
//! [`Producers::remember`] after; recovery calls `remember` alone, once per batch header, and arrives at the same state.
//! Everything here is a cache of the log. The snapshot's bytes are drawn in `snapshot`.

mod snapshot;
#[cfg(test)]
mod tests;

pub use snapshot::InvalidSnapshot;

use std::collections::{BTreeMap, VecDeque};

use ahash::AHashMap;
use keylane_protocol::identifiers::ProducerId;
use keylane_protocol::offset::{Offset, ProducerEpoch, Sequence};

/// How many of a producer's latest batches are remembered; Kafka's clients keep at most five in flight.
pub const BATCHES_REMEMBERED: usize = 5;

/// The producer's fields of a batch header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequencedBatch {
    /// Who numbered the batch; never [`ProducerId::NONE`].
    pub producer_id: ProducerId,
    /// Which instance of the producer.
    pub epoch: ProducerEpoch,
    /// The sequence of the first record.
    pub base_sequence: Sequence,
    /// How many records the batch holds, at least 1.
    pub record_count: i32,
}

impl SequencedBatch {
    fn last_sequence(&self) -> Sequence {
        self.base_sequence.plus(self.record_count - 1)
    }
}

/// A batch that was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RememberedBatch {
    /// The sequence of the first record.
    pub base_sequence: Sequence,
    /// The sequence of the last record.
    pub last_sequence: Sequence,
    /// The offset of the first record.
    pub base_offset: Offset,
    /// The offset after the last record.
    pub end_offset: Offset,
}

/// What becomes of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The batch is the next one: append it.
    Append,
    /// The batch was appended before: answer with this one once it is durable.
    Duplicate(RememberedBatch),
    /// The batch must not be appended.
    Refused(Refusal),
}

/// Why a batch must not be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A newer instance of the producer has written here.
    #[error("producer epoch {found} is fenced by {current}")]
    Fenced {
        /// The batch's epoch.
        found: ProducerEpoch,
        /// The newest epoch seen.
        current: ProducerEpoch,
    },
    /// A batch before this one is missing.
    #[error("sequence {found} does not follow {last}")]
    OutOfOrder {
        /// The batch's first sequence.
        found: Sequence,
        /// The last sequence appended; [`Sequence::NONE`] when the epoch is new.
        last: Sequence,
    },
    /// Nothing is known of the producer, and the batch is not its first. Taking it would leave no place for the ones
    /// before it (KAFKA-14359), which may still be on their way.
    #[error("nothing is known of producer {id}, and its sequence {found} is not 0")]
    Unknown {
        /// The producer.
        id: ProducerId,
        /// The batch's first sequence.
        found: Sequence,
    },
    /// Too many producers have written here lately.
    #[error("{limit} producers have written to this partition within minutes")]
    TooMany {
        /// The bound.
        limit: usize,
    },
}

/// Bounds on what a partition remembers.
#[derive(Clone, Copy, Debug)]
pub struct ProducerLimits {
    /// The most producers remembered.
    pub producers_max: usize,
    /// A producer silent for so long is forgotten.
    pub expiry_ms: u64,
    /// When full, a producer silent for so long makes room; it must exceed every client's delivery timeout.
    pub idle_ms_min: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Producer {
    epoch: ProducerEpoch,
    /// Oldest first, never empty, at most [`BATCHES_REMEMBERED`].
    batches: VecDeque<RememberedBatch>,
    /// The shard's clock at the last append, or at recovery: never a record's timestamp.
    used_ms: u64,
}

impl Producer {
    fn last(&self) -> &RememberedBatch {
        self.batches
            .back()
            .expect("a producer is remembered for a batch")
    }
}

/// The producers of one partition.
#[derive(Debug)]
pub struct Producers {
    limits: ProducerLimits,
    by_id: AHashMap<ProducerId, Producer>,
    /// Who appended last where: the least recently used come first.
    by_last_append: BTreeMap<Offset, ProducerId>,
}

impl Producers {
    /// Returns the state of a partition in which nobody has written.
    #[must_use]
    pub fn new(limits: ProducerLimits) -> Self {
        assert!(limits.producers_max > 0);
        Self {
            limits,
            by_id: AHashMap::new(),
            by_last_append: BTreeMap::new(),
        }
    }

    /// Returns how many producers are remembered.
    #[must_use]
    pub fn count(&self) -> usize {
        self.by_id.len()
    }

    /// Returns the offset behind the last batch of those who are remembered.
    #[must_use]
    pub fn end_offset(&self) -> Offset {
        let last = self.by_last_append.last_key_value();
        let last = last.and_then(|(_, id)| self.by_id.get(id));
        last.map_or(Offset(0), |producer| producer.last().end_offset)
    }

    /// Decides what becomes of a batch; changes nothing but to forget who has expired.
    pub fn judge(&mut self, batch: &SequencedBatch, now_ms: u64) -> Judgement {
        self.expire(now_ms);
        match self.by_id.get(&batch.producer_id) {
            Some(producer) => judge_known(producer, batch),
            None if batch.base_sequence != Sequence(0) => Judgement::Refused(Refusal::Unknown {
                id: batch.producer_id,
                found: batch.base_sequence,
            }),
            None if self.is_full_of_busy(now_ms) => Judgement::Refused(Refusal::TooMany {
                limit: self.limits.producers_max,
            }),
            None => Judgement::Append,
        }
    }

    /// Notes that a batch lies in the log at `base_offset`.
    pub fn remember(&mut self, batch: &SequencedBatch, base_offset: Offset, now_ms: u64) {
        let remembered = RememberedBatch {
            base_sequence: batch.base_sequence,
            last_sequence: batch.last_sequence(),
            base_offset,
            end_offset: base_offset.plus(i64::from(batch.record_count)),
        };
        let producer = self
            .by_id
            .entry(batch.producer_id)
            .or_insert_with(|| Producer {
                epoch: batch.epoch,
                batches: VecDeque::new(),
                used_ms: now_ms,
            });
        if let Some(last) = producer.batches.back() {
            self.by_last_append.remove(&last.base_offset);
        }
        if producer.epoch != batch.epoch {
            producer.batches.clear();
        } else if producer.batches.len() == BATCHES_REMEMBERED {
            producer.batches.pop_front();
        }
        producer.epoch = batch.epoch;
        producer.used_ms = now_ms;
        producer.batches.push_back(remembered);
        self.by_last_append.insert(base_offset, batch.producer_id);
        while self.by_id.len() > self.limits.producers_max {
            self.forget_oldest();
        }
    }

    fn expire(&mut self, now_ms: u64) {
        while self
            .oldest()
            .is_some_and(|oldest| now_ms.saturating_sub(oldest.used_ms) >= self.limits.expiry_ms)
        {
            self.forget_oldest();
        }
    }

    fn is_full_of_busy(&self, now_ms: u64) -> bool {
        self.by_id.len() >= self.limits.producers_max
            && self.oldest().is_some_and(|oldest| {
                now_ms.saturating_sub(oldest.used_ms) < self.limits.idle_ms_min
            })
    }

    fn oldest(&self) -> Option<&Producer> {
        let (_, id) = self.by_last_append.first_key_value()?;
        self.by_id.get(id)
    }

    fn forget_oldest(&mut self) {
        if let Some((_, id)) = self.by_last_append.pop_first() {
            self.by_id.remove(&id);
        }
    }
}

fn judge_known(producer: &Producer, batch: &SequencedBatch) -> Judgement {
    if batch.epoch < producer.epoch {
        return Judgement::Refused(Refusal::Fenced {
            found: batch.epoch,
            current: producer.epoch,
        });
    }
    if batch.epoch > producer.epoch {
        return if batch.base_sequence == Sequence(0) {
            Judgement::Append
        } else {
            Judgement::Refused(Refusal::OutOfOrder {
                found: batch.base_sequence,
                last: Sequence::NONE,
            })
        };
    }
    let last_sequence = batch.last_sequence();
    let duplicate = producer.batches.iter().find(|remembered| {
        remembered.base_sequence == batch.base_sequence && remembered.last_sequence == last_sequence
    });
    if let Some(duplicate) = duplicate {
        return Judgement::Duplicate(*duplicate);
    }
    let last = producer.last().last_sequence;
    if batch.base_sequence == last.plus(1) {
        Judgement::Append
    } else {
        Judgement::Refused(Refusal::OutOfOrder {
            found: batch.base_sequence,
            last,
        })
    }
}
