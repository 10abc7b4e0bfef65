//! How many connections there may be, in all and from one address.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Semaphore, TryAcquireError};

/// Counts connections.
#[derive(Clone, Debug)]
pub struct ConnectionSlots {
    all: Arc<Semaphore>,
    connections_max: usize,
    per_address_max: usize,
    /// Addresses with at least one connection.
    by_address: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
}

/// A connection's place; free again when dropped.
#[derive(Debug)]
pub struct Slot {
    slots: ConnectionSlots,
    address: IpAddr,
}

impl ConnectionSlots {
    /// Returns slots for so many connections in all, and so many from one address.
    #[must_use]
    pub fn new(connections_max: usize, per_address_max: usize) -> Self {
        let connections_max = connections_max.min(u32::MAX as usize / 2);
        Self {
            all: Arc::new(Semaphore::new(connections_max)),
            connections_max,
            per_address_max,
            by_address: Arc::default(),
        }
    }

    /// Returns a place for a connection from `address`; `None` at a limit.
    #[must_use]
    pub fn take(&self, address: IpAddr) -> Option<Slot> {
        match self.all.try_acquire() {
            // Given back by the slot.
            Ok(permit) => permit.forget(),
            Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => return None,
        }
        let slot = Slot {
            slots: self.clone(),
            address,
        };
        let mut by_address = self
            .by_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let count = by_address.entry(address).or_default();
        *count += 1;
        let fits = *count <= self.per_address_max;
        drop(by_address);
        // Dropping the slot counts it off again.
        fits.then_some(slot)
    }

    /// Waits until there is no connection left.
    pub async fn none_left(&self) {
        let all = u32::try_from(self.connections_max).expect("clamped when made");
        let _ = self.all.acquire_many(all).await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut by_address = self
            .slots
            .by_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&self.address);
            }
        }
        drop(by_address);
        self.slots.all.add_permits(1);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const THERE: IpAddr = IpAddr::V4(Ipv4Addr::BROADCAST);

    #[test]
    fn one_address_cannot_take_all_slots() {
        let slots = ConnectionSlots::new(3, 2);
        let first = slots.take(HERE).expect("free");
        let _second = slots.take(HERE).expect("free");
        assert!(slots.take(HERE).is_none());
        let _third = slots.take(THERE).expect("free");
        assert!(slots.take(THERE).is_none());
        drop(first);
        assert!(slots.take(HERE).is_some());
        assert_eq!(slots.by_address.lock().expect("not poisoned").len(), 2);
    }
}
