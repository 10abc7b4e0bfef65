//! Changes of a topic's settings (KIP-339): the rules, and the records that make them.
//!
//! A core. The settings that a topic would have are checked as a whole, as for a new topic; all changes are made or none.

use std::collections::{BTreeMap, BTreeSet};

use keylane_protocol::cluster::{ClusterImage, MetadataRecord, TopicConfigured, TopicImage};
use keylane_protocol::identifiers::TopicName;

use super::new_topic::TopicRules;
use crate::topic_settings::{DURABILITY, InvalidSetting, Setting, SettingType, TopicSettings};

/// What somebody wants changed of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfigChanges {
    /// The topic's name, which may be no possible name at all.
    pub topic: String,
    /// The changes, by key.
    pub changes: Vec<(String, ConfigChange)>,
}

/// What becomes of one setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ConfigChange {
    /// It gets this value.
    Set(String),
    /// It goes back to its default.
    Delete,
    /// These elements, with commas between them, are added to a list.
    Append(String),
    /// These elements, with commas between them, are taken out of a list.
    Subtract(String),
}

/// Why settings cannot be changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConfigChangesError {
    /// There is no such topic.
    #[error("there is no topic {name:?}")]
    UnknownTopic {
        /// The name asked for.
        name: String,
    },
    /// Two changes of one setting.
    #[error("the request changes {key} more than once")]
    Twice {
        /// The key.
        key: String,
    },
    /// Elements for what has none.
    #[error("{key} is no list: it can be set or deleted, not appended to or subtracted from")]
    NoList {
        /// The key.
        key: String,
    },
    /// What acknowledgements have promised would have to be made true first.
    #[error("the durability of the topic {name} is what it was created with and cannot be changed")]
    Durability {
        /// The topic.
        name: TopicName,
    },
    /// A setting is not possible.
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
}

/// Returns the records that make the changes; none if all is so already.
///
/// # Errors
/// At the first thing that is not possible.
pub(super) fn change(
    rules: &TopicRules,
    image: &ClusterImage,
    wanted: &ConfigChanges,
) -> Result<Vec<MetadataRecord>, ConfigChangesError> {
    let unknown = || ConfigChangesError::UnknownTopic {
        name: wanted.topic.clone(),
    };
    let topic = image.topic_named(&wanted.topic).ok_or_else(unknown)?;
    let before = overrides(topic);
    let after = changed(rules, &before, &wanted.changes)?;
    rules.check_settings(&after)?;
    if before.get(DURABILITY) != after.get(DURABILITY) {
        return Err(ConfigChangesError::Durability {
            name: topic.name.clone(),
        });
    }
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differing = keys
        .into_iter()
        .filter(|key| before.get(*key) != after.get(*key));
    let record = |key: &String| {
        let configured = TopicConfigured {
            topic_id: topic.id,
            key: key.as_str().into(),
            value: after.get(key).map(|value| value.as_str().into()),
        };
        configured.into()
    };
    Ok(differing.map(record).collect())
}

fn overrides(topic: &TopicImage) -> BTreeMap<String, String> {
    let configs = topic.configs.iter();
    configs
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .collect()
}

/// Returns the overrides after the changes.
fn changed(
    rules: &TopicRules,
    before: &BTreeMap<String, String>,
    changes: &[(String, ConfigChange)],
) -> Result<BTreeMap<String, String>, ConfigChangesError> {
    let settings = rules.defaults.with(before)?;
    let mut after = before.clone();
    let mut seen = BTreeSet::new();
    for (key, change) in changes {
        let unknown = || InvalidSetting::UnknownKey { key: key.clone() };
        let setting = Setting::named(key).ok_or_else(unknown)?;
        if !seen.insert(key) {
            return Err(ConfigChangesError::Twice { key: key.clone() });
        }
        let value = match change {
            ConfigChange::Set(value) => Some(value.clone()),
            ConfigChange::Delete => None,
            ConfigChange::Append(given) => Some(listed(setting, &settings, given, true)?),
            ConfigChange::Subtract(given) => Some(listed(setting, &settings, given, false)?),
        };
        match value {
            Some(value) => after.insert(key.clone(), value),
            None => after.remove(key),
        };
    }
    Ok(after)
}

/// Returns a list with the given elements, or without them.
fn listed(
    setting: &Setting,
    settings: &TopicSettings,
    given: &str,
    is_added: bool,
) -> Result<String, ConfigChangesError> {
    if setting.value_type != SettingType::List {
        let key = setting.key.to_owned();
        return Err(ConfigChangesError::NoList { key });
    }
    let present = setting.value_in(settings);
    let given: Vec<&str> = given.split(',').map(str::trim).collect();
    let kept = present
        .split(',')
        .filter(|element| !given.contains(element));
    let mut elements: Vec<&str> = kept.collect();
    if is_added {
        elements = present.split(',').collect();
        let added = given.iter().filter(|element| !elements.contains(element));
        let added: Vec<&str> = added.copied().collect();
        elements.extend(added);
    }
    Ok(elements.join(","))
}
