//! Flags of `broker` and `dev`. The settings themselves are drawn once, in `settings/table.rs`.

use clap::Args;
use std::path::PathBuf;

use crate::settings::SettingFlags;

/// `keylane broker` and `keylane dev`.
#[derive(Debug, Args)]
pub(crate) struct ServerArguments {
    /// A TOML file with settings, named like the flags; a flag wins over the environment, which wins over the file
    #[arg(
        long,
        value_name = "FILE",
        env = "KEYLANE_CONFIG",
        hide_env_values = true
    )]
    pub(crate) config: Option<PathBuf>,
    /// End when stdin is closed, so that no process outlives the one that started it
    #[arg(long)]
    pub(crate) until_stdin_closes: bool,
    /// The settings.
    #[command(flatten)]
    pub(crate) settings: SettingFlags,
}
