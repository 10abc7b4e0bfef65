//! What one search ranges over: how many batches, which faults, which rules.

use super::bugs::Bug;
use super::rules::{Records, Rules};

/// The bounds of one search. Whatever is off does not happen in it.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    /// What the batches hold: one search begins with each.
    pub(crate) batches: Vec<Vec<Records>>,
    /// The number of partitions at the beginning.
    pub(crate) partitions: u8,
    pub(crate) window: u8,
    /// The topic may grow to two partitions.
    pub(crate) grows: bool,
    /// Routers read when they get to it, not as soon as something is sent; there are two of them.
    pub(crate) routers_are_late: bool,
    /// The end of a log that is not durable may be lost.
    pub(crate) loses_tails: bool,
    /// Leaders may begin anew, as other processes or replicas.
    pub(crate) leaders_restart: bool,
    /// Batches may be refused for good, whole or one part of them, whatever is written of the rest.
    pub(crate) refuses: bool,
    /// The client may give up its oldest batch.
    pub(crate) gives_up: bool,
    /// The client may begin its next epoch.
    pub(crate) next_epoch: bool,
    /// Time passes: lifetimes end, and leaders drop what they know after this many of them.
    pub(crate) expiry: Option<u8>,
    pub(crate) bug: Option<Bug>,
}

impl Scope {
    /// Returns a scope over two partitions in which records are lost, late, repeated and reordered, and given up.
    pub(crate) fn new(batches: Vec<Vec<Records>>) -> Self {
        Self {
            window: 4,
            partitions: 2,
            batches,
            grows: false,
            routers_are_late: false,
            loses_tails: false,
            leaders_restart: false,
            refuses: false,
            gives_up: true,
            next_epoch: false,
            expiry: None,
            bug: None,
        }
    }

    pub(crate) fn rules(&self) -> Rules {
        Rules {
            window: self.window,
            expiry: self.expiry.unwrap_or(u8::MAX),
            bug: self.bug,
        }
    }
}

/// Returns every way in which keyed batches can touch two partitions: only the first, only the second, both.
pub(crate) fn touch_patterns(batches: usize) -> Vec<Vec<Records>> {
    patterns_of(batches, &[0b01, 0b10, 0b11])
}

/// Returns the touch patterns of which none is another with the two partitions exchanged. Nothing tells the partitions
/// apart as long as their number stays.
pub(crate) fn touch_patterns_but_for_exchange(batches: usize) -> Vec<Vec<Records>> {
    let exchanged = |records: &Records| (records & 0b01) << 1 | records >> 1;
    let mut patterns = touch_patterns(batches);
    patterns.retain(|pattern| {
        let other: Vec<Records> = pattern.iter().map(exchanged).collect();
        *pattern <= other
    });
    patterns
}

/// Returns every sequence of so many batches, each of one of the kinds.
pub(crate) fn patterns_of(batches: usize, kinds: &[Records]) -> Vec<Vec<Records>> {
    let mut patterns = vec![Vec::new()];
    for _ in 0..batches {
        patterns = (patterns.iter())
            .flat_map(|pattern: &Vec<Records>| {
                kinds.iter().map(|kind| {
                    let mut longer = pattern.clone();
                    longer.push(*kind);
                    longer
                })
            })
            .collect();
    }
    patterns
}
