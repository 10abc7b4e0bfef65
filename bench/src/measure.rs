//! One scenario, measured: slots of cluster (by one path or by both), null broker and null relay alternate A B C C B A,
//! then the sink; everything the cluster acknowledged is read back and verified after each of its slots.

mod error;
mod side;
mod sums;
mod topic;
mod warm;

use std::ffi::OsString;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::syncfs;
use rustix::process::{Resource, getrlimit};

pub use self::error::BenchError;
pub(crate) use self::error::{load_error, machine};
use self::side::Slot;
use self::sums::Sums;
use self::warm::{warm, warm_slot_bytes};
use crate::cluster::{Cluster, Process};
use crate::load::{LoadPlan, Pace, read_back, run_load, runtime};
use crate::machine::disk_flushes;
use crate::metrics::ServerCounters;
use crate::null_broker::{NullBrokerArguments, NullMode, NullStatistics};
use crate::options::{Durability, ProducePath};
use crate::probe::{probe_fdatasync, probe_round_trip};
use crate::proc_stat::ProcessCounters;
use crate::process::Server;
use crate::progress::Progress;
use crate::report::ScenarioReport;
use crate::scenario::Scenario;
use crate::verify::Verdict;
use crate::workload::Workload;

/// How long a lone fdatasync is measured, before each slot and after the last.
const PROBE_SYNC: Duration = Duration::from_millis(250);

/// How long a round trip is measured, likewise.
const PROBE_TRIP: Duration = Duration::from_millis(50);

/// What a record of one KiB is on the wire with request and batch around it, about.
const OVERHEAD_BYTES: usize = 160;

/// Where a cluster keeps its data.
const CLUSTER_FOLDER: &str = "cluster";

/// The least and the most bytes that a null broker's file has.
const NULL_FILE_BYTES: [u64; 2] = [128 << 20, 1 << 30];

/// Measures scenarios, one after the other.
#[derive(Debug)]
pub struct Measurer<'a> {
    /// The `keylane` program.
    pub program: &'a Path,
    /// Where servers keep their data.
    pub folder: &'a Path,
    /// The cluster to measure; `None` starts one.
    pub connect: Option<&'a str>,
    /// Whether only limits are measured.
    pub limit_only: bool,
    /// The most bytes that a slot sends.
    pub slot_bytes_max: u64,
    /// The most bytes that a slot sends which measures memory; twice as many are written to give it its memory.
    pub memory_slot_bytes_max: u64,
    /// Shows how far it is.
    pub progress: &'a Progress,
}

/// What the kernel has counted at one moment.
#[derive(Debug, Default)]
struct Counted {
    /// In the order of the processes.
    servers: Vec<ProcessCounters>,
    generator: ProcessCounters,
    disk_flushes: Option<u64>,
    /// What all servers together tell of themselves; `None` if one of them does not.
    told: Option<ServerCounters>,
}

impl Counted {
    /// What is asked of servers comes last, at the end as at the start: it costs them a little.
    fn read(servers: &[Process], folder: &Path) -> Self {
        let counters = |process: u32| ProcessCounters::read(process).unwrap_or_default();
        Self {
            servers: servers.iter().map(|server| counters(server.id)).collect(),
            generator: counters(std::process::id()),
            disk_flushes: disk_flushes(folder),
            told: told_by(servers),
        }
    }
}

fn told_by(servers: &[Process]) -> Option<ServerCounters> {
    let mut sum = (!servers.is_empty()).then(ServerCounters::default)?;
    for server in servers {
        sum.add(&ServerCounters::read(server.admin?).ok()?);
    }
    Some(sum)
}

/// What runs in one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Runs {
    /// What is measured, by this path.
    Cluster(Option<ProducePath>),
    /// The same by another path.
    Beside(Option<ProducePath>),
    /// The null broker, dialled.
    NullBroker,
    /// The null broker behind the null relay.
    NullRelay,
    /// A null broker that only answers.
    Sink,
}

/// Returns what runs in which order, so that what drifts meets all alike.
fn slots(scenario: &Scenario, has_cluster: bool) -> Vec<Runs> {
    let yardsticks = scenario.yardsticks;
    let mut forth = Vec::new();
    let mut add = |is_wanted: bool, runs| {
        if is_wanted {
            forth.push(runs);
        }
    };
    for (number, path) in scenario.paths().into_iter().enumerate() {
        let runs = match number {
            0 => Runs::Cluster(path),
            _ => Runs::Beside(path),
        };
        add(has_cluster, runs);
    }
    add(yardsticks.has_null_broker, Runs::NullBroker);
    add(yardsticks.has_null_relay, Runs::NullRelay);
    // Limits that are held against nothing are measured once.
    let back: Vec<Runs> = match has_cluster {
        true => forth.iter().rev().copied().collect(),
        false => Vec::new(),
    };
    let sink = yardsticks.has_sink.then_some(Runs::Sink);
    forth.into_iter().chain(back).chain(sink).collect()
}

