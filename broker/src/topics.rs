//! Which topics exist: an immutable image that every connection reads, and ([`rules`]) which may be added to it.
//!
//! A core. The thread that changes topics makes the next image and publishes it when the disk agrees.

pub mod rules;

use std::collections::BTreeMap;
use std::sync::Arc;

use keylane_protocol::identifiers::{PartitionIndex, TopicId, TopicName};

use crate::log::TopicPartition;
use crate::topic_settings::TopicSettings;

/// A topic that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its id.
    pub id: TopicId,
    /// Its name.
    pub name: TopicName,
    /// How many partitions it has, at least 1.
    pub partition_count: i32,
    /// What was set for it by name.
    pub overrides: BTreeMap<String, String>,
    /// What is in effect.
    pub settings: TopicSettings,
}

impl Topic {
    /// Returns whether the topic has the partition.
    #[must_use]
    pub fn has(&self, partition: PartitionIndex) -> bool {
        (0..self.partition_count).contains(&partition.0)
    }

    /// Returns all partitions in order.
    pub fn partitions(&self) -> impl Iterator<Item = TopicPartition> + use<> {
        let topic_id = self.id;
        (0..self.partition_count).map(move |index| TopicPartition {
            topic_id,
            partition: PartitionIndex(index),
        })
    }
}

/// All topics at one moment.
#[derive(Clone, Debug, Default)]
pub struct TopicsImage {
    by_name: BTreeMap<String, Arc<Topic>>,
    by_id: BTreeMap<TopicId, Arc<Topic>>,
    partition_count: usize,
}

impl TopicsImage {
    /// Returns the topic of a name, which may be no possible name at all.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Arc<Topic>> {
        self.by_name.get(name)
    }

    /// Returns the topic of an id.
    #[must_use]
    pub fn with_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.by_id.get(&id)
    }

    /// Returns all topics in the order of their names.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.by_name.values()
    }

    /// Returns how many partitions all topics have together.
    #[must_use]
    pub fn partition_count(&self) -> usize {
        self.partition_count
    }

    /// Returns the image with one more topic, whose name and id must be new.
    #[must_use]
    pub fn with(&self, topic: Arc<Topic>) -> Self {
        let mut image = self.clone();
        image.partition_count += usize::try_from(topic.partition_count).expect("checked when made");
        let is_new = image
            .by_name
            .insert(topic.name.to_string(), Arc::clone(&topic))
            .is_none()
            && image.by_id.insert(topic.id, topic).is_none();
        assert!(is_new, "a topic is added once");
        image
    }

    /// Returns the image without a topic.
    #[must_use]
    pub fn without(&self, topic: &Topic) -> Self {
        let mut image = self.clone();
        if image.by_id.remove(&topic.id).is_some() {
            image.by_name.remove(topic.name.as_str());
            image.partition_count -=
                usize::try_from(topic.partition_count).expect("checked when made");
        }
        image
    }

    /// Returns a topic whose name differs only by `.` for `_`; Kafka's metrics
    /// cannot tell such apart, so no broker allows both.
    fn colliding(&self, name: &TopicName) -> Option<&TopicName> {
        if !name.as_str().contains(['.', '_']) {
            return None;
        }
        let folded = name.as_str().replace('.', "_");
        self.by_name
            .values()
            .map(|topic| &topic.name)
            .find(|other| *other != name && other.as_str().replace('.', "_") == folded)
    }
}
