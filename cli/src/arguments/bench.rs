//! Flags of `keylane bench`.

use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

use super::client::AcksName;
use crate::quantity;

/// `keylane bench`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct BenchArguments {
    /// Only part of it.
    #[command(subcommand)]
    pub(crate) command: Option<BenchCommand>,
    /// What is measured.
    #[command(flatten)]
    pub(crate) workload: WorkloadArguments,
}

/// The commands below `keylane bench`.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Measure only what this machine can give: the null broker, dialled and behind a hop that only copies, and the load
    /// generator's own ceiling
    Limit(Box<WorkloadArguments>),
    /// Measure the same workload with 1, 2 and 3 brokers, or with the numbers given to --brokers and --partitions, such
    /// as 1,2,3
    Scale(Box<WorkloadArguments>),
    /// Serve as the null broker; the bench starts it.
    #[command(hide = true)]
    NullBroker {
        /// What the bench wants of it.
        #[arg(hide = true)]
        json: String,
    },
    /// Serve as the null relay; the bench starts it.
    #[command(hide = true)]
    NullRelay,
}

/// What is sent, how, and where the results go. Without any of these, a tour of workloads is run.
#[derive(Debug, Clone, Args)]
pub(crate) struct WorkloadArguments {
    /// Measure this cluster instead of starting one
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) connect: Option<String>,
    /// How many brokers to start [default: 3]
    #[arg(long, value_name = "N", value_delimiter = ',')]
    pub(crate) brokers: Vec<u32>,
    /// How many routers to start [default: 1, or none with --through broker]
    #[arg(long, value_name = "N")]
    pub(crate) routers: Option<u32>,
    /// What clients dial [default: router]
    #[arg(long, value_enum)]
    pub(crate) through: Option<ThroughName>,
    /// Who chooses the partitions of records [default: routed through a router, if that is offered]
    #[arg(long, value_enum)]
    pub(crate) path: Option<PathName>,
    /// Partitions of the topic [default: 16, with --input 6]
    #[arg(long, value_name = "N", value_delimiter = ',')]
    pub(crate) partitions: Vec<i32>,
    /// Producers that send at the same time, at most 10,000 [default: 4]
    #[arg(long, value_name = "N")]
    pub(crate) producers: Option<u32>,
    /// Over how many clients producers spread, each like one process of a fleet: its producers share what is known of the
    /// cluster, and what connections they can [default: 16, or one for each producer]
    #[arg(long, value_name = "N")]
    pub(crate) clients: Option<u32>,
    /// Make each producer send so many records, wait until they are acknowledged, and go on; without it, nobody waits
    #[arg(long, value_name = "RECORDS")]
    pub(crate) in_flight: Option<u32>,
    /// Readers that read everything while it is produced [default: 0]; all is read back at the end anyway
    #[arg(long, value_name = "N")]
    pub(crate) readers: Option<u32>,
    /// The size of a generated record's value [default: 1KiB]
    #[arg(long, value_name = "SIZE", value_parser = quantity::size)]
    pub(crate) record_size: Option<u64>,
    /// The size at which a batch is full [default: 128KiB; of routed ones, which hold all partitions, by their number]
    #[arg(long, value_name = "SIZE", value_parser = quantity::size)]
    pub(crate) batch_size: Option<u64>,
    /// Records per second of all producers together, sent on schedule whatever the broker does; without it, flat out
    #[arg(long, value_name = "RECORDS")]
    pub(crate) rate: Option<u64>,
    /// Whom a record waits for [default: all]
    #[arg(long, value_enum)]
    pub(crate) acks: Option<AcksName>,
    /// What acknowledged records survive [default: fsync]
    #[arg(long, value_enum)]
    pub(crate) durability: Option<DurabilityName>,
    /// How long each slot is measured, such as 10s [default: 5s]
    #[arg(long, value_name = "TIME", value_parser = quantity::duration)]
    pub(crate) duration: Option<Duration>,
    /// Send the rows of this CSV file (may be packed with gzip) instead of generated records
    #[arg(long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    /// The column of the file that holds the key
    #[arg(long, value_name = "COLUMN")]
    pub(crate) key: Option<String>,
    /// Send the file this many times [default: 1]
    #[arg(long, value_name = "N")]
    pub(crate) repeat: Option<u32>,
    /// Make up so many different keys for generated records [default: real ones, the aircraft of the built-in flights, each
    /// as often as it flies; 10000 with --zipf]
    #[arg(long, value_name = "N")]
    pub(crate) keys: Option<u64>,
    /// Make some made-up keys more frequent than others: the n-th as often as 1 / n^EXPONENT (Zipf's law)
    #[arg(long, value_name = "EXPONENT", value_parser = exponent)]
    pub(crate) zipf: Option<f64>,
    /// Where the started brokers keep their data while they are measured: a folder on the disk in question
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data: Option<PathBuf>,
    /// Write everything that is printed, as JSON under stable names
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write a picture
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
}

fn exponent(text: &str) -> Result<f64, String> {
    let exponent = text.parse().ok();
    let exponent = exponent.filter(|exponent: &f64| (0.01..=10.0).contains(exponent));
    exponent.ok_or_else(|| "give a number from 0.01 to 10; 1 is common in nature".to_owned())
}

/// What clients dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ThroughName {
    /// The brokers
    Broker,
    /// The routers
    Router,
}

/// Who chooses the partitions of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PathName {
    /// The router, from batches of all partitions
    Routed,
    /// The producer, as every Kafka client does
    Partitioned,
    /// Both are measured in turn
    Both,
}

/// What an acknowledged record survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DurabilityName {
    /// A power loss
    Fsync,
    /// The end of the process
    PageCache,
}
