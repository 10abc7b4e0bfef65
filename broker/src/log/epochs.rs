//! Which leader epoch begins where in a log: how a client finds out that records it has read were replaced (KIP-101,
//! KIP-320).
//!
//! A core: a short list with an entry for each epoch that has records, rebuilt at each start from index files and the
//! headers of batches. At [`EPOCHS_MAX`] the oldest entry is forgotten: an epoch older than the list is then answered
//! with the first start that is known, as one whose records are gone from the log. So the end of an epoch may be told
//! too late, which hides a replacement that old, and never too early, which would make one up.

use keylane_protocol::offset::{LeaderEpoch, Offset};

/// How many epochs of a partition are remembered, the newest ones: 16 KiB.
pub const EPOCHS_MAX: usize = 1024;

/// The first record of a leader epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochStart {
    /// The epoch.
    pub epoch: LeaderEpoch,
    /// The offset of its first record.
    pub offset: Offset,
}

/// Where a leader epoch ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// The largest epoch with records that is not above the one asked for; that one if none is known.
    pub epoch: LeaderEpoch,
    /// The offset after its last record.
    pub end_offset: Offset,
}

/// The leader epochs of a log or of a part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EpochHistory {
    /// Epochs and offsets ascend.
    starts: Vec<EpochStart>,
}

impl EpochHistory {
    /// Returns a history that was read from disk; `None` if it contradicts itself or is too long.
    #[must_use]
    pub fn restored(starts: Vec<EpochStart>) -> Option<Self> {
        let ascends = starts
            .windows(2)
            .all(|pair| pair[0].epoch < pair[1].epoch && pair[0].offset < pair[1].offset);
        let is_possible = starts
            .first()
            .is_none_or(|first| first.epoch > LeaderEpoch::NONE && first.offset >= Offset(0));
        (ascends && is_possible && starts.len() <= EPOCHS_MAX).then_some(Self { starts })
    }

    /// Returns the first record of each epoch, in order.
    #[must_use]
    pub fn starts(&self) -> &[EpochStart] {
        &self.starts
    }

    /// Returns the newest epoch; -1 if none is known.
    #[must_use]
    pub fn last(&self) -> LeaderEpoch {
        self.starts
            .last()
            .map_or(LeaderEpoch::NONE, |last| last.epoch)
    }

    /// Notes that records of an epoch follow from this offset on; nothing is new if they go on with the newest epoch.
    pub fn note(&mut self, epoch: LeaderEpoch, offset: Offset) {
        if epoch <= self.last() {
            return;
        }
        // An epoch that begins where the one before does leaves it without records.
        self.starts.retain(|start| start.offset < offset);
        if self.starts.len() == EPOCHS_MAX {
            self.starts.remove(0);
        }
        self.starts.push(EpochStart { epoch, offset });
    }

    /// Notes what the log goes on with.
    pub fn absorb(&mut self, later: &Self) {
        for start in &later.starts {
            self.note(start.epoch, start.offset);
        }
    }

    /// Returns the epochs of the records from `start` to below `end`.
    #[must_use]
    pub fn within(&self, start: Offset, end: Offset) -> Self {
        let before = self.starts.partition_point(|known| known.offset <= start);
        let first = before.checked_sub(1).map(|last| EpochStart {
            offset: start,
            ..self.starts[last]
        });
        let others = self.starts[before..].iter().copied();
        let starts = first.into_iter().chain(others);
        Self {
            starts: starts.filter(|known| known.offset < end).collect(),
        }
    }

