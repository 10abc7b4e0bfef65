//! How many bytes of requests may be in memory: of one connection, and of all together; and how many of answers.
//!
//! At either bound the connection is not read. A request larger than a connection's share is taken alone, so that no
//! bound ever makes a permitted request impossible. The bounds are those of a broker, for the same reasons.

use std::sync::Arc;

pub(crate) use crate::metered::ReceiveBudget;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The bytes of requests that all connections may hold.
#[derive(Debug)]
pub(crate) struct RequestBudget {
    total: Arc<Semaphore>,
    total_max: u32,
    connection_max: u32,
}

/// The share of one connection.
#[derive(Debug)]
pub(crate) struct ConnectionBudget {
    total: Arc<Semaphore>,
    total_max: u32,
    own: Arc<Semaphore>,
    own_max: u32,
}

/// The bytes of one request; given back when dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    _own: Option<OwnedSemaphorePermit>,
    _total: Option<OwnedSemaphorePermit>,
}

impl RequestBudget {
    pub(crate) fn new(total_max: usize, connection_max: usize) -> Self {
        let total_max = clamp(total_max);
        Self {
            total: semaphore(total_max),
            total_max,
            connection_max: clamp(connection_max),
        }
    }

    pub(crate) fn for_connection(&self) -> ConnectionBudget {
        ConnectionBudget {
            total: Arc::clone(&self.total),
            total_max: self.total_max,
            own: semaphore(self.connection_max),
            own_max: self.connection_max,
        }
    }
}

impl ConnectionBudget {
    /// Waits until there is room for a request of so many bytes.
    pub(crate) async fn charge(&self, bytes: usize) -> Charge {
        let bytes = clamp(bytes);
        let own = Arc::clone(&self.own).acquire_many_owned(bytes.min(self.own_max));
        // The connection's own share first: who waits for it must not hold anything of the others'.
        let own = own.await.ok();
        let total = Arc::clone(&self.total).acquire_many_owned(bytes.min(self.total_max));
        Charge {
            _own: own,
            _total: total.await.ok(),
        }
    }
}

/// The record bytes in answers that all connections may hold.
#[derive(Debug)]
pub(crate) struct AnswerBudget {
    total: Arc<Semaphore>,
}

/// The record bytes of one answer; given back when dropped.
#[derive(Debug, Default)]
pub(crate) struct Held {
    permit: Option<OwnedSemaphorePermit>,
}

impl AnswerBudget {
    pub(crate) fn new(total_max: usize) -> Self {
        Self {
            total: semaphore(clamp(total_max)),
        }
    }

    /// Adds bytes to what an answer holds; returns false if there is no room. Never waits: the bytes of an answer are
    /// given back when its client takes it, which it may never do.
    pub(crate) fn hold(&self, bytes: usize, held: &mut Held) -> bool {
        let Ok(more) = Arc::clone(&self.total).try_acquire_many_owned(clamp(bytes)) else {
            return false;
        };
        match &mut held.permit {
            Some(permit) => permit.merge(more),
            None => held.permit = Some(more),
        }
        true
    }
}

impl Held {
    /// Gives back all but so many bytes.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        let Some(permit) = &mut self.permit else {
            return;
        };
        let surplus = permit.num_permits().saturating_sub(bytes);
        drop(permit.split(surplus));
    }
}

fn clamp(bytes: usize) -> u32 {
    const MAX: u32 = i32::MAX.unsigned_abs();
    u32::try_from(bytes).unwrap_or(MAX).min(MAX)
}

fn semaphore(permits: u32) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(
        usize::try_from(permits).expect("32 bits fit"),
    ))
}
