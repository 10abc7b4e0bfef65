//! CreateTopics (key 19), versions 2 to 7.
//!
//! v2 throttle time · v3 throttles after answering · v4 -1 asks for the broker's defaults (KIP-464) · v5 flexible,
//! the answer tells the topic's configuration (KIP-525) · v6 THROTTLING_QUOTA_EXCEEDED (KIP-599) · v7 topic id
//! (KIP-516). From version 5 on `configs` of an answer without error must be a list, never `None`, and each source a
//! known one: the Java client fails otherwise.

use bytestring::ByteString;

use crate::error_code::ErrorCode;
use crate::identifiers::{BrokerId, PartitionIndex, TopicId};

exchange!(CreateTopics: CreateTopicsRequest => CreateTopicsResponse);

message! {
    /// Creates topics.
    pub struct CreateTopicsRequest {
        /// The topics.
        topics: Vec<CreatableTopic>,
        /// How long the creation may take, in milliseconds.
        timeout_ms: i32 = 60_000,
        /// Only check whether the topics could be created.
        validate_only: bool,
    }
}

message! {
    /// A topic to create.
    pub struct CreatableTopic {
        /// Its name.
        name: ByteString,
        /// The number of its partitions; -1 if they are assigned below, or for the broker's default.
        num_partitions: i32,
        /// The number of replicas of each partition; -1 if they are assigned below, or for the broker's default.
        replication_factor: i16,
        /// Which brokers get which partition; empty leaves it to the cluster.
        assignments: Vec<CreatableReplicaAssignment>,
        /// Settings of the topic that differ from the default.
        configs: Vec<CreatableTopicConfig>,
    }
}

message! {
    /// The brokers that get a partition.
    pub struct CreatableReplicaAssignment {
        /// The partition.
        partition_index: PartitionIndex,
        /// The brokers, the preferred leader first.
        broker_ids: Vec<BrokerId>,
    }
}

message! {
    /// A setting of a topic.
    pub struct CreatableTopicConfig {
        /// Its name.
        name: ByteString,
        /// Its value.
        value: Option<ByteString> = Some(ByteString::new()),
    }
}

message! {
    /// Tells which topics were created.
    pub struct CreateTopicsResponse {
        /// How long the request was held back by a quota, in milliseconds.
        throttle_time_ms: i32,
        /// The topics.
        topics: Vec<CreatableTopicResult>,
    }
}

message! {
    /// What became of one topic.
    pub struct CreatableTopicResult {
        /// Its name.
        name: ByteString,
        /// Its id.
        topic_id: TopicId [7.. ; ignorable],
        /// Why it was not created, if so.
        error_code: ErrorCode,
        /// The same for people.
        error_message: Option<ByteString> = Some(ByteString::new()),
        /// The number of its partitions; -1 for unknown.
        num_partitions: i32 [5.. ; ignorable] = -1,
        /// The number of replicas of each partition; -1 for unknown.
        replication_factor: i16 [5.. ; ignorable] = -1,
        /// Its settings.
        configs: Option<Vec<CreatableTopicConfigs>> [5.. ; ignorable] = Some(Vec::new()),
    }
    tagged {
        /// Why the settings are not told, if so.
        0: topic_config_error_code: ErrorCode [5.. ; ignorable],
    }
}

message! {
    /// A setting of the new topic.
    pub struct CreatableTopicConfigs {
        /// Its name.
        name: ByteString,
        /// Its value; `None` if it is sensitive.
        value: Option<ByteString> = Some(ByteString::new()),
        /// Whether it cannot be changed.
        read_only: bool,
        /// Where it comes from: one of `describe_configs::CONFIG_SOURCE_…`; the default -1 is not a safe answer.
        config_source: i8 = -1,
        /// Whether its value must not be shown.
        is_sensitive: bool,
    }
}

impl CreatableTopic {
    /// Returns a topic with so many partitions, -1 for the broker's default, and all else as the cluster has it.
    #[must_use]
    pub fn new(name: impl Into<ByteString>, partitions: i32) -> Self {
        Self {
            name: name.into(),
            num_partitions: partitions,
            replication_factor: -1,
            ..Self::default()
        }
    }
}

impl CreateTopicsRequest {
    /// Returns the request for one such topic (see [`CreatableTopic::new`]).
    #[must_use]
    pub fn one(name: impl Into<ByteString>, partitions: i32) -> Self {
        Self {
            topics: vec![CreatableTopic::new(name, partitions)],
            ..Self::default()
        }
    }
}
