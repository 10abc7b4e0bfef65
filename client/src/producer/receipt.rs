//! What becomes of records: one outcome per batch, shared by the receipts of its records.
//!
//! A receipt is a pointer and an index. Whoever awaits one leaves a waker with the batch; when the batch is settled each
//! is woken once. A receipt may be dropped at any time: the record is delivered all the same.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::task::{Context, Poll, Waker};

use keylane_protocol::identifiers::PartitionIndex;
use keylane_protocol::offset::Offset;

use super::error::DeliveryError;
use super::routed::Spread;

/// Where a record was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordPlace {
    /// The partition.
    pub partition: PartitionIndex,
    /// The offset; `None` if the broker does not tell: with acks 0 always, else only for a repetition whose original
    /// the broker no longer remembers.
    pub offset: Option<Offset>,
}

/// The offset of a batch's first record, if known, or why the batch is not known to be written.
pub(crate) type BatchResult = Result<Option<Offset>, DeliveryError>;

/// A partition whose records of a batch are written, and the offset of the first of them, if known.
pub(crate) type WrittenPart = (PartitionIndex, Option<Offset>);

/// What became of the records of a batch.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The same for all.
    Whole(BatchResult),
    /// By partition, in ascending order: of a routed batch.
    Parts(Vec<(PartitionIndex, BatchResult)>),
}

/// What becomes of a batch.
#[derive(Debug)]
pub(crate) struct BatchOutcome {
    destination: Destination,
    state: Mutex<State>,
}

/// Where the records of a batch go.
#[derive(Debug)]
enum Destination {
    Partition(PartitionIndex),
    /// Known once the batch has its number.
    Routed(OnceLock<Spread>),
}

#[derive(Debug, Default)]
struct State {
    result: Option<Outcome>,
    /// What is known to be written before there is a result, in ascending order.
    written: Vec<WrittenPart>,
    /// One place for each receipt that was polled too early; emptied when that receipt is dropped.
    wakers: Vec<Option<Waker>>,
}

impl BatchOutcome {
    pub(crate) fn new(partition: PartitionIndex) -> Self {
        Self {
            destination: Destination::Partition(partition),
            state: Mutex::default(),
        }
    }

    /// Returns the outcome of a batch whose records the router spreads.
    pub(crate) fn routed() -> Self {
        Self {
            destination: Destination::Routed(OnceLock::new()),
            state: Mutex::default(),
        }
    }

    /// Says where the records of a routed batch go; once and for all.
    pub(crate) fn set_spread(&self, spread: Spread) {
        if let Destination::Routed(known) = &self.destination {
            let _ = known.set(spread);
        }
    }

    /// Says what became of the batch and wakes everyone who waits for it. Only the first word counts.
    pub(crate) fn settle(&self, result: BatchResult) {
        self.settle_as(Outcome::Whole(result));
    }

    /// Like [`Self::settle`], if that is not the same for all records.
    pub(crate) fn settle_as(&self, result: Outcome) {
        let mut state = self.lock();
        if state.result.is_some() {
            return;
        }
        state.result = Some(result);
        state.written = Vec::new();
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wake(wakers);
    }

    /// Says which records are written while others of the batch are not, in ascending order, and wakes everyone who waits
    /// for any. What was told before is told again.
    pub(crate) fn tell_written(&self, written: Vec<WrittenPart>) {
        let mut state = self.lock();
        if state.result.is_some() {
            return;
        }
        state.written = written;
        // Those whose records are not among them ask again, and find their places.
        let wakers = state.wakers.clone();
        drop(state);
        wake(wakers);
    }

    fn partition(&self, index: u32) -> Option<PartitionIndex> {
        match &self.destination {
            Destination::Partition(partition) => Some(*partition),
            Destination::Routed(spread) => spread.get().map(|spread| spread.partition(index)),
        }
    }

    fn rank(&self, index: u32) -> u32 {
        match &self.destination {
            Destination::Partition(_) => index,
            Destination::Routed(spread) => spread.get().map_or(0, |spread| spread.rank(index)),
        }
    }

    /// Returns what became of a record.
    fn place(&self, index: u32, outcome: &Outcome) -> Result<RecordPlace, DeliveryError> {
        let partition = self.partition(index);
        let result = match outcome {
            Outcome::Whole(result) => result,
            Outcome::Parts(parts) => {
                let part = |partition| parts.binary_search_by_key(&partition, |part| part.0).ok();
                let part = partition.and_then(part);
                &parts[part.expect("a batch is settled for all partitions it touches")].1
            }
        };
        let first = result.clone()?;
        let partition = partition.expect("only a batch with a number is written");
        Ok(self.written_at(index, partition, first))
    }

