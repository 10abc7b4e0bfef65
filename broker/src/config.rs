//! How a broker is configured: typed, documented, defaulted, validated once; then immutable.

mod voters;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use keylane_protocol::cluster::Endpoint;
use keylane_protocol::config::{ClientLimits, Faults, InvalidConfig};
use keylane_protocol::identifiers::BrokerId;

use crate::limits::Limits;
use crate::topic_settings::TopicSettings;

pub(crate) use voters::show as show_voters;
pub use voters::{InvalidVoter, VoterAddress};

const BROKER_ID_MAX: i32 = 999_999;
const RUNTIMES_MAX: usize = 256;

/// The largest request that can be permitted: its length is a signed 32-bit number.
const REQUEST_BYTES_MAX: usize = i32::MAX as usize;

/// Everything a broker needs to know at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerConfig {
    /// The broker's id, from 1 to 999,999. Kafka's `node.id`. Default 1.
    pub id: BrokerId,
    /// Where topics and records live; created if it does not exist.
    pub data_folder: PathBuf,
    /// Where the Kafka listener binds; port 0 takes a free one. Default 127.0.0.1:9092.
    pub listen: SocketAddr,
    /// Where the internal listener binds, which routers and other brokers dial; port 0 takes a free one. Default
    /// 127.0.0.1:0.
    pub internal_listen: SocketAddr,
    /// Where the process that runs the broker shows metrics and health; port 0 takes a free one, `None` shows nothing. The
    /// broker itself opens nothing there. Default 127.0.0.1:0.
    pub admin_listen: Option<SocketAddr>,
    /// The brokers that vote on the cluster's metadata, this one among them or not, at their internal addresses; the
    /// same list for every broker of the cluster. Empty: this broker is a cluster of its own. Kafka's
    /// `controller.quorum.voters`.
    pub voters: Vec<VoterAddress>,
    /// Whether this voter founds the cluster, once all voters are there and none belongs to one. Default false.
    pub bootstrap: bool,
    /// A broker that is silent for so long takes no part; the same for every broker. Kafka's
    /// `broker.session.timeout.ms`. Default 9 s.
    pub session: Duration,
    /// Permits a listener that other machines can reach, although nothing is encrypted or authenticated. Default false.
    pub insecure: bool,
    /// What Metadata names; `None` is the address at which the client reached us. Kafka's `advertised.listeners`.
    pub advertise: Option<Endpoint>,
    /// Whether a topic is created when a client that permits it asks for it. Kafka's `auto.create.topics.enable`,
    /// but false by default.
    pub auto_create_topics: bool,
    /// The partitions of a topic created without a number. Kafka's `num.partitions`. Default 1.
    pub default_partitions: i32,
    /// The settings of topics that do not set their own.
    pub topic_defaults: TopicSettings,
    /// Free space of the file system that is never used for records; below it producing is refused until space is
    /// free again. Default 256 MiB.
    pub space_reserve_bytes: u64,
    /// How many runtimes serve connections and partitions, each on a thread of its own; 0 takes half of the cores.
    /// Default 0.
    pub runtimes: usize,
    /// Bounds on what the connections of clients can make the broker hold.
    pub clients: ClientLimits,
    /// Bounds on what else clients can make it hold.
    pub limits: Limits,
}

impl BrokerConfig {
    /// Returns the defaults for a data folder.
    pub fn new(data_folder: impl Into<PathBuf>) -> Self {
        Self {
            id: BrokerId(1),
            data_folder: data_folder.into(),
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9092),
            internal_listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            admin_listen: Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)),
            voters: Vec::new(),
            bootstrap: false,
            session: Duration::from_secs(9),
            insecure: false,
            advertise: None,
            auto_create_topics: false,
            default_partitions: 1,
            topic_defaults: TopicSettings::default(),
            space_reserve_bytes: 256 << 20,
            runtimes: 0,
            clients: ClientLimits::default(),
            limits: Limits::default(),
        }
    }

    /// Checks everything that can be checked without touching the machine.
    ///
    /// # Errors
    /// Lists all faults together.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let mut faults = Faults::default();
        if !(1..=BROKER_ID_MAX).contains(&self.id.0) {
            let text = format!("must be from 1 to {BROKER_ID_MAX}, not {}", self.id);
            faults.add("id", text);
        }
        if self.data_folder.as_os_str().is_empty() {
            let text = "name the folder that keeps topics and records; it is created if need be";
            faults.add("data_folder", text);
        }
        let listeners = [
            ("listen", Some(self.listen)),
            ("internal_listen", Some(self.internal_listen)),
            ("admin_listen", self.admin_listen),
        ];
        for (field, address) in listeners {
            if let Some(address) = address {
                faults.check_reach(field, address, address.ip().is_loopback() || self.insecure);
            }
        }
        if let Some(endpoint) = &self.advertise {
            faults.check_endpoint("advertise", endpoint);
        }
        let partitions_max = self.limits.partitions_max;
        if !usize::try_from(self.default_partitions)
            .is_ok_and(|count| (1..=partitions_max).contains(&count))
        {
            let count = self.default_partitions;
            let text = format!("must be from 1 to {partitions_max}, not {count}");
            faults.add("default_partitions", text);
        }
        if self.runtimes > RUNTIMES_MAX {
            let text = format!("must be at most {RUNTIMES_MAX}, not {}", self.runtimes);
            faults.add("runtimes", text);
        }
        self.validate_topic_defaults(&mut faults);
        self.validate_voters(&mut faults);
        self.clients.validate(REQUEST_BYTES_MAX, &mut faults);
        self.limits.validate(&mut faults);
        faults.into_result()
    }

    fn validate_topic_defaults(&self, faults: &mut Faults) {
        let batch = u64::from(self.topic_defaults.message_bytes_max);
        if batch > u64::from(self.topic_defaults.segment_bytes) {
            faults.add(
                "topic_defaults",
                "a segment must have room for the largest batch: raise segment_bytes or lower message_bytes_max",
            );
        }
        if usize::try_from(batch).is_ok_and(|batch| batch > self.clients.request_bytes_max) {
            faults.add(
                "topic_defaults",
                "message_bytes_max is larger than the largest request (request_bytes_max)",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(BrokerConfig::new("/tmp/x").validate(), Ok(()));
    }

    #[test]
    fn all_faults_are_listed_together() {
        let mut config = BrokerConfig::new("");
        config.id = BrokerId(0);
        config.listen = "0.0.0.0:9092".parse().expect("an address");
        config.internal_listen = "0.0.0.0:9093".parse().expect("an address");
        config.admin_listen = Some("0.0.0.0:9644".parse().expect("an address"));
        config.default_partitions = 0;
        config.clients.connections_max = 0;
        config.clients.request_bytes_total_max = 1;
        let faults = config.validate().expect_err("invalid").faults;
        let fields: Vec<_> = faults.iter().map(|fault| fault.field).collect();
        assert_eq!(
            fields,
            [
                "id",
                "data_folder",
                "listen",
                "internal_listen",
                "admin_listen",
                "default_partitions",
                "connections_max",
                "request_bytes_total_max"
            ]
        );
        config.insecure = true;
        assert_eq!(config.validate().expect_err("invalid").faults.len(), 5);
    }
}
