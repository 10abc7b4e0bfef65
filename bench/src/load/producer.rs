//! One producer of a load: sends the records of its stream at its pace.

use std::sync::Arc;

use keylane_client::{Client, Path, Producer, ProducerRecord, Receipt};

use super::gauge::{Gauge, Window};
use super::pacer::{Pacer, nap_until};
use super::settle::{Pending, Settled, Settler, SharedLatencies, locked};
use super::{LoadError, LoadPlan, Pace};
use crate::clock::monotonic_ns;
use crate::options::ProducePath;
use crate::schedule::Schedule;
use crate::workload::{RecordToSend, STAMP_HEADER, Stamp};

/// How many full batches a producer's memory holds per partition it writes to: those in flight and as many being filled.
const BATCHES_HELD: usize = 12;

/// The least memory of a producer.
const MEMORY_BYTES_MIN: usize = 4 * 1024 * 1024;

/// The most memory of a producer.
const MEMORY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The share of a load's bytes that its warm-up may use, so that some are left to be measured.
const WARM_UP_SHARE: u64 = 4;

/// What the producers of a thread have in common.
#[derive(Clone, Debug)]
pub(super) struct Common {
    pub(super) plan: Arc<LoadPlan>,
    pub(super) gauge: Arc<Gauge>,
    pub(super) publish: SharedLatencies,
}

/// A producer under way.
#[derive(Debug)]
pub(super) struct Sending {
    common: Common,
    producer: Producer,
    stream: u32,
    window: Window,
    settled: Settled,
    sequence: u64,
    end: u64,
    bytes_left: u64,
    warm_up_bytes_left: u64,
    record: RecordToSend,
}

/// Returns the producer of a stream, ready to send. In a closed loop it has sent its first records, unless the stream
/// ends: then its connections are there when the load begins, however many they are.
pub(super) async fn prepare(
    client: Client,
    common: Common,
    stream: u32,
) -> Result<Sending, LoadError> {
    let plan = &common.plan;
    let partitions = usize::try_from(plan.workload.partitions()).unwrap_or(1);
    let memory = plan
        .batch_size_bytes
        .saturating_mul(BATCHES_HELD * partitions);
    let (path, batch_size_bytes) = match plan.path {
        None => (Path::Automatic, plan.routed_batch_size_bytes),
        Some(ProducePath::Routed) => (Path::Routed, plan.routed_batch_size_bytes),
        Some(ProducePath::Partitioned) => (Path::Partitioned, Some(plan.batch_size_bytes)),
    };
    let mut builder = client.producer().path(path);
    if let Some(bytes) = batch_size_bytes {
        builder = builder.batch_size_bytes(bytes);
    }
    let producer = builder
        .acks(plan.acks)
        .linger(plan.linger)
        .memory_bytes(memory.clamp(MEMORY_BYTES_MIN, MEMORY_BYTES_MAX))
        .create_topics(false)
        .build();
    let bytes = plan.bytes_max / u64::from(plan.producers);
    let end = plan.workload.count(stream);
    let mut sending = Sending {
        producer: producer.await?,
        stream,
        window: Window::default(),
        settled: Settled::new(stream, Window::default()),
        sequence: 0,
        end: end.unwrap_or(u64::MAX),
        bytes_left: bytes,
        warm_up_bytes_left: bytes / WARM_UP_SHARE,
        record: RecordToSend::default(),
        common,
    };
    let path = match sending.producer.is_routed() {
        true => ProducePath::Routed,
        false => ProducePath::Partitioned,
    };
    sending.settled.path = Some(path);
    if let (Pace::Closed(records), None) = (sending.common.plan.pace, end) {
        sending.send_group(records, monotonic_ns()).await?;
    }
    Ok(sending)
}

/// Sends until the window ends, the bytes are used up or the stream ends, and waits until everything is settled.
pub(super) async fn run(mut sending: Sending, window: Window) -> Result<Settled, LoadError> {
    sending.window = window;
    sending.settled.window = window;
    let plan = Arc::clone(&sending.common.plan);
    nap_until(window.load_ns).await;
    match plan.pace {
        Pace::FlatOut => sending.run_open(None).await?,
        Pace::Rate(rate) => {
            let schedule = Schedule::new(window.load_ns, rate, plan.producers, sending.stream);
            sending.run_open(Some(schedule)).await?;
        }
        Pace::Closed(records) => sending.run_closed(records).await?,
    }
    let mut settled = sending.settled;
    settled.sent.count = sending.sequence;
    settled.bytes_sent = plan.bytes_max / u64::from(plan.producers) - sending.bytes_left;
    // What failed is known from its receipt.
    let _ = sending.producer.close().await;
    Ok(settled)
}

