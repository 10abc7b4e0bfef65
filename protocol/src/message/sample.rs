//! Values of every declared type, built from a list of choices that proptest draws and shrinks.
//!
//! Fields that a version has get any value its declaration allows; all others get their default. With no choices left
//! every value is the smallest, so that short lists of choices mean small messages.

use bytes::Bytes;
use bytestring::ByteString;

use crate::error_code::ErrorCode;
use crate::group::{Generation, GroupEpoch, MemberEpoch};
use crate::identifiers::{
    BrokerId, ClusterId, FolderId, PartitionIndex, ProducerId, StartId, TopicId,
};
use crate::link::handshake::{Refusal, Role};
use crate::link::lane::Flow;
use crate::link::{Correlation, Features, Lane};
use crate::offset::{BrokerEpoch, LeaderEpoch, Offset, PartitionEpoch, ProducerEpoch, Sequence};
use crate::primitive::{Format, Records};

/// The choices not used up yet.
pub(crate) struct Choices<'a>(pub(crate) &'a [u8]);

impl Choices<'_> {
    fn next(&mut self) -> u8 {
        match self.0.split_first() {
            Some((&first, rest)) => {
                self.0 = rest;
                first
            }
            None => 0,
        }
    }

    /// Returns whether a field that could be left out is left out: one time in four, and at the end.
    pub(crate) fn is_default(&mut self) -> bool {
        self.0.is_empty() || self.next() % 4 == 3
    }

    fn number(&mut self) -> i64 {
        match self.next() % 8 {
            0 => 0,
            1 => -1,
            2 => i64::MAX,
            3 => i64::MIN,
            4 => i64::from(i32::MAX),
            5 => i64::from(i8::from_be_bytes([self.next()])),
            _ => i64::from_be_bytes(std::array::from_fn(|_| self.next())),
        }
    }

    /// Returns a length, mostly short, sometimes one whose compact form has two bytes.
    fn length(&mut self) -> usize {
        match self.next() {
            255 => 127 + usize::from(self.next()),
            choice => usize::from(choice % 5),
        }
    }
}

/// A type with values to choose from.
pub(crate) trait Sample {
    /// Returns the value chosen.
    fn sample(choices: &mut Choices<'_>, format: Format) -> Self;
}

macro_rules! sample {
    ($($type:ty: |$choices:ident| $value:expr;)*) => {$(
        impl Sample for $type {
            fn sample($choices: &mut Choices<'_>, _: Format) -> Self {
                $value
            }
        }
    )*};
}

sample! {
    bool: |choices| choices.next() % 2 == 1;
    i8: |choices| choices.number() as i8;
    i16: |choices| choices.number() as i16;
    i32: |choices| choices.number() as i32;
    i64: |choices| choices.number();
    u16: |choices| choices.number() as u16;
    u32: |choices| choices.number() as u32;
    u64: |choices| choices.number() as u64;
    Lane: |choices| Self(choices.number() as u64);
    Correlation: |choices| Self(choices.number() as u64);
    Features: |choices| Self(choices.number() as u64);
    Role: |choices| Self::from_code(choices.number() as i8);
    Refusal: |choices| Self::from_code(choices.number() as i16);
    Flow: |choices| match choices.next() % 3 {
        0 => Self::Lane(Lane(choices.number() as u64)),
        1 => Self::Call(Correlation(choices.number() as u64)),
        _ => Self::Push(choices.number() as u32),
    };
    ErrorCode: |choices| Self::from_code(choices.number() as i16);
    BrokerId: |choices| Self(choices.number() as i32);
    PartitionIndex: |choices| Self(choices.number() as i32);
    LeaderEpoch: |choices| Self(choices.number() as i32);
    PartitionEpoch: |choices| Self(choices.number() as i32);
    BrokerEpoch: |choices| Self(choices.number());
    Sequence: |choices| Self(choices.number() as i32);
    Generation: |choices| Self(choices.number() as i32);
    GroupEpoch: |choices| Self(choices.number() as i32);
    MemberEpoch: |choices| Self(choices.number() as i32);
    ProducerEpoch: |choices| Self(choices.number() as i16);
    ProducerId: |choices| Self(choices.number());
    Offset: |choices| Self(choices.number());
    TopicId: |choices| Self([choices.next(); 16]);
    ClusterId: |choices| Self([choices.next(); 16]);
    FolderId: |choices| Self([choices.next(); 16]);
    StartId: |choices| Self([choices.next(); 16]);
    ByteString: |choices| {
        let letters = ['a', 'Z', '.', 'ä', '雨', '\0'];
        let letter = letters[usize::from(choices.next()) % letters.len()];
        let text: String = std::iter::repeat_n(letter, choices.length()).collect();
        text.into()
    };
    Bytes: |choices| {
        let byte = choices.next();
        vec![byte; choices.length()].into()
    };
}

impl Sample for Records {
    fn sample(choices: &mut Choices<'_>, format: Format) -> Self {
        let slices = choices.next() % 4;
        (0..slices)
            .map(|_| Bytes::sample(choices, format))
            .collect()
    }
}

impl<T: Sample> Sample for Vec<T> {
    fn sample(choices: &mut Choices<'_>, format: Format) -> Self {
        let length = choices.length();
        (0..length).map(|_| T::sample(choices, format)).collect()
    }
}

impl<T: Sample> Sample for Option<T> {
    fn sample(choices: &mut Choices<'_>, format: Format) -> Self {
        match choices.next() % 4 {
            0 => None,
            _ => Some(T::sample(choices, format)),
        }
    }
}
