//! The sums of a scenario under way, and the ratios that follow from them.

use super::side::SideSum;
use crate::latency::{Latencies, LatencySummary};
use crate::load::Pace;
use crate::report::{Limit, PathRatios, ScenarioReport, Side};
use crate::scenario::Scenario;
use crate::verify::Verdict;

/// Below this multiple of the null broker's throughput, what the generator reaches against a sink bounds the figures.
const GENERATOR_ROOM: f64 = 1.3;

/// Everything measured of a scenario so far.
#[derive(Debug, Default)]
pub(super) struct Sums {
    pub(super) cluster: SideSum,
    /// By the other path.
    pub(super) beside: SideSum,
    pub(super) null: SideSum,
    pub(super) relayed: SideSum,
    pub(super) sink: SideSum,
    pub(super) fdatasync: Latencies,
    pub(super) round_trip: Latencies,
    pub(super) verify: Verdict,
}

impl Sums {
    /// Returns the scenario's figures.
    pub(super) fn report(self, scenario: &Scenario) -> ScenarioReport {
        let cluster = self.cluster.side();
        let partitioned = self.beside.side();
        let null = self.null.side();
        let relayed = self.relayed.side();
        let sink = self.sink.side();
        let has_probes = scenario.has_probes;
        let fdatasync = has_probes.then(|| self.fdatasync.summary());
        let round_trip = has_probes.then(|| self.round_trip.summary());
        let mut limit = match fdatasync.zip(round_trip) {
            Some((sync, trip)) => latency_limit(
                cluster.as_ref(),
                Some([sync.p50 + trip.p50, sync.p99 + trip.p99]),
                "a lone fdatasync and a loopback round trip",
            ),
            None => {
                let publish = null.as_ref().map(|side| side.latency_ms.publish);
                let both = publish.map(|LatencySummary { p50, p99, .. }| [p50, p99]);
                latency_limit(cluster.as_ref(), both, "the null broker")
            }
        };
        let is_scheduled = matches!(scenario.pace, Pace::Rate(_));
        let rate = |side: &Side| side.throughput.records_per_second;
        let null_rate = null.as_ref().map(rate).filter(|&rate| rate > 0.0);
        if !is_scheduled {
            let ours = cluster.as_ref().map(rate);
            let relayed_rate = relayed.as_ref().map(rate).filter(|&rate| rate > 0.0);
            let ratio = |(ours, limit)| ours / limit;
            limit.throughput_ratio = ours.zip(null_rate).map(ratio);
            limit.relayed_throughput_ratio = ours.zip(relayed_rate).map(ratio);
        }
        let ceiling = sink.as_ref().map(rate).zip(null_rate);
        limit.generator_bound = ceiling.is_some_and(|(sink, null)| sink < GENERATOR_ROOM * null);
        ScenarioReport {
            name: scenario.name.clone(),
            title: scenario.title.clone(),
            config: scenario.config(),
            routed_by_partitioned: PathRatios::between(cluster.as_ref(), partitioned.as_ref()),
            cluster,
            partitioned,
            null_broker: null,
            null_relay: relayed,
            unrouted: scenario.unrouted,
            sink,
            fdatasync_ms: fdatasync,
            round_trip_ms: round_trip,
            limit,
            verify: self.verify,
        }
    }
}

/// Returns the ratios of latency, median and 99th percentile, against a limit.
fn latency_limit(ours: Option<&Side>, limit: Option<[f64; 2]>, against: &'static str) -> Limit {
    let publish = ours.map(|side| side.latency_ms.publish);
    let both = publish.zip(limit);
    let ratio = |ours: f64, limit: f64| (limit > 0.0).then(|| ours / limit);
    Limit {
        latency_p50_ratio: both.and_then(|(ours, [p50, _])| ratio(ours.p50, p50)),
        latency_p99_ratio: both.and_then(|(ours, [_, p99])| ratio(ours.p99, p99)),
        latency_against: against,
        ..Limit::default()
    }
}
