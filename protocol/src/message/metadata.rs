//! Metadata (key 3), versions 0 to 12: brokers, topics, partitions and their leaders.
//!
//! v1 racks, controller, null asks for all topics · v2 cluster id · v3 throttle time · v4 auto-creation (KIP-361) ·
//! v5 offline replicas (KIP-112) · v6 throttles after answering · v7 leader epochs (KIP-320) · v8 authorized
//! operations (KIP-430) · v9 flexible; clients trust leader epochs, which must never fall · v10 topic ids (KIP-516) ·
//! v11 no cluster operations (KIP-700: DescribeCluster) · v12 ask by topic id.
//! Version 0 asks for all topics by an empty list, later ones by null; empty then means none.

use std::collections::BTreeSet;

use bytestring::ByteString;

use crate::error_code::ErrorCode;
use crate::identifiers::{BrokerId, PartitionIndex, TopicId, TopicName};
use crate::message::AUTHORIZED_OPERATIONS_NOT_ASKED;
use crate::offset::LeaderEpoch;

/// The first version in which an answer may leave out the name; a question may from version 10 on.
const VERSION_WITHOUT_NAME: i16 = 12;

exchange!(Metadata: MetadataRequest => MetadataResponse);

message! {
    /// Asks for brokers and topics.
    pub struct MetadataRequest {
        /// The topics; `None` asks for all, in version 0 an empty list does.
        topics: Option<Vec<MetadataRequestTopic>> [.., null 1..] = Some(Vec::new()),
        /// Whether topics that do not exist may be created, if the broker is configured to.
        allow_auto_topic_creation: bool [4..] = true,
        /// Whether to tell what the principal may do with the cluster.
        include_cluster_authorized_operations: bool [8..=10],
        /// Whether to tell what the principal may do with the topics.
        include_topic_authorized_operations: bool [8..],
    }
}

message! {
    /// A topic to tell about.
    pub struct MetadataRequestTopic {
        /// Its id; zero asks by name. Brokers honour it from version 12 on.
        topic_id: TopicId [10.. ; ignorable],
        /// Its name; `None` asks by id.
        name: Option<ByteString> [.., null 10..] = Some(ByteString::new()),
    }
}

message! {
    /// Names brokers and topics.
    pub struct MetadataResponse {
        /// How long the request was held back by a quota, in milliseconds.
        throttle_time_ms: i32 [3.. ; ignorable],
        /// The brokers a client may dial.
        brokers: Vec<MetadataResponseBroker>,
        /// The cluster's id; clients expect one.
        cluster_id: Option<ByteString> [2.. ; ignorable],
        /// The controller, one of the brokers listed; -1 means unknown.
        controller_id: BrokerId [1.. ; ignorable] = BrokerId::NONE,
        /// The topics asked for.
        topics: Vec<MetadataResponseTopic>,
        /// What the principal may do with the cluster, one bit per operation.
        cluster_authorized_operations: i32 [8..=10] = AUTHORIZED_OPERATIONS_NOT_ASKED,
    }
}

message! {
    /// A broker a client may dial.
    pub struct MetadataResponseBroker {
        /// Its id.
        node_id: BrokerId,
        /// Its host name or address.
        host: ByteString,
        /// Its port.
        port: i32,
        /// Its rack, if it has one.
        rack: Option<ByteString> [1.. ; ignorable],
    }
}

message! {
    /// A topic, or why it cannot be told about.
    pub struct MetadataResponseTopic {
        /// What is wrong with the topic.
        error_code: ErrorCode,
        /// Its name; `None` if it was asked for by an id that does not exist.
        name: Option<ByteString> [.., null 12..] = Some(ByteString::new()),
        /// Its id; zero if it was asked for by a name that does not exist.
        topic_id: TopicId [10.. ; ignorable],
        /// Whether the cluster uses it for itself.
        is_internal: bool [1.. ; ignorable],
        /// Its partitions; never empty for a topic that exists.
        partitions: Vec<MetadataResponsePartition>,
        /// What the principal may do with the topic, one bit per operation.
        topic_authorized_operations: i32 [8..] = AUTHORIZED_OPERATIONS_NOT_ASKED,
    }
}

message! {
    /// A partition and where it lives.
    pub struct MetadataResponsePartition {
        /// What is wrong with the partition.
        error_code: ErrorCode,
        /// Its index.
        partition_index: PartitionIndex,
        /// Its leader; -1 means none.
        leader_id: BrokerId,
        /// The leader's epoch.
        leader_epoch: LeaderEpoch [7.. ; ignorable] = LeaderEpoch::NONE,
        /// Brokers that hold a replica.
        replica_nodes: Vec<BrokerId>,
        /// Brokers whose replica is in sync.
        isr_nodes: Vec<BrokerId>,
        /// Brokers whose replica is offline.
        offline_replicas: Vec<BrokerId> [5.. ; ignorable],
    }
}

