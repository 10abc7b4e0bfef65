//! Creates, deletes and describes: topics, settings, offsets, the cluster.
//!
//! Questions are asked of any broker and again when a connection breaks; what changes something is asked once, since
//! a lost answer leaves open whether it happened. `create_topic`, `create_partitions`, `alter_configs`, `topics`, `configs`
//! and `cluster` hold one idea each.

mod alter_configs;
mod cluster;
mod configs;
mod create_partitions;
mod create_topic;
mod error;
mod topics;

use std::collections::BTreeMap;

use keylane_protocol::identifiers::PartitionIndex;
use keylane_protocol::message::Request;

pub use self::alter_configs::ConfigChange;
pub use self::cluster::{BrokerDescription, ClusterDescription};
pub use self::configs::{ConfigEntry, ConfigResource, ConfigSource};
pub use self::create_topic::{CreatedTopic, NewTopic};
pub use self::error::{
    AlterConfigsError, AskError, CreatePartitionsError, CreateTopicError, DeleteTopicError,
};
pub use self::topics::{PartitionDescription, TopicDescription, TopicListing};
use crate::client::Client;
use crate::metadata::MetadataError;
use crate::offsets::{ListOffsetsError, ListedOffset, OffsetSpec, list_offsets};

/// How often a question is asked before its last connection error is returned.
const ATTEMPTS: usize = 4;

/// Creates, deletes and describes; cheap to make and to clone.
#[derive(Clone, Debug)]
pub struct Admin {
    client: Client,
}

impl Admin {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Returns an offset of every partition of a topic.
    ///
    /// # Errors
    /// When the topic is unknown, a leader cannot be reached in time, or the broker refuses.
    pub async fn list_offsets(
        &self,
        topic: &str,
        spec: OffsetSpec,
    ) -> Result<BTreeMap<PartitionIndex, ListedOffset>, ListOffsetsError> {
        let inner = &self.client.inner;
        let view = inner.metadata.topic(topic, false).await?;
        let indexes: Vec<_> = (0..)
            .map(PartitionIndex)
            .take(view.partitions.len())
            .collect();
        self.list_offsets_of(topic, &indexes, spec).await
    }

    /// Returns an offset of these partitions of a topic, whatever is the matter with others.
    ///
    /// # Errors
    /// When the topic or one of the partitions is unknown, a leader cannot be reached in time, or the broker refuses.
    pub async fn list_offsets_of(
        &self,
        topic: &str,
        partitions: &[PartitionIndex],
        spec: OffsetSpec,
    ) -> Result<BTreeMap<PartitionIndex, ListedOffset>, ListOffsetsError> {
        let wanted = partitions.iter().map(|&partition| (partition, spec));
        list_offsets(&self.client.inner, topic, &wanted.collect()).await
    }

    /// Asks any broker once.
    async fn ask_once<R: Request>(&self, request: &R) -> Result<R::Response, MetadataError>
    where
        R::Response: Default + Send + 'static,
    {
        let connection = self.client.inner.metadata.any_broker().await?;
        let answer = connection.call(request).await;
        answer.map_err(|last| MetadataError::Unreachable { last })
    }

    /// Asks any broker, again if the connection breaks: for questions only.
    async fn ask<R: Request>(&self, request: &R) -> Result<R::Response, MetadataError>
    where
        R::Response: Default + Send + 'static,
    {
        let mut attempt = 1;
        loop {
            match self.ask_once(request).await {
                Err(error) if error.is_retriable() && attempt < ATTEMPTS => attempt += 1,
                outcome => return outcome,
            }
        }
    }
}