impl Sending {
    fn is_over(&self, now_ns: u64) -> bool {
        now_ns >= self.window.end_ns || self.sequence >= self.end || self.bytes_left == 0
    }

    /// Waits for measuring to begin once the warm-up has used its share of the bytes.
    async fn save_bytes(&mut self) {
        if self.warm_up_bytes_left == 0 {
            nap_until(self.window.start_ns).await;
        }
    }

    /// Sends on a schedule, or without one as fast as memory permits.
    async fn run_open(&mut self, schedule: Option<Schedule>) -> Result<(), LoadError> {
        let settled = std::mem::take(&mut self.settled);
        let mut settler = Settler::new(settled, &self.common);
        let pacer = schedule.map(|_| Pacer::new()).transpose()?;
        loop {
            let due_ns = match schedule {
                None => {
                    self.save_bytes().await;
                    monotonic_ns()
                }
                Some(schedule) => schedule.due_ns(self.sequence),
            };
            if self.is_over(due_ns) {
                break;
            }
            if let Some(pacer) = &pacer {
                pacer.sleep_until(due_ns).await?;
            }
            let pending = self.send(due_ns).await?;
            settler.settle(pending).await;
        }
        // What fails is known from its receipt.
        let _ = self.producer.flush().await;
        self.settled = settler.finish().await;
        Ok(())
    }

    /// Sends a number of records, waits for all of them, and goes on.
    async fn run_closed(&mut self, records: u32) -> Result<(), LoadError> {
        loop {
            self.save_bytes().await;
            let due_ns = monotonic_ns();
            if self.is_over(due_ns) {
                return Ok(());
            }
            self.send_group(records, due_ns).await?;
        }
    }

    /// Sends a number of records, if there are so many, and waits for all of them.
    async fn send_group(&mut self, records: u32, due_ns: u64) -> Result<(), LoadError> {
        let mut group: Vec<Pending> = Vec::new();
        for _ in 0..records {
            if self.sequence >= self.end || self.bytes_left == 0 {
                break;
            }
            let pending = self.send(due_ns).await?;
            group.push(pending);
        }
        // What fails is known from its receipt.
        let _ = self.producer.flush().await;
        let now_ns = monotonic_ns();
        let bytes = group.iter().map(|pending| pending.bytes).sum();
        self.common.gauge.add(group.len() as u64, bytes);
        let mut publish = locked(&self.common.publish);
        for pending in group {
            match acknowledged(&pending.receipt) {
                Ok(()) => self.settled.on_acknowledged(&pending, now_ns, &mut publish),
                Err(failure) => self.settled.on_failed(pending.sequence, &failure),
            }
        }
        Ok(())
    }

    async fn send(&mut self, due_ns: u64) -> Result<Pending, LoadError> {
        let stamp = Stamp {
            stream: self.stream,
            sequence: self.sequence,
            due_ns,
        };
        let record = &mut self.record;
        self.common.plan.workload.write(stamp, record);
        let mut outgoing = ProducerRecord::to(&self.common.plan.topic)
            .key(&record.key)
            .value(&record.value);
        if let Some(partition) = record.partition {
            outgoing = outgoing.partition(partition);
        }
        if let Some(header) = &record.header {
            outgoing = outgoing.header(STAMP_HEADER, header);
        }
        let receipt = self.producer.send(outgoing).await?;
        let bytes = (record.key.len() + record.value.len()) as u64;
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
        self.warm_up_bytes_left = self.warm_up_bytes_left.saturating_sub(bytes);
        self.sequence += 1;
        Ok(Pending {
            receipt,
            sequence: stamp.sequence,
            due_ns,
            bytes,
        })
    }
}

fn acknowledged(receipt: &Receipt) -> Result<(), String> {
    match receipt.now() {
        Some(Ok(_)) => Ok(()),
        Some(Err(error)) => Err(error.to_string()),
        None => Err("the record was flushed without an outcome".to_owned()),
    }
}
