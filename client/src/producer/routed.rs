//! Routed producing: batches of a topic are numbered and the router splits them over its partitions.
//!
//! ```text
//! send ──► batching ──number──► window ──► session ──► request ──► a connection that producers share
//!          one per topic        from the floor on │ each number once       └─ receipts ◄─ answer
//! ```
//! [`core`] and what it names decide without I/O and clock; `side` acts. What a number stands for never changes; a session
//! begins at the floor and leaves nothing out; after any failure another one begins there again.

mod batching;
mod core;
mod pace;
mod reading;
mod renewal;
mod session;
pub(super) mod side;
mod spread;
#[cfg(test)]
mod tests;
mod topic;
mod verdict;
mod window;

use std::sync::Arc;
use std::time::{Duration, Instant};

use keylane_protocol::identifiers::PartitionIndex;
use keylane_protocol::offset::Sequence;

pub use self::core::RoutedCore;
pub(super) use self::side::RoutedSide;
pub(crate) use self::spread::Spread;
use self::verdict::Weight;
use super::accumulator::BatchSerial;
use super::batch::SealedBatch;
use super::error::{DeliveryError, DeliveryFailure};
use super::receipt::{BatchOutcome, BatchResult, Outcome, Receipt, WrittenPart};

/// What the core needs of the producer's settings.
#[derive(Clone, Copy, Debug)]
pub struct RoutedSettings {
    /// The size at which a batch is full; `None` for one that follows from the number of partitions.
    pub batch_size_bytes: Option<usize>,
    /// The size up to which a batch grows that has to wait, unless a single record is larger.
    pub batch_bytes_max: usize,
    /// The size of the largest record.
    pub max_record_bytes: usize,
    /// How long a batch waits for more records.
    pub linger: Duration,
    /// How long after its first record was taken a batch is given up. It takes records for a quarter of that.
    pub delivery_timeout: Duration,
    /// How many batches of one topic may be sent and not answered.
    pub in_flight_max: usize,
    /// The first number that no batch gets under one epoch; `i32::MAX` except in tests.
    pub number_end: i32,
}

/// Names a request: the number that was sent, and the session it was sent in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The topic's place in the core.
    pub topic: usize,
    number: Sequence,
    session: u64,
    /// Counts epochs and ids.
    generation: u64,
}

/// What became of an attempt to place a record.
#[derive(Debug)]
pub enum RoutedAppended {
    /// It is in a batch.
    Placed {
        /// Tells where the record was written.
        receipt: Receipt,
        /// When the batch is due, if one was opened for the record.
        opened: Option<Instant>,
        /// Whether a batch of the topic is to be sent if it can be.
        is_due: bool,
    },
    /// The topic's id and partitions must be made known first.
    NeedsTopic,
    /// So many bytes of memory must be free first.
    NeedsMemory(usize),
}

/// What the shell has to do.
#[derive(Debug, Default)]
pub struct RoutedEffects {
    settled: Vec<Settled>,
    /// Parts of batches that are written, while others are not.
    written: Vec<(Arc<BatchOutcome>, Vec<WrittenPart>)>,
    /// Bytes of memory that are free again.
    pub released_bytes: usize,
    /// Whether a topic may have been deleted or created anew, so that its id is to be looked up.
    pub doubts_topic: bool,
    /// Whether another id is to be asked for: epochs are used up, or a broker fences this one.
    pub needs_identity: bool,
    /// When the pause is over after which a topic begins another session, if something has failed.
    pub paused_until: Option<Instant>,
    /// Whether topics besides the one in question may have something to send.
    pub frees_all: bool,
    is_fenced: bool,
}

/// A batch whose outcome is known, or will never be.
#[derive(Debug)]
struct Settled {
    serial: BatchSerial,
    outcome: Arc<BatchOutcome>,
    result: Outcome,
    /// How many records are not known to be written, and why the first is not.
    failed: Option<(u32, DeliveryError)>,
}

impl RoutedEffects {
    /// Returns whether receipts are to be resolved.
    #[must_use]
    pub fn has_settled(&self) -> bool {
        !self.settled.is_empty() || !self.written.is_empty()
    }

    /// Resolves receipts and wakes who waits for them.
    pub fn settle_receipts(&mut self) {
        for (outcome, parts) in self.written.drain(..) {
            outcome.tell_written(parts);
        }
        for settled in self.settled.drain(..) {
            settled.outcome.settle_as(settled.result);
        }
    }

    fn tell_written(&mut self, outcome: &Arc<BatchOutcome>, parts: Vec<WrittenPart>) {
        self.written.push((Arc::clone(outcome), parts));
    }

    fn settle(
        &mut self,
        serial: BatchSerial,
        outcome: &Arc<BatchOutcome>,
        parts: Vec<(PartitionIndex, BatchResult)>,
        failed: Option<(u32, DeliveryError)>,
    ) {
        self.settled.push(Settled {
            serial,
            outcome: Arc::clone(outcome),
            result: Outcome::Parts(parts),
            failed,
        });
    }

    /// Settles a batch that never had a number.
    fn give_back(&mut self, batch: &SealedBatch, topic: &Arc<str>, cause: DeliveryFailure) {
        let error = DeliveryError::NotWritten {
            topic: Arc::clone(topic),
            partition: None,
            cause,
        };
        self.released_bytes += batch.reserved_bytes();
        self.settled.push(Settled {
            serial: batch.serial(),
            outcome: batch.outcome(),
            result: Outcome::Whole(Err(error.clone())),
            failed: Some((batch.record_count().unsigned_abs(), error)),
        });
    }

    fn note(&mut self, weight: Weight) {
        self.doubts_topic |= weight.doubts_topic;
        self.is_fenced |= weight.is_fenced;
    }
}
