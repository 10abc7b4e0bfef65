//! What a topic may be: the rules for those that somebody asks for, and the records that create one.
//!
//! A core.

use std::collections::BTreeMap;

use bytestring::ByteString;
use keylane_protocol::cluster::{
    ClusterImage, MetadataRecord, PartitionChanged, TopicConfigured, TopicCreated, TopicImage,
};
use keylane_protocol::identifiers::{
    BrokerId, InvalidTopicName, PartitionIndex, TopicId, TopicName,
};

use super::placement::Placement;
use crate::topic_settings::{InvalidSetting, TopicSettings};

/// A topic that somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewTopic {
    /// Its name, not checked yet.
    pub name: String,
    /// How many partitions; −1 takes the default.
    pub partition_count: i32,
    /// How many replicas of each partition; −1 takes the default.
    pub replication_factor: i16,
    /// The brokers of each partition, if the client chose them; then both numbers must be −1.
    pub assignments: Vec<(PartitionIndex, Vec<BrokerId>)>,
    /// Settings by key; `None` as value is refused.
    pub settings: Vec<(String, Option<String>)>,
}

/// Why a topic cannot be created.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CreateTopicError {
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
    /// The cluster would have too many partitions.
    #[error("the cluster holds {held} of at most {max} partitions and cannot take {count} more")]
    TooManyPartitions {
        /// The number asked for.
        count: i32,
        /// How many exist.
        held: usize,
        /// The most possible.
        max: usize,
    },
    /// More replicas than can be kept.
    #[error("records are not replicated yet, so the replication factor is 1 (or -1), not {factor}")]
    ReplicationFactor {
        /// The number asked for.
        factor: i16,
    },
    /// Nobody could keep the records.
    #[error("no broker takes part in the cluster at the moment")]
    NoBroker,
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

/// How many replicas a partition has.
pub(super) const REPLICATION_FACTOR: usize = 1;

/// What bounds and completes a new topic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TopicRules {
    /// The partitions of a topic created without a number.
    pub default_partitions: i32,
    /// Settings of topics that do not set their own.
    pub defaults: TopicSettings,
    /// The most partitions of all topics together.
    pub partitions_max: usize,
}

impl TopicRules {
    /// Returns the records that create the topic that `new` asks for, under `id`.
    ///
    /// # Errors
    /// At the first thing that is not possible.
    pub(crate) fn create(
        &self,
        image: &ClusterImage,
        new: &NewTopic,
        id: TopicId,
    ) -> Result<Vec<MetadataRecord>, CreateTopicError> {
        let name = TopicName::new(&new.name)?;
        if image.topic_named(name.as_str()).is_some() {
            return Err(CreateTopicError::Exists { name });
        }
        if let Some(other) = colliding(image, &name) {
            return Err(CreateTopicError::Collision {
                name: new.name.clone(),
                other: other.clone(),
            });
        }
        let mut placement = Placement::new(image);
        let replicas = if new.assignments.is_empty() {
            self.placed(image, new, &mut placement)?
        } else {
            let replicas = assigned(new, &placement)?;
            let count = i32::try_from(replicas.len()).unwrap_or(i32::MAX);
            self.check_count(image, count, 0)?;
            replicas
        };
        let overrides = overrides(new)?;
        self.check_settings(&overrides)?;
        Ok(records(image, id, &name, replicas, overrides))
    }

    /// Returns where the partitions go when the cluster chooses.
    fn placed(
        &self,
        image: &ClusterImage,
        new: &NewTopic,
        placement: &mut Placement,
    ) -> Result<Vec<Vec<BrokerId>>, CreateTopicError> {
        let count = match new.partition_count {
            -1 => self.default_partitions,
            count => count,
        };
        self.check_count(image, count, 0)?;
        if !matches!(new.replication_factor, -1 | 1) {
            return Err(CreateTopicError::ReplicationFactor {
                factor: new.replication_factor,
            });
        }
        if placement.broker_count() < REPLICATION_FACTOR {
            return Err(CreateTopicError::NoBroker);
        }
        Ok((0..count)
            .map(|_| placement.next(REPLICATION_FACTOR))
            .collect())
    }

    /// Checks that a topic may have `count` partitions, of which it has the first `present` already.
    pub(super) fn check_count(
        &self,
        image: &ClusterImage,
        count: i32,
        present: i32,
    ) -> Result<(), CreateTopicError> {
        let max = self.partitions_max;
        usize::try_from(count)
            .ok()
            .filter(|wanted| (1..=max).contains(wanted))
            .ok_or(CreateTopicError::PartitionCount { count, max })?;
        let (held, count) = (image.partition_count(), count - present);
        if held + usize::try_from(count).unwrap_or(0) > max {
            return Err(CreateTopicError::TooManyPartitions { count, held, max });
        }
        Ok(())
    }

