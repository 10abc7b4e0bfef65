//! Record batches on their way through a message: one or more slices that follow each other.

use std::fmt;

use bytes::{Bytes, BytesMut};

use crate::limits::INSERT_COPIED_BYTES_MAX;

/// Record batches as consecutive slices, so that a broker can answer with what lies in several places, such as a
/// stamped prefix and the rest of a batch, without copying. Decoding always yields a single slice of the frame.
/// Equality is that of the joined bytes.
#[derive(Clone, Default)]
pub struct Records {
    first: Bytes,
    others: Vec<Bytes>,
}

impl Records {
    /// Returns the number of bytes of all slices.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slices().map(Bytes::len).sum()
    }

    /// Returns whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a slice at the end.
    pub fn push(&mut self, slice: Bytes) {
        if self.first.is_empty() {
            self.first = slice;
        } else if !slice.is_empty() {
            self.others.push(slice);
        }
    }

    /// Returns the slices in order.
    pub fn slices(&self) -> impl Iterator<Item = &Bytes> + Clone {
        std::iter::once(&self.first)
            .filter(|slice| !slice.is_empty())
            .chain(&self.others)
    }

    /// Returns how many of the bytes are copied when they are encoded.
    pub(crate) fn bytes_copied(&self) -> usize {
        let small = |length: &usize| *length <= INSERT_COPIED_BYTES_MAX;
        self.slices().map(Bytes::len).filter(small).sum()
    }

    /// Returns the first slice, which is empty only if there is none, and the others.
    pub(crate) fn into_slices(self) -> (Bytes, Vec<Bytes>) {
        (self.first, self.others)
    }

    /// Returns the bytes as one slice; copies only if there was more than one.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        if self.others.is_empty() {
            return self.first;
        }
        let mut joined = BytesMut::with_capacity(self.len());
        for slice in self.slices() {
            joined.extend_from_slice(slice);
        }
        joined.freeze()
    }
}

impl From<Bytes> for Records {
    fn from(bytes: Bytes) -> Self {
        Self {
            first: bytes,
            others: Vec::new(),
        }
    }
}

impl FromIterator<Bytes> for Records {
    fn from_iter<I: IntoIterator<Item = Bytes>>(slices: I) -> Self {
        let mut records = Self::default();
        for slice in slices {
            records.push(slice);
        }
        records
    }
}

impl PartialEq for Records {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.slices().flatten().eq(other.slices().flatten())
    }
}

impl Eq for Records {}

/// Shows sizes, never contents.
impl fmt::Debug for Records {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slices = self.slices().count();
        write!(
            formatter,
            "Records({} bytes in {slices} slices)",
            self.len()
        )
    }
}
