//! The settings of `broker` and `dev`: each comes from a flag, else from the environment, else from a TOML file,
//! else it has its default. All that is wrong with them is found and told together.
//!
//! Every setting is drawn once, in `settings/table.rs`; flag, variable and file key follow from its name. Pure: the
//! environment and the file's text come in as arguments.

mod layers;
mod table;
mod values;

use clap::{Arg, ArgMatches, Command, FromArgMatches};
use keylane_broker::config::BrokerConfig;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use self::layers::Layers;
use self::table::SETTINGS;

/// The text that `--help` prints above the settings.
const HEADING: &str = "Settings (flag, else environment variable, else key of the --config file)";

/// One setting of a server.
#[derive(Debug)]
struct Setting {
    /// The flag without dashes, and the file's key.
    name: &'static str,
    value_name: &'static str,
    help: &'static str,
    /// Whether the flag alone means `true`.
    is_switch: bool,
    apply: fn(&mut BrokerConfig, &str) -> Result<(), String>,
    /// The value in a configuration, for the default in the help text.
    show: fn(&BrokerConfig) -> String,
}

impl Setting {
    fn variable(&self) -> String {
        format!(
            "KEYLANE_{}",
            self.name.to_ascii_uppercase().replace('-', "_")
        )
    }
}

/// Settings given as flags, not yet looked at.
#[derive(Debug, Default)]
pub(crate) struct SettingFlags(BTreeMap<&'static str, String>);

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = SETTINGS.iter().filter_map(|setting| {
            // Not every role has every setting.
            let value = matches.try_get_one::<String>(setting.name).ok()??;
            Some((setting.name, value.clone()))
        });
        Ok(Self(given.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        let dev = command.get_name() == "dev";
        let role = if dev { Role::Dev } else { Role::Broker };
        let defaults = role.defaults();
        role.settings().fold(command, |command, setting| {
            let default = (setting.show)(&defaults);
            let default = match default.as_str() {
                "" => String::new(),
                default => format!("default: {default}; "),
            };
            let help = format!("{} [{default}env: {}]", setting.help, setting.variable());
            let flag = Arg::new(setting.name)
                .long(setting.name)
                .value_name(setting.value_name)
                .help(help)
                .help_heading(HEADING);
            command.arg(if setting.is_switch {
                flag.num_args(0..=1)
                    .require_equals(true)
                    .default_missing_value("true")
            } else {
                flag.allow_hyphen_values(true)
            })
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// What `dev` decides by itself: it runs several brokers, which only need to find one another.
const NOT_OF_DEV: [&str; 5] = ["id", "internal-listen", "voters", "bootstrap", "session"];

/// What the settings are for; decides which there are, and the defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// `keylane broker`.
    Broker,
    /// `keylane dev`.
    Dev,
}

impl Role {
    /// Returns the settings there are, in the order of `--help`.
    fn settings(self) -> impl Iterator<Item = &'static Setting> {
        let is_given = move |setting: &&Setting| match self {
            Self::Broker => true,
            Self::Dev => !NOT_OF_DEV.contains(&setting.name),
        };
        SETTINGS.iter().filter(is_given)
    }

    /// Returns the configuration when nothing is given. The data folder is empty: a broker must be given one, and
    /// `dev` makes a temporary one.
    fn defaults(self) -> BrokerConfig {
        let mut config = BrokerConfig::new("");
        if self == Self::Dev {
            config.auto_create_topics = true;
            config.default_partitions = 6;
            // Everything runs in one process.
            config.runtimes = 1;
        }
        config
    }
}

/// Where settings come from.
pub(crate) struct Given<'a> {
    /// The command line.
    pub(crate) flags: &'a SettingFlags,
    /// Reads an environment variable.
    pub(crate) environment: &'a dyn Fn(&str) -> Option<OsString>,
    /// The `--config` file and its text.
    pub(crate) file: Option<(PathBuf, String)>,
    /// A folder for `dev` when none is given.
    pub(crate) temporary_folder: Option<&'a Path>,
}

/// Returns the configuration, or all its faults.
pub(crate) fn broker_config(role: Role, given: &Given<'_>) -> Result<BrokerConfig, Vec<String>> {
    let mut layers = Layers::gather(role, given);
    let mut config = role.defaults();
    if let Some(folder) = given.temporary_folder {
        folder.clone_into(&mut config.data_folder);
    }
    let mut unread = Vec::new();
    for setting in role.settings() {
        if let Some(value) = layers.values.get(setting.name)
            && let Err(reason) = (setting.apply)(&mut config, &value.text)
        {
            layers.faults.push(format!("{value}: {reason}"));
            unread.push(setting.name);
        }
    }
    let checked = config.validate();
    for fault in checked.err().map_or(Vec::new(), |invalid| invalid.faults) {
        let name = table::name_of_field(fault.field);
        // What could not be read still has its default, which must not be blamed.
        if unread.contains(&name.as_str()) {
            continue;
        }
        let text = table::with_setting_names(&fault.text);
        layers.faults.push(match layers.values.get(name.as_str()) {
            Some(value) => format!("{value}: {text}"),
            None if name == "data" => {
                "--data is missing: name the folder that keeps topics and records; it is created if need be".to_owned()
            }
            None => format!("--{name}: {text}"),
        });
    }
    if layers.faults.is_empty() {
        Ok(config)
    } else {
        Err(layers.faults)
    }
}

#[cfg(test)]
mod tests;
