//! What may go wrong in a schedule: how often, by its seed, and which bug is planted around the real cores.

use super::chance::Chance;

/// How often things go wrong, in thousandths of what could.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// A connection breaks, for each record batch that is appended.
    pub(crate) breaks: u64,
    /// A router stands still before it reads a request, for up to the delivery time-out.
    pub(crate) stalls: u64,
    /// A batch is refused whole, for now or for good, before or after it was split.
    pub(crate) refusals: u64,
    /// A part is refused by its router, for now or for good, or held and then never sent.
    pub(crate) unsent: u64,
    /// A frame is lost.
    pub(crate) lost: u64,
    /// A frame arrives twice.
    pub(crate) repeated: u64,
    /// A frame is late, by up to what a frame may live.
    pub(crate) late: u64,
    /// An answer is lost.
    pub(crate) unanswered: u64,
    /// A leader loses power, and what is not durable with it.
    pub(crate) crashes: u64,
    /// A topic gets another partition.
    pub(crate) growth: u64,
    /// A producer is silent for so long that leaders may forget it.
    pub(crate) silence: u64,
}

impl Faults {
    /// Returns how often what goes wrong in the schedule of this seed: each kind often, seldom or never.
    pub(crate) fn of(chance: &mut Chance) -> Self {
        Self {
            breaks: chance.one_of(&[0, 20, 150]),
            stalls: chance.one_of(&[0, 10, 50]),
            refusals: chance.one_of(&[0, 0, 40]),
            unsent: chance.one_of(&[0, 30, 200]),
            lost: chance.one_of(&[0, 30, 200]),
            repeated: chance.one_of(&[0, 30, 300]),
            late: chance.one_of(&[0, 30, 200]),
            unanswered: chance.one_of(&[0, 30, 150]),
            crashes: chance.one_of(&[0, 30, 150]),
            growth: chance.one_of(&[0, 30, 150]),
            silence: chance.one_of(&[0, 0, 60]),
        }
    }
}

/// A rule that is broken by the adapters around the cores, which themselves are as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// The client leaves out the first request of some sessions, and the router lets it.
    SessionBeginsAboveFloor,
    /// The client does not wait for the old epoch's answers before it begins the next.
    EpochWithoutDraining,
    /// A router splits by the number of partitions that it knows of.
    RouterSplitsByItsOwnCount,
    /// Batches without keys go anywhere, each time anew.
    KeylessAtRandom,
    /// Parts that are not sent do not count as touched.
    TouchedOnlyWhenSent,
    /// Duplicates are acknowledged at once.
    DuplicateBeforeDurable,
    /// A refused batch without a previous number is appended.
    NeitherAboveLastNorBelowFloor,
    /// A leader that lost the end of its log knows what it knew before.
    StateNotTruncated,
    /// A leader that lost the end of its log knows nothing.
    StateTruncatedToNothing,
    /// Each epoch is judged by itself.
    EpochsSideBySide,
    /// Leaders forget after half the time for which a frame may live.
    ExpiryTooEarly,
}

impl Bug {
    /// Tells whether the bug is planted beside the router's sessions.
    pub(crate) fn is_of_routers(self) -> bool {
        matches!(
            self,
            Self::SessionBeginsAboveFloor
                | Self::RouterSplitsByItsOwnCount
                | Self::KeylessAtRandom
                | Self::TouchedOnlyWhenSent
        )
    }

    pub(crate) const ALL: [Self; 11] = [
        Self::SessionBeginsAboveFloor,
        Self::EpochWithoutDraining,
        Self::RouterSplitsByItsOwnCount,
        Self::KeylessAtRandom,
        Self::TouchedOnlyWhenSent,
        Self::DuplicateBeforeDurable,
        Self::NeitherAboveLastNorBelowFloor,
        Self::StateNotTruncated,
        Self::StateTruncatedToNothing,
        Self::EpochsSideBySide,
        Self::ExpiryTooEarly,
    ];
}
