//! The bank of deliberate bugs: each breaks one rule of how the core is used, and the world must notice.

use super::interleavings::violation;

/// A rule that is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bug {
    /// What is appended counts as durable at once.
    FetchesSeeWhatIsNotDurable,
    /// One record too many counts as durable.
    DurableTooFar,
    /// What failed counts as committed.
    FailuresAreRolledIn,
    /// Of two commits in a request the first holds.
    RequestsRememberedBackwards,
    /// A commit of a lower offset changes nothing.
    LowerOffsetsIgnored,
    /// Only what is durable is deleted, and not what is on its way.
    DeletionSeesOnlyWhatIsDurable,
    /// An offset expires although a commit for it is on its way.
    ExpirySeesOnlyWhatIsDurable,
    /// The offsets of an empty group expire so long after their commit.
    EmptyGroupsExpireByCommitTime,
    /// The offsets of topics that members read expire.
    WhatMembersReadExpires,
    /// What was lost with the power is still there.
    CrashKeepsWhatWasLost,
    /// Recovery leaves out the last record.
    RecoveryStopsEarly,
    /// Recovery leaves out tombstones.
    RecoverySkipsTombstones,
    /// Compaction takes what may be lost for the latest.
    CompactionOfWhatIsNotDurable,
    /// Compaction drops tombstones and leaves what they remove.
    CompactionDropsOnlyTombstones,
}

const BANK: [Bug; 14] = [
    Bug::FetchesSeeWhatIsNotDurable,
    Bug::DurableTooFar,
    Bug::FailuresAreRolledIn,
    Bug::RequestsRememberedBackwards,
    Bug::LowerOffsetsIgnored,
    Bug::DeletionSeesOnlyWhatIsDurable,
    Bug::ExpirySeesOnlyWhatIsDurable,
    Bug::EmptyGroupsExpireByCommitTime,
    Bug::WhatMembersReadExpires,
    Bug::CrashKeepsWhatWasLost,
    Bug::RecoveryStopsEarly,
    Bug::RecoverySkipsTombstones,
    Bug::CompactionOfWhatIsNotDurable,
    Bug::CompactionDropsOnlyTombstones,
];

#[test]
fn every_bug_of_the_bank_is_found() {
    let mut missed = Vec::new();
    for bug in BANK {
        match violation(Some(bug)) {
            Some(found) => println!("{bug:?}: {found}"),
            None => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
