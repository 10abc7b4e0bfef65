//! Adds up the slots of one side of a comparison.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::latency::Latencies;
use crate::load::LoadOutcome;
use crate::metrics::ServerCounters;
use crate::options::ProducePath;
use crate::proc_stat::ProcessCounters;
use crate::report::{LatencyMs, Side, Throughput, quotient};

/// What one slot measured.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) outcome: LoadOutcome,
    /// What the servers used, by name; none if they are not ours to ask.
    pub(super) servers: BTreeMap<String, ProcessCounters>,
    pub(super) generator: ProcessCounters,
    pub(super) disk_flushes: Option<u64>,
    /// What the servers told of themselves, and for how long; `None` if they do not.
    pub(super) told: Option<ServerCounters>,
    pub(super) told_for: Duration,
    /// What was read back.
    pub(super) batches: u64,
    pub(super) batch_records: u64,
    pub(super) batch_bytes: u64,
}

/// The sum of slots.
#[derive(Debug, Default)]
pub(super) struct SideSum {
    rates: Vec<f64>,
    records: u64,
    bytes: u64,
    measured: Duration,
    publish: Latencies,
    end_to_end: Latencies,
    servers: BTreeMap<String, ProcessCounters>,
    generator: ProcessCounters,
    disk_flushes: Option<u64>,
    told: Option<ServerCounters>,
    told_for: Duration,
    sockets: Option<u64>,
    path: Option<ProducePath>,
    batches: u64,
    batch_records: u64,
    batch_bytes: u64,
    first_failure: Option<String>,
}

impl SideSum {
    pub(super) fn add(&mut self, slot: Slot) {
        let outcome = slot.outcome;
        let rate = Throughput::over(outcome.records, outcome.bytes, outcome.measured);
        self.rates.push(rate.megabytes_per_second);
        self.records += outcome.records;
        self.bytes += outcome.bytes;
        self.measured += outcome.measured;
        self.publish.add(&outcome.publish);
        self.end_to_end.add(&outcome.end_to_end);
        for (name, server) in slot.servers {
            self.servers.entry(name).or_default().add(&server);
        }
        self.generator.add(&slot.generator);
        if let Some(told) = slot.told {
            self.told.get_or_insert_default().add(&told);
            self.told_for += slot.told_for;
        }
        self.path = self.path.or(outcome.path);
        self.sockets = self.sockets.max(outcome.sockets);
        if let Some(flushes) = slot.disk_flushes {
            *self.disk_flushes.get_or_insert_default() += flushes;
        }
        self.batches += slot.batches;
        self.batch_records += slot.batch_records;
        self.batch_bytes += slot.batch_bytes;
        self.first_failure = self.first_failure.take().or(outcome.first_failure);
    }

    /// Returns the figures, `None` if no slot was run.
    pub(super) fn side(self) -> Option<Side> {
        if self.rates.is_empty() {
            return None;
        }
        let gigabytes = quotient(self.bytes, 1_000_000_000);
        let million_records = quotient(self.records, 1_000_000);
        let all = (!self.servers.is_empty()).then(|| {
            let mut all = ProcessCounters::default();
            self.servers.values().for_each(|server| all.add(server));
            all
        });
        let per_second = |count: fn(&ServerCounters) -> u64| {
            let seconds = self.told_for.as_secs_f64();
            let told = self.told.filter(|_| seconds > 0.0);
            told.map(|told| quotient(count(&told), 1) / seconds)
        };
        let stored = self.told.filter(|told| told.batches > 0);
        let has_batches = self.batches > 0;
        let has_bytes = self.bytes > 0;
        Some(Side {
            path: self.path,
            throughput: Throughput::over(self.records, self.bytes, self.measured),
            latency_ms: LatencyMs {
                publish: self.publish.summary(),
                end_to_end: (self.end_to_end.count() > 0).then(|| self.end_to_end.summary()),
            },
            cpu_seconds_per_gb: self.processors(gigabytes),
            cpu_seconds_per_million_records: self.processors(million_records),
            bytes_written_per_byte: all
                .filter(|server| server.bytes_written > 0 && has_bytes)
                .map(|server| quotient(server.bytes_written, self.bytes)),
            write_calls: all.map(|servers| servers.write_calls),
            fsyncs: self.told.map(|told| told.syncs),
            fsyncs_per_second: per_second(|told| told.syncs),
            produce_requests_per_second: per_second(|told| told.produce_requests),
            sockets: self.sockets,
            disk_flushes: self.disk_flushes,
            records_per_batch: has_batches.then(|| quotient(self.batch_records, self.batches)),
            bytes_per_batch: has_batches.then(|| quotient(self.batch_bytes, self.batches)),
            stored_bytes_per_batch: stored.map(|told| quotient(told.appended_bytes, told.batches)),
            first_failure: self.first_failure,
            slots_megabytes_per_second: self.rates,
        })
    }

