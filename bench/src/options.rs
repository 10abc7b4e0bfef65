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
    /// Only what this machine can give: null broker, the generator's ceiling, a lone fdatasync, a loopback round trip.
    Limit,
}

/// What is dialled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Through {
    /// The brokers.
    #[default]
    Broker,
    /// A router. There is none yet: asking for it is refused.
    Router,
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
    /// How many brokers to start. Only 1 so far; `None` is 1.
    pub brokers: Option<u32>,
    /// What is dialled.
    pub through: Through,
    /// Partitions of the topic. Default 1, of rows of a file 6.
    pub partitions: Option<i32>,
    /// Producers that send at the same time. Default 2.
    pub producers: Option<u32>,
    /// Readers that each read everything while it is produced. Default 0; everything is read back at the end anyway.
    pub readers: Option<u32>,
    /// Bytes of a generated value. Default 1024.
    pub record_size_bytes: Option<usize>,
    /// Bytes at which a batch is full. Default 128 KiB.
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
    /// How many keys generated records have. Default 10,000.
    pub key_count: Option<u64>,
    /// How often keys occur. Default all equally often.
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
        self.partitions.is_some()
            || self.producers.is_some()
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

    /// Returns everything that is wrong with the options, one sentence each.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut check = |is_right: bool, fault: &str| {
            if !is_right {
                faults.push(fault.to_owned());
            }
        };
        let within = |given: Option<u64>, least: u64, most: u64| {
            given.is_none_or(|given| (least..=most).contains(&given))
        };
        let bytes = |given: Option<usize>| given.map(|given| given as u64);
        let partitions = self
            .partitions
            .map(|count| u64::try_from(count).unwrap_or(0));
        check(
            self.through == Through::Broker,
            "--through router: there is no router yet; dial brokers",
        );
        check(
            self.brokers.is_none_or(|brokers| brokers == 1),
            "--brokers: one broker is all that can be started so far",
        );
        check(
            within(partitions, 1, 10_000),
            "--partitions must be between 1 and 10,000",
        );
        check(
            within(self.producers.map(u64::from), 1, 512),
            "--producers must be between 1 and 512",
        );
        check(
            within(self.readers.map(u64::from), 0, 64),
            "--readers must be at most 64",
        );
        check(
            within(bytes(self.record_size_bytes), 20, 900 * 1024),
            "--record-size must be between 20 bytes and 900 KiB",
        );
        check(
            within(bytes(self.batch_size_bytes), 1024, 1024 * 1024),
            "--batch-size must be between 1 KiB and 1 MiB",
        );
        check(
            within(self.rate, 1, 100_000_000),
            "--rate must be between 1 and 100,000,000 records per second",
        );
        check(
            self.duration.is_none_or(|duration| {
                (Duration::from_millis(100)..=Duration::from_secs(24 * 3600)).contains(&duration)
            }),
            "--duration must be between 100 ms and a day",
        );
        check(
            self.input.is_some() == self.key.is_some(),
            "--input FILE and --key COLUMN go together",
        );
        check(
            self.input.is_none() || self.record_size_bytes.is_none(),
            "--record-size is for generated records; the rows of --input have their own",
        );
        check(self.repeat != Some(0), "--repeat must be at least 1");
        check(
            within(self.key_count, 1, 4_000_000),
            "the number of keys must be between 1 and 4,000,000",
        );
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_faults_are_told_together() {
        let options = BenchOptions {
            through: Through::Router,
            brokers: Some(3),
            partitions: Some(0),
            producers: Some(0),
            record_size_bytes: Some(19),
            input: Some("rows.csv".into()),
            repeat: Some(0),
            ..BenchOptions::default()
        };
        let faults = options.faults();
        assert_eq!(faults.len(), 8, "{faults:#?}");
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
        options.durability = Some(Durability::PageCache);
        assert!(options.describes_workload());
    }
}
