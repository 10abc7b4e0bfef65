//! One producer of a load: sends the records of its stream at its pace.

use std::sync::Arc;

use keylane_client::{Producer, ProducerRecord, Receipt};

use super::gauge::{Gauge, Window};
use super::pacer::Pacer;
use super::settle::{Pending, Settled, Settler};
use super::{LoadError, LoadPlan, Pace};
use crate::clock::monotonic_ns;
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

/// Returns the producer of a stream, ready to send.
pub(super) async fn connect(plan: &LoadPlan, stream: u32) -> Result<Producer, LoadError> {
    let client = super::connect(plan.address(stream)).await?;
    let partitions = usize::try_from(plan.workload.partitions()).unwrap_or(1);
    let memory = plan
        .batch_size_bytes
        .saturating_mul(BATCHES_HELD * partitions);
    let producer = client
        .producer()
        .acks(plan.acks)
        .batch_size_bytes(plan.batch_size_bytes)
        .linger(plan.linger)
        .memory_bytes(memory.clamp(MEMORY_BYTES_MIN, MEMORY_BYTES_MAX))
        .create_topics(false)
        .build();
    Ok(producer.await?)
}

/// Sends until the window ends, the bytes are used up or the stream ends, and waits until everything is settled.
pub(super) async fn run(
    plan: &LoadPlan,
    producer: Producer,
    stream: u32,
    window: Window,
    gauge: &Arc<Gauge>,
) -> Result<Settled, LoadError> {
    let mut sending = Sending {
        plan,
        producer: &producer,
        stream,
        window,
        sequence: 0,
        end: plan.workload.count(stream).unwrap_or(u64::MAX),
        bytes_left: plan.bytes_max / u64::from(plan.producers),
        warm_up_bytes_left: plan.bytes_max / u64::from(plan.producers) / WARM_UP_SHARE,
        record: RecordToSend::default(),
    };
    let pacer = Pacer::new()?;
    pacer.sleep_until(window.load_ns).await?;
    let mut settled = match plan.pace {
        Pace::FlatOut => sending.run_open(None, &pacer, gauge).await?,
        Pace::Rate(rate) => {
            let schedule = Schedule::new(window.load_ns, rate, plan.producers, stream);
            sending.run_open(Some(schedule), &pacer, gauge).await?
        }
        Pace::Closed(records) => sending.run_closed(records, &pacer, gauge).await?,
    };
    settled.sent.count = sending.sequence;
    settled.bytes_sent = plan.bytes_max / u64::from(plan.producers) - sending.bytes_left;
    // What failed is known from its receipt.
    let _ = producer.close().await;
    Ok(settled)
}

/// A producer under way.
struct Sending<'a> {
    plan: &'a LoadPlan,
    producer: &'a Producer,
    stream: u32,
    window: Window,
    sequence: u64,
    end: u64,
    bytes_left: u64,
    warm_up_bytes_left: u64,
    record: RecordToSend,
}

impl Sending<'_> {
    fn is_over(&self, now_ns: u64) -> bool {
        now_ns >= self.window.end_ns || self.sequence >= self.end || self.bytes_left == 0
    }

    /// Waits for measuring to begin once the warm-up has used its share of the bytes.
    async fn save_bytes(&mut self, pacer: &Pacer) -> Result<(), LoadError> {
        if self.warm_up_bytes_left == 0 {
            pacer.sleep_until(self.window.start_ns).await?;
        }
        Ok(())
    }

    /// Sends on a schedule, or without one as fast as memory permits.
    async fn run_open(
        &mut self,
        schedule: Option<Schedule>,
        pacer: &Pacer,
        gauge: &Arc<Gauge>,
    ) -> Result<Settled, LoadError> {
        let mut settler = Settler::new(self.stream, self.window, Arc::clone(gauge));
        loop {
            if schedule.is_none() {
                self.save_bytes(pacer).await?;
            }
            let due_ns = match schedule {
                None => monotonic_ns(),
                Some(schedule) => schedule.due_ns(self.sequence),
            };
            if self.is_over(due_ns) {
                break;
            }
            if schedule.is_some() {
                pacer.sleep_until(due_ns).await?;
            }
            let pending = self.send(due_ns).await?;
            settler.settle(pending).await;
        }
        // What fails is known from its receipt.
        let _ = self.producer.flush().await;
        Ok(settler.finish().await)
    }

    /// Sends a number of records, waits for all of them, and goes on.
    async fn run_closed(
        &mut self,
        records: u32,
        pacer: &Pacer,
        gauge: &Gauge,
    ) -> Result<Settled, LoadError> {
        let mut settled = Settled::new(self.stream, self.window);
        let mut group: Vec<Pending> = Vec::new();
        loop {
            self.save_bytes(pacer).await?;
            let due_ns = monotonic_ns();
            if self.is_over(due_ns) {
                return Ok(settled);
            }
            for _ in 0..records {
                if self.is_over(due_ns) {
                    break;
                }
                let pending = self.send(due_ns).await?;
                group.push(pending);
            }
            // What fails is known from its receipt.
            let _ = self.producer.flush().await;
            let now_ns = monotonic_ns();
            let bytes = group.iter().map(|pending| pending.bytes).sum();
            gauge.add(group.len() as u64, bytes);
            for pending in group.drain(..) {
                match acknowledged(&pending.receipt) {
                    Ok(()) => settled.on_acknowledged(pending.due_ns, pending.bytes, now_ns),
                    Err(failure) => settled.on_failed(pending.sequence, &failure),
                }
            }
        }
    }

    async fn send(&mut self, due_ns: u64) -> Result<Pending, LoadError> {
        let stamp = Stamp {
            stream: self.stream,
            sequence: self.sequence,
            due_ns,
        };
        let record = &mut self.record;
        self.plan.workload.write(stamp, record);
        let mut outgoing = ProducerRecord::to(&self.plan.topic)
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
