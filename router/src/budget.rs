//! How many bytes of requests may be in memory: of one connection, and of all together.
//!
//! At either bound the connection is not read. A request larger than a connection's share is taken alone, so that no
//! bound ever makes a permitted request impossible. The bounds are those of a broker, for the same reasons. Connections
//! that hold more than the pool divided by their number are paused first: they never get its last quarter, so that a
//! few whose broker is silent cannot stop all others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use keylane_protocol::transport::{BytePool, HeldBytes};

/// The bytes of requests that all connections may hold.
#[derive(Debug)]
pub(crate) struct RequestBudget {
    pool: Arc<Pool>,
    connection_max: usize,
}

/// What all connections share.
#[derive(Debug)]
struct Pool {
    /// For every connection.
    common: BytePool,
    /// For connections that hold no more than their share.
    reserve: BytePool,
    connections: AtomicUsize,
}

impl Pool {
    /// Returns how many bytes are in use, and how many may be.
    fn usage(&self) -> (usize, usize) {
        let (common, common_max) = self.common.usage();
        let (reserve, reserve_max) = self.reserve.usage();
        (common + reserve, common_max + reserve_max)
    }

    fn try_charge(&self, bytes: usize, is_modest: bool) -> Option<HeldBytes> {
        let common = self.common.try_take(bytes);
        let (_, reserve_max) = self.reserve.usage();
        if common.is_some() || !is_modest || bytes > reserve_max {
            return common;
        }
        self.reserve.try_take(bytes)
    }

    async fn charge(&self, bytes: usize, is_modest: bool) -> HeldBytes {
        let common = self.common.take(bytes);
        let (_, reserve_max) = self.reserve.usage();
        if !is_modest || bytes > reserve_max {
            return common.await;
        }
        tokio::select! {
            biased;
            charged = common => charged,
            charged = self.reserve.take(bytes) => charged,
        }
    }
}

/// What one connection may hold.
#[derive(Debug)]
pub(crate) struct ConnectionBudget {
    pool: Arc<Pool>,
    own: BytePool,
}

/// The bytes of one request; given back when dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    _own: HeldBytes,
    _pool: HeldBytes,
}

impl RequestBudget {
    pub(crate) fn new(total_max: usize, connection_max: usize) -> Self {
        let reserve_max = total_max / 4;
        let pool = Pool {
            common: BytePool::new(total_max - reserve_max),
            reserve: BytePool::new(reserve_max),
            connections: AtomicUsize::new(0),
        };
        Self {
            pool: Arc::new(pool),
            connection_max,
        }
    }

    /// Returns how many bytes are in use, and how many may be.
    pub(crate) fn usage(&self) -> (usize, usize) {
        self.pool.usage()
    }

    pub(crate) fn for_connection(&self) -> ConnectionBudget {
        self.pool.connections.fetch_add(1, Ordering::Relaxed);
        ConnectionBudget {
            pool: Arc::clone(&self.pool),
            own: BytePool::new(self.connection_max),
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
        let own = self.own.try_take(bytes)?;
        let is_modest = !self.is_above_its_share();
        let pool = self.pool.try_charge(bytes, is_modest)?;
        Some(Charge {
            _own: own,
            _pool: pool,
        })
    }

    /// Charges what a request that has been read makes besides, if there is room for it among all: it cannot wait, so
    /// the connection's own bound does not count.
    pub(crate) fn try_charge_besides(&self, bytes: usize) -> Option<HeldBytes> {
        self.pool.try_charge(bytes, !self.is_above_its_share())
    }

    /// Waits until there is room for a request of so many bytes.
    pub(crate) async fn charge(&self, bytes: usize) -> Charge {
        // The connection's own share first: who waits for it must not hold anything of the others'.
        let own = self.own.take(bytes).await;
        let is_modest = !self.is_above_its_share();
        Charge {
            _own: own,
            _pool: self.pool.charge(bytes, is_modest).await,
        }
    }

    /// Tells whether the connection holds more than the pool divided by the number of connections.
    fn is_above_its_share(&self) -> bool {
        let connections = self.pool.connections.load(Ordering::Relaxed).max(1);
        let ((own, _), (_, total)) = (self.own.usage(), self.pool.usage());
        own > total / connections
    }
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
    fn what_a_request_makes_besides_is_bounded_by_what_all_have() {
        let budget = RequestBudget::new(POOL, CONNECTION_MAX);
        let alone = budget.for_connection();
        let request = alone.try_charge(CONNECTION_MAX);
        let besides = alone.try_charge_besides(200);
        assert!(request.is_some() && besides.is_some());
        assert!(alone.try_charge_besides(POOL - CONNECTION_MAX).is_none());
        drop(besides);
        assert_eq!(budget.usage().0, CONNECTION_MAX);
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
