//! Flags of `broker`, `dev` and `router`, and the configuration that they, the environment and a file make. The settings
//! themselves are drawn once, in `settings`.

use clap::Args;
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::settings::{Given, Role, SettingFlags};

/// `keylane broker`, `keylane dev` and `keylane router`.
#[derive(Debug, Args)]
pub(crate) struct ServerArguments<R: Role> {
    /// A TOML file with settings, named like the flags; a flag wins over the environment, which wins over the file
    #[arg(
        long,
        value_name = "FILE",
        env = "KEYLANE_CONFIG",
        hide_env_values = true
    )]
    config: Option<PathBuf>,
    /// End when stdin is closed, so that no process outlives the one that started it
    #[arg(long)]
    pub(crate) until_stdin_closes: bool,
    /// The settings.
    #[command(flatten)]
    settings: SettingFlags<R>,
}

impl<R: Role> ServerArguments<R> {
    /// Returns the configuration that all settings given make of the defaults.
    ///
    /// # Errors
    /// All of its faults.
    pub(crate) fn configure(&self, defaults: R::Config) -> Result<R::Config, Failure> {
        let file = match &self.config {
            Some(path) => Some((path.clone(), read(path)?)),
            None => None,
        };
        let given = Given {
            flags: &self.settings,
            environment: &|name| std::env::var_os(name),
            file,
        };
        given.fill(defaults).map_err(Failure::faults)
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| {
        Failure::usage(format!("--config {}: {error}", path.display()))
            .hint("give a TOML file with settings named like the flags, or leave --config out")
    })
}
