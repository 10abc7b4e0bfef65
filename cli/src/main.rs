//! The `keylane` command: reads the command line, runs one command, and turns its outcome into an exit code.

mod admin;
mod arguments;
mod bench;
mod cluster;
mod consume;
mod dev;
mod failure;
mod log;
mod nearest;
mod open_files;
mod output;
mod pace;
mod produce;
mod progress;
mod quantity;
mod router;
mod rows;
mod server;
mod settings;
mod start;
mod status;
mod stop;
mod topic;
mod verify;

use clap::Parser;
use std::process::ExitCode;

use crate::arguments::{Arguments, Command};
use crate::failure::Failure;

fn main() -> ExitCode {
    log::abort_on_panic();
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.is_quiet() {
                output::note(&failure);
            }
            failure.exit_code()
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    let is_server = matches!(
        arguments.command,
        Command::Broker(_) | Command::Router(_) | Command::Dev(_)
    );
    let default = if is_server { "info" } else { "warn" };
    log::start(arguments.log.as_deref(), default)?;
    match arguments.command {
        Command::Broker(arguments) => server::run(&arguments),
        Command::Router(arguments) => router::run(&arguments),
        Command::Dev(arguments) => dev::run(&arguments),
        Command::Topic(arguments) => topic::run(arguments),
        Command::Cluster(arguments) => status::run(&arguments),
        Command::Produce(arguments) => produce::run(&arguments),
        Command::Consume(arguments) => consume::run(&arguments),
        Command::Bench(arguments) => bench::run(*arguments),
        Command::Group(_) => Err(not_built(
            "group",
            "read chosen partitions with `keylane consume`",
        )),
        Command::Top(_) => Err(not_built("top", "`keylane topic describe` shows offsets")),
    }
}

fn not_built(command: &str, instead: &str) -> Failure {
    Failure::usage(format!("`keylane {command}` is not built yet")).hint(instead)
}
