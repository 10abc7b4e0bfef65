//! One leader's real state against whatever may arrive: any epoch, number, previous number and floor.
//!
//! Whatever comes, its log rises by epoch and number, and nothing is taken for a duplicate but what lies in it.

use keylane_broker::partition::routed_state::{
    Judgement, Original, Refusal, RoutedBatch, RoutedLimits, RoutedProducers,
};
use keylane_protocol::offset::{Offset, ProducerEpoch, Sequence};
use keylane_protocol::routed::PRODUCER_ID_MIN;

use super::chance::Chance;

/// A rule that is broken around the leader's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoneBug {
    /// What is below the last number is taken for a duplicate.
    LowerTakenForDuplicate,
    /// What follows the last number is appended whether or not it is above.
    AboveLastUnchecked,
    /// What has no previous number is appended whatever the last one is.
    NeitherAboveLastNorBelowFloor,
}

impl LoneBug {
    pub(crate) const ALL: [Self; 3] = [
        Self::LowerTakenForDuplicate,
        Self::AboveLastUnchecked,
        Self::NeitherAboveLastNorBelowFloor,
    ];
}

const LIMITS: RoutedLimits = RoutedLimits {
    producers_max: 10,
    expiry_ms: 1_000,
};

/// Sends a leader a hundred frames, with losses of what is not durable between them.
pub(crate) fn run(seed: u64, bug: Option<LoneBug>) -> Result<(), String> {
    let mut chance = Chance::new(seed);
    let mut producers = RoutedProducers::new(LIMITS);
    let mut log: Vec<RoutedBatch> = Vec::new();
    let mut durable = 0;
    for _ in 0..100 {
        let batch = any_batch(&mut chance);
        let judgement = mistaken(producers.judge(&batch, 0), &batch, bug);
        match judgement {
            Judgement::Append => {
                if let Some(last) = log.last().filter(|last| place(last) >= place(&batch)) {
                    return Err(format!(
                        "{:?} is appended behind {:?}",
                        place(&batch),
                        place(last)
                    ));
                }
                producers.remember(&batch, Offset(log.len() as i64), 0);
                log.push(batch);
            }
            Judgement::Duplicate(original) => {
                let found = usize::try_from(original.base_offset.0).ok();
                let found = found.and_then(|at| log.get(at));
                if found.map(place) != Some(place(&batch)) {
                    return Err(format!(
                        "{:?} is taken for a duplicate of {found:?}",
                        place(&batch)
                    ));
                }
            }
            Judgement::Refused(_) => {}
        }
        if chance.happens(300) {
            durable = durable.max(chance.below(log.len() as u64 + 1) as usize);
            producers.on_durable(Offset(durable as i64));
        }
        if chance.happens(100) {
            log.truncate(durable);
            producers = recovered(&log);
        }
    }
    Ok(())
}

fn place(batch: &RoutedBatch) -> (ProducerEpoch, Sequence) {
    (batch.epoch, batch.number)
}

fn any_batch(chance: &mut Chance) -> RoutedBatch {
    let number = chance.below(6) as i32;
    RoutedBatch {
        producer_id: PRODUCER_ID_MIN,
        epoch: ProducerEpoch(chance.below(2) as i16),
        number: Sequence(number),
        floor: Sequence(chance.below(7) as i32),
        previous: Sequence(chance.below(7) as i32 - 1),
        record_count: 1,
        crc: number.unsigned_abs(),
    }
}

fn recovered(log: &[RoutedBatch]) -> RoutedProducers {
    let mut producers = RoutedProducers::new(LIMITS);
    for (batch, offset) in log.iter().zip(0..) {
        let (floor, previous) = (Sequence::NONE, Sequence::NONE);
        let header_only = RoutedBatch {
            floor,
            previous,
            ..*batch
        };
        producers.remember(&header_only, Offset(offset), 0);
        producers.on_durable(Offset(offset + 1));
    }
    producers
}

/// Returns what a leader with the bug makes of a batch.
fn mistaken(judgement: Judgement, batch: &RoutedBatch, bug: Option<LoneBug>) -> Judgement {
    let Judgement::Refused(Refusal::OutOfOrder { last, .. }) = judgement else {
        return judgement;
    };
    match bug {
        Some(LoneBug::LowerTakenForDuplicate) if batch.number < last => {
            let nowhere = Offset(i64::MAX);
            Judgement::Duplicate(Original {
                base_offset: nowhere,
                end_offset: nowhere,
            })
        }
        Some(LoneBug::AboveLastUnchecked) if batch.previous == last => Judgement::Append,
        Some(LoneBug::NeitherAboveLastNorBelowFloor) if batch.previous == Sequence::NONE => {
            Judgement::Append
        }
        _ => judgement,
    }
}

/// Tells whether the oldest of so many numbers is recognised by a leader that began anew and has heard no floor.
pub(crate) fn oldest_is_known_after_restart(numbers: i32) -> bool {
    let batch = |number: i32| RoutedBatch {
        producer_id: PRODUCER_ID_MIN,
        epoch: ProducerEpoch(0),
        number: Sequence(number),
        floor: Sequence(0),
        previous: Sequence(number - 1),
        record_count: 1,
        crc: 7,
    };
    let log: Vec<RoutedBatch> = (0..numbers).map(batch).collect();
    matches!(recovered(&log).judge(&batch(0), 0), Judgement::Duplicate(_))
}
