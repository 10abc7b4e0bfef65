//! How the writer's thread tells shards what is durable: a list per shard that is never waited for, and one wake-up.
//!
//! A list is bounded by the shard's partitions: a later report of one replaces the earlier.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keylane_protocol::offset::Offset;
use tokio::sync::Notify;
use tracing::error;

use crate::disk::DiskError;
use crate::log::TopicPartition;
use crate::log::writer::{DurableEnd, DurableSink};
use crate::partition::Partition;
use crate::threads::Ending;

/// What a shard has not heard yet.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub ends: BTreeMap<TopicPartition, Offset>,
    pub is_offline: bool,
}

/// Reports to one shard.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    report: Mutex<Report>,
    ready: Notify,
}

impl Reports {
    /// Waits until there is something to hear.
    pub(crate) async fn ready(&self) {
        self.ready.notified().await;
    }

    /// Takes what there is to hear.
    pub(crate) fn take(&self) -> Report {
        std::mem::take(&mut self.lock())
    }

    fn add(&self, ends: Vec<DurableEnd>) {
        let mut report = self.lock();
        for end in ends {
            // With a single replica no log has a second life.
            assert_eq!(end.generation, Partition::GENERATION);
            report.ends.insert(end.partition, end.end_offset);
        }
        drop(report);
        self.ready.notify_one();
    }

    fn offline(&self) {
        self.lock().is_offline = true;
        self.ready.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the data folder offline for everybody: nothing more is appended or acknowledged, and the broker has failed.
#[derive(Clone)]
pub(crate) struct OfflineSwitch {
    pub shards: Arc<[Arc<Reports>]>,
    pub ending: Ending,
}

impl OfflineSwitch {
    /// Returns the switch of so many shards.
    pub(crate) fn new(shards: usize, ending: &Ending) -> Self {
        Self {
            shards: (0..shards).map(|_| Arc::default()).collect(),
            ending: ending.clone(),
        }
    }

    /// Takes the folder offline after an error that leaves it unknown what the disk holds.
    pub(crate) fn offline(&self, error: &DiskError) {
        error!(%error, "the data folder is offline");
        self.ending.fail(format!(
            "the data folder is offline after a failed write or sync ({error}); nothing acknowledged is lost: \
             check the disk, then start again"
        ));
        for shard in &*self.shards {
            shard.offline();
        }
    }

    /// Ends the broker for another reason than its disk: nothing more is appended or acknowledged.
    pub(crate) fn fail(&self, reason: &str) {
        error!(reason, "the broker cannot go on");
        self.ending.fail(reason.to_owned());
        for shard in &*self.shards {
            shard.offline();
        }
    }
}

/// What the writer's thread calls.
pub(crate) struct ReportToShards(pub OfflineSwitch);

impl DurableSink for ReportToShards {
    fn durable(&mut self, shard: usize, ends: Vec<DurableEnd>) {
        self.0.shards[shard].add(ends);
    }

    fn offline(&mut self, error: &DiskError) {
        self.0.offline(error);
    }
}
