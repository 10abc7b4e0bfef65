//! What a run found. Everything that is printed comes from here, and is written as JSON under names that stay.

mod svg;
mod table;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

pub use self::svg::write_svg;
pub use self::table::write_table;
use crate::latency::LatencySummary;
use crate::machine::Machine;
use crate::options::ProducePath;
use crate::scenario::ScenarioConfig;
use crate::verify::Verdict;

/// A whole run. The fields above `scenarios` are those of the headline, the verdict's counts of all scenarios.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The version of the program.
    pub version: String,
    /// What it was measured on.
    pub machine: Machine,
    /// Of the headline.
    pub throughput: Throughput,
    /// Of all scenarios together.
    pub verify: Verdict,
    /// Of the headline; until a reader has the record, of the first scenario with readers if the headline has none.
    pub latency_ms: LatencyMs,
    /// Of the headline, by process.
    pub cpu_seconds_per_gb: BTreeMap<String, f64>,
    /// Throughput of the headline; latency of one record in flight, if that was measured.
    pub limit: Limit,
    /// What a router costs, for each scenario that was run with one and without.
    pub router_adds: Vec<RouterAdds>,
    /// Each scenario.
    pub scenarios: Vec<ScenarioReport>,
    /// How long everything took.
    pub seconds: f64,
    /// Whether every acknowledged record was read once, in order, unaltered, and every record was acknowledged.
    pub is_clean: bool,
    /// The last line printed.
    pub verdict: String,
}

/// Records and bytes per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Throughput {
    /// Records acknowledged per second.
    pub records_per_second: f64,
    /// Their keys and values, in 10^6 bytes per second.
    pub megabytes_per_second: f64,
}

/// Latencies from the intended send time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct LatencyMs {
    /// Until the acknowledgement.
    pub publish: LatencySummary,
    /// Until a reader has the record; absent without readers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_to_end: Option<LatencySummary>,
}

/// How close to the limit.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Limit {
    /// Our throughput by that of the null broker; absent if it was not run, or if sending kept to a schedule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throughput_ratio: Option<f64>,
    /// Our throughput by that of the null broker behind the null relay; absent if it was not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relayed_throughput_ratio: Option<f64>,
    /// Our median latency by that of the limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_p50_ratio: Option<f64>,
    /// Our 99th percentile by that of the limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_p99_ratio: Option<f64>,
    /// What the limit of latency is.
    pub latency_against: &'static str,
    /// Whether the null broker was so close to what the generator can send at all (its throughput against a sink is
    /// below 1.3 times the null broker's) that throughput says more about the generator; false where no sink was run.
    pub generator_bound: bool,
}

/// A scenario's figures.
#[derive(Clone, Debug, Serialize)]
pub struct ScenarioReport {
    /// The scenario's name.
    pub name: String,
    /// What it is, for people.
    pub title: String,
    /// Its settings.
    pub config: ScenarioConfig,
    /// The cluster; absent if only the limit was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Side>,
    /// The cluster again, by the partitioned path through the same routers, where `cluster` took the routed one; absent if
    /// one path was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partitioned: Option<Side>,
    /// The routed path by the partitioned one, where both were measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routed_by_partitioned: Option<PathRatios>,
    /// The null broker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub null_broker: Option<Side>,
    /// The null broker behind the null relay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub null_relay: Option<Side>,
    /// The scenario that is the same but for its routers, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unrouted: Option<&'static str>,
    /// The generator against a sink.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sink: Option<Side>,
    /// A lone fdatasync of as many bytes as a batch of the scenario has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fdatasync_ms: Option<LatencySummary>,
    /// A round trip over the loopback interface with as many bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round_trip_ms: Option<LatencySummary>,
    /// The ratios.
    pub limit: Limit,
    /// What was read back from the cluster.
    pub verify: Verdict,
}

