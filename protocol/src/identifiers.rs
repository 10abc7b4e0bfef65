//! Names and ids of clusters, topics, partitions, brokers and producers.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A topic's name: 1 to 249 characters of `[a-zA-Z0-9._-]`, neither `.` nor `..`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

/// Why a text is not a topic's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTopicName {
    /// The name is empty.
    #[error("a topic name must not be empty")]
    Empty,
    /// The name has more than 249 characters.
    #[error("a topic name has at most 249 characters, this one has {length}")]
    TooLong {
        /// Number of bytes found.
        length: usize,
    },
    /// The name is `.` or `..`.
    #[error("a topic cannot be named {name:?}")]
    Dots {
        /// The name.
        name: String,
    },
    /// A character is not allowed.
    #[error(
        "a topic name consists of letters, digits, '.', '_' and '-', but {name:?} contains {character:?}"
    )]
    Character {
        /// The name.
        name: String,
        /// The first character that is not allowed.
        character: char,
    },
}

impl TopicName {
    /// The most characters a name may have, as in Kafka's `Topic`.
    pub const LENGTH_MAX: usize = 249;

    /// Returns the name, or what is wrong with it.
    ///
    /// # Errors
    /// When the text breaks one of the rules above.
    pub fn new(name: &str) -> Result<Self, InvalidTopicName> {
        if name.is_empty() {
            return Err(InvalidTopicName::Empty);
        }
        if name.len() > Self::LENGTH_MAX {
            return Err(InvalidTopicName::TooLong { length: name.len() });
        }
        if name == "." || name == ".." {
            return Err(InvalidTopicName::Dots {
                name: name.to_owned(),
            });
        }
        match name.chars().find(|&character| !is_allowed(character)) {
            Some(character) => Err(InvalidTopicName::Character {
                name: name.to_owned(),
                character,
            }),
            None => Ok(Self(name.into())),
        }
    }

    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_allowed(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-')
}

impl fmt::Display for TopicName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for TopicName {
    type Err = InvalidTopicName;

    fn from_str(name: &str) -> Result<Self, InvalidTopicName> {
        Self::new(name)
    }
}

/// The 128-bit id a topic gets when it is created; a topic re-created under its old name gets another (KIP-516).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub [u8; 16]);

/// A text is not a topic's id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a topic id is 22 characters of url-safe base64, not {text:?}")]
pub struct InvalidTopicId {
    /// The text found.
    pub text: String,
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const TOPIC_ID_CHARACTERS: usize = 22;

impl TopicId {
    /// Stands for "no id".
    pub const ZERO: Self = Self([0; 16]);
}

/// Kafka's text form: url-safe base64 without padding.
impl fmt::Display for TopicId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = u128::from_be_bytes(self.0);
        for index in 0..TOPIC_ID_CHARACTERS {
            let shift = 122 - 6 * i32::try_from(index).expect("an index below 22 fits");
            let six = if shift >= 0 {
                bits >> shift
            } else {
                bits << -shift
            } & 63;
            let character = BASE64[usize::try_from(six).expect("six bits fit")];
            write!(formatter, "{}", char::from(character))?;
        }
        Ok(())
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "TopicId({self})")
    }
}

impl FromStr for TopicId {
    type Err = InvalidTopicId;

    fn from_str(text: &str) -> Result<Self, InvalidTopicId> {
        let invalid = || InvalidTopicId {
            text: text.to_owned(),
        };
        if text.len() != TOPIC_ID_CHARACTERS {
            return Err(invalid());
        }
        let mut bits: u128 = 0;
        for (index, byte) in text.bytes().enumerate() {
            let six = BASE64
                .iter()
                .position(|&known| known == byte)
                .ok_or_else(invalid)? as u128;
            if index < TOPIC_ID_CHARACTERS - 1 {
                bits = bits << 6 | six;
            } else if six & 15 == 0 {
                bits = bits << 2 | six >> 4;
            } else {
                return Err(invalid());
            }
        }
        Ok(Self(bits.to_be_bytes()))
    }
}

/// The id of a cluster, made at random when it is founded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub [u8; 16]);

impl ClusterId {
    /// Stands for "bound to no cluster".
    pub const ZERO: Self = Self([0; 16]);
}

/// Shows the id the way Kafka shows ids.
impl fmt::Display for ClusterId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        TopicId(self.0).fmt(formatter)
    }
}

/// The id of a data folder, made at random with it and never used again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FolderId(pub [u8; 16]);

/// The id of one start of a process on a data folder, drawn at random for it and never used again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StartId(pub [u8; 16]);

impl StartId {
    /// Stands for "not known": of a start by a version that drew none.
    pub const ZERO: Self = Self([0; 16]);
}

number! {
    /// Which partition of a topic, counted from 0.
    PartitionIndex(i32)
}

number! {
    /// Which broker (1 to 999,999) or router (from 1,000,000); -1 means none.
    BrokerId(i32)
}

number! {
    /// The id under which a producer numbers its batches (KIP-98); -1 means none.
    ProducerId(i64)
}

impl BrokerId {
    /// No broker.
    pub const NONE: Self = Self(-1);
    /// The highest id of a broker; routers' ids begin behind it.
    pub const BROKER_MAX: Self = Self(999_999);

    /// Returns whether the id is one that a broker can have.
    #[must_use]
    pub fn is_broker(self) -> bool {
        (1..=Self::BROKER_MAX.0).contains(&self.0)
    }

    /// Returns whether the id is one that a router can have.
    #[must_use]
    pub fn is_router(self) -> bool {
        self > Self::BROKER_MAX
    }
}

impl ProducerId {
    /// The batch has no producer.
    pub const NONE: Self = Self(-1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_be_paths_are_refused() {
        for name in ["", ".", "..", "../x", "a/b", "a b", "a\0", "ä"] {
            assert!(TopicName::new(name).is_err(), "{name:?} was taken");
        }
        assert!(TopicName::new(&"a".repeat(250)).is_err());
        assert_eq!(
            TopicName::new("a.b_C-9").expect("valid").as_str(),
            "a.b_C-9"
        );
    }

    #[test]
    fn topic_ids_have_the_text_form_of_kafka() {
        let one = TopicId([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(one.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        let all = TopicId([255; 16]);
        assert_eq!(all.to_string(), "_____________________w");
        for id in [one, all, TopicId::ZERO] {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        assert!("_____________________x".parse::<TopicId>().is_err());
    }
}
