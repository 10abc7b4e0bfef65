//! How many bytes of requests may be in memory: of one connection, and of all together; and how many of answers.
//!
//! At either bound the connection is not read. A request larger than a connection's share is taken alone, so that no
//! bound ever makes a permitted request impossible. The bounds are those of a broker, for the same reasons. Connections
//! that hold more than the pool divided by their number are paused first: they never get its last quarter, so that a
//! few whose broker is silent cannot stop all others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The bytes of requests that all connections may hold.
#[derive(Debug)]
pub(crate) struct RequestBudget {
    pool: Arc<Pool>,
    connection_max: u32,
}

/// What all connections share.
#[derive(Debug)]
struct Pool {
    total_max: u32,
    /// For every connection.
    common: Arc<Semaphore>,
    common_max: u32,
    /// For connections that hold no more than their share.
    reserve: Arc<Semaphore>,
    reserve_max: u32,
    connections: AtomicUsize,
}

impl Pool {
    fn try_charge(&self, bytes: u32, is_modest: bool) -> Option<OwnedSemaphorePermit> {
        let common = Arc::clone(&self.common);
        let common = common.try_acquire_many_owned(bytes.min(self.common_max));
        if common.is_ok() || !is_modest || bytes > self.reserve_max {
            return common.ok();
        }
        Arc::clone(&self.reserve).try_acquire_many_owned(bytes).ok()
    }

    async fn charge(&self, bytes: u32, is_modest: bool) -> Option<OwnedSemaphorePermit> {
        let common = Arc::clone(&self.common).acquire_many_owned(bytes.min(self.common_max));
        if !is_modest || bytes > self.reserve_max {
            return common.await.ok();
        }
        let reserve = Arc::clone(&self.reserve).acquire_many_owned(bytes);
        tokio::select! {
            biased;
            charged = common => charged.ok(),
            charged = reserve => charged.ok(),
        }
    }
}

/// What one connection may hold.
#[derive(Debug)]
pub(crate) struct ConnectionBudget {
    pool: Arc<Pool>,
    own: Arc<Semaphore>,
    own_max: u32,
}

/// The bytes of one request; given back when dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    _own: Option<OwnedSemaphorePermit>,
    _pool: Option<OwnedSemaphorePermit>,
}

impl RequestBudget {
    pub(crate) fn new(total_max: usize, connection_max: usize) -> Self {
        let total_max = clamp(total_max);
        let reserve_max = total_max / 4;
        let common_max = total_max - reserve_max;
        let pool = Pool {
            total_max,
            common: semaphore(common_max),
            common_max,
            reserve: semaphore(reserve_max),
            reserve_max,
            connections: AtomicUsize::new(0),
        };
        Self {
            pool: Arc::new(pool),
            connection_max: clamp(connection_max),
        }
    }

    /// Returns how many bytes are in use, and how many may be.
    pub(crate) fn usage(&self) -> (usize, usize) {
        let pool = &*self.pool;
        let (common, _) = usage(&pool.common, pool.common_max);
        let (reserve, _) = usage(&pool.reserve, pool.reserve_max);
        let max = usize::try_from(pool.total_max).expect("32 bits fit");
        (common + reserve, max)
    }

    pub(crate) fn for_connection(&self) -> ConnectionBudget {
        self.pool.connections.fetch_add(1, Ordering::Relaxed);
        ConnectionBudget {
            pool: Arc::clone(&self.pool),
            own: semaphore(self.connection_max),
            own_max: self.connection_max,
        }
    }
}

