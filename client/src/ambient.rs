//! The one place where the crate takes something from its surroundings: time and a seed.
//!
//! Cores never call this. Monotonic time comes from tokio, so that tests can pause it.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

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

/// Returns a seed that differs from call to call, for a client that was given none.
pub(crate) fn fresh_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}
