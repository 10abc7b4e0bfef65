//! The reader of chosen partitions: fetches ahead, yields records one by one or batch by batch.
//!
//! ```text
//! brokers ──► fetcher (task) ──► positions (core): what arrived, in order ──► Reader: checks, unpacks, yields
//! ```
//! Checksums and decompression happen where records are taken, so a slow application slows down fetching, never memory.

mod config;
mod current;
mod error;
mod fetcher;
mod positions;
mod record;
mod request;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use futures_core::Stream;
use keylane_protocol::identifiers::PartitionIndex;
use keylane_protocol::offset::Offset;
use tokio::sync::Notify;

use self::config::resolve;
pub use self::config::{OutOfRange, ReaderBuilder, StartAt};
use self::current::Current;
pub use self::error::{BuildReaderError, ReadError};
use self::positions::{Arrived, Positions};
pub use self::record::{ConsumedBatch, ConsumedRecord};
use crate::client::Client;
use crate::offsets::{ListOffsetsError, OffsetSpec, list_offsets};

/// Reads chosen partitions: a [`Stream`] of records that never ends by itself.
///
/// Records of one partition come in the order of their offsets, each once. An error concerns one partition, which is
/// read again after a [`Reader::seek`]; the others go on. A broker that is away is no error: the reader waits.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    current: Option<Current>,
}

/// What the reader and its fetcher have in common.
#[derive(Debug)]
struct Shared {
    client: Client,
    positions: Mutex<Positions>,
    is_ending: AtomicBool,
    /// Wakes the fetcher.
    wake: Arc<Notify>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Positions> {
        self.positions
            .lock()
            .expect("no code panics while it holds this lock")
    }
}

impl Reader {
    fn start(client: Client, positions: Positions) -> Self {
        let shared = Arc::new(Shared {
            client,
            positions: Mutex::new(positions),
            is_ending: AtomicBool::new(false),
            wake: Arc::default(),
        });
        tokio::spawn(fetcher::run(Arc::clone(&shared)));
        Self {
            shared,
            current: None,
        }
    }

    /// Waits for the next record. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When a partition can be read no further; see [`ReadError`].
    pub async fn next(&mut self) -> Result<ConsumedRecord, ReadError> {
        std::future::poll_fn(|context| self.poll_record(context)).await
    }

    /// Waits for the next record batch and returns all of its records that were asked for; what [`Reader::next`] has
    /// begun is finished first. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When a partition can be read no further; see [`ReadError`].
    pub async fn next_batch(&mut self) -> Result<ConsumedBatch, ReadError> {
        std::future::poll_fn(|context| self.poll_batch(context)).await
    }

