//! Wire messages of the reader: Fetch, by topic id where both sides can (KIP-516), else by name.

use std::collections::BTreeMap;

use bytes::Bytes;
use bytestring::ByteString;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::TopicId;
use keylane_protocol::message::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, FetchablePartitionResponse,
    READ_UNCOMMITTED,
};

use super::config::ReaderConfig;
use super::positions::{PartitionAnswer, PlannedFetch, Wanted};

/// The first version that names topics by id.
const BY_ID_FROM: i16 = 13;

/// Returns the highest version in which all topics of a fetch can be named.
pub(super) fn version_max(planned: &PlannedFetch) -> i16 {
    let has_id = |wanted: &Wanted| wanted.topic_id != TopicId::ZERO;
    if planned.partitions.iter().all(has_id) {
        i16::MAX
    } else {
        BY_ID_FROM - 1
    }
}

/// Returns the request of a planned fetch.
pub(super) fn fetch_request(planned: &PlannedFetch, config: &ReaderConfig) -> FetchRequest {
    let mut topics: Vec<FetchTopic> = Vec::new();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for wanted in &planned.partitions {
        let place = *places.entry(&wanted.topic).or_insert_with(|| {
            topics.push(FetchTopic {
                topic: ByteString::from(&*wanted.topic),
                topic_id: wanted.topic_id,
                partitions: Vec::new(),
            });
            topics.len() - 1
        });
        topics[place].partitions.push(FetchPartition {
            partition: wanted.partition,
            current_leader_epoch: wanted.leader_epoch,
            fetch_offset: wanted.offset,
            partition_max_bytes: number(config.max_bytes_per_partition.min(planned.max_bytes)),
            ..Default::default()
        });
    }
    FetchRequest {
        max_wait_ms: i32::try_from(config.max_wait.as_millis()).unwrap_or(i32::MAX),
        min_bytes: number(config.min_bytes),
        max_bytes: number(planned.max_bytes),
        isolation_level: READ_UNCOMMITTED,
        topics,
        ..Default::default()
    }
}

fn number(bytes: usize) -> i32 {
    i32::try_from(bytes).unwrap_or(i32::MAX)
}

/// Returns what a response says about each partition asked for, in the order of `wanted`.
pub(super) fn answers(
    response: FetchResponse,
    wanted: &[Wanted],
    version: i16,
) -> Vec<Option<PartitionAnswer>> {
    if !response.error_code.is_none() {
        let refused = |_| Some(refusal(response.error_code));
        return wanted.iter().map(refused).collect();
    }
    let mut found: BTreeMap<(Bytes, i32), PartitionAnswer> = BTreeMap::new();
    for topic in response.responses {
        let key = topic_key(&topic.topic, topic.topic_id, version);
        for partition in topic.partitions {
            let index = partition.partition_index.0;
            found.insert((key.clone(), index), answer(partition));
        }
    }
    let of = |wanted: &Wanted| {
        let key = topic_key(&wanted.topic, wanted.topic_id, version);
        found.remove(&(key, wanted.partition.0))
    };
    wanted.iter().map(of).collect()
}

fn topic_key(name: &str, id: TopicId, version: i16) -> Bytes {
    if version >= BY_ID_FROM {
        Bytes::copy_from_slice(&id.0)
    } else {
        Bytes::copy_from_slice(name.as_bytes())
    }
}

fn answer(partition: FetchablePartitionResponse) -> PartitionAnswer {
    let records = partition.records.unwrap_or_default();
    PartitionAnswer {
        code: partition.error_code,
        high_watermark: partition.high_watermark,
        log_start_offset: partition.log_start_offset,
        records: records.into_bytes(),
    }
}

fn refusal(code: ErrorCode) -> PartitionAnswer {
    use keylane_protocol::offset::Offset;
    PartitionAnswer {
        code,
        high_watermark: Offset(-1),
        log_start_offset: Offset(-1),
        records: Bytes::new(),
    }
}
