//! Readers of a load: they follow while it runs, and read everything back when it is over.

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::time::Duration;

use keylane_client::{Acks, ConsumedBatch, Offset, PartitionIndex, Reader, StartAt};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::gauge::Gauge;
use super::{LoadError, LoadPlan, connect};
use crate::clock::monotonic_ns;
use crate::latency::Latencies;
use crate::verify::{Sent, Verdict, Verifier};
use crate::workload::{RecordRead, STAMP_HEADER, Workload};

/// When nothing has come for so long, what is missing is lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// When ends have not moved for so long, nothing is on its way.
const STILL: Duration = Duration::from_millis(500);

/// How long a follower waits before it looks whether the load is over.
const GLANCE: Duration = Duration::from_millis(50);

/// What was read.
#[derive(Debug, Default)]
pub struct ReadBack {
    /// From the intended send time until the record was there.
    pub end_to_end: Latencies,
    /// Stored batches.
    pub batches: u64,
    /// Their records.
    pub records: u64,
    /// Keys and values of the records.
    pub bytes: u64,
    verifiers: Vec<Verifier>,
    faults: Vec<String>,
}

impl ReadBack {
    /// Returns what is wrong with what was read, given what was sent.
    #[must_use]
    pub fn finish(self, workload: &Workload, sent: &[Sent]) -> Verdict {
        let mut verdict = Verdict::default();
        for verifier in self.verifiers {
            verdict.add(&verifier.finish(workload, sent));
        }
        verdict.first.extend(self.faults);
        verdict
    }

    fn add(&mut self, other: Self) {
        self.end_to_end.add(&other.end_to_end);
        self.batches += other.batches;
        self.records += other.records;
        self.bytes += other.bytes;
        self.verifiers.extend(other.verifiers);
        self.faults.extend(other.faults);
    }
}

/// Follows a load with all its readers until everything produced was read; tells `begun` when all of them read.
pub(super) async fn follow(
    plan: &LoadPlan,
    gauge: &std::sync::Arc<Gauge>,
    begun: &Barrier,
) -> Result<ReadBack, LoadError> {
    let mut readers = Vec::new();
    let mut failure = None;
    for _ in 0..plan.readers {
        match open(plan).await {
            Ok(reader) => readers.push(reader),
            Err(error) => failure = Some(error),
        }
    }
    begun.wait();
    if let Some(error) = failure {
        return Err(error);
    }
    let mut running = JoinSet::new();
    for reader in readers {
        let (plan, gauge) = (plan.clone(), std::sync::Arc::clone(gauge));
        running.spawn(async move { read(&plan, reader, Some(&gauge)).await });
    }
    let mut all = ReadBack::default();
    while let Some(ended) = running.join_next().await {
        all.add(ended.expect("no reader panics")?);
    }
    Ok(all)
}

/// Reads everything that the topic of a plan holds.
///
/// # Errors
/// When the cluster cannot be asked. A partition that cannot be read is a fault of the verdict.
pub async fn read_back(plan: &LoadPlan) -> Result<ReadBack, LoadError> {
    let reader = open(plan).await?;
    read(plan, reader, None).await
}

async fn open(plan: &LoadPlan) -> Result<Reader, LoadError> {
    let client = connect(plan.address(0)).await?;
    let reader = client.reader().topic(&plan.topic, StartAt::Earliest);
    Ok(reader.build().await?)
}

/// Reads to the end of all partitions; with a gauge, to where they end when nothing more is produced.
async fn read(
    plan: &LoadPlan,
    mut reader: Reader,
    gauge: Option<&Gauge>,
) -> Result<ReadBack, LoadError> {
    let mut found = ReadBack::default();
    let mut verifier = Verifier::new();
    let mut ends: Option<BTreeMap<PartitionIndex, Offset>> = None;
    loop {
        if ends.is_none() && gauge.is_none_or(Gauge::is_produced) {
            ends = Some(end_offsets(plan, &reader).await?);
        }
        if ends.as_ref().is_some_and(|ends| is_at(&reader, ends)) {
            break;
        }
        let patience = if ends.is_some() { PATIENCE } else { GLANCE };
        match timeout(patience, reader.next_batch()).await {
            Ok(Ok(batch)) => found.on_batch(&plan.workload, &mut verifier, &batch, gauge.is_some()),
            Ok(Err(error)) => {
                found.faults.push(format!("unreadable: {error}"));
                break;
            }
            Err(_) if ends.is_some() => {
                found.faults.push(format!("nothing came for {PATIENCE:?}"));
                break;
            }
            Err(_) => {}
        }
    }
    found.verifiers.push(verifier);
    Ok(found)
}

/// Returns where the partitions end. Without acknowledgements records may still be on their way: then the ends must
/// have stopped moving.
async fn end_offsets(
    plan: &LoadPlan,
    reader: &Reader,
) -> Result<BTreeMap<PartitionIndex, Offset>, LoadError> {
    let mut before = None;
    loop {
        let listed = reader.end_offsets().await?;
        let ends: BTreeMap<PartitionIndex, Offset> = listed
            .into_iter()
            .map(|((_, partition), end)| (partition, end))
            .collect();
        if plan.acks != Acks::None || before.as_ref() == Some(&ends) {
            return Ok(ends);
        }
        before = Some(ends);
        sleep(STILL).await;
    }
}

fn is_at(reader: &Reader, ends: &BTreeMap<PartitionIndex, Offset>) -> bool {
    let positions = reader.positions();
    let mut partitions = positions.iter();
    partitions.all(|((_, partition), next)| ends.get(partition).is_none_or(|end| next >= end))
}

impl ReadBack {
    fn on_batch(
        &mut self,
        workload: &Workload,
        verifier: &mut Verifier,
        batch: &ConsumedBatch,
        is_live: bool,
    ) {
        let now_ns = monotonic_ns();
        self.batches += 1;
        self.records += batch.records.len() as u64;
        for record in &batch.records {
            let headers = record.headers.iter();
            let mut stamps = headers.filter(|header| header.name == STAMP_HEADER);
            let read = RecordRead {
                partition: batch.partition,
                key: record.key.as_deref(),
                value: record.value.as_deref(),
                header: stamps.next().and_then(|header| header.value.as_deref()),
            };
            let bytes = read.key.map_or(0, <[u8]>::len) + read.value.map_or(0, <[u8]>::len);
            self.bytes += bytes as u64;
            let stamp = verifier.on_record(workload, record.offset, &read);
            if let Some(stamp) = stamp.filter(|_| is_live) {
                self.end_to_end.record(now_ns.saturating_sub(stamp.due_ns));
            }
        }
    }
}
