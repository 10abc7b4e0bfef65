//! What a link shows of itself.

use std::sync::Arc;

use keylane_protocol::meters::Share;

use super::Meters;

/// What is under way on one link.
pub(crate) struct LinkLevels {
    pub lanes: Share,
    pub appends: Share,
    pub fetches: Share,
    pub requests: Share,
    /// Requests that wait for others of their lane.
    pub waiting: Share,
    pub calls: Share,
    pub credit_bytes: Share,
    pub queued_bytes: Share,
}

impl LinkLevels {
    pub(crate) fn new(meters: &Arc<Meters>) -> Self {
        let levels = &meters.levels;
        Self {
            lanes: Share::of(&levels.lanes),
            appends: Share::of(&levels.appends),
            fetches: Share::of(&levels.fetches),
            requests: Share::of(&levels.requests),
            waiting: Share::of(&levels.waiting),
            calls: Share::of(&levels.calls),
            credit_bytes: Share::of(&levels.credit_bytes),
            queued_bytes: Share::of(&levels.queued_bytes),
        }
    }
}
