//! The load generator: producers and readers on the project's own client, the same against every broker measured.
//!
//! ```text
//! thread ─ runtime ─┬ producer: schedule ─► Producer::send ─► receipts ─► one settler per partition: latency, counts
//!                   └ …                                       (a thread per core at most, each with its own runtime)
//! thread ─ runtime ── readers: end-to-end latency, live verification; at the end everything is read back again
//! ```

mod gauge;
mod pacer;
mod producer;
mod reader;
mod settle;

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use keylane_client::{
    Acks, BuildProducerError, BuildReaderError, Client, ConnectError, ListOffsetsError, SendError,
};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

pub use self::gauge::Gauge;
use self::gauge::Start;
pub use self::reader::{ReadBack, read_back};
use self::settle::Settled;
use crate::latency::Latencies;
use crate::verify::{Sent, Verdict};
use crate::workload::Workload;

/// What is sent where, and how.
#[derive(Clone, Debug)]
pub struct LoadPlan {
    /// The addresses to dial, at least one; producers spread over them.
    pub addresses: Vec<String>,
    /// The topic, which exists.
    pub topic: String,
    /// The records.
    pub workload: Arc<Workload>,
    /// How many producers send; each is a stream of the workload.
    pub producers: u32,
    /// How many readers follow; each reads everything.
    pub readers: u32,
    /// When records are sent.
    pub pace: Pace,
    /// Whom a record waits for.
    pub acks: Acks,
    /// The size at which a batch is full.
    pub batch_size_bytes: usize,
    /// How long a batch waits to be full.
    pub linger: Duration,
    /// How long the load runs before it is measured. Ignored if the workload ends by itself.
    pub warm_up: Duration,
    /// How long it is measured. Ignored if the workload ends by itself.
    pub duration: Duration,
    /// Sending stops at this many bytes, whatever the duration says.
    pub bytes_max: u64,
}

impl LoadPlan {
    /// Returns the address that a stream's producer dials; everybody else dials that of stream 0.
    #[must_use]
    pub fn address(&self, stream: u32) -> &str {
        &self.addresses[stream as usize % self.addresses.len()]
    }
}

/// When records are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As fast as the producer's memory lets them: it holds a few batches.
    FlatOut,
    /// On a schedule of this many records per second, all producers together, whatever the broker does.
    Rate(u64),
    /// Each producer sends this many, waits until they are acknowledged, and goes on.
    Closed(u32),
}

/// What was measured.
#[derive(Clone, Debug, Default)]
pub struct LoadOutcome {
    /// What each stream sent.
    pub sent: Vec<Sent>,
    /// Records acknowledged within the measured time.
    pub records: u64,
    /// Their bytes: keys and values.
    pub bytes: u64,
    /// The measured time.
    pub measured: Duration,
    /// From the intended send time, flat out from the actual one, to the acknowledgement.
    pub publish: Latencies,
    /// From the intended send time until a reader has the record; empty without readers.
    pub end_to_end: Latencies,
    /// What the readers found, if there were any.
    pub live: Option<Verdict>,
    /// Bytes of all records sent.
    pub bytes_sent: u64,
    /// The first failure of a record that was not acknowledged, in words.
    pub first_failure: Option<String>,
}

