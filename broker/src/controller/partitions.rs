//! More partitions for a topic that exists (KIP-195): the rules, and the records that add them.
//!
//! A core. Partitions that exist stay as they are; keys may find another one among more.

use keylane_protocol::cluster::{ClusterImage, MetadataRecord, TopicImage};
use keylane_protocol::identifiers::{BrokerId, PartitionIndex, TopicName};

use super::new_topic::{
    CreateTopicError, REPLICATION_FACTOR, TopicRules, check_brokers, new_partition,
};
use super::placement::Placement;

/// More partitions that somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MorePartitions {
    /// The topic's name, which may be no possible name at all.
    pub topic: String,
    /// How many partitions the topic shall have in all.
    pub count: i32,
    /// The brokers of each new partition, if the client chose them.
    pub assignments: Option<Vec<Vec<BrokerId>>>,
}

/// Why a topic cannot have more partitions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MorePartitionsError {
    /// There is no such topic.
    #[error("there is no topic {name:?}")]
    UnknownTopic {
        /// The name asked for.
        name: String,
    },
    /// The number is not higher than before.
    #[error(
        "the topic {name} has {present} partitions already: it can have more, not {count} in all"
    )]
    NotMore {
        /// The topic.
        name: TopicName,
        /// How many it has.
        present: i32,
        /// The number asked for.
        count: i32,
    },
    /// It is not possible for the reasons that a new topic is not.
    #[error(transparent)]
    Rules(#[from] CreateTopicError),
}

/// Returns the records that add the partitions that `more` asks for.
///
/// # Errors
/// At the first thing that is not possible.
pub(super) fn add(
    rules: &TopicRules,
    image: &ClusterImage,
    more: &MorePartitions,
) -> Result<Vec<MetadataRecord>, MorePartitionsError> {
    let unknown = || MorePartitionsError::UnknownTopic {
        name: more.topic.clone(),
    };
    let topic = image.topic_named(&more.topic).ok_or_else(unknown)?;
    let present = topic.partition_count();
    if more.count <= present {
        return Err(MorePartitionsError::NotMore {
            name: topic.name.clone(),
            present,
            count: more.count,
        });
    }
    rules.check_count(image, more.count, present)?;
    let mut placement = Placement::new(image);
    let indexes = (present..more.count).map(PartitionIndex);
    let placed = match &more.assignments {
        Some(assignments) => {
            check_assignments(topic, more.count, assignments, &placement)?;
            assignments.clone()
        }
        None if placement.broker_count() < REPLICATION_FACTOR => {
            return Err(CreateTopicError::NoBroker.into());
        }
        None => {
            let next = |_| placement.next(REPLICATION_FACTOR);
            (present..more.count).map(next).collect()
        }
    };
    let added = indexes.zip(placed);
    Ok(added
        .map(|(index, replicas)| new_partition(image, topic.id, index, replicas))
        .collect())
}

/// Checks where the client wants the new partitions.
fn check_assignments(
    topic: &TopicImage,
    count: i32,
    assignments: &[Vec<BrokerId>],
    placement: &Placement,
) -> Result<(), CreateTopicError> {
    let present = topic.partition_count();
    let given = assignments.len();
    let added = count - present;
    if usize::try_from(added) != Ok(given) {
        let reason = format!("it is for {given} partitions, but {added} would be added");
        return Err(CreateTopicError::Assignment { reason });
    }
    for (index, brokers) in (present..count).zip(assignments) {
        check_brokers(index, brokers, placement)?;
    }
    Ok(())
}
