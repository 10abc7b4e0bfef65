//! How a router is configured: typed, documented, defaulted, validated once; then immutable.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use keylane_protocol::cluster::Endpoint;

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
    /// Bounds on what clients can make the router hold.
    pub limits: Limits,
}

/// Bounds that a deployment may want to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most connections at once; at the bound new ones are closed at once.
    pub connections_max: usize,
    /// The most connections at once from one IP address; at the bound new ones from there are closed at once.
    pub connections_per_address_max: usize,
    /// The largest request; the connection of a larger one is closed before anything is allocated.
    pub request_bytes_max: usize,
    /// The most requests of one connection that were read and not answered; at the bound it is not read.
    pub connection_requests_max: usize,
    /// The most bytes of such requests; at the bound the connection is not read. A single request may be larger.
    pub connection_request_bytes_max: usize,
    /// The most bytes of requests of all connections that were read and not answered; at the bound none is begun. As
    /// many again may belong to large requests that have not arrived whole.
    pub request_bytes_total_max: usize,
    /// The most record bytes of answers of all connections; at the bound a Fetch gets little.
    pub fetch_bytes_total_max: usize,
    /// A connection on which nothing is asked or answered for so long is closed.
    pub idle_timeout: Duration,
    /// A request must arrive whole within this time after its first byte.
    pub receive_timeout: Duration,
    /// A client must take some bytes of its answers within this time.
    pub send_timeout: Duration,
    /// How long a stop waits for requests under way.
    pub stop_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        const MEBIBYTE: usize = 1 << 20;
        Self {
            connections_max: 10_000,
            connections_per_address_max: 5_000,
            request_bytes_max: 100 * MEBIBYTE,
            connection_requests_max: 1024,
            connection_request_bytes_max: 8 * MEBIBYTE,
            request_bytes_total_max: 512 * MEBIBYTE,
            fetch_bytes_total_max: 512 * MEBIBYTE,
            idle_timeout: Duration::from_secs(600),
            receive_timeout: Duration::from_secs(60),
            send_timeout: Duration::from_secs(60),
            stop_timeout: Duration::from_secs(10),
        }
    }
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The field.
    pub field: &'static str,
    /// What is wrong and what to do.
    pub text: String,
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
            limits: Limits::default(),
        }
    }

    /// Checks everything that can be checked without touching the machine.
    ///
    /// # Errors
    /// Lists all faults together.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let mut faults = Vec::new();
        let mut fault = |field, text: String| faults.push(Fault { field, text });
        let listeners = [
            ("listen", Some(self.listen)),
            ("admin_listen", self.admin_listen),
        ];
        for (field, address) in listeners {
            if let Some(address) = address.filter(|at| !at.ip().is_loopback() && !self.insecure) {
                let text = format!(
                    "{address} can be reached by other machines, and nothing is encrypted or authenticated yet: \
                     listen on 127.0.0.1, or say that this is meant (insecure)"
                );
                fault(field, text);
            }
        }
        if self.brokers.is_empty() {
            let text = "name the internal address of at least one broker, HOST:PORT";
            fault("brokers", text.to_owned());
        }
        let named = self.brokers.iter().map(|endpoint| ("brokers", endpoint));
        for (field, endpoint) in named.chain(self.advertise.iter().map(|at| ("advertise", at))) {
            if !(1..=255).contains(&endpoint.host.len()) || endpoint.port == 0 {
                let text = format!(
                    "{endpoint} is no address: a host of 1 to 255 characters and a port that is not 0"
                );
                fault(field, text);
            }
        }
        if self.runtimes > RUNTIMES_MAX {
            let text = format!("must be at most {RUNTIMES_MAX}, not {}", self.runtimes);
            fault("runtimes", text);
        }
        self.limits.validate(&mut fault);
        if faults.is_empty() {
            Ok(())
        } else {
            Err(InvalidConfig { faults })
        }
    }
}

impl Limits {
    fn validate(&self, fault: &mut impl FnMut(&'static str, String)) {
        let counts = [
            ("connections_max", self.connections_max),
            (
                "connections_per_address_max",
                self.connections_per_address_max,
            ),
            ("connection_requests_max", self.connection_requests_max),
            (
                "connection_request_bytes_max",
                self.connection_request_bytes_max,
            ),
            ("fetch_bytes_total_max", self.fetch_bytes_total_max),
        ];
        for (name, _) in counts.into_iter().filter(|(_, count)| *count == 0) {
            fault(name, "must be at least 1".to_owned());
        }
        let times = [
            ("idle_timeout", self.idle_timeout),
            ("receive_timeout", self.receive_timeout),
            ("send_timeout", self.send_timeout),
        ];
        for (name, _) in times.into_iter().filter(|(_, time)| time.is_zero()) {
            fault(name, "must be longer than 0".to_owned());
        }
        let request_bytes = 1024..=keylane_protocol::limits::FRAME_SIZE_BYTES_MAX;
        if !request_bytes.contains(&self.request_bytes_max) {
            let text = format!("must be from 1024 to {}", request_bytes.end());
            fault("request_bytes_max", text);
        }
        if self.request_bytes_total_max < self.request_bytes_max {
            let text =
                "must be at least request_bytes_max, or the largest request could never be read";
            fault("request_bytes_total_max", text.to_owned());
        }
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
        config.limits.connections_max = 0;
        config.limits.idle_timeout = Duration::ZERO;
        config.limits.request_bytes_total_max = 1;
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
