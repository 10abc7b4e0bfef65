//! How many bytes of requests may be in memory: of one connection, and of all together.
//!
//! At either bound the connection is not read. A request larger than a connection's share is taken alone, so that no
//! bound ever makes a permitted request impossible.

use keylane_protocol::transport::{BytePool, HeldBytes};

/// The bytes of requests that all connections may hold.
#[derive(Debug)]
pub(crate) struct RequestBudget {
    total: BytePool,
    connection_max: usize,
}

/// The share of one connection.
#[derive(Debug)]
pub(crate) struct ConnectionBudget {
    total: BytePool,
    own: BytePool,
}

/// The bytes of one request; given back when dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    _own: HeldBytes,
    _total: HeldBytes,
}

impl RequestBudget {
    pub(crate) fn new(total_max: usize, connection_max: usize) -> Self {
        Self {
            total: BytePool::new(total_max),
            connection_max,
        }
    }

    /// Returns how many bytes are in use, and how many may be.
    pub(crate) fn usage(&self) -> (usize, usize) {
        self.total.usage()
    }

    pub(crate) fn for_connection(&self) -> ConnectionBudget {
        ConnectionBudget {
            total: self.total.clone(),
            own: BytePool::new(self.connection_max),
        }
    }
}

impl ConnectionBudget {
    /// Tells whether every request was answered.
    pub(crate) fn is_unused(&self) -> bool {
        self.own.usage().0 == 0
    }

    /// Waits until there is room for a request of so many bytes.
    pub(crate) async fn charge(&self, bytes: usize) -> Charge {
        // The connection's own share first: who waits for it must not hold anything of the others'.
        let own = self.own.take(bytes).await;
        Charge {
            _own: own,
            _total: self.total.take(bytes).await,
        }
    }
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
