//! The settings of `broker` and `dev`: each with its name, its meaning, and its place in the configuration.

use keylane_broker::config::BrokerConfig;
use keylane_protocol::config::{Faults, InvalidConfig};
use keylane_protocol::limits::FRAME_SIZE_BYTES_MAX;

use super::shared::{ServerConfig, Shared};
use super::values::{
    durability, duration, folder, host, list, number, port, size, socket_address, truth,
};
use super::{BOOL, Role, Setting};

/// `keylane broker`.
#[derive(Debug)]
pub(crate) struct Broker;

/// `keylane dev`.
#[derive(Debug)]
pub(crate) struct Dev;

/// What `dev` decides by itself: it runs several brokers, which only need to find one another.
const NOT_OF_DEV: [&str; 5] = ["id", "internal-listen", "voters", "bootstrap", "session"];

impl Role for Broker {
    type Config = BrokerConfig;

    fn settings() -> Vec<Setting<BrokerConfig>> {
        OWN.into_iter().chain(Setting::SHARED).collect()
    }

    /// The data folder is empty: one must be given.
    fn defaults() -> BrokerConfig {
        BrokerConfig::new("")
    }
}

impl Role for Dev {
    type Config = BrokerConfig;

    fn settings() -> Vec<Setting<BrokerConfig>> {
        let mut settings = Broker::settings();
        settings.retain(|setting| !NOT_OF_DEV.contains(&setting.name));
        settings
    }

    /// The data folder is empty: `dev` makes a temporary one if none is given.
    fn defaults() -> BrokerConfig {
        let mut config = BrokerConfig::new("");
        config.auto_create_topics = true;
        config.default_partitions = 6;
        // Everything runs in one process.
        config.runtimes = 1;
        config
    }

    /// Clients dial a router, which has bounds of its own.
    fn validate(config: &BrokerConfig) -> Result<(), InvalidConfig> {
        let mut routers = Faults::default();
        config.clients.validate(FRAME_SIZE_BYTES_MAX, &mut routers);
        let Err(more) = routers.into_result() else {
            return config.validate();
        };
        let brokers = config.validate().err();
        let mut faults = brokers.map_or(Vec::new(), |invalid| invalid.faults);
        for fault in more.faults {
            if faults.iter().all(|known| known.field != fault.field) {
                faults.push(fault);
            }
        }
        Err(InvalidConfig { faults })
    }
}

impl ServerConfig for BrokerConfig {
    fn shared(&mut self) -> Shared<'_> {
        Shared {
            admin_listen: &mut self.admin_listen,
            insecure: &mut self.insecure,
            advertise: &mut self.advertise,
            runtimes: &mut self.runtimes,
            clients: &mut self.clients,
        }
    }

    fn validate(&self) -> Result<(), InvalidConfig> {
        self.validate()
    }
}

/// What brokers have and routers have not, in the order of `--help`.
const OWN: [Setting<BrokerConfig>; 21] = [
    Setting {
        name: "id",
        value_name: "ID",
        help: "The broker's id in its cluster",
        value: |config| number(&mut config.id.0),
    },
    Setting {
        name: "data",
        value_name: "FOLDER",
        help: "The folder that keeps topics and records; created if it does not exist",
        value: |config| folder(&mut config.data_folder),
    },
    Setting {
        name: "host",
        value_name: "ADDRESS",
        help: "The IP address to listen on",
        value: |config| host(&mut config.listen),
    },
    Setting {
        name: "port",
        value_name: "PORT",
        help: "The port to listen on; 0 takes a free one, which the ready line on stdout names",
        value: |config| port(&mut config.listen),
    },
    Setting {
        name: "internal-listen",
        value_name: "HOST:PORT",
        help: "Where routers and other brokers reach this one; port 0 takes a free one, which the ready line names",
        value: |config| socket_address(&mut config.internal_listen),
    },
    Setting {
        name: "voters",
        value_name: "ID@HOST:PORT,...",
        help: "The brokers that vote on the cluster's metadata, at their internal addresses; the same list for every \
               broker of the cluster. Without it the broker is a cluster of its own",
        value: |config| list(&mut config.voters),
    },
    Setting {
        name: "bootstrap",
        value_name: BOOL,
        help: "Found the cluster once all voters are there and none belongs to one; give it to one of the voters",
        value: |config| truth(&mut config.bootstrap),
    },
    Setting {
        name: "session",
        value_name: "TIME",
        help: "A broker that is silent for so long takes no part; the same for every broker",
        value: |config| duration(&mut config.session),
    },
    Setting {
        name: "durability",
        value_name: "MODE",
        help: "What acknowledged records of a topic survive unless it says otherwise: fsync (power loss) or page-cache (end of the process)",
        value: |config| durability(&mut config.topic_defaults.durability),
    },
    Setting {
        name: "auto-create-topics",
        value_name: BOOL,
        help: "Create a topic when a client that permits it asks for it",
        value: |config| truth(&mut config.auto_create_topics),
    },
    Setting {
        name: "default-partitions",
        value_name: "N",
        help: "Partitions of a topic created without a number",
        value: |config| number(&mut config.default_partitions),
    },
    Setting {
        name: "segment-size",
        value_name: "SIZE",
        help: "Close a segment file before it would grow beyond this",
        value: |config| size(&mut config.topic_defaults.segment_bytes),
    },
    Setting {
        name: "segment-age",
        value_name: "TIME",
        help: "Close a segment file when its first record is this old",
        value: |config| duration(&mut config.topic_defaults.segment_age),
    },
    Setting {
        name: "batch-size-max",
        value_name: "SIZE",
        help: "The largest record batch, after compression",
        value: |config| size(&mut config.topic_defaults.message_bytes_max),
    },
    Setting {
        name: "space-reserve",
        value_name: "SIZE",
        help: "Free space of the file system that is never used for records; below it producing is refused",
        value: |config| size(&mut config.space_reserve_bytes),
    },
    Setting {
        name: "fetch-size-max",
        value_name: "SIZE",
        help: "Bytes of records in one answer to Fetch, whatever the client asks for",
        value: |config| size(&mut config.limits.fetch_bytes_max),
    },
    Setting {
        name: "fetch-wait-max",
        value_name: "TIME",
        help: "The longest a Fetch waits, whatever the client asks for",
        value: |config| duration(&mut config.limits.fetch_wait_max),
    },
    Setting {
        name: "partitions-max",
        value_name: "N",
        help: "Partitions of all topics together; at the bound no topic is created",
        value: |config| number(&mut config.limits.partitions_max),
    },
    Setting {
        name: "tail-size",
        value_name: "SIZE",
        help: "Recent records each runtime keeps in memory for readers at the tail",
        value: |config| size(&mut config.limits.tail_bytes_per_shard),
    },
    Setting {
        name: "producers-per-partition-max",
        value_name: "N",
        help: "Idempotent producers that a partition remembers",
        value: |config| number(&mut config.limits.producers_per_partition_max),
    },
    Setting {
        name: "producer-expiry",
        value_name: "TIME",
        help: "Forget an idempotent producer that was silent for so long",
        value: |config| duration(&mut config.limits.producer_expiry),
    },
];
