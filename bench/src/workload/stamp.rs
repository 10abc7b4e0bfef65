//! What a record tells about itself: who sent it, as which of its records, and when it was due.
//!
//! ```text
//! stream u32 · sequence u64 · due u64 (monotonic nanoseconds), big-endian, 20 bytes
//! ```
//! Generated records begin their value with it; rows of a file stay as they are and carry it in a header.

/// The bytes of a stamp.
pub const STAMP_BYTES: usize = 20;

/// The record header that carries the stamp of a row.
pub const STAMP_HEADER: &str = "keylane-bench";

/// A record's stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The producer, from 0.
    pub stream: u32,
    /// The record's place among those of its producer, from 0.
    pub sequence: u64,
    /// When it was due to be sent, in monotonic nanoseconds.
    pub due_ns: u64,
}

impl Stamp {
    /// Returns the bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; STAMP_BYTES] {
        let mut bytes = [0; STAMP_BYTES];
        bytes[..4].copy_from_slice(&self.stream.to_be_bytes());
        bytes[4..12].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[12..].copy_from_slice(&self.due_ns.to_be_bytes());
        bytes
    }

    /// Returns the stamp that the bytes begin with, `None` if they are too few.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (stream, rest) = bytes.split_first_chunk()?;
        let (sequence, rest) = rest.split_first_chunk()?;
        let due_ns = rest.first_chunk()?;
        Some(Self {
            stream: u32::from_be_bytes(*stream),
            sequence: u64::from_be_bytes(*sequence),
            due_ns: u64::from_be_bytes(*due_ns),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_survives_its_bytes() {
        let stamp = Stamp {
            stream: 3,
            sequence: u64::MAX - 1,
            due_ns: 123_456_789,
        };
        assert_eq!(Stamp::read(&stamp.to_bytes()), Some(stamp));
        assert_eq!(Stamp::read(&stamp.to_bytes()[..19]), None);
    }
}
