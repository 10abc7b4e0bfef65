//! Fetch (key 1), versions 4 to 17: reads record batches.
//!
//! v4 isolation level (KIP-98) · v5 log start offset (KIP-107) · v7 sessions (KIP-227) · v9 leader epoch (KIP-320) ·
//! v10 zstd (KIP-110) · v11 rack (KIP-392) · v12 flexible, diverging epoch (KIP-595) · v13 topic ids (KIP-516) · v14
//! OFFSET_MOVED_TO_TIERED_STORAGE (KIP-405) · v15 replica state (KIP-903) · v16 leader hints (KIP-951) · v17 directory
//! ids (KIP-853). Record batches are slices: of the frame when decoded, of wherever they lie when encoded. A full fetch
//! must be answered for every partition asked for, else Java drops the answer. Deviation from Kafka's schema: the
//! tagged fields of the response are ignorable, since they are hints.

use bytestring::ByteString;

use crate::error_code::ErrorCode;
use crate::identifiers::{BrokerId, PartitionIndex, ProducerId, TopicId};
use crate::offset::{LeaderEpoch, Offset};
use crate::primitive::Records;

exchange!(Fetch: FetchRequest => FetchResponse);

/// The isolation level that shows every record below the high watermark.
pub const READ_UNCOMMITTED: i8 = 0;

/// The isolation level that shows records below the last stable offset only.
pub const READ_COMMITTED: i8 = 1;

message! {
    /// Asks for record batches from chosen offsets on.
    pub struct FetchRequest {
        /// The follower that asks; -1 for a consumer, which alone a client-facing listener serves.
        replica_id: BrokerId [..=14] = BrokerId::NONE,
        /// How long to wait for `min_bytes`, in milliseconds.
        max_wait_ms: i32,
        /// Answer at once when so many bytes are there.
        min_bytes: i32,
        /// The most bytes to answer with; the first batch may exceed it (KIP-74).
        max_bytes: i32 = i32::MAX,
        /// [`READ_UNCOMMITTED`] or [`READ_COMMITTED`].
        isolation_level: i8,
        /// The fetch session; 0 for none.
        session_id: i32 [7.. ; ignorable],
        /// The request's place in the session; -1 asks without one.
        session_epoch: i32 [7.. ; ignorable] = -1,
        /// The topics, to be served in this order.
        topics: Vec<FetchTopic>,
        /// What to take out of the session.
        forgotten_topics_data: Vec<ForgottenTopic> [7..],
        /// The consumer's rack, empty for none.
        rack_id: ByteString [11.. ; ignorable],
    }
    tagged {
        /// The cluster the follower belongs to.
        0: cluster_id: Option<ByteString> [12.. ; ignorable],
        /// The follower that asks, from version 15 on in place of `replica_id`.
        1: replica_state: ReplicaState [15..],
    }
}

message! {
    /// The follower that asks.
    pub struct ReplicaState {
        /// Its id; -1 for a consumer.
        replica_id: BrokerId = BrokerId::NONE,
        /// Its broker epoch; -1 for unknown.
        replica_epoch: i64 = -1,
    }
}

message! {
    /// What to read of one topic.
    pub struct FetchTopic {
        /// The topic's name.
        topic: ByteString [..=12 ; ignorable],
        /// The topic's id.
        topic_id: TopicId [13.. ; ignorable],
        /// Its partitions.
        partitions: Vec<FetchPartition>,
    }
}

message! {
    /// Where to read one partition.
    pub struct FetchPartition {
        /// The partition.
        partition: PartitionIndex,
        /// The leader epoch the reader knows, to be fenced by; -1 for unknown.
        current_leader_epoch: LeaderEpoch [9.. ; ignorable] = LeaderEpoch::NONE,
        /// The first offset wanted.
        fetch_offset: Offset,
        /// The leader epoch of the last record read; -1 for none.
        last_fetched_epoch: LeaderEpoch [12..] = LeaderEpoch::NONE,
        /// The follower's first offset; -1 from consumers.
        log_start_offset: Offset [5.. ; ignorable] = Offset(-1),
        /// The most bytes of this partition; the first batch may exceed it (KIP-74).
        partition_max_bytes: i32,
    }
    tagged {
        /// The follower's directory.
        0: replica_directory_id: TopicId [17.. ; ignorable],
    }
}