impl Measurer<'_> {
    /// Measures a scenario.
    ///
    /// # Errors
    /// When something other than the verification fails.
    pub fn measure(&self, scenario: &Scenario) -> Result<ScenarioReport, BenchError> {
        check_open_files(scenario)?;
        let workload = Arc::new(scenario.workload()?);
        let mut sums = Sums::default();
        let cluster = self.start_cluster(scenario)?;
        let addresses = match (&cluster, self.connect) {
            (Some(cluster), _) => cluster.addresses(),
            (None, Some(connect)) if !self.limit_only => vec![connect.to_owned()],
            (None, _) => Vec::new(),
        };
        let processes = cluster.as_ref().map(Cluster::processes);
        let slots = slots(scenario, !addresses.is_empty());
        for (number, runs) in slots.into_iter().enumerate() {
            self.settle()?;
            self.probe(scenario, &mut sums)?;
            self.warm(scenario)?;
            let (Runs::Cluster(path) | Runs::Beside(path)) = runs else {
                self.null_slot(scenario, &workload, runs, &mut sums)?;
                continue;
            };
            let topic = format!("bench-{}-{}-{number}", scenario.name, std::process::id());
            let mut plan = self.plan(scenario, &workload, addresses.clone(), &topic);
            plan.path = path;
            let processes = processes.as_deref().unwrap_or_default();
            let (slot, found) = self.cluster_slot(scenario, &plan, processes)?;
            sums.verify.add(&found);
            match runs {
                Runs::Beside(_) => sums.beside.add(slot),
                _ => sums.cluster.add(slot),
            }
        }
        if let Some(cluster) = cluster {
            cluster.stop()?;
            remove(&self.folder.join(CLUSTER_FOLDER))?;
        }
        self.settle()?;
        self.probe(scenario, &mut sums)?;
        Ok(sums.report(scenario))
    }

    /// Waits until the disk has done what earlier slots left to do, such as discarding gigabytes of removed files, which
    /// would be charged to the next slot.
    fn settle(&self) -> Result<(), BenchError> {
        let folder = File::open(self.folder);
        let settled = folder.and_then(|folder| Ok(syncfs(folder)?));
        settled.map_err(|source| machine("sync the filesystem", source))
    }

    /// Gives a slot that measures memory the same memory as every other.
    fn warm(&self, scenario: &Scenario) -> Result<(), BenchError> {
        if !scenario.measures_memory() {
            return Ok(());
        }
        self.progress
            .note(&format!("{}: warming memory", scenario.title));
        let warmed = warm(self.folder, self.slot_bytes(scenario));
        warmed.map_err(|source| machine("write a file of its own", source))
    }

    /// Returns how many bytes a slot sends at most.
    fn slot_bytes(&self, scenario: &Scenario) -> u64 {
        if scenario.measures_memory() {
            warm_slot_bytes(self.slot_bytes_max).min(self.memory_slot_bytes_max)
        } else {
            self.slot_bytes_max
        }
    }

    fn start_cluster(&self, scenario: &Scenario) -> Result<Option<Cluster>, BenchError> {
        if self.connect.is_some() || self.limit_only {
            return Ok(None);
        }
        self.progress.note(&format!(
            "{}: starting {}",
            scenario.title, scenario.servers
        ));
        let folder = self.folder.join(CLUSTER_FOLDER);
        std::fs::create_dir_all(&folder).map_err(|source| machine("make a folder", source))?;
        let connections = scenario.connections_max();
        let cluster = Cluster::start(self.program, &folder, scenario.servers, connections)?;
        Ok(Some(cluster))
    }

    fn plan(
        &self,
        scenario: &Scenario,
        workload: &Arc<Workload>,
        addresses: Vec<String>,
        topic: &str,
    ) -> LoadPlan {
        LoadPlan {
            addresses,
            topic: topic.to_owned(),
            workload: Arc::clone(workload),
            producers: scenario.producers,
            clients: scenario.clients,
            readers: scenario.readers,
            path: None,
            pace: scenario.pace,
            acks: scenario.acks,
            batch_size_bytes: scenario.batch_size_bytes,
            routed_batch_size_bytes: scenario.routed_batch_size_bytes,
            linger: scenario.linger,
            warm_up: scenario.warm_up,
            duration: scenario.duration,
            bytes_max: if workload.count(0).is_some() {
                u64::MAX
            } else {
                self.slot_bytes(scenario)
            },
        }
    }

    /// Runs a load against the cluster, reads everything back, and removes the topic. Returns what was measured and what
    /// was found.
    fn cluster_slot(
        &self,
        scenario: &Scenario,
        plan: &LoadPlan,
        processes: &[Process],
    ) -> Result<(Slot, Verdict), BenchError> {
        let path = plan.path.map_or("cluster", ProducePath::name);
        self.progress.note(&format!("{}: {path}", scenario.title));
        let runtime = runtime().map_err(|source| machine("make a runtime", source))?;
        let may_omit = self.connect.is_some();
        runtime.block_on(topic::create(plan, scenario.durability, may_omit))?;
        let mut slot = self.run_slot(scenario, plan, processes)?;
        self.progress
            .note(&format!("{}: reading back", scenario.title));
        let found = runtime.block_on(read_back(plan));
        let found = found.map_err(|source| load_error(&scenario.title, source))?;
        slot.batches = found.batches;
        slot.batch_records = found.records;
        slot.batch_bytes = found.bytes;
        let mut verdict = found.finish(&plan.workload, &slot.outcome.sent);
        if let Some(live) = &slot.outcome.live {
            verdict.add(live);
        }
        runtime.block_on(topic::delete(plan))?;
        Ok((slot, verdict))
    }

    /// Runs a load against a null broker, dialled or behind a null relay, or against a sink.
    fn null_slot(
        &self,
        scenario: &Scenario,
        workload: &Arc<Workload>,
        runs: Runs,
        sums: &mut Sums,
    ) -> Result<(), BenchError> {
        let is_sink = runs == Runs::Sink;
        // A reader of a sink would wait for ever; a schedule says nothing about a ceiling.
        if is_sink && matches!(scenario.pace, Pace::Rate(_)) {
            return Ok(());
        }
        let (name, sum) = match runs {
            Runs::Sink => ("sink", &mut sums.sink),
            Runs::NullRelay => ("null broker behind a null relay", &mut sums.relayed),
            Runs::NullBroker | Runs::Cluster(_) | Runs::Beside(_) => {
                ("null broker", &mut sums.null)
            }
        };
        self.progress.note(&format!("{}: {name}", scenario.title));
        let data = self.folder.join("null");
        std::fs::create_dir_all(&data).map_err(|source| machine("make a folder", source))?;
        let relay = match runs {
            Runs::NullRelay => Some(self.start_null_relay()?),
            _ => None,
        };
        let server = self.start_null_broker(scenario, is_sink, &data, relay.as_ref())?;
        let mut processes = vec![Process::of(&server)];
        let mut dialled = server.address().to_owned();
        let relay = relay.map(|mut relay| -> Result<Server, BenchError> {
            let told = relay.tell(server.address());
            told.map_err(|source| machine("tell a null relay where it relays to", source))?;
            processes.push(Process::of(&relay));
            dialled = relay.address().to_owned();
            Ok(relay)
        });
        let relay = relay.transpose()?;
        let mut plan = self.plan(scenario, workload, vec![dialled], "null");
        plan.path = Some(ProducePath::Partitioned);
        if is_sink {
            plan.readers = 0;
        }
        let mut slot = self.run_slot(scenario, &plan, &processes)?;
        if let Some(relay) = relay {
            relay.stop()?;
        }
        let lines = server.stop()?;
        let statistics = lines
            .last()
            .and_then(|line| serde_json::from_str(line).ok());
        let statistics: NullStatistics = statistics.unwrap_or_default();
        slot.told = Some(ServerCounters {
            syncs: statistics.syncs,
            batches: statistics.batches,
            appended_bytes: statistics.bytes,
            produce_requests: statistics.requests,
        });
        // It tells once, at its end.
        slot.told_for = slot.outcome.ran;
        slot.batches = statistics.batches;
        slot.batch_records = slot.outcome.sent.iter().map(|sent| sent.count).sum();
        slot.batch_bytes = slot.outcome.bytes_sent;
        remove(&data)?;
        sum.add(slot);
        Ok(())
    }

    fn start_null_broker(
        &self,
        scenario: &Scenario,
        is_sink: bool,
        data: &Path,
        relay: Option<&Server>,
    ) -> Result<Server, BenchError> {
        let [least, most] = NULL_FILE_BYTES;
        let relay_port = relay.and_then(|relay| relay.address().rsplit_once(':'));
        let arguments = NullBrokerArguments {
            mode: if is_sink {
                NullMode::Sink
            } else {
                null_mode(scenario)
            },
            folder: data.to_owned(),
            partitions: scenario.partitions,
            capacity_bytes: match scenario.pace {
                Pace::FlatOut => self.slot_bytes(scenario).clamp(least, most),
                Pace::Rate(_) | Pace::Closed(_) => least,
            },
            port: 0,
            advertised_port: relay_port.and_then(|(_, port)| port.parse().ok()),
        };
        let arguments = serde_json::to_string(&arguments)
            .map_err(|error| machine("describe a null broker", error.into()))?;
        let arguments = ["bench", "null-broker", &arguments].map(OsString::from);
        let server = Server::start(name_of_null(is_sink), self.program, arguments, self.folder)?;
        Ok(server)
    }

    fn start_null_relay(&self) -> Result<Server, BenchError> {
        let arguments = ["bench", "null-relay"].map(OsString::from);
        Ok(Server::start(
            "null_relay",
            self.program,
            arguments,
            self.folder,
        )?)
    }

    fn run_slot(
        &self,
        scenario: &Scenario,
        plan: &LoadPlan,
        processes: &[Process],
    ) -> Result<Slot, BenchError> {
        let mut before = Counted::default();
        let mut after = Counted::default();
        let outcome = run_load(
            plan,
            &Arc::default(),
            || before = Counted::read(processes, self.folder),
            || after = Counted::read(processes, self.folder),
        );
        let outcome = outcome.map_err(|source| load_error(&scenario.title, source))?;
        Ok(Slot {
            told_for: outcome.measured,
            outcome,
            servers: processes
                .iter()
                .zip(after.servers.iter().zip(&before.servers))
                .map(|(server, (after, before))| (server.name.clone(), after.since(before)))
                .collect(),
            generator: after.generator.since(&before.generator),
            disk_flushes: after
                .disk_flushes
                .zip(before.disk_flushes)
                .map(|(after, before)| after.saturating_sub(before)),
            told: after
                .told
                .zip(before.told)
                .map(|(after, before)| after.since(&before)),
            ..Slot::default()
        })
    }

    fn probe(&self, scenario: &Scenario, sums: &mut Sums) -> Result<(), BenchError> {
        if !scenario.has_probes {
            return Ok(());
        }
        self.progress.note(&format!("{}: probes", scenario.title));
        let bytes = 1024 + OVERHEAD_BYTES;
        let syncs = probe_fdatasync(self.folder, bytes, PROBE_SYNC);
        sums.fdatasync
            .add(&syncs.map_err(|source| machine("write and sync a file", source))?);
        let trips = probe_round_trip(bytes, PROBE_TRIP);
        sums.round_trip
            .add(&trips.map_err(|source| machine("use the loopback interface", source))?);
        Ok(())
    }
}

