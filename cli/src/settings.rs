//! The settings of `broker`, `dev` and `router`: each comes from a flag, else from the environment, else from a TOML
//! file, else it has its default. All that is wrong with them is found and told together.
//!
//! Every setting is drawn once, in `settings/{broker,router,shared}.rs`; flag, variable and file key follow from its
//! name. Pure: the environment and the file's text come in as arguments.

mod broker;
mod layers;
mod router;
mod shared;
mod values;

use clap::{Arg, ArgMatches, Command, FromArgMatches};
use keylane_protocol::config::InvalidConfig;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::marker::PhantomData;
use std::path::PathBuf;

pub(crate) use self::broker::{Broker, Dev};
use self::layers::Layers;
pub(crate) use self::router::Router;
use self::shared::{ServerConfig, name_of_field, with_setting_names};
use self::values::AnyValue;

/// The text that `--help` prints above the settings.
const HEADING: &str = "Settings (flag, else environment variable, else key of the --config file)";

/// What a value is called that is true or false; its flag alone means `true`.
const BOOL: &str = "BOOL";

/// A command that runs servers: decides which settings there are, and the defaults.
pub(crate) trait Role {
    /// What the settings fill.
    type Config: ServerConfig;

    /// Returns the settings there are, in the order of `--help`.
    fn settings() -> Vec<Setting<Self::Config>>;

    /// Returns the configuration when nothing is given, which may lack something.
    fn defaults() -> Self::Config;

    /// Checks everything that can be checked without touching the machine.
    fn validate(config: &Self::Config) -> Result<(), InvalidConfig> {
        config.validate()
    }
}

/// One setting of a server.
#[derive(Debug)]
pub(crate) struct Setting<C> {
    /// The flag without dashes, and the file's key.
    name: &'static str,
    value_name: &'static str,
    help: &'static str,
    /// Its place in a configuration.
    value: fn(&mut C) -> AnyValue<'_>,
}

/// Returns the environment variable of a setting.
fn variable(name: &str) -> String {
    format!("KEYLANE_{}", name.to_ascii_uppercase().replace('-', "_"))
}

impl<C> Setting<C> {
    fn flag(&self, defaults: &mut C) -> Arg {
        let default = match (self.value)(defaults).show().as_str() {
            "" => String::new(),
            default => format!("default: {default}; "),
        };
        let help = format!("{} [{default}env: {}]", self.help, variable(self.name));
        let flag = Arg::new(self.name)
            .long(self.name)
            .value_name(self.value_name)
            .help(help)
            .help_heading(HEADING);
        if self.value_name == BOOL {
            flag.num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true")
        } else {
            flag.allow_hyphen_values(true)
        }
    }
}

/// Settings of a role given as flags, not yet looked at.
#[derive(Debug)]
pub(crate) struct SettingFlags<R> {
    texts: BTreeMap<&'static str, String>,
    role: PhantomData<R>,
}

impl<R: Role> FromArgMatches for SettingFlags<R> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = R::settings().into_iter().filter_map(|setting| {
            let text = matches.get_one::<String>(setting.name)?;
            Some((setting.name, text.clone()))
        });
        Ok(Self {
            texts: given.collect(),
            role: PhantomData,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl<R: Role> clap::Args for SettingFlags<R> {
    fn augment_args(command: Command) -> Command {
        let mut defaults = R::defaults();
        let settings = R::settings().into_iter();
        command.args(settings.map(|setting| setting.flag(&mut defaults)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// Where settings come from.
pub(crate) struct Given<'a, R> {
    /// The command line.
    pub(crate) flags: &'a SettingFlags<R>,
    /// Reads an environment variable.
    pub(crate) environment: &'a dyn Fn(&str) -> Option<OsString>,
    /// The `--config` file and its text.
    pub(crate) file: Option<(PathBuf, String)>,
}

impl<R: Role> Given<'_, R> {
    /// Returns the configuration that these settings make of the defaults, or all its faults.
    pub(crate) fn fill(&self, mut config: R::Config) -> Result<R::Config, Vec<String>> {
        let settings = R::settings();
        let names: Vec<_> = settings.iter().map(|setting| setting.name).collect();
        let mut layers = Layers::gather(&names, self);
        let mut unread = Vec::new();
        for setting in &settings {
            if let Some(given) = layers.values.get(setting.name)
                && let Err(reason) = (setting.value)(&mut config).read(&given.text)
            {
                layers.faults.push(format!("{given}: {reason}"));
                unread.push(setting.name);
            }
        }
        let checked = R::validate(&config);
        for fault in checked.err().map_or(Vec::new(), |invalid| invalid.faults) {
            let name = name_of_field(fault.field, &names);
            // What could not be read still has its default, which must not be blamed.
            if unread.contains(&name.as_str()) {
                continue;
            }
            let text = with_setting_names(&fault.text, &names);
            let setting = settings.iter().find(|setting| setting.name == name);
            let has_value =
                setting.is_none_or(|setting| !(setting.value)(&mut config).show().is_empty());
            layers.faults.push(match layers.values.get(name.as_str()) {
                Some(given) => format!("{given}: {text}"),
                None if has_value => format!("--{name}: {text}"),
                None => format!(
                    "--{name} is missing: {text} (or set {}, or {name} in the --config file)",
                    variable(&name)
                ),
            });
        }
        if layers.faults.is_empty() {
            Ok(config)
        } else {
            Err(layers.faults)
        }
    }
}

#[cfg(test)]
mod tests;
