//! Flags of `cluster`.

use clap::{Args, Subcommand};
use keylane_protocol::cluster::Endpoint;

/// `keylane cluster`.
#[derive(Debug, Args)]
pub(crate) struct ClusterArguments {
    /// What to do with the cluster.
    #[command(subcommand)]
    pub(crate) command: ClusterCommand,
}

/// The commands below `keylane cluster`.
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Show the controllers, the brokers with what they lead, and the routers
    Status(StatusArguments),
}

/// `keylane cluster status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArguments {
    /// Internal addresses of brokers that vote; one that answers is enough. That of `keylane dev` is one above its port
    #[arg(
        long,
        value_name = "HOST:PORT,…",
        env = "KEYLANE_BROKERS",
        default_value = "127.0.0.1:9093",
        value_delimiter = ','
    )]
    pub(crate) brokers: Vec<Endpoint>,
    /// Print one JSON document instead of tables
    #[arg(long)]
    pub(crate) json: bool,
}
