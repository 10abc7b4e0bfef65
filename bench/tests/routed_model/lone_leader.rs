//! One leader against whatever may arrive: any epoch, number, previous number and floor, as no honest router sends them.
//!
//! Whatever comes, its log rises by epoch and number, and it acknowledges nothing but what is durable in it. Liveness is
//! not asked for: nonsense may make a leader refuse.

use std::fmt;

use ahash::RandomState;

use super::explore::Machine;
use super::frame::{BATCHES_MAX, Frame, Number};
use super::leader::{Entry, Leader};
use super::properties::Violation;
use super::rules::{Rules, Verdict};

/// A leader that anything may happen to.
pub(crate) struct LoneLeader {
    pub(crate) rules: Rules,
}

/// What may happen to it.
#[derive(Clone, Copy)]
pub(crate) enum Step {
    Arrive(Frame),
    Sync,
    LoseTail,
    Restart,
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arrive(frame) => write!(f, "the leader gets {frame:?}"),
            Self::Sync => write!(f, "one more entry becomes durable"),
            Self::LoseTail => write!(f, "the last entry is lost"),
            Self::Restart => write!(f, "the leader begins anew"),
        }
    }
}

impl Machine for LoneLeader {
    type State = Leader;
    type Step = Step;

    fn each(&self, leader: &Leader, visit: &mut impl FnMut(Step, Result<Leader, Violation>)) {
        for frame in frames() {
            visit(Step::Arrive(frame), self.arrive(leader, &frame));
        }
        let mut synced = *leader;
        synced.sync(&self.rules);
        visit(Step::Sync, Ok(synced));
        let mut shorter = *leader;
        shorter.cut(&self.rules);
        visit(Step::LoseTail, Ok(shorter));
        let mut another = *leader;
        another.restart(&self.rules);
        visit(Step::Restart, Ok(another));
    }

    fn check(&self, _leader: &Leader) -> Result<(), Violation> {
        Ok(())
    }

    fn hash(&self, leader: &Leader, hasher: &RandomState) -> u64 {
        hasher.hash_one(leader.fingerprint())
    }
}

impl LoneLeader {
    fn arrive(&self, leader: &Leader, frame: &Frame) -> Result<Leader, Violation> {
        let mut leader = *leader;
        let (batch, partition) = (frame.number, 0);
        match leader.judge(&self.rules, frame) {
            // The log of the model is full.
            Verdict::Append if leader.log().len() == BATCHES_MAX => {}
            Verdict::Append => {
                let place = (frame.epoch, frame.number);
                let last = leader.log().last().map(|entry| (entry.epoch, entry.number));
                if last == Some(place) {
                    return Err(Violation::WrittenTwice { batch, partition });
                }
                if last > Some(place) {
                    return Err(Violation::OutOfOrder { batch, partition });
                }
                leader.append(&self.rules, frame);
            }
            Verdict::Acknowledge => {
                let is_frame =
                    |entry: &Entry| (entry.epoch, entry.number) == (frame.epoch, frame.number);
                if !leader.log().iter().any(is_frame) {
                    return Err(Violation::AcknowledgedButLost { batch });
                }
                if !leader.durable().iter().any(is_frame) {
                    return Err(Violation::AcknowledgedBeforeDurable { batch });
                }
                leader.hear(&self.rules, frame);
            }
            Verdict::OtherRecords => return Err(Violation::OtherRecords { batch, partition }),
            Verdict::Wait | Verdict::OutOfOrder => leader.hear(&self.rules, frame),
            Verdict::Fenced => {}
        }
        Ok(leader)
    }
}

/// Returns every frame of two epochs and four numbers.
pub(crate) fn frames() -> impl Iterator<Item = Frame> {
    let numbers = 0..BATCHES_MAX as Number;
    (0..2).flat_map(move |epoch| {
        let numbers = numbers.clone();
        numbers.clone().flat_map(move |number| {
            let numbers = numbers.clone();
            numbers.clone().flat_map(move |floor| {
                let some = numbers.clone().map(Some);
                std::iter::once(None)
                    .chain(some)
                    .map(move |previous| Frame {
                        epoch,
                        number,
                        previous,
                        floor,
                        records: 1,
                    })
            })
        })
    })
}
