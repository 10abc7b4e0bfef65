//! How many bytes of requests may be in memory: of one connection, and of all together; and how many of answers.
//!
//! At either bound the connection is not read. A request larger than a connection's share is taken alone, so that no
//! bound ever makes a permitted request impossible.

use std::sync::Arc;

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

    /// Returns how many bytes are in use, and how many may be.
    pub(crate) fn usage(&self) -> (usize, usize) {
        usage(&self.total, self.total_max)
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
    /// Tells whether every request was answered.
    pub(crate) fn is_unused(&self) -> bool {
        self.own.available_permits() == usize::try_from(self.own_max).expect("32 bits fit")
    }

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
    total_max: u32,
}

/// The record bytes of one answer; given back when dropped.
#[derive(Debug, Default)]
pub(crate) struct Held {
    permit: Option<OwnedSemaphorePermit>,
}

impl AnswerBudget {
    pub(crate) fn new(total_max: usize) -> Self {
        let total_max = clamp(total_max);
        Self {
            total: semaphore(total_max),
            total_max,
        }
    }

    /// Returns how many bytes are in use, and how many may be.
    pub(crate) fn usage(&self) -> (usize, usize) {
        usage(&self.total, self.total_max)
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
    /// Holds what another answer held as well.
    pub(crate) fn join(&mut self, other: Self) {
        match (&mut self.permit, other.permit) {
            (Some(permit), Some(more)) => permit.merge(more),
            (permit @ None, more) => *permit = more,
            (Some(_), None) => {}
        }
    }

    /// Gives back what is above a number of bytes.
    pub(crate) fn keep(&mut self, bytes: usize) {
        if let Some(permit) = &mut self.permit {
            drop(permit.split(permit.num_permits().saturating_sub(bytes)));
        }
    }
}

fn usage(total: &Semaphore, total_max: u32) -> (usize, usize) {
    let max = usize::try_from(total_max).expect("32 bits fit");
    (max.saturating_sub(total.available_permits()), max)
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    async fn fits(budget: &ConnectionBudget, bytes: usize) -> Option<Charge> {
        timeout(Duration::from_millis(1), budget.charge(bytes))
            .await
            .ok()
    }

    #[tokio::test]
    async fn a_connection_has_its_share_and_a_larger_request_is_taken_alone() {
        let budget = RequestBudget::new(1_000, 100).for_connection();
        let first = fits(&budget, 60).await.expect("room");
        assert!(fits(&budget, 60).await.is_none());
        drop(first);
        let large = fits(&budget, 500).await.expect("alone");
        assert!(fits(&budget, 1).await.is_none());
        drop(large);
        assert!(fits(&budget, 1).await.is_some());
    }

    #[test]
    fn answers_hold_what_they_were_given_until_they_are_taken() {
        let budget = AnswerBudget::new(100);
        let mut first = Held::default();
        assert!(budget.hold(60, &mut first) && budget.hold(40, &mut first));
        let mut second = Held::default();
        assert!(!budget.hold(1, &mut second) && budget.hold(0, &mut second));
        drop(first);
        assert!(budget.hold(100, &mut second));
    }

    #[test]
    fn answers_that_were_joined_give_back_in_part() {
        let budget = AnswerBudget::new(100);
        let (mut first, mut second) = (Held::default(), Held::default());
        assert!(budget.hold(60, &mut first) && budget.hold(40, &mut second));
        first.join(second);
        first.keep(100);
        assert!(!budget.hold(1, &mut Held::default()));
        first.keep(30);
        let mut third = Held::default();
        assert!(budget.hold(70, &mut third) && !budget.hold(1, &mut third));
    }

    #[tokio::test]
    async fn all_connections_share_the_total() {
        let budget = RequestBudget::new(150, 100);
        let (one, other) = (budget.for_connection(), budget.for_connection());
        let held = fits(&one, 100).await.expect("room");
        assert!(fits(&other, 100).await.is_none());
        drop(held);
        assert!(fits(&other, 100).await.is_some());
    }
}
