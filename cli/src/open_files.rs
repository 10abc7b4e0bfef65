//! How many files and sockets a server may have open: as many as the system permits it, instead of the common 1,024.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// What a broker opens besides one file for each connection: segments, indexes, its own sockets.
const BESIDES_CONNECTIONS: u64 = 1024;

/// The part of a low limit that connections may have at most; the rest is for what a broker opens besides.
const CONNECTIONS_DIVISOR: u64 = 4;

/// Raises the limit to the most that is permitted. Where that is too low for the connections of the configuration, it
/// lowers their number (`connections`) and says so: a socket must never take the descriptor that a new segment needs, for want of which
/// the data folder goes offline.
pub(crate) fn raise_limit(connections: &mut usize) {
    let Some(open_files_max) = raise() else {
        return;
    };
    let configured = *connections;
    let connections_max = connections_within(open_files_max, configured);
    if connections_max < configured {
        *connections = connections_max;
        warn!(
            open_files_max,
            configured,
            connections_max,
            "fewer connections are taken than configured, for the limit of open files: raise it (ulimit -n), or lower \
             --connections-max"
        );
    }
}

/// Raises the limit to the most that is permitted and returns it; `None` is no limit at all. Processes started from here
/// have the same.
pub(crate) fn raise() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let maximum = limit.maximum?;
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => Some(maximum),
        Err(error) => {
            warn!(%error, "the limit of open files could not be raised");
            Some(limit.current.unwrap_or(maximum))
        }
    }
}

/// Returns how many connections there may be under a limit of open files, at least 1.
fn connections_within(open_files_max: u64, configured: usize) -> usize {
    let left = open_files_max.saturating_sub(BESIDES_CONNECTIONS);
    let left = left.max(open_files_max / CONNECTIONS_DIVISOR).max(1);
    usize::try_from(left).map_or(configured, |left| configured.min(left))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_never_take_all_files_that_may_be_open() {
        assert_eq!(connections_within(20_000, 10_000), 10_000);
        assert_eq!(connections_within(4096, 10_000), 3072);
        assert_eq!(connections_within(1024, 10_000), 256);
        assert_eq!(connections_within(1024, 100), 100);
        assert_eq!(connections_within(0, 10_000), 1);
    }
}