/// One side of a comparison, over all of its slots.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Side {
    /// Who chose partitions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<ProducePath>,
    /// Over the measured time of all slots.
    pub throughput: Throughput,
    /// Throughput of each slot, in the order in which they ran, in 10^6 bytes per second.
    pub slots_megabytes_per_second: Vec<f64>,
    /// Latencies of all slots.
    pub latency_ms: LatencyMs,
    /// By process: `router-1`, `broker-1` and so on, `router` and `broker` being the sums of all of them; `null_broker`,
    /// `null_relay`; `generator`.
    pub cpu_seconds_per_gb: BTreeMap<String, f64>,
    /// What the server wrote to disk per byte of keys and values; absent if the kernel does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_written_per_byte: Option<f64>,
    /// The server's calls that write, files and sockets, in the measured time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_calls: Option<u64>,
    /// By process likewise, for a million records.
    pub cpu_seconds_per_million_records: BTreeMap<String, f64>,
    /// The servers' syncs of files of the log, of a null broker those of its warm-up included; absent if they do not
    /// tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fsyncs: Option<u64>,
    /// The same per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fsyncs_per_second: Option<f64>,
    /// Requests that produce, at what is dialled, per second; absent if the servers do not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub produce_requests_per_second: Option<f64>,
    /// Sockets of the generator, in the slot where they were most; absent if the kernel does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sockets: Option<u64>,
    /// Flushes of the disk's cache in the measured time, whoever asked for them; absent if the kernel does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_flushes: Option<u64>,
    /// Records per stored batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records_per_batch: Option<f64>,
    /// Bytes of keys and values per stored batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_batch: Option<f64>,
    /// Bytes per stored batch as it lies in the log, headers included; absent if the servers do not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored_bytes_per_batch: Option<f64>,
    /// The first failure of a record that was not acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_failure: Option<String>,
}

/// What routers make of a workload whose partitions they choose, by what producers make of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PathRatios {
    /// Of throughput.
    pub throughput_ratio: f64,
    /// Of processor time for a record, servers and generator together.
    pub cpu_ratio: f64,
}

impl PathRatios {
    /// Returns the ratios of two sides; `None` without both, or if nothing was acknowledged on the partitioned one.
    #[must_use]
    pub fn between(routed: Option<&Side>, partitioned: Option<&Side>) -> Option<Self> {
        let (routed, partitioned) = routed.zip(partitioned)?;
        let ratio = |of: fn(&Side) -> f64| {
            let below = of(partitioned);
            (below > 0.0).then(|| of(routed) / below)
        };
        Some(Self {
            throughput_ratio: ratio(|side| side.throughput.records_per_second)?,
            cpu_ratio: ratio(Side::cpu_of_all)?,
        })
    }
}

/// What clients pay for going through a router.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RouterAdds {
    /// The scenario with the router.
    pub scenario: String,
    /// What it adds to the median time until the acknowledgement.
    pub publish_p50_ms: f64,
    /// The processor time of all servers that it adds; absent if the kernel does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_seconds_per_gb: Option<f64>,
    /// The throughput with it by that without.
    pub throughput_ratio: f64,
}

impl RouterAdds {
    fn between(routed: &ScenarioReport, unrouted: &ScenarioReport) -> Option<Self> {
        let (with, without) = (routed.cluster.as_ref()?, unrouted.cluster.as_ref()?);
        let p50 = |side: &Side| side.latency_ms.publish.p50;
        let rate = |side: &Side| side.throughput.records_per_second;
        let both = with.servers_cpu().zip(without.servers_cpu());
        Some(Self {
            scenario: routed.name.clone(),
            publish_p50_ms: p50(with) - p50(without),
            cpu_seconds_per_gb: both.map(|(with, without)| with - without),
            throughput_ratio: rate(with) / rate(without),
        })
    }
}

impl Side {
    /// Returns the processor seconds per GB of all of its servers together; `None` if the kernel does not tell.
    #[must_use]
    pub fn servers_cpu(&self) -> Option<f64> {
        let sums = ["broker", "router", "null_broker", "null_relay"];
        let found = sums
            .iter()
            .filter_map(|name| self.cpu_seconds_per_gb.get(*name));
        found.copied().reduce(|all, one| all + one)
    }
}

impl Side {
    /// Returns the processor seconds for a million records of servers and generator together.
    fn cpu_of_all(&self) -> f64 {
        let spent = self.cpu_seconds_per_million_records.iter();
        // Sums of several processes would count them twice.
        let spent = spent.filter(|(name, _)| !table::is_sum(name));
        spent.map(|(_, cpu)| cpu).sum()
    }
}

