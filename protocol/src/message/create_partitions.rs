//! CreatePartitions (key 37), versions 0 to 3: gives topics more partitions (KIP-195).
//!
//! v1 throttles after answering · v2 flexible · v3 THROTTLING_QUOTA_EXCEEDED (KIP-599). `count` is the number that the
//! topic shall have in all, and assignments are those of the new partitions only, in order.

use bytestring::ByteString;

use crate::error_code::ErrorCode;
use crate::identifiers::BrokerId;

exchange!(CreatePartitions: CreatePartitionsRequest => CreatePartitionsResponse);

message! {
    /// Gives topics more partitions.
    pub struct CreatePartitionsRequest {
        /// The topics.
        topics: Vec<CreatePartitionsTopic>,
        /// How long that may take, in milliseconds.
        timeout_ms: i32,
        /// Only check whether it could be done.
        validate_only: bool,
    }
}

message! {
    /// A topic that is to have more partitions.
    pub struct CreatePartitionsTopic {
        /// Its name.
        name: ByteString,
        /// How many partitions it shall have in all.
        count: i32,
        /// Which brokers get each new partition; `None` leaves it to the cluster.
        assignments: Option<Vec<CreatePartitionsAssignment>> = Some(Vec::new()),
    }
}

message! {
    /// The brokers that get a new partition.
    pub struct CreatePartitionsAssignment {
        /// The brokers, the preferred leader first.
        broker_ids: Vec<BrokerId>,
    }
}

message! {
    /// Tells which topics have more partitions.
    pub struct CreatePartitionsResponse {
        /// How long the request was held back by a quota, in milliseconds.
        throttle_time_ms: i32,
        /// The topics.
        results: Vec<CreatePartitionsTopicResult>,
    }
}

message! {
    /// What became of one topic.
    pub struct CreatePartitionsTopicResult {
        /// Its name.
        name: ByteString,
        /// Why it has no more partitions, if so.
        error_code: ErrorCode,
        /// The same for people.
        error_message: Option<ByteString>,
    }
}
