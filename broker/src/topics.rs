//! Which topics exist and what is in effect for them: an immutable view of the cluster's image, for every connection.
//!
//! A core. The thread that follows the image makes the next view, and publishes it once this broker serves accordingly.

use std::collections::BTreeMap;
use std::sync::Arc;

use keylane_protocol::cluster::{ClusterImage, PartitionImage, TopicImage};
use keylane_protocol::identifiers::{BrokerId, PartitionIndex, TopicId, TopicName};

use crate::topic_settings::{InvalidSetting, TopicSettings};

/// A topic that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its id.
    pub id: TopicId,
    /// Its name.
    pub name: TopicName,
    /// What was set for it by name.
    pub overrides: BTreeMap<String, String>,
    /// What is in effect.
    pub settings: TopicSettings,
    image: Arc<TopicImage>,
}

/// A topic has a setting that this version does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the topic {topic} has a setting that this version does not know: {source}")]
pub struct UnknownSetting {
    /// The topic.
    pub topic: TopicName,
    /// Which.
    pub source: InvalidSetting,
}

/// Why a broker does not serve a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotLed {
    /// There is no such topic or partition.
    #[error("there is no such topic or partition")]
    Unknown,
    /// Another broker leads it, or nobody does.
    #[error("this broker does not lead the partition")]
    Elsewhere,
}

impl Topic {
    /// Returns the topic of an image, over the settings of topics that do not set their own.
    ///
    /// # Errors
    /// When it has a setting that this version does not know.
    pub fn new(image: &Arc<TopicImage>, defaults: &TopicSettings) -> Result<Self, UnknownSetting> {
        let configs = image.configs.iter();
        let overrides: BTreeMap<String, String> = configs
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .collect();
        let settings = defaults.with(&overrides).map_err(|source| UnknownSetting {
            topic: image.name.clone(),
            source,
        })?;
        Ok(Self {
            id: image.id,
            name: image.name.clone(),
            overrides,
            settings,
            image: Arc::clone(image),
        })
    }

    /// Returns how many partitions it has, at least 1.
    #[must_use]
    pub fn partition_count(&self) -> i32 {
        self.image.partition_count()
    }

    /// Returns a partition; `None` if the topic has no such.
    #[must_use]
    pub fn partition(&self, index: PartitionIndex) -> Option<&PartitionImage> {
        self.image.partition(index)
    }

    /// Checks that a broker leads a partition.
    ///
    /// # Errors
    /// When it does not.
    pub fn check_leader(&self, index: PartitionIndex, broker: BrokerId) -> Result<(), NotLed> {
        match self.partition(index) {
            None => Err(NotLed::Unknown),
            Some(partition) if partition.leader == Some(broker) => Ok(()),
            Some(_) => Err(NotLed::Elsewhere),
        }
    }

    /// Returns all partitions in order.
    pub fn partitions(&self) -> impl Iterator<Item = (PartitionIndex, &PartitionImage)> {
        self.image.partitions()
    }
}

/// The cluster at one moment, with what is in effect for each topic.
#[derive(Clone, Debug, Default)]
pub struct TopicsImage {
    cluster: Arc<ClusterImage>,
    index: u64,
    topics: BTreeMap<TopicId, Arc<Topic>>,
}

impl TopicsImage {
    /// Returns the view of a later image, which the metadata up to `index` make.
    ///
    /// # Errors
    /// When a topic has a setting that this version does not know.
    pub fn next(
        &self,
        cluster: Arc<ClusterImage>,
        index: u64,
        defaults: &TopicSettings,
    ) -> Result<Self, UnknownSetting> {
        let mut topics = BTreeMap::new();
        for image in cluster.topics() {
            let before = self.topics.get(&image.id);
            let topic = match before.filter(|topic| Arc::ptr_eq(&topic.image, image)) {
                Some(unchanged) => Arc::clone(unchanged),
                None => Arc::new(Topic::new(image, defaults)?),
            };
            topics.insert(image.id, topic);
        }
        Ok(Self {
            cluster,
            index,
            topics,
        })
    }

    /// Returns the cluster's image.
    #[must_use]
    pub fn cluster(&self) -> &ClusterImage {
        &self.cluster
    }

    /// Returns the index of the metadata that make the image.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Returns the topic of a name, which may be no possible name at all.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.get(&self.cluster.topic_named(name)?.id)
    }

    /// Returns the topic of an id.
    #[must_use]
    pub fn with_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.topics.get(&id)
    }

    /// Returns all topics in the order of their names.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.cluster.topics().map(|image| &self.topics[&image.id])
    }
}
