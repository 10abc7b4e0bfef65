//! The producer: one API over two ways to a partition.
//!
//! ```text
//!            ┌─ no partition named, through a router ──► routed       the router splits batches by key
//! send ──────┤
//!            └─ else ──────────────────────────────────► partitioned  one batch per partition, to its leader
//! ```
//! `routed` and `partitioned` each have their cores, which decide, and a shell. Memory and those who wait for it are
//! common to both.

mod accumulator;
mod batch;
mod config;
mod delivery;
mod error;
mod partitioned;
mod receipt;
mod record;
mod request;
pub(crate) mod routed;
mod sender;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use keylane_protocol::record_batch::NewRecord;
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};
use tokio::task::coop::consume_budget;

use self::batch::RecordFields;
use self::config::ProducerConfig;
pub use self::config::{Acks, Path, ProducerBuilder};
pub use self::error::{BuildProducerError, DeliveryError, DeliveryFailure, FlushError, SendError};
use self::partitioned::PartitionedSide;
pub use self::receipt::{Receipt, RecordPlace};
pub use self::record::ProducerRecord;
use self::routed::RoutedSide;
use crate::ambient;
use crate::client::Client;

/// What a batch takes besides its records: lest the largest record ask for more memory than there is.
const BATCH_FRAME_BYTES: usize = 128;

/// Sends records. Clones share batches, memory and connections.
///
/// With the default acks it is idempotent: retries write nothing twice, and records of one key are written in the order in
/// which `send` returned. Call [`Producer::flush`] or [`Producer::close`] before the last clone is dropped; what is not
/// acknowledged by then is given up, with a warning in the log.
///
/// A producer is *routed* if the client has dialled a router ([`ProducerBuilder::path`] says more): the router chooses
/// partitions. A record that names its partition goes past that, in batches of that partition: the order of such records
/// among themselves is kept, and that of all others among themselves, but none between the two.
#[derive(Clone, Debug)]
pub struct Producer {
    handle: Arc<Handle>,
}

/// Ends the tasks when the last clone of the producer is dropped.
#[derive(Debug)]
struct Handle {
    common: Arc<Common>,
    routed: Option<RoutedSide>,
    /// Of a routed producer, made with the first record that names its partition.
    partitioned: OnceCell<PartitionedSide>,
    is_closed: AtomicBool,
}

/// What both ways have in common.
#[derive(Debug)]
struct Common {
    client: Client,
    config: ProducerConfig,
    /// Free bytes.
    memory: Semaphore,
    /// How many `send`s wait for memory: while any does, batches go out without lingering.
    waiting_sends: AtomicUsize,
    /// How many `flush`es wait: likewise.
    waiting_flushes: AtomicUsize,
}

/// What became of an attempt to place a record.
#[derive(Debug)]
enum Appended {
    /// It is in a batch.
    Placed(Receipt),
    /// The topic's partitions must be made known first.
    NeedsTopic,
    /// So many bytes of memory must be free first.
    NeedsMemory(usize),
    /// It names its partition, and nothing has been sent that way yet.
    NeedsPartitioned,
}

impl Producer {
    async fn start(
        client: Client,
        config: ProducerConfig,
        is_routed: bool,
    ) -> Result<Self, BuildProducerError> {
        let common = Arc::new(Common {
            memory: Semaphore::new(config.memory_bytes + BATCH_FRAME_BYTES),
            client,
            config,
            waiting_sends: AtomicUsize::new(0),
            waiting_flushes: AtomicUsize::new(0),
        });
        let (routed, partitioned) = if is_routed {
            let routed = RoutedSide::start(Arc::clone(&common)).await?;
            (Some(routed), OnceCell::new())
        } else {
            let partitioned = PartitionedSide::start(Arc::clone(&common)).await?;
            (None, OnceCell::new_with(Some(partitioned)))
        };
        Ok(Self {
            handle: Arc::new(Handle {
                common,
                routed,
                partitioned,
                is_closed: AtomicBool::new(false),
            }),
        })
    }

    /// Returns whether records that name no partition are routed.
    #[must_use]
    pub fn is_routed(&self) -> bool {
        self.handle.routed.is_some()
    }

    /// Takes a record and returns the receipt that tells where it was written.
    ///
    /// Waits only while the producer's memory is used up or the topic is not known yet, and before the first record of a
    /// routed producer that names its partition, for a second producer id. A future that is dropped while it waits has
    /// sent nothing.
    ///
    /// # Errors
    /// When the record cannot be taken; it is then certain that it will not be written.
    pub async fn send(&self, record: ProducerRecord<'_>) -> Result<Receipt, SendError> {
        // A task that sends without a pause must let others run too, which may share its thread.
        consume_budget().await;
        let mut permit = None;
        loop {
            match self.place(&record, &mut permit)? {
                Appended::Placed(receipt) => return Ok(receipt),
                Appended::NeedsTopic => self.learn_topic(&record).await?,
                Appended::NeedsMemory(bytes) => {
                    drop(permit.take());
                    permit = Some(self.wait_for_memory(bytes).await?);
                }
                Appended::NeedsPartitioned => self.start_partitioned().await?,
            }
        }
    }

    /// Takes a record if that needs no waiting, else returns `None`: [`Producer::send`] says for what it may wait.
    ///
    /// # Errors
    /// When the record can never be taken.
    pub fn try_send(&self, record: &ProducerRecord<'_>) -> Result<Option<Receipt>, SendError> {
        Ok(match self.place(record, &mut None)? {
            Appended::Placed(receipt) => Some(receipt),
            Appended::NeedsTopic | Appended::NeedsMemory(_) | Appended::NeedsPartitioned => None,
        })
    }

