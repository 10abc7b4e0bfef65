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

use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use keylane_client::{
    Acks, BuildProducerError, BuildReaderError, Client, ConnectError, ListOffsetsError, SendError,
};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

pub use self::gauge::Gauge;
use self::gauge::{Start, Window};
use self::producer::{Common, Sending};
pub use self::reader::{ReadBack, read_back};
use self::settle::{Settled, locked};
use crate::latency::Latencies;
use crate::options::ProducePath;
use crate::proc_stat::sockets;
use crate::verify::{Sent, Verdict};
use crate::workload::Workload;

/// How many producers of a thread become ready at the same time: a listener holds few connections that it has not
/// accepted.
const PREPARING_MAX: usize = 64;

/// What is sent where, and how.
#[derive(Clone, Debug)]
pub struct LoadPlan {
    /// The addresses to dial, at least one; clients spread over them.
    pub addresses: Vec<String>,
    /// The topic, which exists.
    pub topic: String,
    /// The records.
    pub workload: Arc<Workload>,
    /// How many producers send; each is a stream of the workload.
    pub producers: u32,
    /// Over how many clients they spread, from 1 to as many as there are producers. Each is like one process of a fleet:
    /// its producers share what is known of the cluster, and what connections they can.
    pub clients: u32,
    /// How many readers follow; each reads everything.
    pub readers: u32,
    /// Who chooses partitions; `None` leaves it to the producer, with batches of its own default size.
    pub path: Option<ProducePath>,
    /// When records are sent.
    pub pace: Pace,
    /// Whom a record waits for.
    pub acks: Acks,
    /// The size at which a batch is full.
    pub batch_size_bytes: usize,
    /// The same of a routed batch; `None` lets it follow from the number of partitions.
    pub routed_batch_size_bytes: Option<usize>,
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
    /// Returns the address that a client dials; everybody else dials that of client 0.
    #[must_use]
    pub fn address(&self, client: u32) -> &str {
        &self.addresses[client as usize % self.addresses.len()]
    }

