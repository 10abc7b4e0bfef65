//! The partitioned half of a producer: batches of one partition each, for the broker that leads it.
//!
//! ```text
//! send ──► accumulator (core, short lock) ──► sender (task) ──► one connection per broker
//!              receipt ◄── outcome of the batch ◄── delivery (core) ◄── answers
//! ```
//! `delivery` holds the rules of order and single writing, `accumulator` those of batching; both without I/O and clock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::accumulator::{Accumulator, AccumulatorSettings, Placing};
use super::batch::RecordFields;
use super::error::{BuildProducerError, DeliveryError, SendError};
use super::receipt::BatchOutcome;
use super::{Acks, Appended, Common, request, sender};
use crate::ambient;
use crate::metadata::TopicView;

/// The partitioned half of a producer.
#[derive(Debug)]
pub(super) struct PartitionedSide {
    shared: Arc<Shared>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// What the producer and its sender have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) common: Arc<Common>,
    pub(super) accumulator: Mutex<Accumulator>,
    pub(super) is_ending: AtomicBool,
    /// Wakes the sender.
    pub(super) wake: Arc<Notify>,
}

impl PartitionedSide {
    /// Starts the partitioned half, under an id of its own if it is idempotent.
    pub(super) async fn start(common: Arc<Common>) -> Result<Self, BuildProducerError> {
        let config = &common.config;
        let client = &common.client.inner;
        let identity = match config.acks {
            Acks::All => Some(request::new_identity(client).await?),
            Acks::None | Acks::Leader => None,
        };
        let settings = AccumulatorSettings {
            batch_size_bytes: config.batch_size_bytes,
            max_record_bytes: config.max_record_bytes,
            linger: config.linger,
            delivery_timeout: config.delivery_timeout,
        };
        let shared = Arc::new(Shared {
            accumulator: Mutex::new(Accumulator::new(settings, client.next_seed())),
            is_ending: AtomicBool::new(false),
            wake: Arc::default(),
            common,
        });
        let task = tokio::spawn(sender::run(Arc::clone(&shared), identity));
        Ok(Self {
            shared,
            task: Mutex::new(Some(task)),
        })
    }

    /// Places a record, and wakes the sender if it has to know.
    pub(super) fn place(
        &self,
        fields: &RecordFields<'_>,
        reserve: impl FnMut(usize) -> bool,
    ) -> Result<Appended, SendError> {
        let placing = self.shared.lock().append(fields, ambient::now, reserve)?;
        Ok(match placing {
            Placing::Placed {
                receipt,
                wakes_sender,
            } => {
                if wakes_sender {
                    self.shared.wake.notify_one();
                }
                Appended::Placed(receipt)
            }
            Placing::NeedsTopic => Appended::NeedsTopic,
            Placing::NeedsMemory(bytes) => Appended::NeedsMemory(bytes),
        })
    }

    /// Makes a topic known.
    pub(super) fn learn(&self, topic: &TopicView) {
        let count = topic.partitions.len();
        self.shared.lock().set_partitions(&topic.name, count);
    }

    /// Makes everything due, and returns the outcomes of what is not settled.
    pub(super) fn seal_all(&self) -> Vec<Arc<BatchOutcome>> {
        let outcomes = {
            let mut accumulator = self.shared.lock();
            accumulator.seal_all();
            accumulator.outcomes()
        };
        self.wake();
        outcomes
    }

    pub(super) fn take_failed(&self) -> Option<(u64, DeliveryError)> {
        self.shared.lock().take_failed()
    }

    pub(super) fn wake(&self) {
        self.shared.wake.notify_one();
    }

    pub(super) fn close(&self) {
        self.shared.lock().close();
    }

    pub(super) fn end(&self) {
        self.shared.is_ending.store(true, Ordering::Release);
        self.shared.wake.notify_one();
    }

    /// Takes the task, to wait for its end.
    pub(super) fn task(&self) -> Option<JoinHandle<()>> {
        let mut task = self.task.lock();
        task.as_mut()
            .expect("no code panics while it holds this lock")
            .take()
    }
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Accumulator> {
        self.accumulator
            .lock()
            .expect("no code panics while it holds this lock")
    }
}
