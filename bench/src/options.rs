//! What can be asked of the bench. The command line maps its flags on this; everything unset has a default.

use std::path::PathBuf;
use std::time::Duration;

use keylane_client::Acks;
use serde::{Deserialize, Serialize};

use crate::workload::KeyDistribution;

/// What to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Extent {
    /// The workload that the options describe, or, if they describe none, a tour of several on real and generated input.
    #[default]
    Measure,
    /// Only what this machine can give: null broker, null relay, the generator's ceiling, a lone fdatasync, a loopback
    /// round trip.
    Limit,
    /// The workload that the options describe, for each number of brokers and of partitions.
    Scale,
}

/// What is dialled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Through {
    /// The brokers.
    Broker,
    /// The routers.
    #[default]
    Router,
}

/// Who chooses the partitions of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProducePath {
    /// The router: producers send one batch per topic, which it splits.
    Routed,
    /// The producer, as every Kafka client does.
    Partitioned,
}

impl ProducePath {
    /// Returns what reports call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Routed => "routed",
            Self::Partitioned => "partitioned",
        }
    }
}

/// Which paths are measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Paths {
    /// The one that the producer takes by itself: routed where that is offered.
    #[default]
    Offered,
    /// This one.
    Only(ProducePath),
    /// Both, in slots that alternate.
    Both,
}

impl Paths {
    /// Returns whether producers are told to leave partitions to the router.
    #[must_use]
    pub fn needs_router(self) -> bool {
        matches!(self, Self::Only(ProducePath::Routed) | Self::Both)
    }
}

/// What an acknowledged record survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// A power loss.
    #[default]
    Fsync,
    /// The end of the process.
    PageCache,
}

impl Durability {
    /// Returns the value of the topic setting `durability`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fsync => "fsync",
            Self::PageCache => "page-cache",
        }
    }
}

/// The options of a run; `Default` is the tour.
#[derive(Clone, Debug, Default)]
pub struct BenchOptions {
    /// What to run.
    pub extent: Extent,
    /// The `keylane` program that brokers and null brokers are started with; `None` is the one that runs.
    pub program: Option<PathBuf>,
    /// Measure this cluster instead of starting one.
    pub connect: Option<String>,
    /// How many brokers to start. Default 3. Several numbers, which only [`Extent::Scale`] takes, are measured in turn;
    /// there the default is 1, 2 and 3.
    pub brokers: Vec<u32>,
    /// How many routers to start. Default 1, or none if brokers are dialled.
    pub routers: Option<u32>,
    /// What is dialled. Default routers.
    pub through: Option<Through>,
    /// Who chooses partitions. Default as the producer does by itself.
    pub path: Option<Paths>,
    /// Partitions of the topic. Default 16, of rows of a file 6. Several numbers as for `brokers`.
    pub partitions: Vec<i32>,
    /// Producers that send at the same time. Default 4.
    pub producers: Option<u32>,
    /// Over how many clients producers spread, each like a process of a fleet. Default 16, or as many as there are
    /// producers if that is less.
    pub clients: Option<u32>,
    /// How many records each producer sends before it waits until they are acknowledged; `None` is without waiting.
    pub in_flight: Option<u32>,
    /// Readers that each read everything while it is produced. Default 0; everything is read back at the end anyway.
    pub readers: Option<u32>,
    /// Bytes of a generated value. Default 1024.
    pub record_size_bytes: Option<usize>,
    /// Bytes at which a batch is full. Default 128 KiB, of routed ones what the producer makes of the number of
    /// partitions.
    pub batch_size_bytes: Option<usize>,
    /// Records per second of all producers together; `None` is flat out.
    pub rate: Option<u64>,
    /// Whom a record waits for. Default all.
    pub acks: Option<Acks>,
    /// What an acknowledged record survives. Default fsync.
    pub durability: Option<Durability>,
    /// How long each slot is measured. Default 5 seconds.
    pub duration: Option<Duration>,
    /// A CSV file whose rows are sent, unpacked if its name ends in `.gz`.
    pub input: Option<PathBuf>,
    /// The column of the file that is the key; needed with a file.
    pub key: Option<String>,
    /// How often the file is sent. Default 1.
    pub repeat: Option<u32>,
    /// How many made keys generated records have. Default real ones, those of the flights that come with the crate, or
    /// 10,000 if only a distribution is given.
    pub key_count: Option<u64>,
    /// How often made keys occur. Default all equally often.
    pub key_distribution: Option<KeyDistribution>,
    /// Where brokers keep their data while they are measured: a folder on the disk in question. Default the folder for
    /// temporary files, or if that is not on a disk `/var/tmp` or the current one.
    pub data: Option<PathBuf>,
    /// Where to write everything that is printed, as JSON.
    pub json: Option<PathBuf>,
    /// Where to write a picture.
    pub svg: Option<PathBuf>,
}

impl BenchOptions {
    /// Returns whether a workload is described, so that it is run instead of the tour.
    #[must_use]
    pub fn describes_workload(&self) -> bool {
        !self.brokers.is_empty()
            || self.routers.is_some()
            || self.through.is_some()
            || self.path.is_some()
            || !self.partitions.is_empty()
            || self.producers.is_some()
            || self.clients.is_some()
            || self.in_flight.is_some()
            || self.readers.is_some()
            || self.record_size_bytes.is_some()
            || self.batch_size_bytes.is_some()
            || self.rate.is_some()
            || self.acks.is_some()
            || self.durability.is_some()
            || self.duration.is_some()
            || self.input.is_some()
            || self.repeat.is_some()
            || self.key_count.is_some()
            || self.key_distribution.is_some()
    }

