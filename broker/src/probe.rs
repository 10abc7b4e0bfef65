//! What a running broker tells of itself to the process it runs in.
//!
//! It keeps nothing of the broker alive: a broker that has ended says so.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use tokio_util::sync::CancellationToken;

use crate::server::BrokerState;
use crate::threads::{Ending, Pulse};

/// Looks at a running broker from outside; clones look at the same one.
#[derive(Clone, Debug)]
pub struct Probe {
    parts: Arc<ProbeParts>,
}

/// What a probe looks at.
pub(crate) struct ProbeParts {
    pub node: String,
    pub state: Weak<BrokerState>,
    /// Cancelled when the broker takes part in its cluster.
    pub joined: CancellationToken,
    pub ending: Ending,
    /// One for each runtime.
    pub pulses: Vec<Pulse>,
}

impl std::fmt::Debug for ProbeParts {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.node)
    }
}

impl Probe {
    pub(crate) fn new(parts: ProbeParts) -> Self {
        Self {
            parts: Arc::new(parts),
        }
    }

    /// Returns what this broker is called in metrics.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.parts.node
    }

    /// Tells whether the broker serves clients.
    ///
    /// # Errors
    /// When it does not: why, in words.
    pub fn readiness(&self) -> Result<(), String> {
        let parts = &self.parts;
        if let Some(reason) = parts.ending.failure() {
            return Err(reason);
        }
        let Some(state) = parts.state.upgrade() else {
            return Err("it has stopped".to_owned());
        };
        if state.stopping.is_cancelled() {
            return Err("it is being stopped".to_owned());
        }
        if !parts.joined.is_cancelled() {
            return Err("it has not joined its cluster yet".to_owned());
        }
        match state.topics.load().cluster().broker(state.config.id) {
            Some(registered) if registered.is_fenced => Err(
                "its cluster does without it: no controller has heard of it for a session"
                    .to_owned(),
            ),
            Some(_) => Ok(()),
            None => Err("its cluster does not know it".to_owned()),
        }
    }

    /// Returns how many sub-batches of routers were dropped before they had a place in a log, since their client had gone
    /// or had given them up; 0 once the broker has stopped.
    #[must_use]
    pub fn dropped_sub_batches(&self) -> u64 {
        let state = self.parts.state.upgrade();
        state.map_or(0, |state| state.dropped_sub_batches.load(Ordering::Relaxed))
    }

    /// Waits until every runtime of the broker has answered: none of them ever waits for a disk.
    pub async fn answers(&self) {
        for pulse in &self.parts.pulses {
            pulse.felt().await;
        }
    }
}
