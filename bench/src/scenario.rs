//! A workload with everything that decides its figures. The tour and the options both come to this.

use std::path::PathBuf;
use std::time::Duration;

use keylane_client::Acks;
use serde::Serialize;

use crate::load::Pace;
use crate::options::{BenchOptions, Durability, Extent};
use crate::workload::{
    InputError, KeyDistribution, KeySpace, Placement, Rows, STAMP_BYTES, Workload,
};

/// What is run and measured.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// A short name that stays the same from version to version.
    pub name: String,
    /// What it is, for people.
    pub title: String,
    /// Where records come from.
    pub input: Input,
    /// What decides a record's partition.
    pub placement: Placement,
    /// Partitions of the topic.
    pub partitions: i32,
    /// Producers that send at the same time.
    pub producers: u32,
    /// Readers that follow while it runs.
    pub readers: u32,
    /// When records are sent.
    pub pace: Pace,
    /// The size at which a batch is full.
    pub batch_size_bytes: usize,
    /// How long a batch waits to be full.
    pub linger: Duration,
    /// Whom a record waits for.
    pub acks: Acks,
    /// What an acknowledged record survives.
    pub durability: Durability,
    /// How long each slot runs before it is measured.
    pub warm_up: Duration,
    /// How long each slot is measured.
    pub duration: Duration,
    /// Whether latency is held against a lone fdatasync and a loopback round trip instead of the null broker.
    pub has_probes: bool,
}

/// Where records come from.
#[derive(Clone, Debug)]
pub enum Input {
    /// They are made.
    Generated {
        /// Bytes of a value.
        value_bytes: usize,
        /// How many keys there are.
        key_count: u64,
        /// How often they occur.
        distribution: KeyDistribution,
    },
    /// The rows of the flights that come with the crate.
    BuiltIn {
        /// How often they are sent.
        repeat: u32,
    },
    /// The rows of a file.
    File {
        /// The file.
        path: PathBuf,
        /// The column that is the key.
        column: String,
        /// How often it is sent.
        repeat: u32,
    },
}

/// A scenario as reports show it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScenarioConfig {
    /// Where records come from, in words.
    pub input: String,
    /// Partitions of the topic.
    pub partitions: i32,
    /// Producers that send at the same time.
    pub producers: u32,
    /// Readers that follow while it runs.
    pub readers: u32,
    /// When records are sent, in words.
    pub pace: String,
    /// The size at which a batch is full.
    pub batch_size_bytes: usize,
    /// How long a batch waits to be full.
    pub linger_ms: u128,
    /// Kafka's number: 0, 1 or -1 for all.
    pub acks: i16,
    /// What an acknowledged record survives.
    pub durability: Durability,
    /// How long each slot runs before it is measured.
    pub warm_up_ms: u128,
    /// How long each slot is measured; a workload that ends by itself is measured whole.
    pub duration_ms: u128,
}

/// Draws the keys of generated records.
const KEY_SEED: u64 = 0x006b_6579_6c61_6e65;

impl Scenario {
    /// Returns a scenario of generated records of 1 KiB in large batches, one partition, two producers, flat out.
    #[must_use]
    pub fn large_batches(name: &str, title: &str) -> Self {
        Self {
            name: name.to_owned(),
            title: title.to_owned(),
            input: Input::Generated {
                value_bytes: 1024,
                key_count: 10_000,
                distribution: KeyDistribution::Uniform,
            },
            placement: Placement::ByKey,
            partitions: 1,
            producers: 2,
            readers: 0,
            pace: Pace::FlatOut,
            batch_size_bytes: 128 * 1024,
            linger: Duration::from_millis(5),
            acks: Acks::All,
            durability: Durability::Fsync,
            warm_up: Duration::from_millis(300),
            duration: Duration::from_millis(1_200),
            has_probes: false,
        }
    }