    fn client_of(&self, stream: u32) -> u32 {
        stream % self.clients
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
    /// From the moment all producers were ready until the last acknowledgement: the measured time with what led to it.
    pub ran: Duration,
    /// Who chose partitions.
    pub path: Option<ProducePath>,
    /// How many sockets producers and readers held when measuring began; `None` if the kernel does not tell.
    pub sockets: Option<u64>,
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
    let threads = plan.clients.min(u32::try_from(cores).unwrap_or(1)).max(1);
    let start = Arc::new(Start::new(threads as usize, ends_by_itself(plan)));
    let sockets_before = sockets(std::process::id());
    let readers = start_readers(plan, gauge)?;
    let shared_plan = Arc::new(plan.clone());
    let mut workers = Vec::new();
    for thread in 0..threads {
        // The producers of a client share a thread.
        let is_here = |stream: &u32| plan.client_of(*stream) % threads == thread;
        let streams: Vec<u32> = (0..plan.producers).filter(is_here).collect();
        let common = Common {
            plan: Arc::clone(&shared_plan),
            gauge: Arc::clone(gauge),
            publish: Arc::new(Mutex::new(Latencies::new())),
        };
        let start = Arc::clone(&start);
        let work = move || -> Result<ThreadOutcome, LoadError> {
            runtime()?.block_on(run_producers(&common, &streams, &start))
        };
        workers.push(spawn("producers", work)?);
    }
    let window = start.wait(|| workers.iter().all(JoinHandle::is_finished));
    at_start();
    let sockets = sockets(std::process::id()).ok().zip(sockets_before.ok());
    window.sleep_to_end(|| workers.iter().all(JoinHandle::is_finished));
    at_end();
    let mut threads = Vec::new();
    let mut failure = None;
    for worker in workers {
        match worker.join().expect("no producer panics") {
            Ok(found) => threads.push(found),
            Err(error) => failure = Some(error),
        }
    }
    gauge.end_production();
    let live = readers.map(|readers| readers.join().expect("no reader panics"));
    if let Some(error) = failure {
        return Err(error);
    }
    let live = live.transpose()?;
    let mut outcome = outcome(plan, threads, live);
    outcome.sockets = sockets.map(|(during, before)| during.saturating_sub(before));
    Ok(outcome)
}

/// What the producers of a thread came to.
struct ThreadOutcome {
    settled: Vec<Settled>,
    publish: Latencies,
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

fn outcome(plan: &LoadPlan, threads: Vec<ThreadOutcome>, live: Option<ReadBack>) -> LoadOutcome {
    let mut outcome = LoadOutcome::default();
    let mut settled = Vec::new();
    for thread in threads {
        outcome.publish.add(&thread.publish);
        settled.extend(thread.settled);
    }
    settled.sort_by_key(|settled| settled.stream);
    let mut window = Window {
        load_ns: u64::MAX,
        start_ns: u64::MAX,
        end_ns: 0,
    };
    let mut last_ns = 0;
    for settled in settled {
        outcome.records += settled.records;
        outcome.bytes += settled.bytes;
        outcome.bytes_sent += settled.bytes_sent;
        window.load_ns = window.load_ns.min(settled.window.load_ns);
        window.start_ns = window.start_ns.min(settled.window.start_ns);
        window.end_ns = window.end_ns.max(settled.window.end_ns);
        last_ns = last_ns.max(settled.last_ns);
        outcome.path = outcome.path.or(settled.path);
        if outcome.first_failure.is_none() {
            outcome.first_failure = settled.first_failure;
        }
        outcome.sent.push(settled.sent);
    }
    outcome.ran = Duration::from_nanos(last_ns.saturating_sub(window.load_ns));
    let last_ns = last_ns.min(window.end_ns);
    // A load that was cut short by its bytes, or ends by itself, was measured until its last acknowledgement.
    let measured = Duration::from_nanos(last_ns.saturating_sub(window.start_ns));
    outcome.measured = measured.max(Duration::from_micros(1));
    if let Some(mut live) = live {
        outcome.end_to_end = std::mem::take(&mut live.end_to_end);
        outcome.live = Some(live.finish(&plan.workload, &outcome.sent));
    }
    outcome
}

async fn run_producers(
    common: &Common,
    streams: &[u32],
    start: &Start,
) -> Result<ThreadOutcome, LoadError> {
    let prepared = prepare_producers(common, streams).await;
    // Also after a failure: the others wait for everyone.
    let window = start.meet(&common.plan).await;
    let mut running = JoinSet::new();
    for sending in prepared? {
        running.spawn(producer::run(sending, window));
    }
    let mut settled = Vec::new();
    while let Some(ended) = running.join_next().await {
        settled.push(ended.expect("no producer panics")?);
    }
    let publish = std::mem::take(&mut *locked(&common.publish));
    Ok(ThreadOutcome { settled, publish })
}

/// Makes producers ready, a few at a time.
async fn prepare_producers(common: &Common, streams: &[u32]) -> Result<Vec<Sending>, LoadError> {
    let plan = &common.plan;
    let mut clients: BTreeMap<u32, Client> = BTreeMap::new();
    let mut preparing: JoinSet<Result<Sending, LoadError>> = JoinSet::new();
    let mut prepared = Vec::new();
    for &stream in streams {
        if preparing.len() == PREPARING_MAX
            && let Some(ended) = preparing.join_next().await
        {
            prepared.push(ended.expect("no producer panics")?);
        }
        let number = plan.client_of(stream);
        let client = match clients.get(&number) {
            Some(client) => client.clone(),
            None => {
                let client = connect(plan.address(number)).await?;
                clients.insert(number, client.clone());
                client
            }
        };
        preparing.spawn(producer::prepare(client, common.clone(), stream));
    }
    while let Some(ended) = preparing.join_next().await {
        prepared.push(ended.expect("no producer panics")?);
    }
    Ok(prepared)
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
