//! The partitions that a broker has, with what is counted of each; changed only when one comes or goes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keylane_protocol::identifiers::TopicName;

use crate::log::TopicPartition;
use crate::partition::counters::PartitionCounters;

type Entry = (TopicName, Arc<PartitionCounters>);

/// The table; it has as many rows as the data folder has partitions.
#[derive(Debug, Default)]
pub(crate) struct PartitionTable {
    rows: Mutex<BTreeMap<TopicPartition, Entry>>,
}

impl PartitionTable {
    /// Returns the counters of a partition that begins to be served.
    pub(crate) fn open(&self, id: TopicPartition, topic: &TopicName) -> Arc<PartitionCounters> {
        let counters: Arc<PartitionCounters> = Arc::default();
        let row = (topic.clone(), Arc::clone(&counters));
        self.lock().insert(id, row);
        counters
    }

    /// Forgets a partition that is deleted.
    pub(crate) fn close(&self, id: TopicPartition) {
        self.lock().remove(&id);
    }

    /// Returns how many there are.
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    /// Returns all rows, in the order of topic ids and partitions.
    pub(crate) fn rows(&self) -> Vec<(TopicPartition, TopicName, Arc<PartitionCounters>)> {
        let rows = self.lock();
        let rows = rows.iter();
        rows.map(|(id, (topic, counters))| (*id, topic.clone(), Arc::clone(counters)))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TopicPartition, Entry>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