    /// Returns the scenario that the options describe.
    #[must_use]
    pub fn from_options(options: &BenchOptions) -> Self {
        let mut scenario = Self::large_batches("options", "the workload of the options");
        let repeat = options.repeat.unwrap_or(1);
        if let (Some(path), Some(column)) = (&options.input, &options.key) {
            scenario.input = Input::File {
                path: path.clone(),
                column: column.clone(),
                repeat,
            };
            scenario.partitions = 6;
        } else if options.repeat.is_some() {
            scenario.input = Input::BuiltIn { repeat };
            scenario.partitions = 6;
        } else {
            scenario.input = Input::Generated {
                value_bytes: options.record_size_bytes.unwrap_or(1024),
                key_count: options.key_count.unwrap_or(10_000),
                distribution: options.key_distribution.unwrap_or(KeyDistribution::Uniform),
            };
        }
        scenario.partitions = options.partitions.unwrap_or(scenario.partitions);
        scenario.producers = options.producers.unwrap_or(scenario.producers);
        scenario.readers = options.readers.unwrap_or(0);
        if let Some(rate) = options.rate {
            scenario.pace = Pace::Rate(rate);
            // Who sets a rate asks for latency, of which lingering would be a part.
            scenario.linger = Duration::ZERO;
        }
        let batch = options.batch_size_bytes;
        scenario.batch_size_bytes = batch.unwrap_or(scenario.batch_size_bytes);
        scenario.acks = options.acks.unwrap_or(Acks::All);
        scenario.durability = options.durability.unwrap_or_default();
        scenario.duration = options.duration.unwrap_or(Duration::from_secs(5));
        scenario.has_probes = options.extent == Extent::Limit;
        scenario.warm_up = (scenario.duration / 4).min(Duration::from_secs(2));
        scenario
    }

    /// Returns whether memory is what bounds it: flat out, and nothing waits for a disk.
    #[must_use]
    pub fn measures_memory(&self) -> bool {
        self.durability == Durability::PageCache && self.pace == Pace::FlatOut
    }

    /// Returns the records.
    ///
    /// # Errors
    /// When the input cannot be read.
    pub fn workload(&self) -> Result<Workload, InputError> {
        let (rows, repeat) = match &self.input {
            Input::Generated {
                value_bytes,
                key_count,
                distribution,
            } => {
                let keys = KeySpace::new(*key_count, *distribution, KEY_SEED);
                let value_bytes = (*value_bytes).max(STAMP_BYTES);
                return Ok(Workload::generated(
                    keys,
                    value_bytes,
                    self.placement,
                    self.partitions,
                ));
            }
            Input::BuiltIn { repeat } => (Rows::built_in(self.producers), *repeat),
            Input::File {
                path,
                column,
                repeat,
            } => (Rows::read(path, column, self.producers)?, *repeat),
        };
        Ok(Workload::rows(rows, repeat, self.partitions))
    }

    /// Returns the scenario as reports show it.
    #[must_use]
    pub fn config(&self) -> ScenarioConfig {
        ScenarioConfig {
            input: self.input.to_string(),
            partitions: self.partitions,
            producers: self.producers,
            readers: self.readers,
            pace: match self.pace {
                Pace::FlatOut => "flat out".to_owned(),
                Pace::Rate(rate) => format!("{rate} records/s on schedule"),
                Pace::Closed(records) => format!("{records} in flight per producer"),
            },
            batch_size_bytes: self.batch_size_bytes,
            linger_ms: self.linger.as_millis(),
            acks: match self.acks {
                Acks::None => 0,
                Acks::Leader => 1,
                Acks::All => -1,
            },
            durability: self.durability,
            warm_up_ms: self.warm_up.as_millis(),
            duration_ms: self.duration.as_millis(),
        }
    }
}

impl std::fmt::Display for Input {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Generated {
                value_bytes,
                key_count,
                distribution,
            } => {
                write!(formatter, "values of {value_bytes} bytes, {key_count} keys")?;
                match distribution {
                    KeyDistribution::Uniform => formatter.write_str(" equally often"),
                    KeyDistribution::Zipf { exponent } => {
                        write!(formatter, " by Zipf's law with exponent {exponent}")
                    }
                }
            }
            Self::BuiltIn { repeat } => {
                let (name, column) = (crate::flights::NAME, crate::flights::KEY_COLUMN);
                write!(formatter, "{name} by {column}, {repeat} times")
            }
            Self::File {
                path,
                column,
                repeat,
            } => write!(formatter, "{} by {column}, {repeat} times", path.display()),
        }
    }
}