    /// Waits until every record sent so far is written or given up.
    ///
    /// # Errors
    /// When some record sent since the last `flush` is not known to be written, whether or not its receipt was awaited.
    pub async fn flush(&self) -> Result<(), FlushError> {
        let handle = &self.handle;
        let _waiting = Waiting::new(&handle.common.waiting_flushes);
        let routed = handle.routed.iter().flat_map(RoutedSide::seal_all);
        let partitioned = handle.partitioned.get().into_iter();
        let outcomes = routed.chain(partitioned.flat_map(PartitionedSide::seal_all));
        for outcome in outcomes.collect::<Vec<_>>() {
            // A failure is counted below, with those of batches that were settled before.
            receipt::settled(&outcome).await;
        }
        let routed = handle.routed.as_ref().and_then(RoutedSide::take_failed);
        let partitioned = handle.partitioned.get();
        let partitioned = partitioned.and_then(PartitionedSide::take_failed);
        let counts = [&routed, &partitioned].into_iter().flatten();
        let records = counts.map(|(records, _)| records).sum();
        match routed.or(partitioned) {
            None => Ok(()),
            Some((_, first)) => Err(FlushError { records, first }),
        }
    }

    /// Takes no more records, waits like [`Producer::flush`], and ends the producer; other clones are closed too.
    ///
    /// # Errors
    /// As for [`Producer::flush`].
    pub async fn close(&self) -> Result<(), FlushError> {
        let handle = &self.handle;
        handle.is_closed.store(true, Ordering::Release);
        if let Some(routed) = &handle.routed {
            routed.close();
        }
        if let Some(partitioned) = handle.partitioned.get() {
            partitioned.close();
        }
        let flushed = self.flush().await;
        handle.end();
        let routed = handle.routed.as_ref().and_then(RoutedSide::task);
        let partitioned = handle.partitioned.get();
        let partitioned = partitioned.and_then(PartitionedSide::task);
        for task in routed.into_iter().chain(partitioned) {
            // It ends by itself; a runtime that is shutting down may have taken it already.
            let _ = task.await;
        }
        flushed
    }

    fn place<'a>(
        &'a self,
        record: &ProducerRecord<'_>,
        permit: &mut Option<SemaphorePermit<'a>>,
    ) -> Result<Appended, SendError> {
        let handle = &*self.handle;
        let fields = RecordFields {
            topic: record.topic,
            partition: record.partition,
            record: NewRecord {
                timestamp: record.timestamp.unwrap_or_else(ambient::wall_clock_ms),
                key: record.key,
                value: record.value,
                headers: &record.headers,
            },
        };
        let reserve = |bytes: usize| handle.common.reserve(bytes, permit);
        if let Some(routed) = self.routes(record) {
            return routed.place(&fields, reserve);
        }
        match handle.partitioned.get() {
            Some(partitioned) => partitioned.place(&fields, reserve),
            None if handle.is_closed.load(Ordering::Acquire) => Err(SendError::Closed),
            None => Ok(Appended::NeedsPartitioned),
        }
    }

    /// Returns the routed half if this record goes there.
    fn routes(&self, record: &ProducerRecord<'_>) -> Option<&RoutedSide> {
        let routed = self.handle.routed.as_ref();
        routed.filter(|_| record.partition.is_none())
    }

    async fn learn_topic(&self, record: &ProducerRecord<'_>) -> Result<(), SendError> {
        let common = &self.handle.common;
        let metadata = &common.client.inner.metadata;
        let creates_topics = common.config.creates_topics;
        let topic = metadata.topic(record.topic, creates_topics).await?;
        match (self.routes(record), self.handle.partitioned.get()) {
            (Some(routed), _) => routed.learn(&topic),
            (None, Some(partitioned)) => partitioned.learn(&topic),
            (None, None) => {}
        }
        Ok(())
    }

    async fn start_partitioned(&self) -> Result<(), SendError> {
        let common = &self.handle.common;
        let start = || PartitionedSide::start(Arc::clone(common));
        let started = self.handle.partitioned.get_or_try_init(start).await;
        let refused = |error| SendError::NoProducerId(Arc::new(error));
        let started = started.map_err(refused)?;
        // It may have been closed in the meantime.
        if self.handle.is_closed.load(Ordering::Acquire) {
            started.close();
            started.end();
        }
        Ok(())
    }

    async fn wait_for_memory(&self, bytes: usize) -> Result<SemaphorePermit<'_>, SendError> {
        let common = &self.handle.common;
        let _waiting = Waiting::new(&common.waiting_sends);
        self.handle.wake();
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let permit = common.memory.acquire_many(bytes).await;
        permit.map_err(|_| SendError::Closed)
    }
}

impl Handle {
    fn wake(&self) {
        if let Some(routed) = &self.routed {
            routed.wake();
        }
        if let Some(partitioned) = self.partitioned.get() {
            partitioned.wake();
        }
    }

    fn end(&self) {
        self.common.memory.close();
        if let Some(routed) = &self.routed {
            routed.end();
        }
        if let Some(partitioned) = self.partitioned.get() {
            partitioned.end();
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.end();
    }
}

impl Common {
    /// Takes memory from what was waited for, else from what is free.
    fn reserve<'a>(&'a self, bytes: usize, permit: &mut Option<SemaphorePermit<'a>>) -> bool {
        if let Some(mut waited) = permit.take() {
            if let Some(part) = waited.split(bytes) {
                part.forget();
                return true;
            }
            *permit = Some(waited);
            return false;
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        match self.memory.try_acquire_many(bytes) {
            Ok(free) => {
                free.forget();
                true
            }
            Err(_) => false,
        }
    }

    fn takes_all(&self) -> bool {
        self.waiting_sends.load(Ordering::Acquire) > 0
            || self.waiting_flushes.load(Ordering::Acquire) > 0
    }
}

/// Counts someone who waits, until dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
