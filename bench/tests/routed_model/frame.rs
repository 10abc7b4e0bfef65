//! What travels: a client's request, and the frame that a router makes of it for one partition.
//!
//! A network that may lose, delay, repeat and reorder is a set: what was sent once may arrive at any time, any number of
//! times, or never. There are few different frames, so that such a set is a [`FrameSet`] of bits.

use std::fmt;

use super::rules::Records;

/// The number of a batch within its epoch.
pub(crate) type Number = u8;

/// How many batches a producer of the model has at most.
pub(crate) const BATCHES_MAX: usize = 4;

/// One batch on its way to a router.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Request {
    /// It begins a session.
    pub(crate) is_first: bool,
    pub(crate) epoch: u8,
    pub(crate) number: Number,
    pub(crate) floor: Number,
    /// The number of partitions that the batch is split by, fixed when it was first sent.
    pub(crate) partitions: u8,
}

/// One part of a batch on its way to a leader.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) epoch: u8,
    pub(crate) number: Number,
    pub(crate) previous: Option<Number>,
    pub(crate) floor: Number,
    pub(crate) records: Records,
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            epoch,
            number,
            floor,
            records,
            ..
        } = self;
        write!(f, "number {number} of epoch {epoch} (previous ")?;
        match self.previous {
            Some(previous) => write!(f, "{previous}")?,
            None => write!(f, "none")?,
        }
        write!(f, ", floor {floor}, records {records:03b})")
    }
}

/// A set of frames for one partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FrameSet(u64);

/// A frame without its records, which follow from its number and the count of partitions that it was split by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) epoch: u8,
    pub(crate) number: Number,
    pub(crate) previous: Option<Number>,
    pub(crate) floor: Number,
    pub(crate) partitions: u8,
}

/// Frames of numbers below one: for each number as many as there are pairs of a floor up to it, and a previous number
/// between the two or none.
const fn headers_below(number: u8) -> u8 {
    number * (number + 1) * (number + 2) / 6
}

impl Header {
    fn bit(&self) -> u32 {
        let span = self.number + 1;
        assert!(self.floor <= self.number, "{self:?}");
        let of_lower_floors = self.floor * span - self.floor * self.floor.saturating_sub(1) / 2;
        let of_previous = match self.previous {
            None => 0,
            Some(previous) => {
                assert!(previous >= self.floor && previous < self.number, "{self:?}");
                previous - self.floor + 1
            }
        };
        let mut index = headers_below(self.number) + of_lower_floors + of_previous;
        if self.epoch > 0 {
            index += headers_below(BATCHES_MAX as u8);
        }
        u32::from(index * 2 + self.partitions - 1)
    }
}

impl FrameSet {
    pub(crate) fn insert(&mut self, header: Header) {
        self.0 |= 1 << header.bit();
    }

    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    pub(crate) fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns the frames of the set, in a fixed order.
    pub(crate) fn iter(self, table: &[Header]) -> impl Iterator<Item = Header> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            if left == 0 {
                return None;
            }
            let bit = left.trailing_zeros();
            left &= left - 1;
            Some(table[bit as usize])
        })
    }
}

/// Returns all headers, each at the place of its bit.
pub(crate) fn headers() -> Vec<Header> {
    let mut table = Vec::new();
    for epoch in 0..2u8 {
        for number in 0..BATCHES_MAX as u8 - epoch {
            for floor in 0..=number {
                let some = (floor..number).map(Some);
                for previous in std::iter::once(None).chain(some) {
                    table.extend([1, 2].map(|partitions| Header {
                        epoch,
                        number,
                        previous,
                        floor,
                        partitions,
                    }));
                }
            }
        }
    }
    table
}

#[test]
fn every_header_has_its_own_bit() {
    for (bit, header) in headers().iter().enumerate() {
        assert_eq!(header.bit() as usize, bit, "{header:?}");
    }
    assert!(headers().len() <= 64);
}
