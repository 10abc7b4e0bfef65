//! The settings of `router`: each with its name, its meaning, and its place in the configuration.

use keylane_protocol::config::InvalidConfig;
use keylane_router::config::RouterConfig;

use super::shared::{ServerConfig, Shared};
use super::values::{duration, list, socket_address};
use super::{Role, Setting};

/// `keylane router`.
#[derive(Debug)]
pub(crate) struct Router;

impl Role for Router {
    type Config = RouterConfig;

    fn settings() -> Vec<Setting<RouterConfig>> {
        OWN.into_iter().chain(Setting::SHARED).collect()
    }

    /// There is no broker: one must be given.
    fn defaults() -> RouterConfig {
        RouterConfig::new(Vec::new())
    }
}

impl ServerConfig for RouterConfig {
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

/// What routers have and brokers have not, in the order of `--help`.
const OWN: [Setting<RouterConfig>; 3] = [
    Setting {
        name: "brokers",
        value_name: "HOST:PORT,...",
        help: "Internal addresses of brokers by which the cluster is found; one that votes and answers is enough",
        value: |config| list(&mut config.brokers),
    },
    Setting {
        name: "listen",
        value_name: "ADDRESS:PORT",
        help: "Where Kafka clients reach the router; port 0 takes a free one, which the ready line on stdout names",
        value: |config| socket_address(&mut config.listen),
    },
    Setting {
        name: "hold",
        value_name: "TIME",
        help: "How long requests are held for a partition without leader, from when it was lost",
        value: |config| duration(&mut config.hold),
    },
];
