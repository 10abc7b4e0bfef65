//! What a topic may be: the rules for those that somebody asks for.

use std::collections::{BTreeMap, BTreeSet};

use keylane_protocol::identifiers::{InvalidTopicName, PartitionIndex, TopicId, TopicName};

use super::{Topic, TopicsImage};
use crate::topic_settings::{InvalidSetting, TopicSettings};

/// A topic that somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name, not checked yet.
    pub name: String,
    /// How many partitions; −1 takes the default.
    pub partition_count: i32,
    /// How many replicas of each partition; −1 takes the default.
    pub replication_factor: i16,
    /// The brokers of each partition, if the client chose them; then both numbers must be −1.
    pub assignments: Vec<(PartitionIndex, Vec<i32>)>,
    /// Settings by key; `None` as value is refused.
    pub settings: Vec<(String, Option<String>)>,
}

/// Why a topic cannot be created.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreateTopicError {
    /// The name is not possible.
    #[error(transparent)]
    Name(#[from] InvalidTopicName),
    /// The name differs from a topic's only by `.` for `_`.
    #[error("{name} would collide with the topic {other}: '.' and '_' count as the same")]
    Collision {
        /// The name asked for.
        name: String,
        /// The topic that exists.
        other: TopicName,
    },
    /// The topic exists.
    #[error("the topic {name} exists already")]
    Exists {
        /// The topic.
        name: TopicName,
    },
    /// The number of partitions is not possible.
    #[error("a topic has from 1 to {max} partitions, not {count}")]
    PartitionCount {
        /// The number asked for.
        count: i32,
        /// The most possible.
        max: usize,
    },
    /// The broker would have too many partitions.
    #[error("this broker holds {held} of at most {max} partitions and cannot take {count} more")]
    TooManyPartitions {
        /// The number asked for.
        count: i32,
        /// How many exist.
        held: usize,
        /// The most possible.
        max: usize,
    },
    /// More replicas than brokers.
    #[error("the cluster has one broker, so the replication factor is 1 (or -1), not {factor}")]
    ReplicationFactor {
        /// The number asked for.
        factor: i16,
    },
    /// The assignment is not possible.
    #[error("the replica assignment is not possible: {reason}")]
    Assignment {
        /// What is wrong.
        reason: String,
    },
    /// A setting is not possible.
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
    /// A setting was given twice or without a value.
    #[error("{key} needs one value")]
    SettingValue {
        /// The key.
        key: String,
    },
}

/// What bounds and completes a new topic.
#[derive(Clone, Copy, Debug)]
pub struct TopicRules {
    /// The partitions of a topic created without a number.
    pub default_partitions: i32,
    /// Settings of topics that do not set their own.
    pub defaults: TopicSettings,
    /// The most partitions of all topics together.
    pub partitions_max: usize,
    /// The only broker.
    pub broker_id: i32,
}

impl TopicRules {
    /// Returns the topic that `new` asks for, under `id`.
    ///
    /// # Errors
    /// At the first thing that is not possible.
    pub fn make(
        &self,
        image: &TopicsImage,
        new: &NewTopic,
        id: TopicId,
    ) -> Result<Topic, CreateTopicError> {
        let name = TopicName::new(&new.name)?;
        if image.named(name.as_str()).is_some() {
            return Err(CreateTopicError::Exists { name });
        }
        if let Some(other) = image.colliding(&name) {
            return Err(CreateTopicError::Collision {
                name: new.name.clone(),
                other: other.clone(),
            });
        }
        let partition_count = self.partition_count(image, new)?;
        let overrides = overrides(new)?;
        let settings = self.defaults.with(&overrides)?;
        if settings.message_bytes_max > settings.segment_bytes {
            let key = "max.message.bytes";
            return Err(CreateTopicError::Setting(InvalidSetting::Value {
                key: key.to_owned(),
                value: settings.message_bytes_max.to_string(),
                possible: format!("at most segment.bytes, {}", settings.segment_bytes),
            }));
        }
        Ok(Topic {
            id,
            name,
            partition_count,
            overrides,
            settings,
        })
    }

    fn partition_count(
        &self,
        image: &TopicsImage,
        new: &NewTopic,
    ) -> Result<i32, CreateTopicError> {
        let count = if !new.assignments.is_empty() {
            self.check_assignment(new)?
        } else if new.partition_count == -1 {
            self.default_partitions
        } else {
            new.partition_count
        };
        let wanted = usize::try_from(count)
            .ok()
            .filter(|wanted| (1..=self.partitions_max).contains(wanted))
            .ok_or(CreateTopicError::PartitionCount {
                count,
                max: self.partitions_max,
            })?;
        if !matches!(new.replication_factor, -1 | 1) {
            return Err(CreateTopicError::ReplicationFactor {
                factor: new.replication_factor,
            });
        }
        let held = image.partition_count();
        if held + wanted > self.partitions_max {
            return Err(CreateTopicError::TooManyPartitions {
                count,
                held,
                max: self.partitions_max,
            });
        }
        Ok(count)
    }