    fn poll_record(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<ConsumedRecord, ReadError>> {
        loop {
            let Some(current) = &mut self.current else {
                match self.poll_arrived(context) {
                    Poll::Ready(Ok(())) => continue,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Pending,
                }
            };
            match current.next_record() {
                Some(Ok(record)) => {
                    let (topic, partition) = current.name();
                    return Poll::Ready(Ok(ConsumedRecord::new(topic, partition, record)));
                }
                Some(Err(error)) => return Poll::Ready(Err(self.damaged(error))),
                None => self.end_current(),
            }
        }
    }

    fn poll_batch(&mut self, context: &mut Context<'_>) -> Poll<Result<ConsumedBatch, ReadError>> {
        loop {
            let Some(current) = &mut self.current else {
                match self.poll_arrived(context) {
                    Poll::Ready(Ok(())) => continue,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Pending,
                }
            };
            match current.next_batch() {
                Some(Ok(batch)) => return Poll::Ready(Ok(batch)),
                Some(Err(error)) => return Poll::Ready(Err(self.damaged(error))),
                None => self.end_current(),
            }
        }
    }

    /// Makes what arrived next the current batches.
    fn poll_arrived(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ReadError>> {
        let mut positions = self.shared.lock();
        let Some(arrived) = positions.take() else {
            positions.waker = Some(context.waker().clone());
            return Poll::Pending;
        };
        let limit = positions.config.decompressed_bytes_max;
        let outcome = match arrived {
            Arrived::Failed { error, .. } => Err(error),
            Arrived::Batches {
                index,
                high_watermark,
                bytes,
                ..
            } => {
                let position = &positions.all[index];
                self.current = Some(Current::new(index, position, high_watermark, bytes, limit));
                Ok(())
            }
        };
        drop(positions);
        self.shared.wake.notify_one();
        Poll::Ready(outcome)
    }

    /// Remembers how far the current batches were handed out.
    fn end_current(&mut self) {
        if let Some(current) = self.current.take() {
            let mut positions = self.shared.lock();
            let position = &mut positions.all[current.index()];
            if let Some(next) = current.next_offset(position) {
                position.next_offset = next;
            }
        }
    }

    /// Stops reading the partition of the current batches, which turned out to be damaged.
    fn damaged(&mut self, error: ReadError) -> ReadError {
        let index = self.current.as_ref().map(Current::index);
        self.end_current();
        if let Some(index) = index {
            self.shared.lock().halt(index);
        }
        error
    }

    /// Goes on with a partition elsewhere; what was fetched of it is dropped.
    ///
    /// # Errors
    /// When the reader does not read that partition, or the offset cannot be found.
    pub async fn seek(
        &mut self,
        topic: &str,
        partition: i32,
        start: StartAt,
    ) -> Result<(), BuildReaderError> {
        let partition = PartitionIndex(partition);
        let found = self.shared.lock().find(topic, partition);
        let index = found.ok_or_else(|| BuildReaderError::NotRead {
            topic: topic.to_owned(),
            partition,
        })?;
        let offset = match start {
            StartAt::Offset(offset) => offset,
            start => {
                let starts = BTreeMap::from([(partition, start)]);
                let found = resolve(&self.shared.client.inner, topic, &starts).await?;
                found.get(&partition).copied().unwrap_or(Offset(0))
            }
        };
        self.current.take_if(|current| current.index() == index);
        self.shared.lock().seek(index, offset);
        self.shared.wake.notify_one();
        Ok(())
    }

    /// Returns the partitions that are read and the offset each will yield next, unless nothing has that offset.
    #[must_use]
    pub fn positions(&self) -> BTreeMap<(Arc<str>, PartitionIndex), Offset> {
        let positions = self.shared.lock();
        let current = self.current.as_ref();
        let all = positions.all.iter().enumerate();
        all.map(|(index, position)| {
            let name = (Arc::clone(&position.topic), position.partition);
            let current = current.filter(|current| current.index() == index);
            let next = current.and_then(|current| current.next_offset(position));
            (name, next.unwrap_or(position.next_offset))
        })
        .collect()
    }

    /// Returns where a partition ended when it was fetched last; `None` before its first answer.
    #[must_use]
    pub fn high_watermark(&self, topic: &str, partition: i32) -> Option<Offset> {
        let positions = self.shared.lock();
        let index = positions.find(topic, PartitionIndex(partition))?;
        positions.all[index].high_watermark
    }

    /// Asks where all partitions that are read end now.
    ///
    /// # Errors
    /// When a leader cannot be asked.
    pub async fn end_offsets(
        &self,
    ) -> Result<BTreeMap<(Arc<str>, PartitionIndex), Offset>, ListOffsetsError> {
        let mut by_topic: BTreeMap<Arc<str>, BTreeMap<PartitionIndex, OffsetSpec>> =
            BTreeMap::new();
        for (topic, partition) in self.positions().into_keys() {
            let wanted = by_topic.entry(topic).or_default();
            wanted.insert(partition, OffsetSpec::Latest);
        }
        let mut ends = BTreeMap::new();
        for (topic, wanted) in by_topic {
            let found = list_offsets(&self.shared.client.inner, &topic, &wanted).await?;
            for (partition, listed) in found {
                let end = listed.offset.unwrap_or(Offset(0));
                ends.insert((Arc::clone(&topic), partition), end);
            }
        }
        Ok(ends)
    }
}

/// Never ends; an error concerns one partition.
impl Stream for Reader {
    type Item = Result<ConsumedRecord, ReadError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_record(context).map(Some)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.shared.is_ending.store(true, Ordering::Release);
        self.shared.wake.notify_one();
    }
}
