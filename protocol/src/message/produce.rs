//! Produce (key 0), versions 3 to 11, offered from 0: writes record batches.
//!
//! v3 transactional id, magic 2 (KIP-98) · v4 KAFKA_STORAGE_ERROR (KIP-112) · v5 log start offset · v7 zstd (KIP-110)
//! · v8 record errors (KIP-467) · v9 flexible · v10 leader hints (KIP-951) · v11 TRANSACTION_ABORTABLE (KIP-890).
//! Record batches are slices of the frame. A request with acks 0 gets no answer at all. Deviation from Kafka's
//! schema: `current_leader` and `node_endpoints` are ignorable, since they are hints; `TopicProduceData` and
//! `PartitionProduceData` are called like their fellows in Fetch.

use std::collections::BTreeSet;

use bytes::Bytes;
use bytestring::ByteString;

use crate::error_code::ErrorCode;
use crate::identifiers::{BrokerId, PartitionIndex};
use crate::message::fetch::{LeaderIdAndEpoch, NodeEndpoint};
use crate::offset::Offset;

exchange!(Produce: ProduceRequest => ProduceResponse);

message! {
    /// Writes record batches to partitions.
    pub struct ProduceRequest {
        /// The producer's transactional id, if it has one.
        transactional_id: Option<ByteString>,
        /// Whom to wait for: 0 nobody, 1 the leader, -1 all replicas in sync.
        acks: i16,
        /// How long to wait for them, in milliseconds.
        timeout_ms: i32,
        /// The topics.
        topic_data: Vec<ProduceTopic>,
    }
}

message! {
    /// What to write to one topic.
    pub struct ProduceTopic {
        /// The topic's name.
        name: ByteString,
        /// Its partitions.
        partition_data: Vec<ProducePartition>,
    }
}

message! {
    /// What to write to one partition.
    pub struct ProducePartition {
        /// The partition.
        index: PartitionIndex,
        /// One record batch of magic 2.
        records: Option<Bytes> = Some(Bytes::new()),
    }
}

message! {
    /// Tells where batches were written, or why not.
    pub struct ProduceResponse {
        /// The topics.
        responses: Vec<TopicProduceResponse>,
        /// How long the request was held back by a quota, in milliseconds.
        throttle_time_ms: i32,
    }
    tagged {
        /// The addresses of leaders named in `current_leader` (KIP-951).
        0: node_endpoints: Vec<NodeEndpoint> [10.. ; ignorable],
    }
}

message! {
    /// What became of one topic's batches.
    pub struct TopicProduceResponse {
        /// The topic's name.
        name: ByteString,
        /// Its partitions.
        partition_responses: Vec<PartitionProduceResponse>,
    }
}

message! {
    /// What became of one partition's batch.
    pub struct PartitionProduceResponse {
        /// The partition.
        index: PartitionIndex,
        /// Why the batch was not written, if it was not.
        error_code: ErrorCode,
        /// The offset of the batch's first record; -1 on error.
        base_offset: Offset,
        /// When the broker appended the batch, in milliseconds since 1970; -1 if the topic keeps the producer's time.
        log_append_time_ms: i64 = -1,
        /// The partition's first offset.
        log_start_offset: Offset [5.. ; ignorable] = Offset(-1),
        /// The records that caused the batch to be refused.
        record_errors: Vec<BatchIndexAndErrorMessage> [8.. ; ignorable],
        /// Why the batch was refused, for people.
        error_message: Option<ByteString> [8.. ; ignorable],
    }
    tagged {
        /// Who leads the partition, with NOT_LEADER_OR_FOLLOWER (KIP-951).
        0: current_leader: LeaderIdAndEpoch [10.. ; ignorable],
    }
}

message! {
    /// A record that caused its batch to be refused.
    pub struct BatchIndexAndErrorMessage {
        /// The record's place in the batch, from 0.
        batch_index: i32,
        /// What is wrong with it, for people.
        batch_index_error_message: Option<ByteString>,
    }
}

impl ProduceRequest {
    /// Returns the partitions that are named more than once: which of their batches comes first is not said.
    #[must_use]
    pub fn named_twice(&self) -> BTreeSet<(ByteString, PartitionIndex)> {
        if let [topic] = self.topic_data.as_slice()
            && topic.partition_data.len() <= 1
        {
            return BTreeSet::new();
        }
        let topics = self.topic_data.iter();
        let mut named: Vec<(&ByteString, PartitionIndex)> = topics
            .flat_map(|topic| {
                let partitions = topic.partition_data.iter();
                partitions.map(|data| (&topic.name, data.index))
            })
            .collect();
        named.sort_unstable();
        let pairs = named.windows(2).filter(|pair| pair[0] == pair[1]);
        pairs.map(|pair| (pair[0].0.clone(), pair[0].1)).collect()
    }
}

impl LeaderIdAndEpoch {
    /// Returns whether a leader is named.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.leader_id != BrokerId::NONE
    }
}