impl MetadataRequest {
    /// Tells whether all topics are asked for.
    #[must_use]
    pub fn asks_for_all(&self, version: i16) -> bool {
        match &self.topics {
            None => true,
            Some(topics) => version == 0 && topics.is_empty(),
        }
    }

    /// Returns the topics that are named, each once: a short name repeated could stand for a topic of many partitions.
    pub fn distinct_topics(&self) -> impl Iterator<Item = &MetadataRequestTopic> {
        let mut seen = BTreeSet::new();
        let key = |topic: &'_ MetadataRequestTopic| match &topic.name {
            // Beside a name the id says nothing.
            Some(name) => (Some(name.clone()), TopicId::ZERO),
            None => (None, topic.topic_id),
        };
        let named = self.topics.iter().flatten();
        named.filter(move |topic| seen.insert(key(topic)))
    }
}

impl MetadataRequestTopic {
    /// Returns what is answered if there is no such topic.
    #[must_use]
    pub fn not_found(&self, version: i16) -> MetadataResponseTopic {
        let Some(name) = &self.name else {
            let name = (version < VERSION_WITHOUT_NAME).then(ByteString::new);
            return MetadataResponseTopic::untold(name, self.topic_id, ErrorCode::UnknownTopicId);
        };
        let code = match TopicName::new(name) {
            Ok(_) => ErrorCode::UnknownTopicOrPartition,
            Err(_) => ErrorCode::InvalidTopicException,
        };
        MetadataResponseTopic::untold(Some(name.clone()), TopicId::ZERO, code)
    }
}

impl MetadataResponseTopic {
    /// Returns a topic that exists.
    #[must_use]
    pub fn found(
        name: &TopicName,
        topic_id: TopicId,
        partitions: Vec<MetadataResponsePartition>,
    ) -> Self {
        Self {
            name: Some(ByteString::from(name.as_str())),
            topic_id,
            partitions,
            ..Self::default()
        }
    }

    /// Returns a topic whose partitions are not told, and why.
    #[must_use]
    pub fn untold(name: Option<ByteString>, topic_id: TopicId, error_code: ErrorCode) -> Self {
        Self {
            error_code,
            name,
            topic_id,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: Option<&str>, id: u8) -> MetadataRequestTopic {
        MetadataRequestTopic {
            topic_id: TopicId([id; 16]),
            name: name.map(ByteString::from),
        }
    }

    #[test]
    fn all_topics_are_asked_for_by_null_and_in_version_0_by_none() {
        let asking_for = |topics| MetadataRequest {
            topics,
            ..MetadataRequest::default()
        };
        assert!(asking_for(None).asks_for_all(1));
        assert!(asking_for(Some(Vec::new())).asks_for_all(0));
        assert!(!asking_for(Some(Vec::new())).asks_for_all(1));
        assert!(!asking_for(Some(vec![topic(Some("a"), 0)])).asks_for_all(0));
    }

    #[test]
    fn a_topic_is_told_once_however_it_is_repeated() {
        let (a, b, c) = (topic(Some("a"), 0), topic(Some("b"), 0), topic(None, 1));
        let request = MetadataRequest {
            topics: Some(vec![
                b.clone(),
                a.clone(),
                topic(Some("a"), 7),
                c.clone(),
                b.clone(),
                c.clone(),
            ]),
            ..MetadataRequest::default()
        };
        let distinct: Vec<_> = request.distinct_topics().collect();
        assert_eq!(distinct, [&b, &a, &c]);
    }

    #[test]
    fn a_topic_that_does_not_exist_has_a_name_where_the_version_needs_one() {
        let by_name = topic(Some("a"), 7).not_found(12);
        assert_eq!(by_name.error_code, ErrorCode::UnknownTopicOrPartition);
        assert_eq!(by_name.topic_id, TopicId::ZERO);
        let impossible = topic(Some("a/b"), 0).not_found(12);
        assert_eq!(impossible.error_code, ErrorCode::InvalidTopicException);
        for (version, name) in [(11, Some(ByteString::new())), (12, None)] {
            let by_id = topic(None, 7).not_found(version);
            assert_eq!(by_id.error_code, ErrorCode::UnknownTopicId);
            assert_eq!((by_id.name, by_id.topic_id.0), (name, [7; 16]));
        }
    }
}
