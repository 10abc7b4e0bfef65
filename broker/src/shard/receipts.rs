//! How a shard tells what became of single batches: a list that is never waited for, and one wake-up.
//!
//! Every [`Receipt`] is told of exactly once: when it is dropped instead, its batch's fate is that the folder is offline.
//! Who gives receipts out bounds them.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::request::AppendOutcome;
use crate::partition::AppendError;

/// What became of batches, by the numbers of their receipts.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    told: Mutex<Vec<(u64, AppendOutcome)>>,
    ready: Notify,
}

impl Outcomes {
    /// Waits until there is something to hear.
    pub(crate) async fn ready(&self) {
        self.ready.notified().await;
    }

    /// Takes what there is to hear.
    pub(crate) fn take(&self) -> Vec<(u64, AppendOutcome)> {
        std::mem::take(&mut *self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns a receipt for a batch.
    pub(crate) fn receipt(self: &Arc<Self>, number: u64) -> Receipt {
        Receipt {
            outcomes: Some(Arc::clone(self)),
            number,
        }
    }

    fn tell(&self, number: u64, outcome: AppendOutcome) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.push((number, outcome));
        drop(told);
        self.ready.notify_one();
    }
}

/// Who wants to know what becomes of one batch.
#[derive(Debug)]
pub(crate) struct Receipt {
    outcomes: Option<Arc<Outcomes>>,
    number: u64,
}

impl Receipt {
    /// Tells what became of the batch.
    pub(crate) fn tell(mut self, outcome: AppendOutcome) {
        if let Some(outcomes) = self.outcomes.take() {
            outcomes.tell(self.number, outcome);
        }
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if let Some(outcomes) = self.outcomes.take() {
            outcomes.tell(self.number, Err(AppendError::Offline));
        }
    }
}
