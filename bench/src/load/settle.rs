//! What becomes of records that were sent: counts and latencies, taken when each is acknowledged.
//!
//! One task per partition, since batches of one partition are acknowledged in order, those of several are not; one for
//! all routed records, of whose partitions nothing is known yet.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use keylane_client::{PartitionIndex, Receipt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::gauge::{Gauge, Window};
use super::producer::Common;
use crate::clock::monotonic_ns;
use crate::latency::Latencies;
use crate::options::ProducePath;
use crate::verify::Sent;

/// How many records may wait to be settled per partition; beyond that the producer waits.
const WAITING_MAX: usize = 64 * 1024;

/// The latencies of all streams of a thread: one distribution has the size of many streams.
pub(super) type SharedLatencies = Arc<Mutex<Latencies>>;

/// Returns what only one at a time may change.
pub(super) fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().expect("nobody panics while holding it")
}

/// A record that was sent.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) receipt: Receipt,
    pub(super) sequence: u64,
    pub(super) due_ns: u64,
    pub(super) bytes: u64,
}

/// What became of a stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Settled {
    pub(super) stream: u32,
    pub(super) window: Window,
    /// Records acknowledged within the window.
    pub(super) records: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    pub(super) bytes_sent: u64,
    /// When the last record was acknowledged.
    pub(super) last_ns: u64,
    pub(super) sent: Sent,
    pub(super) path: Option<ProducePath>,
    pub(super) first_failure: Option<String>,
}

impl Settled {
    pub(super) fn new(stream: u32, window: Window) -> Self {
        Self {
            stream,
            window,
            ..Self::default()
        }
    }

    /// Counts a record that was acknowledged at this moment.
    pub(super) fn on_acknowledged(
        &mut self,
        pending: &Pending,
        now_ns: u64,
        publish: &mut Latencies,
    ) {
        if self.window.holds(now_ns) {
            self.records += 1;
            self.bytes += pending.bytes;
        }
        if self.window.holds(pending.due_ns) {
            publish.record(now_ns.saturating_sub(pending.due_ns));
        }
        self.last_ns = self.last_ns.max(now_ns);
    }

    /// Remembers a record of which nobody knows whether it was written.
    pub(super) fn on_failed(&mut self, sequence: u64, failure: &impl ToString) {
        self.sent.unacknowledged.insert(sequence);
        self.first_failure
            .get_or_insert_with(|| failure.to_string());
    }
}

/// Awaits receipts, each partition's in order.
#[derive(Debug)]
pub(super) struct Settler {
    settled: Arc<Mutex<Settled>>,
    gauge: Arc<Gauge>,
    publish: SharedLatencies,
    /// `None` while it is not known where the router puts the record.
    partitions: BTreeMap<Option<PartitionIndex>, (mpsc::Sender<Pending>, JoinHandle<()>)>,
}

impl Settler {
    pub(super) fn new(settled: Settled, common: &Common) -> Self {
        Self {
            settled: Arc::new(Mutex::new(settled)),
            gauge: Arc::clone(&common.gauge),
            publish: Arc::clone(&common.publish),
            partitions: BTreeMap::new(),
        }
    }

    /// Takes over a record that was sent.
    pub(super) async fn settle(&mut self, pending: Pending) {
        let partition = pending.receipt.partition();
        let (sender, _) = self.partitions.entry(partition).or_insert_with(|| {
            let (sender, receiver) = mpsc::channel(WAITING_MAX);
            let shared = (Arc::clone(&self.settled), Arc::clone(&self.publish));
            let task = run(receiver, shared, Arc::clone(&self.gauge));
            (sender, tokio::spawn(task))
        });
        let taken = sender.send(pending).await;
        assert!(taken.is_ok(), "the task ends after its sender");
    }

    /// Waits until everything is settled.
    pub(super) async fn finish(self) -> Settled {
        for (sender, task) in self.partitions.into_values() {
            drop(sender);
            task.await.expect("no settler panics");
        }
        std::mem::take(&mut *locked(&self.settled))
    }
}

async fn run(
    mut receiver: mpsc::Receiver<Pending>,
    (settled, publish): (Arc<Mutex<Settled>>, SharedLatencies),
    gauge: Arc<Gauge>,
) {
    let mut pendings = Vec::new();
    while receiver.recv_many(&mut pendings, 1024).await > 0 {
        let mut rest = pendings.drain(..).peekable();
        while let Some(mut pending) = rest.next() {
            let mut outcome = (&mut pending.receipt).await;
            // The rest of the batch is acknowledged with its first record.
            let now_ns = monotonic_ns();
            let mut settled = locked(&settled);
            let mut publish = locked(&publish);
            let (mut records, mut bytes) = (0, 0);
            loop {
                match outcome {
                    Ok(_) => {
                        settled.on_acknowledged(&pending, now_ns, &mut publish);
                        records += 1;
                        bytes += pending.bytes;
                    }
                    Err(error) => settled.on_failed(pending.sequence, &error),
                }
                let is_known = |next: &Pending| next.receipt.now().is_some();
                let Some(next) = rest.next_if(is_known) else {
                    break;
                };
                outcome = next.receipt.now().expect("looked at before");
                pending = next;
            }
            gauge.add(records, bytes);
        }
    }
}
