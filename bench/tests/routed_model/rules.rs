//! The rules of routed idempotence, as pure functions: what a client may send, how a router splits, how a leader judges.
//!
//! `docs/routed-idempotence.md` states them in words, in the same order. Each rule can be broken on purpose by one
//! [`Bug`]; without a bug they are the specification. They know nothing of how the world holds its state (`world.rs`).

use super::bugs::Bug;
use super::frame::{Frame, Number, Request};

/// How many partitions a topic of the model can have.
pub(crate) const PARTITIONS: usize = 2;

/// The rules, with what they are bounded by and at most one of them broken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// The span of numbers that may be open, from the floor on: 1,024 in the system.
    pub(crate) window: u8,
    /// After how many whole lifetimes since its last append a leader drops what it knows of a producer.
    pub(crate) expiry: u8,
    /// The rule that is broken.
    pub(crate) bug: Option<Bug>,
}

/// Records of one batch, as a set of kinds: bit 0 and 1 for keys that hash to an even and an odd number, bit 2 for
/// records without a key.
pub(crate) type Records = u8;

/// Records without a key.
pub(crate) const KEYLESS: Records = 0b100;

/// Which way one split goes. Rules that hold leave one way only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Split {
    /// The number of partitions to split by.
    pub(crate) partitions: u8,
    /// Where the records without a key go.
    pub(crate) keyless: u8,
    /// Partitions, as a set, whose part is neither sent nor counted as touched.
    pub(crate) skipped: u8,
}

/// What a router remembers of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) epoch: u8,
    pub(crate) last: Number,
    pub(crate) floor: Number,
    /// The largest number of this session that touched each partition.
    pub(crate) touched: [Option<Number>; PARTITIONS],
}

/// Which batches a client has heard of, as sets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered {
    pub(crate) acknowledged: u8,
    pub(crate) refused: u8,
}

/// What a leader knows of a producer: the newest epoch that it has seen, and the last number written in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) epoch: u8,
    pub(crate) last: Number,
}

/// What a leader remembers of one number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Original {
    pub(crate) records: Records,
    pub(crate) is_durable: bool,
}

/// What a leader does with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Append,
    /// It is written and durable: answered with the original's offset.
    Acknowledge,
    /// It is written but not durable: the answer waits.
    Wait,
    /// The number was written with other records.
    OtherRecords,
    Fenced,
    OutOfOrder,
}