message! {
    /// Partitions to take out of the session.
    pub struct ForgottenTopic {
        /// The topic's name.
        topic: ByteString [..=12 ; ignorable],
        /// The topic's id.
        topic_id: TopicId [13.. ; ignorable],
        /// Its partitions.
        partitions: Vec<PartitionIndex>,
    }
}

message! {
    /// Brings record batches.
    pub struct FetchResponse {
        /// How long the request was held back by a quota, in milliseconds.
        throttle_time_ms: i32,
        /// What is wrong with the whole request.
        error_code: ErrorCode [7.. ; ignorable],
        /// The fetch session; 0 for none.
        session_id: i32 [7..],
        /// The topics.
        responses: Vec<FetchableTopicResponse>,
    }
    tagged {
        /// The addresses of leaders named in `current_leader` (KIP-951).
        0: node_endpoints: Vec<NodeEndpoint> [16.. ; ignorable],
    }
}

message! {
    /// What was read of one topic.
    pub struct FetchableTopicResponse {
        /// The topic's name.
        topic: ByteString [..=12 ; ignorable],
        /// The topic's id.
        topic_id: TopicId [13.. ; ignorable],
        /// Its partitions.
        partitions: Vec<FetchablePartitionResponse>,
    }
}

message! {
    /// What was read of one partition.
    pub struct FetchablePartitionResponse {
        /// The partition.
        partition_index: PartitionIndex,
        /// Why nothing could be read, if so.
        error_code: ErrorCode,
        /// Where what consumers may see ends.
        high_watermark: Offset,
        /// Where what consumers of committed records may see ends; -1 for unknown.
        last_stable_offset: Offset = Offset(-1),
        /// The partition's first offset; -1 for unknown.
        log_start_offset: Offset [5.. ; ignorable] = Offset(-1),
        /// Aborted transactions among the records, for consumers of committed records; else `None`.
        aborted_transactions: Option<Vec<AbortedTransaction>> = Some(Vec::new()),
        /// The replica to read from next; -1 for this one.
        preferred_read_replica: BrokerId [11..] = BrokerId::NONE,
        /// Whole record batches; consumers skip what lies before the offset they asked for.
        records: Option<Records> = Some(Records::default()),
    }
    tagged {
        /// Where the reader's records stop being the partition's, if they do.
        0: diverging_epoch: EpochEndOffset [12.. ; ignorable],
        /// Who leads the partition, with NOT_LEADER_OR_FOLLOWER and FENCED_LEADER_EPOCH (KIP-951).
        1: current_leader: LeaderIdAndEpoch [12.. ; ignorable],
        /// The snapshot to read instead, in the controllers' own log.
        2: snapshot_id: SnapshotId [12.. ; ignorable],
    }
}

message! {
    /// An epoch and the offset after its last record.
    pub struct EpochEndOffset {
        /// The epoch; -1 for none.
        epoch: LeaderEpoch = LeaderEpoch::NONE,
        /// The offset after its last record; -1 for none.
        end_offset: Offset = Offset(-1),
    }
}

message! {
    /// Who leads a partition.
    pub struct LeaderIdAndEpoch {
        /// The leader; -1 for unknown.
        leader_id: BrokerId = BrokerId::NONE,
        /// Its epoch; -1 for unknown.
        leader_epoch: LeaderEpoch = LeaderEpoch::NONE,
    }
}

message! {
    /// A snapshot of the controllers' own log.
    pub struct SnapshotId {
        /// The offset after its last record; -1 for none.
        end_offset: Offset = Offset(-1),
        /// Its epoch; -1 for none.
        epoch: LeaderEpoch = LeaderEpoch::NONE,
    }
}

message! {
    /// A transaction that was aborted.
    pub struct AbortedTransaction {
        /// Its producer.
        producer_id: ProducerId,
        /// Its first record.
        first_offset: Offset,
    }
}

message! {
    /// The address of a broker.
    pub struct NodeEndpoint {
        /// Its id.
        node_id: BrokerId,
        /// Its host name or address.
        host: ByteString,
        /// Its port.
        port: i32,
        /// Its rack, if it has one.
        rack: Option<ByteString>,
    }
}
