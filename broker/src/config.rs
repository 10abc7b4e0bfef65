//! How a broker is configured: typed, documented, defaulted, validated once; then immutable.

mod voters;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use keylane_protocol::identifiers::BrokerId;

use crate::limits::Limits;
use crate::topic_settings::TopicSettings;

pub(crate) use voters::show as show_voters;
pub use voters::{InvalidVoter, VoterAddress};

const BROKER_ID_MAX: i32 = 999_999;
const RUNTIMES_MAX: usize = 256;

/// What clients are told to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdvertisedAddress {
    /// A host name or IP address that clients can reach.
    pub host: String,
    /// The port.
    pub port: u16,
}

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
    pub advertise: Option<AdvertisedAddress>,
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
    /// Bounds on what clients can make the broker hold.
    pub limits: Limits,
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The field.
    pub field: &'static str,
    /// What is wrong and what to do.
    pub text: String,
}

impl Fault {
    pub(crate) fn new(field: &'static str, text: impl Into<String>) -> Self {
        Self {
            field,
            text: text.into(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.field, self.text)
    }
}

/// A configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration has {} fault(s): {}", faults.len(), joined(faults))]
pub struct InvalidConfig {
    /// All of its faults, at least one.
    pub faults: Vec<Fault>,
}

fn joined(faults: &[Fault]) -> String {
    let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
    texts.join("; ")
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
            limits: Limits::default(),
        }
    }

    /// Checks everything that can be checked without touching the machine.
    ///
    /// # Errors
    /// Lists all faults together.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let mut faults = Vec::new();
        if !(1..=BROKER_ID_MAX).contains(&self.id.0) {
            faults.push(Fault::new(
                "id",
                format!("must be from 1 to {BROKER_ID_MAX}, not {}", self.id),
            ));
        }
        if self.data_folder.as_os_str().is_empty() {
            faults.push(Fault::new("data_folder", "must be given"));
        }
        self.validate_reach("listen", self.listen, &mut faults);
        self.validate_reach("internal_listen", self.internal_listen, &mut faults);
        if let Some(address) = self.admin_listen {
            self.validate_reach("admin_listen", address, &mut faults);
        }
        self.validate_advertised(&mut faults);
        let partitions_max = self.limits.partitions_max;
        if !usize::try_from(self.default_partitions)
            .is_ok_and(|count| (1..=partitions_max).contains(&count))
        {
            faults.push(Fault::new(
                "default_partitions",
                format!(
                    "must be from 1 to {partitions_max}, not {}",
                    self.default_partitions
                ),
            ));
        }
        if self.runtimes > RUNTIMES_MAX {
            faults.push(Fault::new(
                "runtimes",
                format!("must be at most {RUNTIMES_MAX}, not {}", self.runtimes),
            ));
        }
        self.validate_topic_defaults(&mut faults);
        self.validate_voters(&mut faults);
        self.limits.validate(&mut faults);
        if faults.is_empty() {
            Ok(())
        } else {
            Err(InvalidConfig { faults })
        }
    }

    fn validate_reach(&self, field: &'static str, address: SocketAddr, faults: &mut Vec<Fault>) {
        if !address.ip().is_loopback() && !self.insecure {
            faults.push(Fault::new(
                field,
                format!(
                    "{address} can be reached by other machines, and nothing is encrypted or authenticated yet: \
                     listen on 127.0.0.1, or say that this is meant (insecure)"
                ),
            ));
        }
    }

    fn validate_advertised(&self, faults: &mut Vec<Fault>) {
        match &self.advertise {
            Some(address) if address.host.is_empty() || address.host.len() > 255 => {
                faults.push(Fault::new(
                    "advertise",
                    "needs a host of 1 to 255 characters",
                ));
            }
            Some(address) if address.port == 0 => {
                faults.push(Fault::new("advertise", "needs a port that is not 0"));
            }
            _ => {}
        }
    }

    fn validate_topic_defaults(&self, faults: &mut Vec<Fault>) {
        let batch = u64::from(self.topic_defaults.message_bytes_max);
        if batch > u64::from(self.topic_defaults.segment_bytes) {
            faults.push(Fault::new(
                "topic_defaults",
                "a segment must have room for the largest batch: raise segment_bytes or lower message_bytes_max",
            ));
        }
        if usize::try_from(batch).is_ok_and(|batch| batch > self.limits.request_bytes_max) {
            faults.push(Fault::new(
                "topic_defaults",
                "message_bytes_max is larger than the largest request (limits.request_bytes_max)",
            ));
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
        config.limits.connections_max = 0;
        config.limits.request_bytes_total_max = 1;
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