    /// Checks the settings of a topic as a whole.
    pub(super) fn check_settings(
        &self,
        overrides: &BTreeMap<String, String>,
    ) -> Result<(), InvalidSetting> {
        let settings = self.defaults.with(overrides)?;
        if settings.message_bytes_max > settings.segment_bytes {
            let key = "max.message.bytes";
            return Err(InvalidSetting::Value {
                key: key.to_owned(),
                value: settings.message_bytes_max.to_string(),
                possible: format!("at most segment.bytes, {}", settings.segment_bytes),
            });
        }
        Ok(())
    }
}

fn records(
    image: &ClusterImage,
    topic_id: TopicId,
    name: &TopicName,
    replicas: Vec<Vec<BrokerId>>,
    overrides: BTreeMap<String, String>,
) -> Vec<MetadataRecord> {
    let name = ByteString::from(name.as_str());
    let mut records = vec![TopicCreated { topic_id, name }.into()];
    for (index, replicas) in (0..).zip(replicas) {
        records.push(new_partition(
            image,
            topic_id,
            PartitionIndex(index),
            replicas,
        ));
    }
    records.extend(overrides.into_iter().map(|(key, value)| {
        let (key, value) = (key.into(), Some(value.into()));
        TopicConfigured {
            topic_id,
            key,
            value,
        }
        .into()
    }));
    records
}

/// Returns the record that makes a partition on these brokers.
pub(super) fn new_partition(
    image: &ClusterImage,
    topic_id: TopicId,
    partition: PartitionIndex,
    replicas: Vec<BrokerId>,
) -> MetadataRecord {
    PartitionChanged {
        topic_id,
        partition,
        leader: replicas[0],
        in_sync: replicas.clone(),
        replicas,
        leader_epoch: image.leader_epoch_floor(),
        ..PartitionChanged::default()
    }
    .into()
}

/// Returns a topic whose name differs only by `.` for `_`; Kafka's metrics cannot tell such apart, so no cluster allows
/// both.
fn colliding<'a>(image: &'a ClusterImage, name: &TopicName) -> Option<&'a TopicName> {
    if !name.as_str().contains(['.', '_']) {
        return None;
    }
    let folded = name.as_str().replace('.', "_");
    let names = image
        .topics()
        .map(|topic: &std::sync::Arc<TopicImage>| &topic.name);
    let mut others = names.filter(|other| *other != name);
    others.find(|other| other.as_str().replace('.', "_") == folded)
}

/// Returns where the client wants the partitions.
fn assigned(new: &NewTopic, placement: &Placement) -> Result<Vec<Vec<BrokerId>>, CreateTopicError> {
    let fault = |reason: String| CreateTopicError::Assignment { reason };
    if new.partition_count != -1 || new.replication_factor != -1 {
        let reason = "partition count and replication factor must be -1 beside it";
        return Err(fault(reason.to_owned()));
    }
    let partitions: BTreeMap<i32, &Vec<BrokerId>> = new
        .assignments
        .iter()
        .map(|(index, brokers)| (index.0, brokers))
        .collect();
    let count = i32::try_from(new.assignments.len()).unwrap_or(i32::MAX);
    if !partitions.keys().copied().eq(0..count) {
        let reason = "partitions must be numbered from 0 without a gap, each once";
        return Err(fault(reason.to_owned()));
    }
    for (index, brokers) in &partitions {
        check_brokers(*index, brokers, placement)?;
    }
    Ok(partitions.into_values().cloned().collect())
}

