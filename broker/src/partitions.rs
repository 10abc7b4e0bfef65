//! Makes partitions: empty ones of new topics, and those that are found on disk at the start.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use keylane_protocol::offset::LeaderEpoch;
use keylane_protocol::record_batch::RecordBatchHeader;
use tracing::{error, info, warn};

use crate::disk::DiskError;
use crate::folder::{DataFolder, StoredTopic};
use crate::log::recovery::ProducerReplay;
use crate::log::space::SpaceBudget;
use crate::log::{Log, TopicPartition};
use crate::partition::producer_state::{ProducerLimits, Producers};
use crate::partition::{Partition, PartitionSetup, sequenced};
use crate::server::shard_of;
use crate::topic_settings::{InvalidSetting, TopicSettings};
use crate::topics::{Topic, TopicsImage};

/// What all partitions of a broker share.
#[derive(Clone, Debug)]
pub(crate) struct PartitionMaker {
    pub shard_count: usize,
    pub leader_epoch: LeaderEpoch,
    pub producer_limits: ProducerLimits,
    pub space: Arc<SpaceBudget>,
}

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
    /// The manifest is older than the records.
    #[error(
        "partition {partition} of the topic {topic} has records of leader epoch {found}, but the data folder was \
         started {started} times: its manifest is an old copy; restore the right one from a backup",
        partition = partition.partition
    )]
    LaterEpoch {
        /// The topic.
        topic: String,
        /// The partition.
        partition: TopicPartition,
        /// The epoch of the last record.
        found: LeaderEpoch,
        /// How often the folder was started.
        started: LeaderEpoch,
    },
    /// A setting of a topic is not possible, though it was once.
    #[error("the topic {topic} has a setting that this version does not know: {source}")]
    Setting {
        /// The topic.
        topic: String,
        /// Which.
        source: InvalidSetting,
    },
}

impl PartitionMaker {
    /// Returns a partition over a log.
    pub(crate) fn make(
        &self,
        id: TopicPartition,
        topic: &Topic,
        log: Log,
        producers: Producers,
    ) -> Partition {
        let setup = PartitionSetup {
            id,
            shard: shard_of(id, self.shard_count),
            leader_epoch: self.leader_epoch,
            roll: topic.settings.roll(),
            durability: topic.settings.durability.into(),
            space: Arc::clone(&self.space),
        };
        Partition::new(setup, log, producers)
    }

    /// Recovers everything that a data folder holds.
    pub(crate) fn recover(
        &self,
        folder: &DataFolder,
        defaults: &TopicSettings,
    ) -> Result<(TopicsImage, Vec<Partition>), RecoverError> {
        for orphan in folder.orphans() {
            warn!(topic = %orphan.name, id = %orphan.id, "records of a topic that does not exist are kept, not served");
        }
        let mut image = TopicsImage::default();
        let mut partitions = Vec::new();
        for stored in folder.topics() {
            let topic = Arc::new(served(stored, defaults)?);
            for id in topic.partitions() {
                partitions.push(self.recover_one(folder, &topic, id)?);
            }
            image = image.with(topic);
        }
        Ok((image, partitions))
    }

    fn recover_one(
        &self,
        folder: &DataFolder,
        topic: &Topic,
        id: TopicPartition,
    ) -> Result<Partition, RecoverError> {
        let mut replay = Replay {
            producers: Producers::new(self.producer_limits),
            limits: self.producer_limits,
        };
        let topic_name = || topic.name.to_string();
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
        if log.last_leader_epoch() > self.leader_epoch {
            return Err(RecoverError::LaterEpoch {
                topic: topic_name(),
                partition: id,
                found: log.last_leader_epoch(),
                started: self.leader_epoch,
            });
        }
        for range in log.damaged() {
            error!(
                topic = %topic.name, partition = id.partition.0, start = range.start.0, end = range.end.0,
                "records that were durable are damaged; they cannot be read, all others can"
            );
        }
        if recovered.cut_bytes > 0 || recovered.removed_segments > 0 {
            info!(
                topic = %topic.name, partition = id.partition.0, bytes = recovered.cut_bytes,
                segments = recovered.removed_segments, "reserved space, and what was never acknowledged, was cut off"
            );
        }
        Ok(self.make(id, topic, log, replay.producers))
    }
}

fn served(stored: &StoredTopic, defaults: &TopicSettings) -> Result<Topic, RecoverError> {
    let overrides: BTreeMap<String, String> = stored.configs.iter().cloned().collect();
    let settings = defaults
        .with(&overrides)
        .map_err(|source| RecoverError::Setting {
            topic: stored.name.to_string(),
            source,
        })?;
    Ok(Topic {
        id: stored.id,
        name: stored.name.clone(),
        partition_count: stored.partition_count,
        overrides,
        settings,
    })
}

/// Rebuilds the producers of one partition; all of them count as just used.
struct Replay {
    producers: Producers,
    limits: ProducerLimits,
}

/// The shard's clock at the start.
const START_MS: u64 = 0;

impl ProducerReplay for Replay {
    fn restore(&mut self, snapshot: &Bytes) -> bool {
        match Producers::decode(snapshot, self.limits, START_MS) {
            Ok(producers) => {
                self.producers = producers;
                true
            }
            Err(error) => {
                warn!(%error, "the log is read instead");
                false
            }
        }
    }

    fn on_batch(&mut self, header: &RecordBatchHeader) {
        if let Some(sequenced) = sequenced(header) {
            self.producers
                .remember(&sequenced, header.base_offset, START_MS);
        }
    }
}
