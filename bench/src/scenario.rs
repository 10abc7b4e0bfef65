//! A workload with everything that decides its figures. The tour and the options both come to this.

use std::path::PathBuf;
use std::time::Duration;

use keylane_client::Acks;
use serde::Serialize;

use crate::cluster::Topology;
use crate::load::Pace;
use crate::null_relay::CLIENTS_MAX;
use crate::options::{BenchOptions, Durability, Extent, Paths, ProducePath, Through};
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
    /// Which servers it is measured against.
    pub servers: Topology,
    /// The scenario that is the same but for its routers.
    pub unrouted: Option<&'static str>,
    /// What it is held against.
    pub yardsticks: Yardsticks,
    /// Who chooses partitions.
    pub paths: Paths,
    /// Where records come from.
    pub input: Input,
    /// What decides a record's partition.
    pub placement: Placement,
    /// Partitions of the topic.
    pub partitions: i32,
    /// Producers that send at the same time.
    pub producers: u32,
    /// Over how many clients they spread, which share what connections they can: the processes of a fleet.
    pub clients: u32,
    /// Readers that follow while it runs.
    pub readers: u32,
    /// When records are sent.
    pub pace: Pace,
    /// The size at which a batch is full.
    pub batch_size_bytes: usize,
    /// The same of a routed batch, which holds records of all partitions; `None` lets it follow from their number.
    pub routed_batch_size_bytes: Option<usize>,
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

/// What a scenario is held against, besides being measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Yardsticks {
    /// The null broker, dialled.
    pub has_null_broker: bool,
    /// The null broker behind the null relay.
    pub has_null_relay: bool,
    /// What the generator reaches at all.
    pub has_sink: bool,
}

impl Yardsticks {
    /// The null broker and the generator's ceiling.
    pub const DIALLED: Self = Self {
        has_null_broker: true,
        has_null_relay: false,
        has_sink: true,
    };

    /// The null broker, dialled and behind the null relay. The ceiling is that of the scenario without routers.
    pub const ROUTED: Self = Self {
        has_null_broker: true,
        has_null_relay: true,
        has_sink: false,
    };

    /// The null broker behind the null relay alone.
    pub const NULL_RELAY: Self = Self {
        has_null_broker: false,
        has_null_relay: true,
        has_sink: false,
    };

    /// The null broker alone.
    pub const NULL_BROKER: Self = Self {
        has_null_broker: true,
        has_null_relay: false,
        has_sink: false,
    };

    /// Nothing.
    pub const NONE: Self = Self {
        has_null_broker: false,
        has_null_relay: false,
        has_sink: false,
    };
}