/// Refuses a scenario for which a process may not open enough files.
fn check_open_files(scenario: &Scenario) -> Result<(), BenchError> {
    let needed = scenario.open_files();
    match getrlimit(Resource::Nofile).current {
        Some(permitted) if permitted < needed => Err(BenchError::OpenFiles { needed, permitted }),
        _ => Ok(()),
    }
}

/// Returns the name under which reports know a null broker.
fn name_of_null(is_sink: bool) -> &'static str {
    if is_sink { "sink" } else { "null_broker" }
}

fn null_mode(scenario: &Scenario) -> NullMode {
    match scenario.durability {
        Durability::Fsync => NullMode::Durable,
        Durability::PageCache => NullMode::PageCache,
    }
}

fn remove(folder: &Path) -> Result<(), BenchError> {
    std::fs::remove_dir_all(folder).map_err(|source| machine("remove a folder of its own", source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Topology;
    use crate::options::Paths;
    use crate::scenario::Yardsticks;

    #[test]
    fn what_is_compared_alternates_forth_and_back() {
        let mut scenario = Scenario {
            yardsticks: Yardsticks::ROUTED,
            ..Scenario::large_batches("a", "b")
        };
        let one = Runs::Cluster(Some(ProducePath::Partitioned));
        let limits = [
            Runs::NullBroker,
            Runs::NullRelay,
            Runs::NullRelay,
            Runs::NullBroker,
        ];
        assert_eq!(
            slots(&scenario, true),
            [&[one], &limits[..], &[one]].concat()
        );
        assert_eq!(slots(&scenario, false), limits[..2]);
        scenario.servers = Topology::ROUTED_BROKER;
        assert_eq!(slots(&scenario, true)[0], Runs::Cluster(None));
        scenario.paths = Paths::Both;
        let routed = Runs::Cluster(Some(ProducePath::Routed));
        let partitioned = Runs::Beside(Some(ProducePath::Partitioned));
        let forth_and_back = [&[routed, partitioned], &limits[..], &[partitioned, routed]];
        assert_eq!(slots(&scenario, true), forth_and_back.concat());
    }

    #[test]
    fn more_connections_than_open_files_are_refused_with_what_is_needed() {
        let mut scenario = Scenario::large_batches("a", "b");
        check_open_files(&scenario).expect("a few");
        scenario.producers = u32::MAX;
        let error = check_open_files(&scenario).expect_err("too many");
        assert!(error.to_string().contains("ulimit -n"), "{error}");
    }
}
