//! Metadata (key 3), versions 0 to 12: brokers, topics, partitions and their leaders.
//!
//! v1 racks, controller, null asks for all topics · v2 cluster id · v3 throttle time · v4 auto-creation (KIP-361) ·
//! v5 offline replicas (KIP-112) · v6 throttles after answering · v7 leader epochs (KIP-320) · v8 authorized
//! operations (KIP-430) · v9 flexible; clients trust leader epochs, which must never fall · v10 topic ids (KIP-516) ·
//! v11 no cluster operations (KIP-700: DescribeCluster) · v12 ask by topic id.
//! Version 0 asks for all topics by an empty list, later ones by null; empty then means none.

use bytestring::ByteString;

use crate::error_code::ErrorCode;
use crate::identifiers::{BrokerId, PartitionIndex, TopicId};
use crate::message::AUTHORIZED_OPERATIONS_NOT_ASKED;
use crate::offset::LeaderEpoch;

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
