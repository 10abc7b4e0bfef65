//! Sleeps to the microsecond: tokio's own timers round to milliseconds, which is more than most latencies measured.

use std::io;
use std::time::Duration;

use rustix::fd::OwnedFd;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::clock::monotonic_ns;

/// Waits for a moment, to the millisecond and without a timer of its own.
pub(super) async fn nap_until(moment_ns: u64) {
    let rest = Duration::from_nanos(moment_ns.saturating_sub(monotonic_ns()));
    if !rest.is_zero() {
        tokio::time::sleep(rest).await;
    }
}

/// A timer of one task. It costs a file descriptor.
#[derive(Debug)]
pub(super) struct Pacer {
    timer: AsyncFd<OwnedFd>,
}

impl Pacer {
    /// Returns a timer; must be called within a runtime.
    #[allow(
        deprecated,
        reason = "its successor is unsafe, for descriptors that may be closed early; an OwnedFd is not"
    )]
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let timer = AsyncFd::with_interest(timer, Interest::READABLE)?;
        Ok(Self { timer })
    }

    /// Waits for a moment; not at all if it has passed.
    pub(super) async fn sleep_until(&self, moment_ns: u64) -> io::Result<()> {
        if moment_ns <= monotonic_ns() {
            return Ok(());
        }
        let second = i64::try_from(moment_ns / 1_000_000_000).unwrap_or(i64::MAX);
        let nanosecond = i64::try_from(moment_ns % 1_000_000_000).unwrap_or(0);
        let when = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec {
                tv_sec: second,
                tv_nsec: nanosecond,
            },
        };
        timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::ABSTIME, &when)?;
        let take = |timer: &OwnedFd| Ok(rustix::io::read(timer, &mut [0_u8; 8])?);
        self.timer.async_io(Interest::READABLE, take).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sleep_ends_after_its_moment_and_soon() {
        let pacer = Pacer::new().expect("a timer");
        let mut shortest = u64::MAX;
        for _ in 0..20 {
            let moment = monotonic_ns() + 300_000;
            pacer.sleep_until(moment).await.expect("a timer");
            let now = monotonic_ns();
            assert!(now >= moment);
            shortest = shortest.min(now - moment);
        }
        assert!(shortest < 600_000, "{shortest} ns late at best");
        pacer.sleep_until(0).await.expect("not at all");
    }
}