/// Where records come from.
#[derive(Clone, Debug)]
pub enum Input {
    /// They are made.
    Generated {
        /// Bytes of a value.
        value_bytes: usize,
        /// What keys they have.
        keys: Keys,
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

/// The keys of generated records.
#[derive(Clone, Copy, Debug)]
pub enum Keys {
    /// Those of the flights that come with the crate, each as often as it occurs there.
    BuiltIn,
    /// They are made as well.
    Made {
        /// How many there are.
        count: u64,
        /// How often they occur.
        distribution: KeyDistribution,
    },
}

/// A scenario as reports show it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScenarioConfig {
    /// Where records come from, in words.
    pub input: String,
    /// Which servers it was measured against, if they were started for it.
    #[serde(flatten)]
    pub servers: Topology,
    /// What was dialled.
    pub through: Through,
    /// Partitions of the topic.
    pub partitions: i32,
    /// Producers that send at the same time.
    pub producers: u32,
    /// Over how many clients they spread.
    pub clients: u32,
    /// Readers that follow while it runs.
    pub readers: u32,
    /// When records are sent, in words.
    pub pace: String,
    /// The size at which a batch is full.
    pub batch_size_bytes: usize,
    /// The size at which a routed batch is full; absent if it follows from the number of partitions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routed_batch_size_bytes: Option<usize>,
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

/// Over how many clients producers spread if nobody says: as many small processes as a small fleet has.
const FLEET_CLIENTS: u32 = 16;

/// The files that a process opens besides sockets of clients.
const OPEN_FILES_BESIDES: u64 = 256;

/// Draws the keys of generated records.
const KEY_SEED: u64 = 0x006b_6579_6c61_6e65;

impl Scenario {
    /// Returns a scenario of generated records of 1 KiB in large batches: one broker that is dialled, one partition, four
    /// producers, flat out.
    #[must_use]
    pub fn large_batches(name: &str, title: &str) -> Self {
        Self {
            name: name.to_owned(),
            title: title.to_owned(),
            servers: Topology::BROKER,
            unrouted: None,
            yardsticks: Yardsticks::DIALLED,
            paths: Paths::Offered,
            input: Input::Generated {
                value_bytes: 1024,
                keys: Keys::BuiltIn,
            },
            placement: Placement::ByKey,
            partitions: 1,
            producers: 4,
            clients: 4,
            readers: 0,
            pace: Pace::FlatOut,
            batch_size_bytes: 128 * 1024,
            routed_batch_size_bytes: None,
            linger: Duration::from_millis(5),
            acks: Acks::All,
            durability: Durability::Fsync,
            warm_up: Duration::from_millis(150),
            duration: Duration::from_millis(750),
            has_probes: false,
        }
    }

    /// Returns the scenarios that the options describe: one, or one for each number of brokers and of partitions.
    #[must_use]
    pub fn of_options(options: &BenchOptions) -> Vec<Self> {
        let default = match options.extent {
            Extent::Scale => vec![1, 2, 3],
            Extent::Measure | Extent::Limit => vec![Topology::CLUSTER.brokers],
        };
        let brokers = match options.brokers.is_empty() {
            true => default,
            false => options.brokers.clone(),
        };
        let partitions: Vec<Option<i32>> = match options.partitions.is_empty() {
            true => vec![None],
            false => options.partitions.iter().copied().map(Some).collect(),
        };
        let routers = match options.dialled() {
            Through::Broker => 0,
            Through::Router => options.routers.unwrap_or(1),
        };
        let one = |(&brokers, &partitions): (&u32, &Option<i32>)| {
            let servers = Topology { brokers, routers };
            Self::from_options(options, servers, partitions)
        };
        let pairs = brokers.iter().flat_map(|brokers| {
            partitions
                .iter()
                .map(move |partitions| (brokers, partitions))
        });
        pairs.map(one).collect()
    }

    fn from_options(options: &BenchOptions, servers: Topology, partitions: Option<i32>) -> Self {
        let mut scenario = Self::large_batches("options", "the workload of the options");
        scenario.servers = servers;
        scenario.paths = options.path.unwrap_or_default();
        scenario.take_input(options);
        scenario.partitions = partitions.unwrap_or(scenario.partitions);
        scenario.producers = options.producers.unwrap_or(scenario.producers);
        scenario.clients = options.clients.unwrap_or(FLEET_CLIENTS);
        scenario.clients = scenario.clients.min(scenario.producers);
        scenario.readers = options.readers.unwrap_or(0);
        if let Some(rate) = options.rate {
            scenario.pace = Pace::Rate(rate);
            // Who sets a rate asks for latency, of which lingering would be a part.
            scenario.linger = Duration::ZERO;
        }
        if let Some(records) = options.in_flight {
            scenario.pace = Pace::Closed(records);
            // They are waited for, so nothing more can come.
            scenario.linger = Duration::ZERO;
        }
        scenario.yardsticks = Yardsticks {
            has_null_relay: servers.through() == Through::Router
                && options.connect.is_none()
                && scenario.sockets() <= CLIENTS_MAX as u64,
            ..Yardsticks::DIALLED
        };
        let batch = options.batch_size_bytes;
        scenario.batch_size_bytes = batch.unwrap_or(scenario.batch_size_bytes);
        scenario.routed_batch_size_bytes = batch;
        scenario.acks = options.acks.unwrap_or(Acks::All);
        scenario.durability = options.durability.unwrap_or_default();
        scenario.duration = options.duration.unwrap_or(Duration::from_secs(5));
        scenario.has_probes = options.extent == Extent::Limit;
        scenario.warm_up = (scenario.duration / 4).min(Duration::from_secs(2));
        if options.extent == Extent::Scale {
            scenario.yardsticks = Yardsticks::NONE;
            scenario.name = format!(
                "{}-brokers-{}-partitions",
                servers.brokers, scenario.partitions
            );
            scenario.title = format!("{servers}, {} partitions", scenario.partitions);
        }
        scenario
    }

    fn take_input(&mut self, options: &BenchOptions) {
        let repeat = options.repeat.unwrap_or(1);
        self.partitions = 6;
        if let (Some(path), Some(column)) = (&options.input, &options.key) {
            self.input = Input::File {
                path: path.clone(),
                column: column.clone(),
                repeat,
            };
        } else if options.repeat.is_some() {
            self.input = Input::BuiltIn { repeat };
        } else {
            self.partitions = 16;
            self.input = Input::Generated {
                value_bytes: options.record_size_bytes.unwrap_or(1024),
                keys: match (options.key_count, options.key_distribution) {
                    (None, None) => Keys::BuiltIn,
                    (count, distribution) => Keys::Made {
                        count: count.unwrap_or(10_000),
                        distribution: distribution.unwrap_or(KeyDistribution::Uniform),
                    },
                },
            };
        }
    }

    /// Returns by which paths the cluster is measured, first what the report is mainly about; `None` leaves it to
    /// producers, who may have a choice only where a router is dialled.
    #[must_use]
    pub fn paths(&self) -> Vec<Option<ProducePath>> {
        match (self.paths, self.servers.through()) {
            (Paths::Offered, Through::Router) => vec![None],
            (Paths::Offered, Through::Broker) => vec![Some(ProducePath::Partitioned)],
            (Paths::Only(path), _) => vec![Some(path)],
            (Paths::Both, _) => vec![Some(ProducePath::Routed), Some(ProducePath::Partitioned)],
        }
    }

    /// Returns how many sockets producers, clients and readers hold at most against a null broker, which is one server.
    fn sockets(&self) -> u64 {
        u64::from(self.producers) + u64::from(self.clients) + 2 * u64::from(self.readers)
    }

    /// Returns how many connections one server must take.
    #[must_use]
    pub fn connections_max(&self) -> u64 {
        self.sockets() + OPEN_FILES_BESIDES
    }

    /// Returns how many files one process must be permitted to open.
    #[must_use]
    pub fn open_files(&self) -> u64 {
        // Who dials brokers has a connection to each; a relay has two for each client.
        let generator = match self.servers.through() {
            Through::Broker => self.sockets() * u64::from(self.servers.brokers),
            Through::Router => self.sockets(),
        };
        let relay = match self.yardsticks.has_null_relay {
            true => 2 * self.sockets(),
            false => 0,
        };
        generator.max(relay) + OPEN_FILES_BESIDES
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
            Input::Generated { value_bytes, keys } => {
                let keys = match *keys {
                    Keys::BuiltIn => KeySpace::of_rows(Rows::built_in(1).keys(), KEY_SEED),
                    Keys::Made {
                        count,
                        distribution,
                    } => KeySpace::new(count, distribution, KEY_SEED),
                };
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
            servers: self.servers,
            through: self.servers.through(),
            partitions: self.partitions,
            producers: self.producers,
            clients: self.clients,
            readers: self.readers,
            pace: match self.pace {
                Pace::FlatOut => "flat out".to_owned(),
                Pace::Rate(rate) => format!("{rate} records/s on schedule"),
                Pace::Closed(records) => format!("{records} in flight per producer"),
            },
            batch_size_bytes: self.batch_size_bytes,
            routed_batch_size_bytes: self.routed_batch_size_bytes,
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
            Self::Generated { value_bytes, keys } => {
                write!(formatter, "values of {value_bytes} bytes, ")?;
                match keys {
                    Keys::BuiltIn => {
                        let (name, column) = (crate::flights::NAME, crate::flights::KEY_COLUMN);
                        write!(formatter, "keys as in {name} by {column}")
                    }
                    Keys::Made {
                        count,
                        distribution: KeyDistribution::Uniform,
                    } => write!(formatter, "{count} keys equally often"),
                    Keys::Made {
                        count,
                        distribution: KeyDistribution::Zipf { exponent },
                    } => write!(
                        formatter,
                        "{count} keys by Zipf's law with exponent {exponent}"
                    ),
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