impl Drop for ConnectionBudget {
    fn drop(&mut self) {
        self.pool.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ConnectionBudget {
    /// Charges a request of so many bytes if there is room for it at once; who waits already goes first.
    pub(crate) fn try_charge(&self, bytes: usize) -> Option<Charge> {
        let bytes = clamp(bytes);
        let own = Arc::clone(&self.own);
        let own = own.try_acquire_many_owned(bytes.min(self.own_max)).ok()?;
        let is_modest = !self.is_above_its_share();
        let pool = self.pool.try_charge(bytes, is_modest)?;
        Some(Charge {
            _own: Some(own),
            _pool: Some(pool),
        })
    }

    /// Waits until there is room for a request of so many bytes.
    pub(crate) async fn charge(&self, bytes: usize) -> Charge {
        let bytes = clamp(bytes);
        let own = Arc::clone(&self.own).acquire_many_owned(bytes.min(self.own_max));
        // The connection's own share first: who waits for it must not hold anything of the others'.
        let own = own.await.ok();
        let is_modest = !self.is_above_its_share();
        Charge {
            _own: own,
            _pool: self.pool.charge(bytes, is_modest).await,
        }
    }

    /// Tells whether the connection holds more than the pool divided by the number of connections.
    fn is_above_its_share(&self) -> bool {
        let connections = self.pool.connections.load(Ordering::Relaxed).max(1);
        let total = usize::try_from(self.pool.total_max).expect("32 bits fit");
        let own = usize::try_from(self.own_max).expect("32 bits fit");
        own - self.own.available_permits() > total / connections
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
    /// Gives back all but so many bytes.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        let Some(permit) = &mut self.permit else {
            return;
        };
        let surplus = permit.num_permits().saturating_sub(bytes);
        drop(permit.split(surplus));
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
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    const POOL: usize = 1000;
    const CONNECTION_MAX: usize = 500;

    /// Charges bytes, unless there is no room for them.
    fn charge(connection: &ConnectionBudget, bytes: usize) -> Option<Charge> {
        let charging = pin!(connection.charge(bytes));
        match charging.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(charge) => Some(charge),
            Poll::Pending => None,
        }
    }

    /// Charges pieces until there is no room.
    fn fill(connection: &ConnectionBudget, bytes: usize) -> Vec<Charge> {
        let mut charges = Vec::new();
        while let Some(charged) = charge(connection, bytes) {
            charges.push(charged);
        }
        charges
    }

    #[test]
    fn connections_above_their_share_leave_room_for_the_others() {
        let budget = RequestBudget::new(POOL, CONNECTION_MAX);
        let connections = [(); 10].map(|()| budget.for_connection());
        let greedy = fill(&connections[0], 10);
        assert_eq!(greedy.len(), CONNECTION_MAX / 10);
        let greedy_too = fill(&connections[1], 10);
        assert_eq!(greedy_too.len(), (750 - CONNECTION_MAX) / 10);
        // A hundred bytes each are what the pool has for ten connections.
        let modest = [2, 3].map(|place| &connections[place]);
        let first = fill(modest[0], 10);
        let second = fill(modest[1], 10);
        assert_eq!((first.len(), second.len()), (10, 10));
        drop(greedy);
        assert!(charge(&connections[1], 10).is_some());
    }

    #[test]
    fn a_connection_alone_gets_what_a_connection_may_hold() {
        let budget = RequestBudget::new(POOL, CONNECTION_MAX);
        let alone = budget.for_connection();
        assert_eq!(fill(&alone, 50).len(), CONNECTION_MAX / 50);
    }

    #[test]
    fn what_there_is_room_for_is_charged_at_once_and_the_same() {
        let budget = RequestBudget::new(POOL, CONNECTION_MAX);
        let connections = [(); 10].map(|()| budget.for_connection());
        let mut charges = Vec::new();
        for connection in &connections {
            while let Some(charged) = connection.try_charge(10) {
                charges.push(charged);
            }
        }
        assert_eq!(budget.usage().0, POOL);
        assert!(charge(&connections[9], 10).is_none());
        charges.clear();
        assert_eq!(budget.usage().0, 0);
        assert!(connections[0].try_charge(10 * POOL).is_some());
    }

    #[test]
    fn the_largest_request_is_possible_for_every_connection() {
        let budget = RequestBudget::new(POOL, CONNECTION_MAX);
        let connections = [(); 50].map(|()| budget.for_connection());
        for connection in &connections {
            let charged = charge(connection, 10 * POOL);
            assert!(charged.is_some());
        }
    }

    #[test]
    fn connections_that_have_gone_count_no_more() {
        let budget = RequestBudget::new(POOL, CONNECTION_MAX);
        for _ in 0..100 {
            drop(budget.for_connection());
        }
        let alone = budget.for_connection();
        assert_eq!(fill(&alone, 500).len(), 1);
        assert!(!alone.is_above_its_share());
    }
}