    /// Returns where an epoch ends in a log that ends at `log_end` and is led in the epoch `leading`, as Kafka's
    /// `LeaderEpochFileCache.endOffsetFor` does; `None` for an epoch that is not known yet.
    #[must_use]
    pub fn end_of(
        &self,
        epoch: LeaderEpoch,
        leading: LeaderEpoch,
        log_end: Offset,
    ) -> Option<EpochEnd> {
        if epoch <= LeaderEpoch::NONE || epoch > leading {
            return None;
        }
        if epoch == leading {
            let end_offset = log_end;
            return Some(EpochEnd { epoch, end_offset });
        }
        let later = self.starts.partition_point(|known| known.epoch <= epoch);
        let floor = later.checked_sub(1).map(|last| self.starts[last].epoch);
        // The leading epoch has begun, though it may have no records.
        let next = self.starts.get(later);
        Some(EpochEnd {
            epoch: floor.unwrap_or(epoch),
            end_offset: next.map_or(log_end, |next| next.offset),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn history(starts: &[(i32, i64)]) -> EpochHistory {
        let mut history = EpochHistory::default();
        for &(epoch, offset) in starts {
            history.note(LeaderEpoch(epoch), Offset(offset));
        }
        history
    }

    fn shown(history: &EpochHistory) -> Vec<(i32, i64)> {
        let starts = history.starts().iter();
        starts
            .map(|start| (start.epoch.0, start.offset.0))
            .collect()
    }

    /// Asks of a log of epochs 2, 4 and 5 that is led in epoch 7 and ends at 100.
    fn end(epoch: i32) -> Option<(i32, i64)> {
        let history = history(&[(2, 10), (4, 30), (5, 60)]);
        let end = history.end_of(LeaderEpoch(epoch), LeaderEpoch(7), Offset(100));
        end.map(|end| (end.epoch.0, end.end_offset.0))
    }

    #[test]
    fn an_epoch_ends_where_the_next_one_with_records_begins() {
        assert_eq!(end(2), Some((2, 30)));
        assert_eq!(end(4), Some((4, 60)));
    }

    #[test]
    fn an_epoch_without_records_is_answered_with_the_one_before_it() {
        assert_eq!(end(3), Some((2, 30)));
        assert_eq!(end(6), Some((5, 100)));
    }

    #[test]
    fn the_last_epoch_with_records_and_the_leading_one_end_with_the_log() {
        assert_eq!(end(5), Some((5, 100)));
        assert_eq!(end(7), Some((7, 100)));
    }

    #[test]
    fn an_epoch_before_all_that_are_known_ends_where_they_begin() {
        assert_eq!(end(0), Some((0, 10)));
        assert_eq!(end(1), Some((1, 10)));
    }

    #[test]
    fn an_epoch_that_is_none_or_not_known_yet_has_no_end() {
        assert_eq!(end(8), None);
        assert_eq!(end(-1), None);
        assert_eq!(end(i32::MIN), None);
    }

    #[test]
    fn a_log_without_records_ends_every_epoch_at_its_end() {
        let empty = EpochHistory::default();
        let end = |epoch| empty.end_of(LeaderEpoch(epoch), LeaderEpoch(3), Offset(7));
        for epoch in [0, 2, 3] {
            let answer = end(epoch).expect("it is known");
            assert_eq!((answer.epoch.0, answer.end_offset.0), (epoch, 7));
        }
        assert_eq!(end(4), None);
    }

    #[test]
    fn an_epoch_that_got_no_record_gives_way_to_the_next() {
        assert_eq!(
            shown(&history(&[(1, 0), (2, 10), (3, 10)])),
            [(1, 0), (3, 10)]
        );
        assert_eq!(shown(&history(&[(1, 0), (1, 10), (0, 20)])), [(1, 0)]);
    }

    #[test]
    fn at_the_bound_the_oldest_epoch_is_forgotten_and_the_others_keep_their_ends() {
        let mut history = EpochHistory::default();
        let count = i32::try_from(EPOCHS_MAX).expect("small") + 10;
        for epoch in 0..count {
            history.note(LeaderEpoch(epoch), Offset(i64::from(epoch) * 2));
        }
        assert_eq!(history.starts().len(), EPOCHS_MAX);
        for epoch in 0..count - 1 {
            let end = history.end_of(LeaderEpoch(epoch), LeaderEpoch(count), Offset(99_999));
            let known = epoch.max(9);
            let expected = EpochEnd {
                epoch: LeaderEpoch(epoch),
                end_offset: Offset(i64::from(known + 1) * 2),
            };
            assert_eq!(end, Some(expected), "epoch {epoch}");
        }
    }

    #[test]
    fn a_part_of_the_log_has_the_epochs_of_its_records() {
        let whole = history(&[(2, 10), (4, 30), (5, 60)]);
        let part = |start, end| shown(&whole.within(Offset(start), Offset(end)));
        assert_eq!(part(10, 30), [(2, 10)]);
        assert_eq!(part(20, 31), [(2, 20), (4, 30)]);
        assert_eq!(part(30, 100), [(4, 30), (5, 60)]);
        assert_eq!(part(0, 10), []);
        assert_eq!(part(70, 100), [(5, 70)]);
    }

    proptest! {
        #[test]
        fn the_parts_of_a_log_make_its_history_again(
            steps in prop::collection::vec((1..3_i32, 1..50_i64), 0..20),
            cuts in prop::collection::btree_set(0..500_i64, 0..5),
        ) {
            let (mut epoch, mut offset) = (0, 0);
            let mut whole = EpochHistory::default();
            for (later, records) in steps {
                epoch += later;
                whole.note(LeaderEpoch(epoch), Offset(offset));
                offset += records;
            }
            let mut cuts: Vec<i64> = cuts.into_iter().filter(|&cut| 0 < cut && cut < offset).collect();
            cuts.insert(0, 0);
            cuts.push(offset);
            let mut again = EpochHistory::default();
            for pair in cuts.windows(2) {
                let part = whole.within(Offset(pair[0]), Offset(pair[1]));
                let restored = EpochHistory::restored(part.starts().to_vec());
                again.absorb(&restored.expect("it is sound"));
            }
            prop_assert_eq!(again, whole);
        }

        #[test]
        fn a_history_of_any_numbers_is_refused_or_answers(
            starts in prop::collection::vec((any::<i32>(), any::<i64>()), 0..5),
            (epoch, leading, log_end) in (any::<i32>(), any::<i32>(), any::<i64>()),
        ) {
            let starts = starts.into_iter();
            let starts = starts.map(|(epoch, offset)| EpochStart {
                epoch: LeaderEpoch(epoch),
                offset: Offset(offset),
            });
            if let Some(history) = EpochHistory::restored(starts.collect()) {
                let _ = history.end_of(LeaderEpoch(epoch), LeaderEpoch(leading), Offset(log_end));
                let _ = history.within(Offset(0), Offset(log_end));
            }
        }
    }
}