    /// Returns the processor seconds by process over so much of something.
    fn processors(&self, amount: f64) -> BTreeMap<String, f64> {
        let amount = amount.max(f64::MIN_POSITIVE);
        let share = |counters: &ProcessCounters| counters.processor.as_secs_f64() / amount;
        let mut processors = BTreeMap::new();
        processors.insert("generator".to_owned(), share(&self.generator));
        for (name, server) in &self.servers {
            processors.insert(name.clone(), share(server));
            // `broker-1` and `broker-2` are together `broker`.
            if let Some((kind, _)) = name.split_once('-') {
                *processors.entry(kind.to_owned()).or_insert(0.0) += share(server);
            }
        }
        processors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_added_over_their_measured_time() {
        // Only brokers write.
        let used = |name: &str| ProcessCounters {
            processor: Duration::from_millis(10),
            bytes_written: if name == "broker-1" { 2_200_000 } else { 0 },
            write_calls: 1,
        };
        let slot = |records, millis| Slot {
            outcome: LoadOutcome {
                records,
                bytes: records * 1_000,
                measured: Duration::from_millis(millis),
                ..LoadOutcome::default()
            },
            servers: ["broker-1", "broker-2", "router-1"]
                .map(|name| (name.to_owned(), used(name)))
                .into(),
            told: Some(ServerCounters {
                syncs: 5,
                batches: 20,
                appended_bytes: 30_000,
                produce_requests: 40,
            }),
            told_for: Duration::from_millis(millis),
            batches: 10,
            batch_records: records,
            batch_bytes: records * 1_000,
            ..Slot::default()
        };
        let mut sum = SideSum::default();
        sum.add(slot(1_000, 100));
        sum.add(slot(3_000, 100));
        let side = sum.side().expect("two slots");
        assert!((side.throughput.records_per_second - 20_000.0).abs() < 1.0);
        assert!((side.slots_megabytes_per_second[1] - 30.0).abs() < 0.01);
        // Two slots of 10 ms for 4 MB.
        let cpu = &side.cpu_seconds_per_gb;
        assert!((cpu["broker-2"] - 5.0).abs() < 0.01, "{cpu:?}");
        assert!((cpu["broker"] - 10.0).abs() < 0.01, "{cpu:?}");
        assert!((cpu["router"] - 5.0).abs() < 0.01, "{cpu:?}");
        assert!((side.bytes_written_per_byte.expect("told") - 1.1).abs() < 0.01);
        assert_eq!(side.records_per_batch, Some(200.0));
        // For 4,000 records.
        let cpu = &side.cpu_seconds_per_million_records;
        assert!((cpu["router"] - 5.0).abs() < 0.01, "{cpu:?}");
        assert_eq!(
            (side.fsyncs, side.fsyncs_per_second),
            (Some(10), Some(50.0))
        );
        assert_eq!(side.produce_requests_per_second, Some(400.0));
        assert_eq!(side.stored_bytes_per_batch, Some(1_500.0));
        assert_eq!(side.write_calls, Some(6));
        assert!(SideSum::default().side().is_none());
    }
}
