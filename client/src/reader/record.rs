//! What a reader yields: owned records whose key, value and headers are slices of what was fetched.

use std::sync::Arc;

use bytes::Bytes;
use keylane_protocol::identifiers::PartitionIndex;
use keylane_protocol::offset::Offset;
use keylane_protocol::record::{Record, RecordHeader};

/// A record as it was read. Cloning copies no payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumedRecord {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: PartitionIndex,
    /// The record's place in the partition.
    pub offset: Offset,
    /// Milliseconds since 1970; -1 means none.
    pub timestamp: i64,
    /// The key; `None` is null, which is not the same as empty.
    pub key: Option<Bytes>,
    /// The value; `None` is null.
    pub value: Option<Bytes>,
    /// Headers in order; names may repeat.
    pub headers: Vec<RecordHeader>,
}

/// The records of one record batch that were asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumedBatch {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: PartitionIndex,
    /// The records in the order of their offsets; never empty.
    pub records: Vec<Record>,
    /// Where the partition ended when this was fetched.
    pub high_watermark: Offset,
}

impl ConsumedRecord {
    pub(crate) fn new(topic: &Arc<str>, partition: PartitionIndex, record: Record) -> Self {
        Self {
            topic: Arc::clone(topic),
            partition,
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key,
            value: record.value,
            headers: record.headers,
        }
    }
}
