//! One scenario, measured: slots of cluster and null broker alternate A B B A, then the sink; everything the cluster
//! acknowledged is read back and verified after each of its slots.

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

pub use self::error::BenchError;
pub(crate) use self::error::{load_error, machine};
use self::side::Slot;
use self::sums::Sums;
use self::warm::{warm, warm_slot_bytes};
use crate::load::{LoadPlan, Pace, read_back, run_load, runtime};
use crate::machine::disk_flushes;
use crate::null_broker::{NullBrokerArguments, NullMode, NullStatistics};
use crate::options::Durability;
use crate::probe::{probe_fdatasync, probe_round_trip};
use crate::proc_stat::ProcessCounters;
use crate::process::Server;
use crate::progress::Progress;
use crate::report::ScenarioReport;
use crate::scenario::Scenario;
use crate::workload::Workload;

/// How long a lone fdatasync is measured, before each slot and after the last.
const PROBE_SYNC: Duration = Duration::from_millis(250);

/// How long a round trip is measured, likewise.
const PROBE_TRIP: Duration = Duration::from_millis(50);

/// What a record of one KiB is on the wire with request and batch around it, about.
const OVERHEAD_BYTES: usize = 160;

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
    /// Shows how far it is.
    pub progress: &'a Progress,
}

/// What the kernel has counted at one moment.
#[derive(Debug, Default)]
struct Counted {
    server: ProcessCounters,
    generator: ProcessCounters,
    disk_flushes: Option<u64>,
}

impl Counted {
    fn read(server: Option<u32>, folder: &Path) -> Self {
        let counters = |process: u32| ProcessCounters::read(process).unwrap_or_default();
        Self {
            server: server.map(counters).unwrap_or_default(),
            generator: counters(std::process::id()),
            disk_flushes: disk_flushes(folder),
        }
    }
}

