//! How a router is configured: typed, documented, defaulted, validated once; then immutable.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use keylane_protocol::cluster::Endpoint;
use keylane_protocol::config::{ClientLimits, Faults, InvalidConfig};
use keylane_protocol::limits::FRAME_SIZE_BYTES_MAX;

use crate::limits::HOLD;

const RUNTIMES_MAX: usize = 256;

/// Everything a router needs to know at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterConfig {
    /// Where the Kafka listener binds; port 0 takes a free one. Default 127.0.0.1:9092.
    pub listen: SocketAddr,
    /// Where the process that runs the router shows metrics and health; port 0 takes a free one, `None` shows nothing. The
    /// router itself opens nothing there. Default 127.0.0.1:0.
    pub admin_listen: Option<SocketAddr>,
    /// Permits a listener that other machines can reach, although nothing is encrypted or authenticated. Default false.
    pub insecure: bool,
    /// Internal addresses of brokers by which the cluster is found; one that votes and answers is enough.
    pub brokers: Vec<Endpoint>,
    /// Where clients reach this router, or all routers by one name; `None` is the address that a client has dialled.
    pub advertise: Option<Endpoint>,
    /// How long a partition without leader is waited for. `router.hold.ms`. Default 3 s.
    pub hold: Duration,
    /// How many runtimes serve connections, each on a thread of its own; 0 takes half of the cores. Default 0.
    pub runtimes: usize,
    /// Bounds on what the connections of clients can make the router hold.
    pub clients: ClientLimits,
}

impl RouterConfig {
    /// Returns the defaults for a cluster that is found by these internal addresses of brokers.
    #[must_use]
    pub fn new(brokers: Vec<Endpoint>) -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9092),
            admin_listen: Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)),
            insecure: false,
            brokers,
            advertise: None,
            hold: HOLD,
            runtimes: 0,
            clients: ClientLimits::default(),
        }
    }

    /// Checks everything that can be checked without touching the machine.
    ///
    /// # Errors
    /// Lists all faults together.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let mut faults = Faults::default();
        let listeners = [
            ("listen", Some(self.listen)),
            ("admin_listen", self.admin_listen),
        ];
        for (field, address) in listeners {
            if let Some(address) = address {
                faults.check_reach(field, address, address.ip().is_loopback() || self.insecure);
            }
        }
        if self.brokers.is_empty() {
            let text = "name the internal address of at least one broker, HOST:PORT";
            faults.add("brokers", text);
        }
        let named = self.brokers.iter().map(|endpoint| ("brokers", endpoint));
        for (field, endpoint) in named.chain(self.advertise.iter().map(|at| ("advertise", at))) {
            faults.check_endpoint(field, endpoint);
        }
        if self.runtimes > RUNTIMES_MAX {
            let text = format!("must be at most {RUNTIMES_MAX}, not {}", self.runtimes);
            faults.add("runtimes", text);
        }
        self.clients.validate(FRAME_SIZE_BYTES_MAX, &mut faults);
        faults.into_result()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_with_a_broker_are_valid() {
        let broker = Endpoint::new(&"broker-1".into(), 9093).expect("an address");
        assert_eq!(RouterConfig::new(vec![broker]).validate(), Ok(()));
    }

    #[test]
    fn all_faults_are_told_together() {
        let mut config = RouterConfig::new(Vec::new());
        config.listen = "0.0.0.0:0".parse().expect("an address");
        config.admin_listen = Some(config.listen);
        config.runtimes = 1000;
        config.clients.connections_max = 0;
        config.clients.idle_timeout = Duration::ZERO;
        config.clients.request_bytes_total_max = 1;
        let invalid = config.validate().expect_err("it has faults");
        let fields: Vec<&str> = invalid.faults.iter().map(|fault| fault.field).collect();
        assert_eq!(
            fields,
            [
                "listen",
                "admin_listen",
                "brokers",
                "runtimes",
                "connections_max",
                "idle_timeout",
                "request_bytes_total_max"
            ]
        );
    }
}
