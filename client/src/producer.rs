//! The producer. `send` copies a record into the open batch of its partition; one task per producer does the rest.
//!
//! ```text
//! send ──► accumulator (core, short lock) ──► sender (task) ──► one connection per broker
//!              receipt ◄── outcome of the batch ◄── delivery (core) ◄── answers
//! ```
//! `delivery` holds the rules of order and single writing, `accumulator` those of batching; both without I/O and clock.

mod accumulator;
mod batch;
mod config;
mod delivery;
mod error;
mod receipt;
mod record;
mod request;
pub(crate) mod routed;
mod sender;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use keylane_protocol::record_batch::NewRecord;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::task::JoinHandle;
use tokio::task::coop::consume_budget;

use self::accumulator::{Accumulator, AccumulatorSettings, Appended};
use self::batch::RecordFields;
use self::config::ProducerConfig;
pub use self::config::{Acks, ProducerBuilder};
pub use self::error::{BuildProducerError, DeliveryError, DeliveryFailure, FlushError, SendError};
pub use self::receipt::{Receipt, RecordPlace};
pub use self::record::ProducerRecord;
use crate::ambient;
use crate::client::Client;

/// Sends records. Clones share batches, memory and connections.
///
/// With the default acks it is idempotent: retries write nothing twice, and records of one partition are written in the
/// order in which `send` returned. Call [`Producer::flush`] or [`Producer::close`] before the last clone is dropped;
/// what is not acknowledged by then is given up, with a warning in the log.
#[derive(Clone, Debug)]
pub struct Producer {
    handle: Arc<Handle>,
}

/// Ends the sender when the last clone of the producer is dropped.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    sender: Mutex<Option<JoinHandle<()>>>,
}

/// What the producer and its sender have in common.
#[derive(Debug)]
struct Shared {
    client: Client,
    config: ProducerConfig,
    accumulator: Mutex<Accumulator>,
    /// Free bytes.
    memory: Semaphore,
    /// How many `send`s wait for memory: while any does, batches go out without lingering.
    waiting_sends: AtomicUsize,
    /// How many `flush`es wait: likewise.
    waiting_flushes: AtomicUsize,
    is_ending: AtomicBool,
    /// Wakes the sender.
    wake: Arc<Notify>,
}

impl Producer {
    async fn start(client: Client, config: ProducerConfig) -> Result<Self, BuildProducerError> {
        let identity = match config.acks {
            Acks::All => Some(request::new_identity(&client.inner).await?),
            Acks::None | Acks::Leader => None,
        };
        let settings = AccumulatorSettings {
            batch_size_bytes: config.batch_size_bytes,
            max_record_bytes: config.max_record_bytes,
            linger: config.linger,
            delivery_timeout: config.delivery_timeout,
        };
        let shared = Arc::new(Shared {
            accumulator: Mutex::new(Accumulator::new(settings, client.inner.next_seed())),
            memory: Semaphore::new(config.memory_bytes),
            client,
            config,
            waiting_sends: AtomicUsize::new(0),
            waiting_flushes: AtomicUsize::new(0),
            is_ending: AtomicBool::new(false),
            wake: Arc::default(),
        });
        let sender = tokio::spawn(sender::run(Arc::clone(&shared), identity));
        Ok(Self {
            handle: Arc::new(Handle {
                shared,
                sender: Mutex::new(Some(sender)),
            }),
        })
    }

    /// Takes a record and returns the receipt that tells where it was written.
    ///
    /// Waits only while the producer's memory is used up or the topic is not known yet. A future that is dropped while it
    /// waits has sent nothing.
    ///
    /// # Errors
    /// When the record cannot be taken; it is then certain that it will not be written.
    pub async fn send(&self, record: ProducerRecord<'_>) -> Result<Receipt, SendError> {
        // A task that sends without a pause must let the sender run too, which may share its thread.
        consume_budget().await;
        let mut permit = None;
        loop {
            match self.place(&record, &mut permit)? {
                Appended::Placed { receipt, .. } => return Ok(receipt),
                Appended::NeedsTopic => self.learn_topic(record.topic).await?,
                Appended::NeedsMemory(bytes) => {
                    drop(permit.take());
                    permit = Some(self.wait_for_memory(bytes).await?);
                }
            }
        }
    }

    /// Takes a record if that needs no waiting, else returns `None`: memory is used up or the topic not known yet.
    ///
    /// # Errors
    /// When the record can never be taken.
    pub fn try_send(&self, record: &ProducerRecord<'_>) -> Result<Option<Receipt>, SendError> {
        Ok(match self.place(record, &mut None)? {
            Appended::Placed { receipt, .. } => Some(receipt),
            Appended::NeedsTopic | Appended::NeedsMemory(_) => None,
        })
    }

    /// Waits until every record sent so far is written or given up.
    ///
    /// # Errors
    /// When some record sent since the last `flush` is not known to be written, whether or not its receipt was awaited.
    pub async fn flush(&self) -> Result<(), FlushError> {
        let shared = &self.handle.shared;
        let outcomes = {
            let mut accumulator = shared.lock();
            accumulator.seal_all();
            accumulator.outcomes()
        };
        let _waiting = Waiting::new(&shared.waiting_flushes);
        shared.wake.notify_one();
        for outcome in outcomes {
            // The failure is counted below, with those of batches that were settled before.
            let _ = Receipt::new(outcome, 0).await;
        }
        match shared.lock().take_failed() {
            None => Ok(()),
            Some((records, first)) => Err(FlushError { records, first }),
        }
    }

    /// Takes no more records, waits like [`Producer::flush`], and ends the producer; other clones are closed too.
    ///
    /// # Errors
    /// As for [`Producer::flush`].
    pub async fn close(&self) -> Result<(), FlushError> {
        self.handle.shared.lock().close();
        let flushed = self.flush().await;
        self.handle.end();
        let sender = self.handle.sender.lock();
        let sender = sender
            .expect("no code panics while it holds this lock")
            .take();
        if let Some(sender) = sender {
            // It ends by itself; a runtime that is shutting down may have taken it already.
            let _ = sender.await;
        }
        flushed
    }

    fn place<'a>(
        &'a self,
        record: &ProducerRecord<'_>,
        permit: &mut Option<SemaphorePermit<'a>>,
    ) -> Result<Appended, SendError> {
        let shared = &*self.handle.shared;
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
        let reserve = |bytes: usize| shared.reserve(bytes, permit);
        let appended = shared.lock().append(&fields, ambient::now, reserve)?;
        if let Appended::Placed {
            wakes_sender: true, ..
        } = appended
        {
            shared.wake.notify_one();
        }
        Ok(appended)
    }

    async fn learn_topic(&self, name: &str) -> Result<(), SendError> {
        let shared = &self.handle.shared;
        let metadata = &shared.client.inner.metadata;
        let topic = metadata.topic(name, shared.config.creates_topics).await?;
        let count = topic.partitions.len();
        shared.lock().set_partitions(&topic.name, count);
        Ok(())
    }

    async fn wait_for_memory(&self, bytes: usize) -> Result<SemaphorePermit<'_>, SendError> {
        let shared = &self.handle.shared;
        let _waiting = Waiting::new(&shared.waiting_sends);
        shared.wake.notify_one();
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let permit = shared.memory.acquire_many(bytes).await;
        permit.map_err(|_| SendError::Closed)
    }
}

impl Handle {
    fn end(&self) {
        self.shared.is_ending.store(true, Ordering::Release);
        self.shared.memory.close();
        self.shared.wake.notify_one();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Accumulator> {
        self.accumulator
            .lock()
            .expect("no code panics while it holds this lock")
    }

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