impl Measurer<'_> {
    /// Measures a scenario.
    ///
    /// # Errors
    /// When something other than the verification fails.
    pub fn measure(&self, scenario: &Scenario) -> Result<ScenarioReport, BenchError> {
        let workload = Arc::new(scenario.workload()?);
        let mut sums = Sums::default();
        let broker = self.start_broker()?;
        let address = match (&broker, self.connect) {
            (Some(broker), _) => Some(broker.address().to_owned()),
            (None, connect) => connect.map(str::to_owned),
        };
        let process = broker.as_ref().map(Server::id);
        let slots: &[Option<NullMode>] = match address {
            Some(_) => {
                let null = Some(null_mode(scenario));
                &[None, null, null, None, Some(NullMode::Sink)]
            }
            None => &[Some(null_mode(scenario)), Some(NullMode::Sink)],
        };
        for (number, slot) in slots.iter().enumerate() {
            self.settle()?;
            self.probe(scenario, &mut sums)?;
            self.warm(scenario)?;
            match (slot, &address) {
                (Some(mode), _) => self.null_slot(scenario, &workload, *mode, &mut sums)?,
                (None, Some(address)) => {
                    let topic = format!("bench-{}-{}-{number}", scenario.name, std::process::id());
                    let plan = self.plan(scenario, &workload, address, &topic);
                    self.cluster_slot(scenario, &plan, process, &mut sums)?;
                }
                (None, None) => {}
            }
        }
        if let Some(broker) = broker {
            broker.stop()?;
            remove(&self.folder.join("broker"))?;
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
            warm_slot_bytes(self.slot_bytes_max)
        } else {
            self.slot_bytes_max
        }
    }

    fn start_broker(&self) -> Result<Option<Server>, BenchError> {
        if self.connect.is_some() || self.limit_only {
            return Ok(None);
        }
        let data = self.folder.join("broker");
        let mut arguments: Vec<OsString> = [
            "broker",
            "--id",
            "1",
            "--port",
            "0",
            "--until-stdin-closes",
            "--data",
        ]
        .map(OsString::from)
        .into();
        arguments.push(data.into());
        let server = Server::start("broker", self.program, arguments, self.folder)?;
        Ok(Some(server))
    }

    fn plan(
        &self,
        scenario: &Scenario,
        workload: &Arc<Workload>,
        address: &str,
        topic: &str,
    ) -> LoadPlan {
        LoadPlan {
            address: address.to_owned(),
            topic: topic.to_owned(),
            workload: Arc::clone(workload),
            producers: scenario.producers,
            readers: scenario.readers,
            pace: scenario.pace,
            acks: scenario.acks,
            batch_size_bytes: scenario.batch_size_bytes,
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

    /// Runs a load against the cluster, reads everything back, and removes the topic.
    fn cluster_slot(
        &self,
        scenario: &Scenario,
        plan: &LoadPlan,
        process: Option<u32>,
        sums: &mut Sums,
    ) -> Result<(), BenchError> {
        self.progress.note(&format!("{}: cluster", scenario.title));
        let runtime = runtime().map_err(|source| machine("make a runtime", source))?;
        let may_omit = self.connect.is_some();
        runtime.block_on(topic::create(plan, scenario.durability, may_omit))?;
        let mut slot = self.run_slot(scenario, plan, process)?;
        self.progress
            .note(&format!("{}: reading back", scenario.title));
        let found = runtime.block_on(read_back(plan));
        let found = found.map_err(|source| load_error(&scenario.title, source))?;
        slot.batches = found.batches;
        slot.batch_records = found.records;
        slot.batch_bytes = found.bytes;
        sums.verify
            .add(&found.finish(&plan.workload, &slot.outcome.sent));
        if let Some(live) = &slot.outcome.live {
            sums.verify.add(live);
        }
        runtime.block_on(topic::delete(plan))?;
        sums.cluster.add(slot);
        Ok(())
    }

    /// Runs a load against a null broker or a sink.
    fn null_slot(
        &self,
        scenario: &Scenario,
        workload: &Arc<Workload>,
        mode: NullMode,
        sums: &mut Sums,
    ) -> Result<(), BenchError> {
        let is_sink = mode == NullMode::Sink;
        // A reader of a sink would wait for ever; a schedule says nothing about a ceiling.
        if is_sink && matches!(scenario.pace, Pace::Rate(_)) {
            return Ok(());
        }
        let name = if is_sink { "sink" } else { "null broker" };
        self.progress.note(&format!("{}: {name}", scenario.title));
        let data = self.folder.join("null");
        std::fs::create_dir_all(&data).map_err(|source| machine("make a folder", source))?;
        let [least, most] = NULL_FILE_BYTES;
        let arguments = NullBrokerArguments {
            mode,
            folder: data.clone(),
            partitions: scenario.partitions,
            capacity_bytes: match scenario.pace {
                Pace::FlatOut => self.slot_bytes(scenario).clamp(least, most),
                Pace::Rate(_) | Pace::Closed(_) => least,
            },
            port: 0,
        };
        let arguments = serde_json::to_string(&arguments)
            .map_err(|error| machine("describe a null broker", error.into()))?;
        let arguments = ["bench", "null-broker", &arguments].map(OsString::from);
        let server = Server::start("null broker", self.program, arguments, self.folder)?;
        let mut plan = self.plan(scenario, workload, server.address(), "null");
        if is_sink {
            plan.readers = 0;
        }
        let mut slot = self.run_slot(scenario, &plan, Some(server.id()))?;
        let lines = server.stop()?;
        let statistics = lines
            .last()
            .and_then(|line| serde_json::from_str(line).ok());
        let statistics: NullStatistics = statistics.unwrap_or_default();
        slot.fsyncs = (!is_sink).then_some(statistics.syncs);
        slot.batches = statistics.batches;
        slot.batch_records = slot.outcome.sent.iter().map(|sent| sent.count).sum();
        slot.batch_bytes = slot.outcome.bytes_sent;
        remove(&data)?;
        let sum = if is_sink {
            &mut sums.sink
        } else {
            &mut sums.null
        };
        sum.add(slot);
        Ok(())
    }

    fn run_slot(
        &self,
        scenario: &Scenario,
        plan: &LoadPlan,
        process: Option<u32>,
    ) -> Result<Slot, BenchError> {
        let mut before = Counted::default();
        let mut after = Counted::default();
        let outcome = run_load(
            plan,
            &Arc::default(),
            || before = Counted::read(process, self.folder),
            || after = Counted::read(process, self.folder),
        );
        let outcome = outcome.map_err(|source| load_error(&scenario.title, source))?;
        Ok(Slot {
            outcome,
            server: process.map(|_| after.server.since(&before.server)),
            generator: after.generator.since(&before.generator),
            disk_flushes: after
                .disk_flushes
                .zip(before.disk_flushes)
                .map(|(after, before)| after.saturating_sub(before)),
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

fn null_mode(scenario: &Scenario) -> NullMode {
    match scenario.durability {
        Durability::Fsync => NullMode::Durable,
        Durability::PageCache => NullMode::PageCache,
    }
}

fn remove(folder: &Path) -> Result<(), BenchError> {
    std::fs::remove_dir_all(folder).map_err(|source| machine("remove a folder of its own", source))
}
