//! The one place where the crate takes something from its surroundings: time and a seed.
//!
//! Cores never call this. Monotonic time comes from tokio, so that tests can pause it.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// Returns the time in milliseconds since 1970; 0 if the clock stands before that.
#[allow(
    clippy::disallowed_methods,
    reason = "this is the one clock module of the crate"
)]
pub(crate) fn wall_clock_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

/// Returns the time by which cores measure.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Returns the time like [`now`], running on while the machine is suspended: what must not outlive a time-out in the world
/// outside is measured by it.
pub(crate) fn now_through_suspend() -> Instant {
    now() + suspended()
}

/// Returns when to wake for a time of [`now_through_suspend`], if the machine is not suspended until then.
pub(crate) fn waking_time(at: Instant) -> tokio::time::Instant {
    at.checked_sub(suspended()).unwrap_or(at).into()
}

/// Returns for how long the machine has been suspended since this was asked first.
fn suspended() -> Duration {
    static FIRST: OnceLock<Duration> = OnceLock::new();
    let total = suspended_since_boot();
    let since = total.saturating_sub(*FIRST.get_or_init(|| total));
    // Two clocks are never read at once: less than a second says nothing.
    Duration::from_secs(since.as_secs())
}

fn suspended_since_boot() -> Duration {
    let read = |clock| {
        let time = clock_gettime(clock);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
    };
    // Read in this order, the difference is never too small by the time that passes in between.
    let awake = read(ClockId::Monotonic);
    read(ClockId::Boottime).saturating_sub(awake)
}

/// Returns a seed that differs from call to call, for a client that was given none.
pub(crate) fn fresh_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}