/// Why a load could not be run.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The cluster cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// There is no producer.
    #[error("no producer")]
    Producer(#[from] BuildProducerError),
    /// A record was not taken.
    #[error("a record was not taken")]
    Send(#[from] SendError),
    /// There is no reader.
    #[error("no reader")]
    Reader(#[from] BuildReaderError),
    /// The ends of the partitions are not known.
    #[error("the ends of the partitions are not known")]
    Ends(#[from] ListOffsetsError),
    /// A thread, a timer or a runtime could not be made.
    #[error("a thread or timer could not be made")]
    Io(#[from] io::Error),
}

/// Runs a load to its end. `at_start` and `at_end` are called when measuring begins and ends, and are given the gauge.
///
/// # Errors
/// When the cluster cannot be reached or refuses records. Records that are taken and then fail are no error here.
///
/// # Panics
/// When a producer or reader has panicked.
pub fn run_load(
    plan: &LoadPlan,
    gauge: &Arc<Gauge>,
    at_start: impl FnOnce(),
    at_end: impl FnOnce(),
) -> Result<LoadOutcome, LoadError> {
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let threads = plan.producers.min(u32::try_from(cores).unwrap_or(1)).max(1);
    let start = Arc::new(Start::new(plan.producers as usize, ends_by_itself(plan)));
    let readers = start_readers(plan, gauge)?;
    let mut workers = Vec::new();
    for first in 0..threads {
        let streams: Vec<u32> = (first..plan.producers).step_by(threads as usize).collect();
        let (plan, start, gauge) = (plan.clone(), Arc::clone(&start), Arc::clone(gauge));
        let work = move || -> Result<Vec<Settled>, LoadError> {
            runtime()?.block_on(run_producers(&plan, &streams, &start, &gauge))
        };
        workers.push(spawn("producers", work)?);
    }
    let window = start.wait(|| workers.iter().all(JoinHandle::is_finished));
    at_start();
    window.sleep_to_end(|| workers.iter().all(JoinHandle::is_finished));
    at_end();
    let mut settled = Vec::new();
    let mut failure = None;
    for worker in workers {
        match worker.join().expect("no producer panics") {
            Ok(found) => settled.extend(found),
            Err(error) => failure = Some(error),
        }
    }
    gauge.end_production();
    let live = readers.map(|readers| readers.join().expect("no reader panics"));
    if let Some(error) = failure {
        return Err(error);
    }
    let live = live.transpose()?;
    Ok(outcome(plan, settled, live))
}

/// Returns whether the workload has an end, so that it is measured from its first record to its last.
fn ends_by_itself(plan: &LoadPlan) -> bool {
    plan.workload.count(0).is_some()
}

fn start_readers(
    plan: &LoadPlan,
    gauge: &Arc<Gauge>,
) -> io::Result<Option<JoinHandle<Result<ReadBack, LoadError>>>> {
    if plan.readers == 0 {
        return Ok(None);
    }
    let ready = Arc::new(std::sync::Barrier::new(2));
    let (plan, gauge) = (plan.clone(), Arc::clone(gauge));
    let begun = Arc::clone(&ready);
    let work = move || runtime()?.block_on(reader::follow(&plan, &gauge, &begun));
    let handle = spawn("readers", work)?;
    ready.wait();
    Ok(Some(handle))
}

fn outcome(plan: &LoadPlan, mut settled: Vec<Settled>, live: Option<ReadBack>) -> LoadOutcome {
    settled.sort_by_key(|settled| settled.stream);
    let mut outcome = LoadOutcome::default();
    let mut first_ns = u64::MAX;
    let mut last_ns = 0;
    for settled in settled {
        outcome.records += settled.records;
        outcome.bytes += settled.bytes;
        outcome.bytes_sent += settled.bytes_sent;
        outcome.publish.add(&settled.publish);
        first_ns = first_ns.min(settled.window.start_ns);
        last_ns = last_ns.max(settled.last_ns.min(settled.window.end_ns));
        if outcome.first_failure.is_none() {
            outcome.first_failure = settled.first_failure;
        }
        outcome.sent.push(settled.sent);
    }
    // A load that was cut short by its bytes, or ends by itself, was measured until its last acknowledgement.
    let measured = Duration::from_nanos(last_ns.saturating_sub(first_ns));
    outcome.measured = measured.max(Duration::from_micros(1));
    if let Some(mut live) = live {
        outcome.end_to_end = std::mem::take(&mut live.end_to_end);
        outcome.live = Some(live.finish(&plan.workload, &outcome.sent));
    }
    outcome
}

async fn run_producers(
    plan: &LoadPlan,
    streams: &[u32],
    start: &Arc<Start>,
    gauge: &Arc<Gauge>,
) -> Result<Vec<Settled>, LoadError> {
    let mut running = JoinSet::new();
    for &stream in streams {
        let (plan, start, gauge) = (plan.clone(), Arc::clone(start), Arc::clone(gauge));
        running.spawn(async move {
            let connected = producer::connect(&plan, stream).await;
            // Also after a failure: the others wait for everyone.
            let window = start.meet(&plan).await;
            producer::run(&plan, connected?, stream, window, &gauge).await
        });
    }
    let mut settled = Vec::new();
    while let Some(ended) = running.join_next().await {
        settled.push(ended.expect("no producer panics")?);
    }
    Ok(settled)
}

/// Returns a client of the cluster.
pub(crate) async fn connect(address: &str) -> Result<Client, LoadError> {
    let client = Client::builder().client_id("keylane-bench");
    Ok(client.connect(address.to_owned()).await?)
}

/// Returns a runtime that lives on the thread that calls it.
pub(crate) fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    thread::Builder::new().name(name.to_owned()).spawn(work)
}

#[cfg(test)]
mod tests;
