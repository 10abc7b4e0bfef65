//! What may be configured per topic: one table of keys, their meaning, and how a text becomes a value.
//!
//! A key without effect here is refused, never stored; values that say what happens anyway are accepted, so that tools
//! which always send them work. The handlers show this table in DescribeConfigs.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use keylane_protocol::config::ClientLimits;

use crate::log::RollSettings;
use crate::log::writer;

/// What an acknowledgement of a topic's records means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The records were synced to disk.
    #[default]
    Fsync,
    /// The records were given to the operating system; a power loss may lose them.
    PageCache,
}

impl fmt::Display for Durability {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Fsync => "fsync",
            Self::PageCache => "page-cache",
        })
    }
}

impl From<Durability> for writer::Durability {
    fn from(durability: Durability) -> Self {
        match durability {
            Durability::Fsync => Self::Fsync,
            Durability::PageCache => Self::PageCache,
        }
    }
}

/// A text is not a durability.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("durability is fsync or page-cache, not {text:?}")]
pub struct InvalidDurability {
    /// The text found.
    pub text: String,
}

impl FromStr for Durability {
    type Err = InvalidDurability;

    fn from_str(text: &str) -> Result<Self, InvalidDurability> {
        match text {
            "fsync" => Ok(Self::Fsync),
            "page-cache" => Ok(Self::PageCache),
            _ => Err(InvalidDurability {
                text: text.to_owned(),
            }),
        }
    }
}

/// What is configured for a topic, or by default for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicSettings {
    /// A segment is closed before it would grow beyond this; from 64 KiB to 2 GiB − 1.
    pub segment_bytes: u32,
    /// A segment is closed when its first record has been there for so long.
    pub segment_age: Duration,
    /// The largest record batch.
    pub message_bytes_max: u32,
    /// What an acknowledgement means.
    pub durability: Durability,
}

impl Default for TopicSettings {
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            segment_age: Duration::from_secs(7 * 24 * 60 * 60),
            message_bytes_max: (1 << 20) + 12,
            durability: Durability::Fsync,
        }
    }
}

/// The type of a key's value, as DescribeConfigs names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingType {
    /// A text.
    Text,
    /// A 32-bit number.
    Int,
    /// A 64-bit number.
    Long,
    /// Texts with commas between them.
    List,
}

/// A row of the table.
#[derive(Debug)]
pub struct Setting {
    /// The key.
    pub key: &'static str,
    /// The type of its value.
    pub value_type: SettingType,
    /// What it does, for DescribeConfigs.
    pub documentation: &'static str,
    effect: Effect,
}

#[derive(Debug)]
enum Effect {
    SegmentBytes,
    SegmentAge,
    MessageBytes,
    Durability,
    /// Only this value is accepted: it is what happens anyway.
    Fixed(&'static str),
}

/// The key of [`Durability`].
pub const DURABILITY: &str = "durability";

/// Every key that may be given, in alphabetical order.
pub static SETTINGS: [Setting; 9] = [
    Setting {
        key: "cleanup.policy",
        value_type: SettingType::List,
        documentation: "What becomes of old records. Only `delete` so far.",
        effect: Effect::Fixed("delete"),
    },
    Setting {
        key: "compression.type",
        value_type: SettingType::Text,
        documentation: "Record batches are kept as the producer compressed them.",
        effect: Effect::Fixed("producer"),
    },
    Setting {
        key: DURABILITY,
        value_type: SettingType::Text,
        documentation: "`fsync`: acknowledged records survive a power loss. `page-cache`: they survive the end of the \
                        process only.",
        effect: Effect::Durability,
    },
    Setting {
        key: "max.message.bytes",
        value_type: SettingType::Int,
        documentation: "The largest record batch, as it is after compression.",
        effect: Effect::MessageBytes,
    },
    Setting {
        key: "min.insync.replicas",
        value_type: SettingType::Int,
        documentation: "How many replicas hold a record before it is acknowledged to a producer that waits for all.",
        effect: Effect::Fixed("1"),
    },
    Setting {
        key: "retention.bytes",
        value_type: SettingType::Long,
        documentation: "Records are kept until their topic is deleted (-1).",
        effect: Effect::Fixed("-1"),
    },
    Setting {
        key: "retention.ms",
        value_type: SettingType::Long,
        documentation: "Records are kept until their topic is deleted (-1).",
        effect: Effect::Fixed("-1"),
    },
    Setting {
        key: "segment.bytes",
        value_type: SettingType::Int,
        documentation: "A segment file is closed before it would grow beyond this.",
        effect: Effect::SegmentBytes,
    },
    Setting {
        key: "segment.ms",
        value_type: SettingType::Long,
        documentation: "A segment file is closed when its first record has been there for so long.",
        effect: Effect::SegmentAge,
    },
];

/// A setting cannot be given, or not with this value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSetting {
    /// The key has no effect here.
    #[error("{key} has no effect here and is not stored; possible are {}", keys())]
    UnknownKey {
        /// The key.
        key: String,
    },
    /// The value is not possible.
    #[error("{key}={value} is not possible: {possible}")]
    Value {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// What is possible.
        possible: String,
    },
}

