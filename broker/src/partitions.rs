//! Makes partitions: empty ones that are new here, and those that are found on disk at the start.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use keylane_protocol::identifiers::TopicName;
use keylane_protocol::offset::{LeaderEpoch, Offset};
use keylane_protocol::record_batch::RecordBatchHeader;
use tracing::{error, info, warn};

use crate::disk::DiskError;
use crate::folder::{DataFolder, HostedState};
use crate::log::recovery::ProducerReplay;
use crate::log::space::SpaceBudget;
use crate::log::{Log, TopicPartition};
use crate::meters::PartitionTable;
use crate::partition::producer_state::{InvalidSnapshot, ProducerLimits};
use crate::partition::producers::PartitionProducers;
use crate::partition::{Partition, PartitionSetup};
use crate::server::shard_of;
use crate::topics::Topic;

/// What all partitions of a broker share.
#[derive(Clone, Debug)]
pub(crate) struct PartitionMaker {
    pub shard_count: usize,
    pub producer_limits: ProducerLimits,
    pub space: Arc<SpaceBudget>,
    pub table: Arc<PartitionTable>,
}

/// A log as it was found on disk, or an empty one, with its producers.
#[derive(Debug)]
pub(crate) struct RecoveredLog {
    pub log: Log,
    pub producers: PartitionProducers,
}

/// The logs found on disk, until the image says who leads them.
pub(crate) type RecoveredLogs = BTreeMap<TopicPartition, RecoveredLog>;

/// Why what lies in a data folder cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecoverError {
    /// A partition's folder is gone.
    #[error(
        "the folder of partition {partition} of the topic {topic} (id {id}) is missing in the data folder: \
         restore it from a backup; nothing was changed",
        partition = partition.partition,
        id = partition.topic_id
    )]
    Missing {
        /// The topic.
        topic: String,
        /// The partition.
        partition: TopicPartition,
    },
    /// The disk failed.
    #[error("partition {partition} of the topic {topic} cannot be read: {source}", partition = partition.partition)]
    Disk {
        /// The topic.
        topic: String,
        /// The partition.
        partition: TopicPartition,
        /// What the disk reports.
        source: DiskError,
    },
}

impl PartitionMaker {
    /// Returns a partition over a log.
    pub(crate) fn make(
        &self,
        id: TopicPartition,
        topic: &Topic,
        leader_epoch: Option<LeaderEpoch>,
        recovered: RecoveredLog,
    ) -> Partition {
        let setup = PartitionSetup {
            id,
            shard: shard_of(id, self.shard_count),
            leader_epoch,
            roll: topic.settings.roll(),
            durability: topic.settings.durability.into(),
            space: Arc::clone(&self.space),
            counters: self.table.open(id, &topic.name),
        };
        Partition::new(setup, recovered.log, recovered.producers)
    }

    /// Recovers everything that a data folder hosts.
    pub(crate) fn recover(&self, folder: &DataFolder) -> Result<RecoveredLogs, RecoverError> {
        let mut recovered = RecoveredLogs::new();
        let hosted = folder.hosted().iter();
        for topic in hosted.filter(|topic| topic.state == HostedState::Hosted) {
            for &partition in &topic.partitions {
                let id = TopicPartition {
                    topic_id: topic.id,
                    partition,
                };
                recovered.insert(id, self.recover_one(folder, &topic.name, id)?);
            }
        }
        Ok(recovered)
    }

    /// Recovers the log of one partition.
    pub(crate) fn recover_one(
        &self,
        folder: &DataFolder,
        topic: &TopicName,
        id: TopicPartition,
    ) -> Result<RecoveredLog, RecoverError> {
        let mut replay = Replay {
            producers: PartitionProducers::new(self.producer_limits),
            limits: self.producer_limits,
        };
        let topic_name = || topic.to_string();
        let recovered = folder
            .recover(id, &mut replay)
            .map_err(|source| match source {
                DiskError::NotFound => RecoverError::Missing {
                    topic: topic_name(),
                    partition: id,
                },
                source => RecoverError::Disk {
                    topic: topic_name(),
                    partition: id,
                    source,
                },
            })?;
        let log = recovered.log;
        for range in log.damaged() {
            error!(
                %topic, partition = id.partition.0, start = range.start.0, end = range.end.0,
                "records that were durable are damaged; they cannot be read, all others can"
            );
        }
        if recovered.cut_bytes > 0 || recovered.removed_segments > 0 {
            info!(
                %topic, partition = id.partition.0, bytes = recovered.cut_bytes,
                segments = recovered.removed_segments, "reserved space, and what was never acknowledged, was cut off"
            );
        }
        let producers = replay.producers;
        Ok(RecoveredLog { log, producers })
    }
}

/// Rebuilds the producers of one partition; all of them count as just used.
struct Replay {
    producers: PartitionProducers,
    limits: ProducerLimits,
}

/// The shard's clock at the start.
const START_MS: u64 = 0;

impl ProducerReplay for Replay {
    fn restore(&mut self, snapshot: &Bytes, end: Offset) -> bool {
        let error = match PartitionProducers::decode(snapshot, self.limits, START_MS) {
            Ok(producers) if producers.end_offset() <= end => {
                self.producers = producers;
                return true;
            }
            Ok(_) => InvalidSnapshot {
                reason: "it names batches beyond the end of its segment",
            },
            Err(error) => error,
        };
        warn!(%error, "the log is read instead");
        false
    }

    fn on_batch(&mut self, header: &RecordBatchHeader) {
        self.producers.recover(header, START_MS);
    }

    fn snapshot(&self) -> Bytes {
        self.producers.encode().into()
    }
}

#[cfg(test)]
mod tests {
    use keylane_protocol::record_batch::stamp;
    use keylane_protocol::routed::PRODUCER_ID_MIN;

    use super::*;
    use crate::partition::tests::batch;

    const LIMITS: ProducerLimits = ProducerLimits {
        producers_max: 10,
        expiry_ms: 1,
        idle_ms_min: 1,
    };

    fn replay() -> Replay {
        Replay {
            producers: PartitionProducers::new(LIMITS),
            limits: LIMITS,
        }
    }

    #[test]
    fn a_snapshot_that_reaches_beyond_its_segment_is_thrown_away() {
        for id in [7, PRODUCER_ID_MIN.0] {
            let mut bytes = batch(Some((id, 0)), 2).into_bytes().to_vec();
            stamp(&mut bytes, Offset(10), LeaderEpoch(1));
            let header = RecordBatchHeader::read(&bytes).expect("a header");
            let mut ahead = replay();
            ahead.on_batch(&header);
            let snapshot = Bytes::from(ahead.producers.encode());
            let mut restored = replay();
            assert!(!restored.restore(&snapshot, Offset(11)));
            assert_eq!(restored.producers.end_offset(), Offset(0));
            assert!(restored.restore(&snapshot, Offset(12)));
            assert_eq!(restored.producers.end_offset(), Offset(12));
        }
    }
}