/// Checks that a partition can be given to these brokers.
pub(super) fn check_brokers(
    index: i32,
    brokers: &[BrokerId],
    placement: &Placement,
) -> Result<(), CreateTopicError> {
    let fault = |reason: String| CreateTopicError::Assignment { reason };
    if brokers.len() != REPLICATION_FACTOR {
        let given = brokers.len();
        return Err(fault(format!(
            "partition {index} is given to {given} brokers, but records are not replicated yet"
        )));
    }
    if let Some(unknown) = brokers.iter().find(|broker| !placement.has(**broker)) {
        return Err(fault(format!(
            "partition {index} is given to broker {unknown}, which takes no part in the cluster"
        )));
    }
    Ok(())
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
    use keylane_protocol::cluster::{BrokerFenceChanged, BrokerRegistered, ClusterFounded};
    use keylane_protocol::identifiers::{ClusterId, FolderId};
    use keylane_protocol::offset::BrokerEpoch;

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

    /// A cluster of brokers 1 to 3, of which 3 is fenced, with the topic `a.b`.
    fn cluster() -> ClusterImage {
        let cluster_id = ClusterId([9; 16]);
        let mut records: Vec<MetadataRecord> = vec![ClusterFounded { cluster_id }.into()];
        for id in 1..=3 {
            let broker = BrokerRegistered {
                broker_id: BrokerId(id),
                broker_epoch: BrokerEpoch(id.into()),
                folder_id: FolderId([1; 16]),
                host: "h".into(),
                port: 1,
                internal_host: "h".into(),
                internal_port: 2,
                ..BrokerRegistered::default()
            };
            records.push(broker.into());
            let change = BrokerFenceChanged {
                broker_id: BrokerId(id),
                broker_epoch: BrokerEpoch(id.into()),
                is_fenced: id == 3,
            };
            records.push(change.into());
        }
        let image = ClusterImage::default().with(&records).expect("possible");
        let topic = RULES.create(&image, &new_topic("a.b"), TopicId([1; 16]));
        image.with(&topic.expect("possible")).expect("possible")
    }

    /// Creates a topic and returns it as the image then has it.
    fn make(new: &NewTopic) -> Result<TopicImage, CreateTopicError> {
        let (image, id) = (cluster(), TopicId([2; 16]));
        let records = RULES.create(&image, new, id)?;
        let image = image.with(&records).expect("the records can follow");
        Ok((**image.topic(id).expect("just created")).clone())
    }

    #[test]
    fn minus_one_takes_the_defaults() {
        let topic = make(&new_topic("x")).expect("possible");
        assert_eq!(topic.partition_count(), 3);
    }

    #[test]
    fn partitions_spread_over_the_brokers_that_take_part() {
        let image = cluster();
        let new = NewTopic {
            partition_count: 5,
            ..new_topic("x")
        };
        let records = RULES.create(&image, &new, TopicId([2; 16]));
        let image = image.with(&records.expect("possible")).expect("possible");
        let mut counts = BTreeMap::new();
        for partition in image.topics().flat_map(|topic| &topic.partitions) {
            let leader = partition.leader.expect("brokers take part");
            assert_eq!(partition.replicas, [leader]);
            *counts.entry(leader.0).or_insert(0) += 1;
        }
        assert_eq!(counts, BTreeMap::from([(1, 4), (2, 4)]));
    }

    #[test]
    fn without_a_broker_that_takes_part_nothing_is_created() {
        let created = RULES.create(&ClusterImage::default(), &new_topic("x"), TopicId([2; 16]));
        assert_eq!(created, Err(CreateTopicError::NoBroker));
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
        let configs = with(&[one]).expect("possible").configs;
        assert_eq!(configs[&ByteString::from("segment.ms")], "5");
        assert!(with(&[one, one]).is_err());
        assert!(with(&[("segment.ms", None)]).is_err());
        assert!(with(&[("flush.ms", Some("5"))]).is_err());
        assert!(with(&[("segment.bytes", Some("65536"))]).is_err());
    }

    #[test]
    fn an_assignment_names_one_broker_that_takes_part_for_each_partition() {
        let with = |assignments: &[(i32, &[i32])]| {
            let brokers = |ids: &[i32]| ids.iter().copied().map(BrokerId).collect();
            let assignments = assignments
                .iter()
                .map(|(index, ids)| (PartitionIndex(*index), brokers(ids)))
                .collect();
            make(&NewTopic {
                assignments,
                ..new_topic("x")
            })
        };
        let topic = with(&[(1, &[1]), (0, &[2])]).expect("possible");
        let leaders: Vec<_> = topic
            .partitions
            .iter()
            .map(|partition| partition.leader)
            .collect();
        assert_eq!(leaders, [Some(BrokerId(2)), Some(BrokerId(1))]);
        assert!(with(&[(0, &[1]), (2, &[1])]).is_err());
        assert!(with(&[(0, &[1]), (0, &[1])]).is_err());
        assert!(with(&[(0, &[1, 2])]).is_err(), "two replicas");
        assert!(with(&[(0, &[3])]).is_err(), "fenced");
        assert!(with(&[(0, &[4])]).is_err(), "unknown");
    }
}
