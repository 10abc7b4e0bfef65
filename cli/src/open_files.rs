//! How many files and sockets a server may have open: as many as the system permits it, instead of the common 1,024.

use keylane_broker::config::BrokerConfig;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// What a broker opens besides one file for each connection: segments, indexes, its own sockets.
const BESIDES_CONNECTIONS: u64 = 1024;

/// Raises the limit to the most that is permitted, and says so if the connections of the configuration could not be served.
pub(crate) fn raise_limit(config: &BrokerConfig) {
    let limit = getrlimit(Resource::Nofile);
    // `None` is no limit at all.
    let Some(maximum) = limit.maximum else { return };
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let open_files_max = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(error) => {
            warn!(%error, "the limit of open files could not be raised");
            limit.current.unwrap_or(maximum)
        }
    };
    let wanted = config.limits.connections_max as u64 + BESIDES_CONNECTIONS;
    if open_files_max < wanted {
        warn!(
            open_files_max,
            wanted,
            "fewer files may be open than all connections need: raise the limit (ulimit -n), or lower --connections-max"
        );
    }
}