    /// Returns what became of a record, if that is known.
    fn now(&self, index: u32, state: &State) -> Option<Result<RecordPlace, DeliveryError>> {
        if let Some(outcome) = &state.result {
            return Some(self.place(index, outcome));
        }
        if state.written.is_empty() {
            return None;
        }
        let partition = self.partition(index)?;
        let part = state
            .written
            .binary_search_by_key(&partition, |part| part.0);
        let (_, first) = state.written[part.ok()?];
        Some(Ok(self.written_at(index, partition, first)))
    }

    fn written_at(
        &self,
        index: u32,
        partition: PartitionIndex,
        first: Option<Offset>,
    ) -> RecordPlace {
        // The first offset is a peer's word: the sum need not fit.
        let offset = first.and_then(|first| first.0.checked_add(i64::from(self.rank(index))));
        RecordPlace {
            partition,
            offset: offset.map(Offset),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no code panics while it holds this lock")
    }
}

impl State {
    /// Notes who waits, in a place of its own.
    fn wait(&mut self, slot: &mut Option<usize>, waker: &Waker) {
        let slot = *slot.get_or_insert_with(|| {
            self.wakers.push(None);
            self.wakers.len() - 1
        });
        if let Some(place) = self.wakers.get_mut(slot) {
            let is_same = |known: &Waker| known.will_wake(waker);
            if !place.as_ref().is_some_and(is_same) {
                *place = Some(waker.clone());
            }
        }
    }
}

/// Wakes them; one task that awaits many receipts of a batch once.
fn wake(wakers: Vec<Option<Waker>>) {
    let mut last: Option<Waker> = None;
    for waker in wakers.into_iter().flatten() {
        if last.as_ref().is_none_or(|last| !last.will_wake(&waker)) {
            waker.wake_by_ref();
            last = Some(waker);
        }
    }
}

/// Resolves once everything of a batch is settled.
pub(crate) async fn settled(outcome: &BatchOutcome) {
    let mut slot = None;
    std::future::poll_fn(|context| {
        let mut state = outcome.lock();
        if state.result.is_some() {
            return Poll::Ready(());
        }
        state.wait(&mut slot, context.waker());
        Poll::Pending
    })
    .await;
}

/// Resolves to the place of a record once it is written, or to why that is not known.
///
/// With the default acks a resolved receipt means the record is durable. Dropping it changes nothing.
#[derive(Debug)]
#[must_use = "a record is known to be written only when its receipt, or `flush`, says so"]
pub struct Receipt {
    outcome: Arc<BatchOutcome>,
    index: u32,
    slot: Option<usize>,
}

impl Receipt {
    pub(crate) fn new(outcome: Arc<BatchOutcome>, index: u32) -> Self {
        Self {
            outcome,
            index,
            slot: None,
        }
    }

    /// Returns the partition the record goes to; `None` for a routed record until its batch is sent.
    #[must_use]
    pub fn partition(&self) -> Option<PartitionIndex> {
        self.outcome.partition(self.index)
    }

    /// Returns the outcome if it is there already.
    #[must_use]
    pub fn now(&self) -> Option<Result<RecordPlace, DeliveryError>> {
        self.outcome.now(self.index, &self.outcome.lock())
    }
}

impl Future for Receipt {
    type Output = Result<RecordPlace, DeliveryError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let mut state = this.outcome.lock();
        if let Some(outcome) = this.outcome.now(this.index, &state) {
            return Poll::Ready(outcome);
        }
        state.wait(&mut this.slot, context.waker());
        Poll::Pending
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            let mut state = self.outcome.lock();
            if let Some(place) = state.wakers.get_mut(slot) {
                *place = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_task_that_awaits_many_records_of_a_batch_is_woken_once() {
        let outcome = Arc::new(BatchOutcome::new(PartitionIndex(3)));
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let mut context = Context::from_waker(&waker);
        let mut receipts: Vec<Receipt> = (0..10)
            .map(|index| Receipt::new(Arc::clone(&outcome), index))
            .collect();
        for receipt in &mut receipts {
            assert!(Pin::new(&mut *receipt).poll(&mut context).is_pending());
            assert!(Pin::new(receipt).poll(&mut context).is_pending());
        }
        outcome.settle(Ok(Some(Offset(100))));
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        for (index, receipt) in receipts.iter_mut().enumerate() {
            let Poll::Ready(Ok(place)) = Pin::new(receipt).poll(&mut context) else {
                panic!("the batch is settled");
            };
            assert_eq!(place.partition, PartitionIndex(3));
            assert_eq!(place.offset, Some(Offset(100 + index as i64)));
        }
    }

    #[test]
    fn a_dropped_receipt_is_not_woken() {
        let outcome = Arc::new(BatchOutcome::new(PartitionIndex(0)));
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let mut receipt = Receipt::new(Arc::clone(&outcome), 0);
        let mut context = Context::from_waker(&waker);
        assert!(Pin::new(&mut receipt).poll(&mut context).is_pending());
        drop(receipt);
        outcome.settle(Ok(None));
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
    }
}
