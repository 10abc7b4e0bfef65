//! What the writer counts: how long appends wait for it, how long groups and syncs take.

use std::time::Instant;

use metrics::{Counter, Histogram, counter, histogram};

/// The meters of one writer.
#[derive(Clone)]
pub struct WriterMeters {
    pub(super) wait: Histogram,
    pub(super) group: Histogram,
    pub(super) sync: Histogram,
    pub(super) batches: Counter,
}

impl WriterMeters {
    /// Returns the meters of a node's writer.
    #[must_use]
    pub fn new(node: &str) -> Self {
        let node = node.to_owned();
        Self {
            wait: histogram!("keylane_queue_seconds", "node" => node.clone(), "stage" => "writer"),
            group: histogram!("keylane_group_seconds", "node" => node.clone()),
            sync: histogram!("keylane_sync_seconds", "node" => node.clone()),
            batches: counter!("keylane_group_batches_total", "node" => node),
        }
    }
}

/// Returns the time that the meters go by.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