    /// Returns how many partitions the assignment has, if it gives each of them to the only broker.
    fn check_assignment(&self, new: &NewTopic) -> Result<i32, CreateTopicError> {
        let fault = |reason: String| CreateTopicError::Assignment { reason };
        if new.partition_count != -1 || new.replication_factor != -1 {
            return Err(fault(
                "partition count and replication factor must be -1 beside it".to_owned(),
            ));
        }
        let partitions: BTreeSet<i32> = new.assignments.iter().map(|(index, _)| index.0).collect();
        let count = i32::try_from(new.assignments.len()).unwrap_or(i32::MAX);
        if !partitions.iter().copied().eq(0..count) {
            return Err(fault(
                "partitions must be numbered from 0 without a gap, each once".to_owned(),
            ));
        }
        match new
            .assignments
            .iter()
            .find(|(_, brokers)| *brokers != [self.broker_id])
        {
            Some((index, brokers)) => Err(fault(format!(
                "partition {index} is given to the brokers {brokers:?}, but the only broker is {}",
                self.broker_id
            ))),
            None => Ok(count),
        }
    }
}

fn overrides(new: &NewTopic) -> Result<BTreeMap<String, String>, CreateTopicError> {
    let mut overrides = BTreeMap::new();
    for (key, value) in &new.settings {
        let fault = || CreateTopicError::SettingValue { key: key.clone() };
        let value = value.clone().ok_or_else(fault)?;
        if overrides.insert(key.clone(), value).is_some() {
            return Err(fault());
        }
    }
    Ok(overrides)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const RULES: TopicRules = TopicRules {
        default_partitions: 3,
        defaults: TopicSettings {
            segment_bytes: 1 << 30,
            segment_age: std::time::Duration::from_secs(60),
            message_bytes_max: 1 << 20,
            durability: crate::topic_settings::Durability::Fsync,
        },
        partitions_max: 10,
        broker_id: 1,
    };

    fn new_topic(name: &str) -> NewTopic {
        NewTopic {
            name: name.to_owned(),
            partition_count: -1,
            replication_factor: -1,
            assignments: Vec::new(),
            settings: Vec::new(),
        }
    }

    fn make(new: &NewTopic) -> Result<Topic, CreateTopicError> {
        let existing = RULES
            .make(&TopicsImage::default(), &new_topic("a.b"), TopicId([1; 16]))
            .expect("possible");
        let image = TopicsImage::default().with(Arc::new(existing));
        RULES.make(&image, new, TopicId([2; 16]))
    }

    #[test]
    fn minus_one_takes_the_defaults() {
        assert_eq!(make(&new_topic("x")).expect("possible").partition_count, 3);
    }

    #[test]
    fn what_is_not_possible_is_refused() {
        use CreateTopicError as E;
        assert!(matches!(make(&new_topic("../x")), Err(E::Name(_))));
        assert!(matches!(make(&new_topic("a.b")), Err(E::Exists { .. })));
        assert!(matches!(make(&new_topic("a_b")), Err(E::Collision { .. })));
        for count in [0, -2, 11] {
            let new = NewTopic {
                partition_count: count,
                ..new_topic("x")
            };
            assert!(matches!(make(&new), Err(E::PartitionCount { .. })));
        }
        let new = NewTopic {
            partition_count: 8,
            ..new_topic("x")
        };
        assert!(matches!(make(&new), Err(E::TooManyPartitions { .. })));
        for factor in [0, 2, -2] {
            let new = NewTopic {
                replication_factor: factor,
                ..new_topic("x")
            };
            assert!(matches!(make(&new), Err(E::ReplicationFactor { .. })));
        }
    }

    #[test]
    fn settings_need_one_value_each_and_an_effect() {
        let with = |settings: &[(&str, Option<&str>)]| {
            let settings = settings
                .iter()
                .map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned)))
                .collect();
            make(&NewTopic {
                settings,
                ..new_topic("x")
            })
        };
        let one = ("segment.ms", Some("5"));
        assert!(with(&[one]).is_ok());
        assert!(with(&[one, one]).is_err());
        assert!(with(&[("segment.ms", None)]).is_err());
        assert!(with(&[("flush.ms", Some("5"))]).is_err());
        assert!(with(&[("segment.bytes", Some("65536"))]).is_err());
    }

    #[test]
    fn only_the_trivial_assignment_is_possible() {
        let with = |assignments: &[(i32, &[i32])]| {
            let assignments = assignments
                .iter()
                .map(|(index, brokers)| (PartitionIndex(*index), brokers.to_vec()))
                .collect();
            make(&NewTopic {
                assignments,
                ..new_topic("x")
            })
        };
        assert_eq!(
            with(&[(1, &[1]), (0, &[1])])
                .expect("possible")
                .partition_count,
            2
        );
        assert!(with(&[(0, &[1]), (2, &[1])]).is_err());
        assert!(with(&[(0, &[1]), (0, &[1])]).is_err());
        assert!(with(&[(0, &[1, 2])]).is_err());
        assert!(with(&[(0, &[2])]).is_err());
    }

    #[test]
    fn an_image_without_a_topic_has_its_partitions_no_more() {
        let topic = make(&new_topic("x")).expect("possible");
        let image = TopicsImage::default().with(Arc::new(topic.clone()));
        assert_eq!(image.partition_count(), 3);
        let image = image.without(&topic).without(&topic);
        assert_eq!(image.partition_count(), 0);
        assert!(image.named(topic.name.as_str()).is_none() && image.with_id(topic.id).is_none());
    }
}