impl Rules {
    fn broken(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    // Client.

    /// Returns the number that a new session begins with: the floor.
    pub(crate) fn session_begins_at(&self, floor: Number, never_sent: Number) -> Number {
        if self.broken(Bug::SessionBeginsAboveFloor) && floor + 1 < never_sent {
            return floor + 1;
        }
        floor
    }

    /// Returns the number that a session sends next: no hole but what the floor has passed, answered numbers included.
    pub(crate) fn session_goes_on_with(
        &self,
        last: Number,
        floor: Number,
        answered: Answered,
    ) -> Number {
        let mut next = floor.max(last + 1);
        let left_out = match self.bug {
            Some(Bug::AnsweredNumbersLeftOut) => answered.acknowledged,
            Some(Bug::RefusedNumbersLeftOut) => answered.refused,
            _ => 0,
        };
        while left_out >> next & 1 == 1 {
            next += 1;
        }
        next
    }

    /// Tells whether a number may be sent, for the first time or again: not once it was refused for good.
    pub(crate) fn may_be_sent(&self, number: Number, answered: Answered) -> bool {
        answered.refused >> number & 1 == 0
    }

    /// Tells whether a number may be sent while the floor is where it is: a span, whatever of it is answered.
    pub(crate) fn is_within_window(
        &self,
        number: Number,
        floor: Number,
        answered: Answered,
    ) -> bool {
        if self.broken(Bug::WindowCountsOpenNumbers) {
            let settled = answered.acknowledged | answered.refused;
            let open = (floor..number).filter(|number| settled >> number & 1 == 0);
            return open.count() < usize::from(self.window);
        }
        number < floor + self.window
    }

    /// Tells whether the next epoch may begin: everything sent in this one is answered or given up.
    pub(crate) fn may_begin_epoch(&self, floor: Number, never_sent: Number) -> bool {
        floor == never_sent || self.broken(Bug::EpochWithoutDraining)
    }

    // Router.

    /// Tells whether a request follows what its session has sent; if not, the session ends.
    pub(crate) fn accepts(&self, memory: Option<&Memory>, request: &Request) -> bool {
        if request.is_first {
            return request.number == request.floor || self.broken(Bug::SessionBeginsAboveFloor);
        }
        let Some(memory) = memory else { return false };
        let next = request.floor.max(memory.last + 1);
        let follows = request.number == next || (request.number > next && self.allows_holes());
        request.epoch == memory.epoch && request.floor >= memory.floor && follows
    }

    fn allows_holes(&self) -> bool {
        self.broken(Bug::AnsweredNumbersLeftOut) || self.broken(Bug::RefusedNumbersLeftOut)
    }

    /// Returns the ways to split a batch: one, fixed by the request, whatever the router knows of the topic.
    pub(crate) fn splits(&self, request: &Request, routers_own: u8) -> Vec<Split> {
        let fixed = Split {
            partitions: request.partitions,
            keyless: request.number % request.partitions,
            skipped: 0,
        };
        let with = |partitions| Split {
            partitions,
            keyless: request.number % partitions,
            ..fixed
        };
        if self.broken(Bug::RouterSplitsByItsOwnCount) {
            return (1..=routers_own).map(with).collect();
        }
        if self.broken(Bug::KeylessAtRandom) {
            let anywhere = 0..request.partitions;
            return anywhere.map(|keyless| Split { keyless, ..fixed }).collect();
        }
        if self.broken(Bug::TouchedOnlyWhenSent) {
            let any = 0..1 << PARTITIONS;
            return any.map(|skipped| Split { skipped, ..fixed }).collect();
        }
        vec![fixed]
    }

    /// Returns the records that go to a partition.
    pub(crate) fn part(split: Split, records: Records, partition: usize) -> Records {
        let odd = usize::from(split.partitions - 1);
        let mut part = 0;
        for (kind, goes_to) in [
            (0b001, 0),
            (0b010, odd),
            (KEYLESS, usize::from(split.keyless)),
        ] {
            if goes_to == partition {
                part |= records & kind;
            }
        }
        part
    }

    /// Returns the previous number that a frame names: the largest of its session that touched the partition, unless the
    /// floor has passed it.
    pub(crate) fn previous(touched: Option<Number>, floor: Number) -> Option<Number> {
        touched.filter(|touched| *touched >= floor)
    }

    // Leader.

    /// Judges a frame by what is known of its producer, and by what is remembered of its number.
    pub(crate) fn judge(
        &self,
        known: Option<Known>,
        original: Option<Original>,
        frame: &Frame,
    ) -> Verdict {
        let known = match known {
            Some(known) if frame.epoch < known.epoch => return Verdict::Fenced,
            Some(known) if frame.epoch == known.epoch => known,
            _ if frame.previous.is_none() => return Verdict::Append,
            _ => return Verdict::OutOfOrder,
        };
        match original {
            Some(original) if original.records != frame.records => return Verdict::OtherRecords,
            Some(original) => return self.answer_duplicate(original),
            None if frame.number < known.last && self.broken(Bug::LowerTakenForDuplicate) => {
                return Verdict::Acknowledge;
            }
            None => {}
        }
        let is_new = frame.number > known.last
            || self.broken(Bug::AboveLastUnchecked)
            || self.broken(Bug::NeitherAboveLastNorBelowFloor);
        let follows = match frame.previous {
            Some(previous) => previous == known.last,
            None => known.last < frame.floor || self.broken(Bug::NeitherAboveLastNorBelowFloor),
        };
        if is_new && follows {
            Verdict::Append
        } else {
            Verdict::OutOfOrder
        }
    }

    fn answer_duplicate(&self, original: Original) -> Verdict {
        if original.is_durable || self.broken(Bug::DuplicateBeforeDurable) {
            Verdict::Acknowledge
        } else {
            Verdict::Wait
        }
    }

    /// Tells whether a leader still remembers a durable number that is not the last durable one. What is not durable, and
    /// the last that is, are always remembered.
    pub(crate) fn is_remembered(
        &self,
        number: Number,
        last: Number,
        heard: Option<Number>,
    ) -> bool {
        match heard {
            Some(floor) => number >= floor,
            None => number + self.window > last,
        }
    }

    /// Returns what is known once the log has been cut, from what the log still holds: its last entry, of whatever epoch.
    pub(crate) fn known_after_cut(
        &self,
        before: Option<Known>,
        in_log: Option<Known>,
    ) -> Option<Known> {
        let newest = before.map(|known| known.epoch);
        match self.bug {
            Some(Bug::StateNotTruncated) => before,
            Some(Bug::StateTruncatedToNothing) => None,
            Some(Bug::OlderEpochForgotten) => in_log.filter(|known| Some(known.epoch) == newest),
            _ => in_log,
        }
    }

    /// Tells whether a lower epoch than the newest is judged by what is in the log of its own.
    pub(crate) fn judges_epochs_apart(&self) -> bool {
        self.broken(Bug::EpochsSideBySide)
    }

    /// Tells whether what is known has expired, at an age in whole lifetimes since the last append.
    pub(crate) fn is_expired(&self, age: u8) -> bool {
        match self.bug {
            Some(Bug::ExpiryAfterOneLifetime) => age >= 1,
            Some(Bug::ExpiryAfterTwoLifetimes) => age >= 2,
            Some(Bug::ExpiryAfterThreeLifetimes) => age >= 3,
            _ => age >= self.expiry,
        }
    }
}
