//! Flags of `router`: each setting comes from its flag, else from its environment variable, else it has its default.

use clap::Args;
use keylane_protocol::cluster::Endpoint;
use keylane_router::config::RouterConfig;
use std::net::SocketAddr;
use std::time::Duration;

use crate::admin::AdminAddress;
use crate::quantity;

/// `keylane router`.
#[derive(Debug, Args)]
pub(crate) struct RouterArguments {
    /// Internal addresses of brokers by which the cluster is found; one that votes and answers is enough
    #[arg(
        long,
        value_name = "HOST:PORT,…",
        env = "KEYLANE_BROKERS",
        required = true,
        value_delimiter = ','
    )]
    brokers: Vec<Endpoint>,
    /// The address to listen on for Kafka clients; port 0 takes a free one, which the ready line on stdout names
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        env = "KEYLANE_LISTEN",
        default_value = "127.0.0.1:9092"
    )]
    listen: SocketAddr,
    /// Where metrics and health are shown over HTTP; port 0 takes a free one, which the ready line names; off shows nothing
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        env = "KEYLANE_ADMIN_LISTEN",
        default_value = "127.0.0.1:0"
    )]
    admin_listen: AdminAddress,
    /// What clients are told to connect to: this router, or all routers by one name; without it, the address that each
    /// client has dialled
    #[arg(long, value_name = "HOST:PORT", env = "KEYLANE_ADVERTISE")]
    advertise: Option<Endpoint>,
    /// Permit an address that other machines reach, although nothing is encrypted or authenticated yet
    #[arg(long, env = "KEYLANE_INSECURE")]
    insecure: bool,
    /// How long requests are held for a partition without leader, from when it was lost
    #[arg(long, value_name = "TIME", env = "KEYLANE_HOLD", default_value = "3s", value_parser = quantity::duration)]
    hold: Duration,
    /// Threads that serve connections; 0 is half of the cores
    #[arg(long, value_name = "N", env = "KEYLANE_RUNTIMES", default_value_t = 0)]
    runtimes: usize,
    /// Connections at once; more are closed at once
    #[arg(
        long,
        value_name = "N",
        env = "KEYLANE_CONNECTIONS_MAX",
        default_value_t = 10_000
    )]
    connections_max: usize,
    /// Connections at once from one IP address
    #[arg(
        long,
        value_name = "N",
        env = "KEYLANE_CONNECTIONS_PER_ADDRESS_MAX",
        default_value_t = 5_000
    )]
    connections_per_address_max: usize,
    /// The largest request; the connection of a larger one is closed
    #[arg(long, value_name = "SIZE", env = "KEYLANE_REQUEST_SIZE_MAX", default_value = "100MiB", value_parser = size)]
    request_size_max: usize,
    /// Unanswered requests of a connection; at the bound it is not read
    #[arg(
        long,
        value_name = "N",
        env = "KEYLANE_CONNECTION_REQUESTS_MAX",
        default_value_t = 1024
    )]
    connection_requests_max: usize,
    /// Bytes of unanswered requests of a connection; at the bound it is not read
    #[arg(long, value_name = "SIZE", env = "KEYLANE_CONNECTION_REQUESTS_SIZE_MAX", default_value = "8MiB", value_parser = size)]
    connection_requests_size_max: usize,
    /// Bytes of unanswered requests of all connections; at the bound none is read
    #[arg(long, value_name = "SIZE", env = "KEYLANE_REQUESTS_SIZE_MAX", default_value = "512MiB", value_parser = size)]
    requests_size_max: usize,
    /// Bytes of records in answers of all connections; at the bound a Fetch gets little
    #[arg(long, value_name = "SIZE", env = "KEYLANE_FETCHES_SIZE_MAX", default_value = "512MiB", value_parser = size)]
    fetches_size_max: usize,
    /// Close a connection on which nothing was asked or answered for so long
    #[arg(long, value_name = "TIME", env = "KEYLANE_IDLE_TIMEOUT", default_value = "10m", value_parser = quantity::duration)]
    idle_timeout: Duration,
    /// Close a connection whose request did not arrive whole in this time
    #[arg(long, value_name = "TIME", env = "KEYLANE_RECEIVE_TIMEOUT", default_value = "1m", value_parser = quantity::duration)]
    receive_timeout: Duration,
    /// Close a connection that took nothing of its answers in this time
    #[arg(long, value_name = "TIME", env = "KEYLANE_SEND_TIMEOUT", default_value = "1m", value_parser = quantity::duration)]
    send_timeout: Duration,
    /// How long a clean stop waits for requests under way
    #[arg(long, value_name = "TIME", env = "KEYLANE_STOP_TIMEOUT", default_value = "10s", value_parser = quantity::duration)]
    stop_timeout: Duration,
    /// End when stdin is closed, so that no process outlives the one that started it
    #[arg(long)]
    pub(crate) until_stdin_closes: bool,
}

impl RouterArguments {
    /// Returns the configuration, which is not validated.
    pub(crate) fn config(&self) -> RouterConfig {
        let mut config = RouterConfig::new(self.brokers.clone());
        config.listen = self.listen;
        config.admin_listen = self.admin_listen.0;
        config.advertise.clone_from(&self.advertise);
        config.insecure = self.insecure;
        config.hold = self.hold;
        config.runtimes = self.runtimes;
        let limits = &mut config.clients;
        limits.connections_max = self.connections_max;
        limits.connections_per_address_max = self.connections_per_address_max;
        limits.request_bytes_max = self.request_size_max;
        limits.connection_requests_max = self.connection_requests_max;
        limits.connection_request_bytes_max = self.connection_requests_size_max;
        limits.request_bytes_total_max = self.requests_size_max;
        limits.fetch_bytes_total_max = self.fetches_size_max;
        limits.idle_timeout = self.idle_timeout;
        limits.receive_timeout = self.receive_timeout;
        limits.send_timeout = self.send_timeout;
        limits.stop_timeout = self.stop_timeout;
        config
    }
}

/// Fields of the configuration whose flag has another name than theirs.
const RENAMED: [(&str, &str); 4] = [
    ("request_bytes_max", "request-size-max"),
    (
        "connection_request_bytes_max",
        "connection-requests-size-max",
    ),
    ("request_bytes_total_max", "requests-size-max"),
    ("fetch_bytes_total_max", "fetches-size-max"),
];

/// Returns the flag that fills a field of the configuration.
pub(crate) fn flag_of(field: &str) -> String {
    let renamed = RENAMED.iter().find(|(renamed, _)| *renamed == field);
    let name = renamed.map_or_else(|| field.replace('_', "-"), |(_, name)| (*name).to_owned());
    format!("--{name}")
}

fn size(text: &str) -> Result<usize, String> {
    usize::try_from(quantity::size(text)?).map_err(|_| "larger than is possible".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        router: RouterArguments,
    }

    #[test]
    fn the_defaults_of_the_flags_are_those_of_the_router() {
        let command = Command::parse_from(["router", "--brokers", "b-1:9093,[::1]:9094"]);
        let brokers = [("b-1", 9093), ("::1", 9094)];
        let brokers = brokers.map(|(host, port)| Endpoint::new(&host.into(), port).expect("one"));
        assert_eq!(command.router.config(), RouterConfig::new(brokers.into()));
    }
}