    /// Returns what is dialled.
    #[must_use]
    pub fn dialled(&self) -> Through {
        self.through.unwrap_or_default()
    }

    /// Returns everything that is wrong with the options, one sentence each.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let checks = self.server_checks().into_iter().chain(self.load_checks());
        let faults = checks.filter(|(is_right, _)| !is_right);
        faults.map(|(_, fault)| fault.to_owned()).collect()
    }

    /// Returns whether what is said of servers is right, and the fault if it is not.
    fn server_checks(&self) -> [(bool, &'static str); 9] {
        let is_routed = self.dialled() == Through::Router;
        let needs_router = self.path.is_some_and(Paths::needs_router);
        let starts_some = !self.brokers.is_empty() || self.routers.is_some();
        let is_one_of_each = self.brokers.len() <= 1 && self.partitions.len() <= 1;
        [
            (
                self.brokers.iter().all(|brokers| (1..=9).contains(brokers)),
                "--brokers must be between 1 and 9",
            ),
            (
                self.routers.is_none_or(|routers| routers <= 9),
                "--routers must be at most 9",
            ),
            (
                self.routers
                    .is_none_or(|routers| (routers > 0) == is_routed),
                "--routers: clients dial either routers, at least one, or with --through broker the brokers, without any",
            ),
            (
                is_routed || !needs_router,
                "--path: brokers take partitioned batches only; leave --through broker out",
            ),
            (
                self.acks.is_none_or(|acks| acks == Acks::All) || !needs_router,
                "--path: routed batches are always acknowledged by all; leave --acks out",
            ),
            (
                self.connect.is_none() || !starts_some,
                "--connect measures a cluster that is there: --brokers and --routers start one",
            ),
            (
                self.connect.is_none() || self.extent != Extent::Scale,
                "bench scale starts clusters of its own: leave --connect out",
            ),
            (
                self.extent == Extent::Scale || is_one_of_each,
                "several numbers of --brokers or --partitions are for bench scale",
            ),
            (
                self.partitions
                    .iter()
                    .all(|count| (1..=10_000).contains(count)),
                "--partitions must be between 1 and 10,000",
            ),
        ]
    }

    /// Returns whether what is said of the load is right, and the fault if it is not.
    fn load_checks(&self) -> [(bool, &'static str); 13] {
        let within = |given: Option<u64>, least: u64, most: u64| {
            given.is_none_or(|given| (least..=most).contains(&given))
        };
        let bytes = |given: Option<usize>| given.map(|given| given as u64);
        let durations = Duration::from_millis(100)..=Duration::from_secs(24 * 3600);
        [
            (
                within(self.producers.map(u64::from), 1, 10_000),
                "--producers must be between 1 and 10,000",
            ),
            (
                within(
                    self.clients.map(u64::from),
                    1,
                    self.producers.unwrap_or(4).max(1).into(),
                ),
                "--clients must be between 1 and the number of producers",
            ),
            (
                within(self.in_flight.map(u64::from), 1, 100_000),
                "--in-flight must be between 1 and 100,000 records",
            ),
            (
                self.in_flight.is_none() || self.rate.is_none(),
                "--in-flight waits for acknowledgements, --rate does not: give one of them",
            ),
            (
                within(self.readers.map(u64::from), 0, 64),
                "--readers must be at most 64",
            ),
            (
                within(bytes(self.record_size_bytes), 20, 900 * 1024),
                "--record-size must be between 20 bytes and 900 KiB",
            ),
            (
                within(bytes(self.batch_size_bytes), 1024, 1024 * 1024),
                "--batch-size must be between 1 KiB and 1 MiB",
            ),
            (
                within(self.rate, 1, 100_000_000),
                "--rate must be between 1 and 100,000,000 records per second",
            ),
            (
                self.duration
                    .is_none_or(|duration| durations.contains(&duration)),
                "--duration must be between 100 ms and a day",
            ),
            (
                self.input.is_some() == self.key.is_some(),
                "--input FILE and --key COLUMN go together",
            ),
            (
                self.input.is_none() || self.record_size_bytes.is_none(),
                "--record-size is for generated records; the rows of --input have their own",
            ),
            (self.repeat != Some(0), "--repeat must be at least 1"),
            (
                within(self.key_count, 1, 4_000_000),
                "the number of keys must be between 1 and 4,000,000",
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_faults_are_told_together() {
        let options = BenchOptions {
            through: Some(Through::Broker),
            routers: Some(1),
            path: Some(Paths::Both),
            acks: Some(Acks::None),
            brokers: vec![3, 0],
            partitions: vec![0],
            producers: Some(0),
            clients: Some(9),
            in_flight: Some(0),
            rate: Some(0),
            record_size_bytes: Some(19),
            input: Some("rows.csv".into()),
            repeat: Some(0),
            ..BenchOptions::default()
        };
        let faults = options.faults();
        assert_eq!(faults.len(), 15, "{faults:#?}");
        assert!(BenchOptions::default().faults().is_empty());
    }

    #[test]
    fn what_describes_a_workload_replaces_the_tour() {
        let mut options = BenchOptions {
            json: Some("a.json".into()),
            connect: Some("localhost:9092".to_owned()),
            ..BenchOptions::default()
        };
        assert!(!options.describes_workload());
        for describing in [
            BenchOptions {
                clients: Some(2),
                ..options.clone()
            },
            BenchOptions {
                path: Some(Paths::Offered),
                ..options.clone()
            },
            BenchOptions {
                in_flight: Some(1),
                ..options.clone()
            },
        ] {
            assert!(describing.describes_workload());
        }
        options.durability = Some(Durability::PageCache);
        assert!(options.describes_workload());
    }
}
