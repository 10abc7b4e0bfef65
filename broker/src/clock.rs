//! The broker's clocks: the only place that reads them outside `tokio::time`.

use std::time::Duration;

use tokio::time::Instant;

/// Milliseconds since the broker started, from a clock that never goes back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Uptime {
    started: Instant,
}

impl Uptime {
    pub(crate) fn start() -> Self {
        Self {
            started: Instant::now(),
        }
    }

    pub(crate) fn now_ms(self) -> u64 {
        millis(self.started.elapsed())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
