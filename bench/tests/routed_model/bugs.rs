//! The bank of deliberate bugs: each breaks one rule, and the scope beside it must show what comes of it.
//!
//! A model that finds nothing proves little; one that finds each of these in a few steps looks where it should. Scopes
//! of bugs are as small as they may be: what matters is that the bug is found, and how.

use super::rules::KEYLESS;
use super::scope::{Scope, touch_patterns};

/// A rule that is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// A session begins above the floor.
    SessionBeginsAboveFloor,
    /// A session leaves out the numbers above the floor that are answered, and the router lets it.
    AnsweredNumbersLeftOut,
    /// A session passes over a number that was refused for good, and the router lets it.
    RefusedNumbersLeftOut,
    /// The window counts the numbers that are open instead of the span from the floor.
    WindowCountsOpenNumbers,
    /// The next epoch begins while numbers of this one are open; they are numbered anew.
    EpochWithoutDraining,
    /// A router splits by the number of partitions that it knows of.
    RouterSplitsByItsOwnCount,
    /// Records without a key go anywhere, each time anew.
    KeylessAtRandom,
    /// A part that is refused or not sent does not count as touched.
    TouchedOnlyWhenSent,
    /// A duplicate is acknowledged before its original is durable.
    DuplicateBeforeDurable,
    /// A number below the last one is taken for a duplicate, remembered or not.
    LowerTakenForDuplicate,
    /// A number is new though it is not above the last one.
    AboveLastUnchecked,
    /// As before, and without a previous number it follows though the last one is not below the floor.
    NeitherAboveLastNorBelowFloor,
    /// What is known stays as it was when the log is cut.
    StateNotTruncated,
    /// Nothing is known when the log is cut.
    StateTruncatedToNothing,
    /// A log that is cut back to an older epoch knows nothing.
    OlderEpochForgotten,
    /// Each epoch is judged by its own entries, however new the newest.
    EpochsSideBySide,
    /// What is known expires one lifetime after the last append.
    ExpiryAfterOneLifetime,
    /// What is known expires two lifetimes after the last append.
    ExpiryAfterTwoLifetimes,
    /// What is known expires three lifetimes after the last append, though a request may wait for its router for one.
    ExpiryAfterThreeLifetimes,
}

/// Returns the bugs that the whole system shows, each with a scope that shows it.
pub(crate) fn bank() -> Vec<Scope> {
    let mut bank = vec![
        two_batches(Bug::SessionBeginsAboveFloor),
        three_batches(Bug::AnsweredNumbersLeftOut),
        Scope {
            refuses: true,
            ..three_batches(Bug::RefusedNumbersLeftOut)
        },
        two_batches(Bug::TouchedOnlyWhenSent),
        two_batches(Bug::NeitherAboveLastNorBelowFloor),
    ];
    for bug in [
        Bug::DuplicateBeforeDurable,
        Bug::StateNotTruncated,
        Bug::StateTruncatedToNothing,
    ] {
        bank.push(Scope {
            loses_tails: true,
            ..two_batches(bug)
        });
    }
    for bug in [
        Bug::EpochWithoutDraining,
        Bug::EpochsSideBySide,
        Bug::OlderEpochForgotten,
    ] {
        bank.push(Scope {
            loses_tails: true,
            next_epoch: true,
            ..two_batches(bug)
        });
    }
    for bug in [Bug::ExpiryAfterOneLifetime, Bug::ExpiryAfterTwoLifetimes] {
        bank.push(Scope {
            expiry: Some(3),
            ..two_batches(bug)
        });
    }
    bank.push(Scope {
        routers_are_late: true,
        batches: vec![vec![0b01]],
        expiry: Some(4),
        ..two_batches(Bug::ExpiryAfterThreeLifetimes)
    });
    bank.push(Scope {
        window: 2,
        leaders_restart: true,
        gives_up: false,
        ..three_batches(Bug::WindowCountsOpenNumbers)
    });
    bank.push(Scope {
        partitions: 1,
        grows: true,
        ..two_batches(Bug::RouterSplitsByItsOwnCount)
    });
    bank.push(Scope {
        batches: vec![vec![KEYLESS, KEYLESS]],
        ..two_batches(Bug::KeylessAtRandom)
    });
    bank
}

/// Bugs that show at a leader alone, against frames that no honest router sends.
pub(crate) const BANK_OF_LONE_LEADER: [Bug; 3] = [
    Bug::LowerTakenForDuplicate,
    Bug::AboveLastUnchecked,
    Bug::NeitherAboveLastNorBelowFloor,
];

fn two_batches(bug: Bug) -> Scope {
    Scope {
        bug: Some(bug),
        ..Scope::new(touch_patterns(2))
    }
}

fn three_batches(bug: Bug) -> Scope {
    Scope {
        bug: Some(bug),
        ..Scope::new(touch_patterns(3))
    }
}
