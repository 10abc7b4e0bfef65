//! Bytes of memory that many share: who holds some of them gives them back by dropping what it holds.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A number of bytes that may be held; clones are the same pool.
#[derive(Clone, Debug)]
pub struct BytePool {
    free: Arc<Semaphore>,
    bytes_max: usize,
}

/// Bytes of a [`BytePool`]; given back when dropped.
#[derive(Debug, Default)]
pub struct HeldBytes {
    permit: Option<OwnedSemaphorePermit>,
}

impl BytePool {
    /// Returns a pool of so many bytes, and of no more than 2³¹ − 1.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        let bytes_max = usize::try_from(clamp(bytes_max)).expect("32 bits fit");
        Self {
            free: Arc::new(Semaphore::new(bytes_max)),
            bytes_max,
        }
    }

    /// Returns how many bytes are held, and how many may be.
    #[must_use]
    pub fn usage(&self) -> (usize, usize) {
        let free = self.free.available_permits();
        (self.bytes_max.saturating_sub(free), self.bytes_max)
    }

    /// Waits until so many bytes are free, in the order of those who wait; more than there are take all of them.
    pub async fn take(&self, bytes: usize) -> HeldBytes {
        let bytes = clamp(bytes.min(self.bytes_max));
        HeldBytes {
            permit: Arc::clone(&self.free).acquire_many_owned(bytes).await.ok(),
        }
    }

    /// Takes what [`BytePool::take`] would, if it need not wait.
    #[must_use]
    pub fn try_take(&self, bytes: usize) -> Option<HeldBytes> {
        self.free_now(clamp(bytes.min(self.bytes_max)))
    }

    /// Adds bytes to those held; returns false if so many are not free. Never waits.
    pub fn hold(&self, bytes: usize, held: &mut HeldBytes) -> bool {
        let more = self.free_now(clamp(bytes));
        let is_free = more.is_some();
        held.join(more.unwrap_or_default());
        is_free
    }

    fn free_now(&self, bytes: u32) -> Option<HeldBytes> {
        let permit = Arc::clone(&self.free).try_acquire_many_owned(bytes).ok()?;
        Some(HeldBytes {
            permit: Some(permit),
        })
    }
}

impl HeldBytes {
    /// Holds what was held elsewhere, of the same pool, as well.
    pub fn join(&mut self, other: Self) {
        match (&mut self.permit, other.permit) {
            (Some(permit), Some(more)) => permit.merge(more),
            (permit @ None, more) => *permit = more,
            (Some(_), None) => {}
        }
    }

    /// Gives back what is above a number of bytes.
    pub fn keep(&mut self, bytes: usize) {
        if let Some(permit) = &mut self.permit {
            drop(permit.split(permit.num_permits().saturating_sub(bytes)));
        }
    }
}

fn clamp(bytes: usize) -> u32 {
    const MAX: u32 = i32::MAX.unsigned_abs();
    u32::try_from(bytes).unwrap_or(MAX).min(MAX)
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn take(pool: &BytePool, bytes: usize) -> Option<HeldBytes> {
        match pin!(pool.take(bytes)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(held) => Some(held),
            Poll::Pending => None,
        }
    }

    #[test]
    fn bytes_are_held_until_they_are_dropped() {
        let pool = BytePool::new(100);
        let mut first = HeldBytes::default();
        assert!(pool.hold(60, &mut first) && pool.hold(40, &mut first));
        assert_eq!(pool.usage(), (100, 100));
        let mut second = HeldBytes::default();
        assert!(!pool.hold(1, &mut second) && pool.hold(0, &mut second));
        assert!(take(&pool, 1).is_none());
        drop(first);
        assert!(pool.hold(100, &mut second));
    }

    #[test]
    fn bytes_that_were_joined_are_given_back_in_part() {
        let pool = BytePool::new(100);
        let (mut first, mut second) = (HeldBytes::default(), HeldBytes::default());
        assert!(pool.hold(60, &mut first) && pool.hold(40, &mut second));
        first.join(second);
        first.keep(100);
        assert!(!pool.hold(1, &mut HeldBytes::default()));
        first.keep(30);
        let mut third = HeldBytes::default();
        assert!(pool.hold(70, &mut third) && !pool.hold(1, &mut third));
    }

    #[test]
    fn who_waits_for_more_than_there_are_gets_all() {
        let pool = BytePool::new(100);
        let little = take(&pool, 1).expect("free");
        assert!(take(&pool, 1000).is_none());
        drop(little);
        let all = take(&pool, 1000).expect("free");
        assert_eq!(pool.usage(), (100, 100));
        drop(all);
        assert_eq!(pool.usage(), (0, 100));
    }
}
