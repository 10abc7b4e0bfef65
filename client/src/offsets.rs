//! Finds offsets by place or time, asking each partition's leader; for the admin and for readers.

use std::collections::BTreeMap;

use bytestring::ByteString;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::{BrokerId, PartitionIndex};
use keylane_protocol::message::list_offsets::{
    EARLIEST_TIMESTAMP, LATEST_TIMESTAMP, ListOffsetsPartition, ListOffsetsPartitionResponse,
    ListOffsetsRequest, ListOffsetsTopic, MAX_TIMESTAMP,
};
use keylane_protocol::offset::{LeaderEpoch, Offset};
use tokio::time::Instant;

use crate::client::Inner;
use crate::connection::ConnectionError;
use crate::metadata::MetadataError;

/// Which offset of a partition to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The first one that is still there.
    Earliest,
    /// The one the next record will get.
    Latest,
    /// That of the first record at or after a time, in milliseconds since 1970.
    Timestamp(i64),
    /// That of the record with the greatest timestamp (KIP-734).
    MaxTimestamp,
}

/// What was found in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedOffset {
    /// The offset; `None` if no record is that late.
    pub offset: Option<Offset>,
    /// The record's time in milliseconds since 1970; `None` if the spec names a place or nothing was found.
    pub timestamp: Option<i64>,
    /// The leader epoch of the record, if the broker tells.
    pub leader_epoch: Option<LeaderEpoch>,
}

/// Why offsets could not be found.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ListOffsetsError {
    /// The topic or the cluster is not there.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The topic has fewer partitions.
    #[error("topic {topic:?} has {count} partitions, so none with index {partition}")]
    UnknownPartition {
        /// The topic's name.
        topic: String,
        /// The partition asked for.
        partition: PartitionIndex,
        /// How many there are.
        count: usize,
    },
    /// The leader could not be asked.
    #[error("the offsets of {topic} cannot be asked for: {source}")]
    Connection {
        /// The topic's name.
        topic: String,
        /// Why.
        source: ConnectionError,
    },
    /// The leader refuses, or there was none for as long as a request may take.
    #[error("the offset of {topic}-{partition} was refused: {code}")]
    Refused {
        /// The topic's name.
        topic: String,
        /// The partition.
        partition: PartitionIndex,
        /// What the broker says.
        code: ErrorCode,
    },
}

impl ListOffsetsError {
    /// Returns whether another attempt may succeed without anything being changed first.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Metadata(error) => error.is_retriable(),
            Self::UnknownPartition { .. } => false,
            Self::Connection { source, .. } => source.is_retriable(),
            Self::Refused { code, .. } => code.is_retriable(),
        }
    }
}

impl OffsetSpec {
    fn timestamp(self) -> i64 {
        match self {
            Self::Earliest => EARLIEST_TIMESTAMP,
            Self::Latest => LATEST_TIMESTAMP,
            Self::Timestamp(time) => time.max(0),
            Self::MaxTimestamp => MAX_TIMESTAMP,
        }
    }
}

/// Asks the leaders of one topic's partitions, again after leadership changed, for as long as a request may take.
pub(crate) async fn list_offsets(
    client: &Inner,
    topic: &str,
    wanted: &BTreeMap<PartitionIndex, OffsetSpec>,
) -> Result<BTreeMap<PartitionIndex, ListedOffset>, ListOffsetsError> {
    let view = client.metadata.topic(topic, false).await?;
    let count = view.partitions.len();
    let is_there = |partition: PartitionIndex| {
        usize::try_from(partition.0).is_ok_and(|partition| partition < count)
    };
    if let Some(&partition) = wanted.keys().find(|&&partition| !is_there(partition)) {
        return Err(ListOffsetsError::UnknownPartition {
            topic: topic.to_owned(),
            partition,
            count,
        });
    }
    let deadline = Instant::now() + client.settings.request_timeout;
    let mut found = BTreeMap::new();
    loop {
        let generation = client.metadata.view().generation;
        let failure = ask_leaders(client, topic, wanted, &mut found).await;
        let Some(failure) = failure else {
            return Ok(found);
        };
        if !failure.is_retriable() || Instant::now() >= deadline {
            return Err(failure);
        }
        tracing::debug!(topic, error = %failure, "offsets are asked for again");
        client.metadata.refresh(generation, false).await?;
    }
}

/// Asks once for all that is still missing and returns one of the failures, one that is final if there is any.
async fn ask_leaders(
    client: &Inner,
    topic: &str,
    wanted: &BTreeMap<PartitionIndex, OffsetSpec>,
    found: &mut BTreeMap<PartitionIndex, ListedOffset>,
) -> Option<ListOffsetsError> {
    let view = client.metadata.view();
    let mut by_leader: BTreeMap<BrokerId, Vec<ListOffsetsPartition>> = BTreeMap::new();
    let mut failures = Vec::new();
    for (&partition_index, spec) in wanted {
        if found.contains_key(&partition_index) {
            continue;
        }
        let known = view.partition(topic, partition_index);
        let Some((leader, known)) = known.and_then(|known| Some((known.leader?, known))) else {
            failures.push(refused(
                topic,
                partition_index,
                ErrorCode::LeaderNotAvailable,
            ));
            continue;
        };
        by_leader
            .entry(leader)
            .or_default()
            .push(ListOffsetsPartition {
                partition_index,
                current_leader_epoch: known.leader_epoch,
                timestamp: spec.timestamp(),
            });
    }
    for (leader, partitions) in by_leader {
        match ask_leader(client, topic, leader, partitions).await {
            Ok(answers) => {
                for answer in answers {
                    match answer.error_code {
                        ErrorCode::None => {
                            found.insert(answer.partition_index, listed(&answer));
                        }
                        code => failures.push(refused(topic, answer.partition_index, code)),
                    }
                }
            }
            Err(source) => failures.push(ListOffsetsError::Connection {
                topic: topic.to_owned(),
                source,
            }),
        }
    }
    let missing = wanted
        .keys()
        .find(|partition| !found.contains_key(partition));
    let missing =
        missing.map(|&partition| refused(topic, partition, ErrorCode::NotLeaderOrFollower));
    let last = failures.iter().position(|failure| !failure.is_retriable());
    last.map(|index| failures.swap_remove(index))
        .or_else(|| failures.pop())
        .or(missing)
}

async fn ask_leader(
    client: &Inner,
    topic: &str,
    leader: BrokerId,
    partitions: Vec<ListOffsetsPartition>,
) -> Result<Vec<ListOffsetsPartitionResponse>, ConnectionError> {
    let request = ListOffsetsRequest {
        replica_id: BrokerId::NONE,
        topics: vec![ListOffsetsTopic {
            name: ByteString::from(topic),
            partitions,
        }],
        ..Default::default()
    };
    let connection = client.metadata.broker(leader).await?;
    let response = connection.call(&request).await?;
    let topics = response.topics.into_iter();
    let ours = topics.filter(|answer| &*answer.name == topic);
    Ok(ours.flat_map(|answer| answer.partitions).collect())
}

fn listed(answer: &ListOffsetsPartitionResponse) -> ListedOffset {
    ListedOffset {
        offset: (answer.offset.0 >= 0).then_some(answer.offset),
        timestamp: (answer.timestamp >= 0).then_some(answer.timestamp),
        leader_epoch: (answer.leader_epoch.0 >= 0).then_some(answer.leader_epoch),
    }
}

fn refused(topic: &str, partition: PartitionIndex, code: ErrorCode) -> ListOffsetsError {
    ListOffsetsError::Refused {
        topic: topic.to_owned(),
        partition,
        code,
    }
}