fn keys() -> String {
    let keys: Vec<_> = SETTINGS.iter().map(|setting| setting.key).collect();
    keys.join(", ")
}

impl Setting {
    /// Returns the row of a key.
    #[must_use]
    pub fn named(key: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.key == key)
    }

    /// Tells whether a topic that exists can be given another value.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        matches!(self.effect, Effect::Durability | Effect::Fixed(_))
    }

    /// Returns the value that is in effect, as text.
    #[must_use]
    pub fn value_in(&self, settings: &TopicSettings) -> String {
        match self.effect {
            Effect::SegmentBytes => settings.segment_bytes.to_string(),
            Effect::SegmentAge => settings.segment_age.as_millis().to_string(),
            Effect::MessageBytes => settings.message_bytes_max.to_string(),
            Effect::Durability => settings.durability.to_string(),
            Effect::Fixed(value) => value.to_owned(),
        }
    }

    /// Writes the value that `text` stands for into `settings`; the error says what is possible.
    fn apply(&self, text: &str, settings: &mut TopicSettings) -> Result<(), String> {
        match self.effect {
            Effect::SegmentBytes => {
                settings.segment_bytes =
                    number(text, 64 << 10, u64::from(i32::MAX.unsigned_abs()))?;
            }
            Effect::SegmentAge => {
                let age_ms: u64 = number(text, 1, i64::MAX.unsigned_abs())?;
                settings.segment_age = Duration::from_millis(age_ms);
            }
            Effect::MessageBytes => {
                settings.message_bytes_max = number(text, 256, message_bytes_max_max())?;
            }
            Effect::Durability => {
                settings.durability = text.parse().map_err(|_| "fsync or page-cache".to_owned())?;
            }
            Effect::Fixed(value) if text == value => {}
            Effect::Fixed(value) => return Err(format!("only {value} so far")),
        }
        Ok(())
    }
}

/// The largest `max.message.bytes`: what fits into the largest request at its default, with room for the rest of it.
fn message_bytes_max_max() -> u64 {
    let request = ClientLimits::default().request_bytes_max;
    u64::try_from(request - (64 << 10)).expect("a size fits 64 bits")
}

fn number<N: TryFrom<u64>>(text: &str, min: u64, max: u64) -> Result<N, String> {
    text.parse::<u64>()
        .ok()
        .filter(|number| (min..=max).contains(number))
        .and_then(|number| N::try_from(number).ok())
        .ok_or_else(|| format!("a number from {min} to {max}"))
}

impl TopicSettings {
    /// Returns when a segment ends.
    #[must_use]
    pub fn roll(&self) -> RollSettings {
        RollSettings {
            segment_bytes_max: u64::from(self.segment_bytes),
            segment_ms_max: u64::try_from(self.segment_age.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Returns these settings with those of `overrides` in their place.
    ///
    /// # Errors
    /// At the first key or value that is not possible.
    pub fn with(&self, overrides: &BTreeMap<String, String>) -> Result<Self, InvalidSetting> {
        let mut settings = *self;
        for (key, value) in overrides {
            let setting = Setting::named(key)
                .ok_or_else(|| InvalidSetting::UnknownKey { key: key.clone() })?;
            setting
                .apply(value, &mut settings)
                .map_err(|possible| InvalidSetting::Value {
                    key: key.clone(),
                    value: value.clone(),
                    possible,
                })?;
        }
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(key: &str, value: &str) -> Result<TopicSettings, InvalidSetting> {
        let overrides = BTreeMap::from([(key.to_owned(), value.to_owned())]);
        TopicSettings::default().with(&overrides)
    }

    #[test]
    fn a_key_with_effect_changes_its_setting_and_shows_it() {
        let cases = [
            ("segment.bytes", "65536"),
            ("segment.ms", "1000"),
            ("max.message.bytes", "2000000"),
            ("durability", "page-cache"),
        ];
        for (key, value) in cases {
            let settings = with(key, value).expect("possible");
            assert_ne!(settings, TopicSettings::default(), "{key}");
            let setting = Setting::named(key).expect("in the table");
            assert_eq!(setting.value_in(&settings), value);
        }
    }

    #[test]
    fn a_value_that_says_what_happens_anyway_is_accepted() {
        for setting in &SETTINGS {
            let value = setting.value_in(&TopicSettings::default());
            assert_eq!(with(setting.key, &value), Ok(TopicSettings::default()));
        }
    }

    #[test]
    fn a_key_or_value_without_effect_is_refused_in_words() {
        let text = with("retention.ms", "1000")
            .expect_err("refused")
            .to_string();
        assert_eq!(text, "retention.ms=1000 is not possible: only -1 so far");
        let text = with("flush.ms", "1").expect_err("refused").to_string();
        assert!(text.starts_with("flush.ms has no effect here"), "{text}");
        assert!(text.contains("segment.bytes"), "{text}");
        for value in [
            "",
            "-1",
            "0",
            "65535",
            "2147483648",
            "99999999999999999999",
            "x",
        ] {
            assert!(with("segment.bytes", value).is_err(), "{value}");
        }
    }
}