impl Throughput {
    /// Returns records and bytes over a time.
    #[must_use]
    pub fn over(records: u64, bytes: u64, time: Duration) -> Self {
        Self {
            records_per_second: quotient(records, 1) / time.as_secs_f64(),
            megabytes_per_second: quotient(bytes, 1_000_000) / time.as_secs_f64(),
        }
    }
}

/// Returns one number by another, 0 by 0 being 0.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "reports show a few digits")]
pub fn quotient(dividend: u64, divisor: u64) -> f64 {
    if dividend == 0 {
        0.0
    } else {
        dividend as f64 / divisor as f64
    }
}

impl Report {
    /// Fills in what the whole run says, from its scenarios; `headline` and `latency` name those at the top.
    pub fn summarize(&mut self, headline: &str, latency: &str) {
        let named = |name: &str| self.scenarios.iter().find(|found| found.name == name);
        if let Some(top) = named(headline).or(self.scenarios.first()) {
            let side = top.cluster.as_ref().or(top.null_broker.as_ref());
            if let Some(side) = side {
                self.throughput = side.throughput;
                self.latency_ms = side.latency_ms;
                self.cpu_seconds_per_gb = side.cpu_seconds_per_gb.clone();
            }
            self.limit = top.limit.clone();
            let null = top.null_broker.as_ref();
            let cpu = null.and_then(|null| null.cpu_seconds_per_gb.get("null_broker"));
            if let Some(&cpu) = cpu {
                self.cpu_seconds_per_gb
                    .insert("null_broker".to_owned(), cpu);
            }
        }
        let sides = self
            .scenarios
            .iter()
            .filter_map(|found| found.cluster.as_ref());
        let end_to_end = sides.filter_map(|side| side.latency_ms.end_to_end).next();
        self.latency_ms.end_to_end = self.latency_ms.end_to_end.or(end_to_end);
        if let Some(found) = named(latency) {
            self.limit.latency_p50_ratio = found.limit.latency_p50_ratio;
            self.limit.latency_p99_ratio = found.limit.latency_p99_ratio;
            self.limit.latency_against = found.limit.latency_against;
        }
        let adds = self.scenarios.iter().filter_map(|routed| {
            let unrouted = named(routed.unrouted?)?;
            RouterAdds::between(routed, unrouted)
        });
        self.router_adds = adds.collect();
        let mut verify = Verdict::default();
        let mut failure = None;
        for scenario in &self.scenarios {
            verify.add(&scenario.verify);
            let sides = [&scenario.cluster, &scenario.partitioned];
            let mut failures = sides.into_iter().flatten();
            let found = failures.find_map(|side| side.first_failure.clone());
            failure = failure.or(found);
        }
        self.is_clean = verify.is_clean() && failure.is_none();
        self.verify = verify;
        self.verdict = self.verdict_line(failure.as_deref());
    }

    fn verdict_line(&self, failure: Option<&str>) -> String {
        let Verdict {
            read,
            lost,
            duplicated,
            reordered,
            altered,
            misplaced,
            ..
        } = self.verify;
        let mut line = if self.scenarios.iter().any(|found| found.cluster.is_some()) {
            let word = if self.is_clean { "PASSED" } else { "FAILED" };
            format!(
                "{word}: {lost} lost, {duplicated} duplicated, {reordered} reordered, {altered} altered, \
                 {misplaced} misplaced of {} records read back",
                table::grouped(quotient(read, 1))
            )
        } else {
            "limits only: nothing was verified".to_owned()
        };
        if let Some(failure) = failure {
            line.push_str(&format!("; not acknowledged: {failure}"));
        }
        let ratios = self.scenarios.iter().filter_map(|scenario| {
            let ratio = scenario.limit.throughput_ratio?;
            let mark = if scenario.limit.generator_bound {
                "*"
            } else {
                ""
            };
            Some(format!("{} {ratio:.2}{mark}", scenario.name))
        });
        let ratios: Vec<String> = ratios.collect();
        if !ratios.is_empty() {
            line.push_str(&format!(
                "; of the limit's throughput: {}",
                ratios.join(", ")
            ));
        }
        if let Some(ratio) = self.limit.latency_p50_ratio {
            let against = self.limit.latency_against;
            line.push_str(&format!("; of the latency of {against}: p50 {ratio:.2} x"));
        }
        line
    }
}

#[cfg(test)]
mod tests;
