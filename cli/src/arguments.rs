//! The command line: every command and flag, with the texts that `--help` prints. Values that only make sense
//! together are checked where they are used, and all faults found are told together.

mod bench;
mod client;
mod cluster;
mod server;

use clap::{Args, Parser, Subcommand};

pub(crate) use self::bench::{
    BenchArguments, BenchCommand, DurabilityName, PathName, ThroughName, WorkloadArguments,
};
pub(crate) use self::client::{
    AcksName, CompressionName, ConsumeArguments, OutputFormat, ProduceArguments, TopicArguments,
    TopicCommand, TopicCreateArguments, TopicDescribeArguments,
};
pub(crate) use self::cluster::{ClusterArguments, ClusterCommand};
pub(crate) use self::server::ServerArguments;
use crate::failure::EXIT_CODES;
use crate::settings::{Broker, Dev, Router};

/// A partitioned, durable record log that speaks Apache Kafka's protocol.
#[derive(Debug, Parser)]
#[command(name = "keylane", version, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,

    /// What is logged to stderr: error, warn, info, debug, or targets such as keylane_broker=debug,info
    /// (default: info for broker, router and dev, warn otherwise)
    #[arg(
        long,
        global = true,
        value_name = "FILTER",
        env = "KEYLANE_LOG",
        hide_env_values = true
    )]
    pub(crate) log: Option<String>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run one broker: it keeps what it acknowledges in its data folder and serves Kafka clients
    Broker(ServerArguments<Broker>),
    /// Run one router: Kafka clients that dial it see the whole cluster at its address
    Router(ServerArguments<Router>),
    /// Run three brokers behind a router in one process for development, by default in a temporary folder that is
    /// removed at the end
    Dev(ServerArguments<Dev>),
    /// Create, list, describe and delete topics
    Topic(TopicArguments),
    /// Show the state of a cluster
    Cluster(ClusterArguments),
    /// Send every row of a file as a record; succeeds only if every row was acknowledged
    Produce(ProduceArguments),
    /// Read records and print them, or compare them with a file
    Consume(Box<ConsumeArguments>),
    /// Measure a cluster started for it (or --connect) against the limit of this machine, and verify every record
    Bench(Box<BenchArguments>),
    /// Work with consumer groups.
    #[command(hide = true, disable_help_flag = true)]
    Group(NotBuilt),
    /// Watch a cluster.
    #[command(hide = true, disable_help_flag = true)]
    Top(NotBuilt),
}

/// Whatever is given to a command that does not exist yet.
#[derive(Debug, Args)]
pub(crate) struct NotBuilt {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _rest: Vec<String>,
}

/// How client commands reach a cluster.
#[derive(Debug, Clone, Args)]
pub(crate) struct ConnectArguments {
    /// Routers of the cluster, or brokers of it, with commas between them: one that answers is enough
    #[arg(
        long,
        value_name = "HOST:PORT,…",
        env = "KEYLANE_CONNECT",
        hide_env_values = true,
        default_value = "127.0.0.1:9092"
    )]
    pub(crate) connect: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_and_flag_has_a_help_text() {
        fn check(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for argument in command.get_arguments() {
                let id = argument.get_id();
                let has_help = argument.get_help().is_some() || argument.is_hide_set();
                assert!(has_help, "{} {id}", command.get_name());
            }
            command.get_subcommands().for_each(check);
        }
        let mut command = Arguments::command();
        command.build();
        check(&command);
    }
}
