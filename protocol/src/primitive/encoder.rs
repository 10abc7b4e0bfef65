//! Collects a message as slices for one vectored write: fields and few records go into one buffer, others stay where they
//! are.
//!
//! ```text
//! buffer   length header fields… │ fields… │ fields…
//! inserts                        records   records      each with its place in the buffer
//! ```

use bytes::{BufMut, Bytes, BytesMut};

use super::records::Records;
use super::wire::Format;
use crate::limits::{ENCODER_BYTES_FIRST, INSERT_COPIED_BYTES_MAX, STRING_BYTES_MAX};

/// Why a message cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The version is not one of those this crate encodes.
    #[error("version {version} of {api} cannot be encoded")]
    UnsupportedVersion {
        /// The API's name.
        api: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// A field that this version lacks, and that must not be dropped silently, is set.
    #[error("{field} is set, but version {version} has no such field")]
    FieldNotInVersion {
        /// Type and name of the field.
        field: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// A field is null that must not be in this version.
    #[error("{field} must not be null in version {version}")]
    UnexpectedNull {
        /// Type and name of the field.
        field: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// A text, a list or the whole message is longer than its length can say.
    #[error("a length of {length} cannot be encoded")]
    TooLong {
        /// Bytes or elements.
        length: usize,
    },
}

/// Collects a message; see the module's text for how.
#[derive(Debug, Default)]
pub struct Encoder {
    buffer: BytesMut,
    inserts: Vec<Insert>,
    inserts_size: usize,
}

#[derive(Debug)]
struct Insert {
    at: usize,
    slice: Bytes,
}

impl Encoder {
    /// Returns an empty encoder.
    #[must_use]
    pub fn new() -> Self {
        Self::with_capacity(0)
    }

    /// Returns an empty encoder with room for so many bytes that are not kept in slices, at least.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self {
            buffer: BytesMut::with_capacity(bytes.max(ENCODER_BYTES_FIRST)),
            ..Self::default()
        }
    }

    /// Returns the number of bytes collected.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buffer.len() + self.inserts_size
    }

    /// Returns whether nothing was collected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns what was collected as slices in order, none of them empty.
    #[must_use]
    pub fn into_segments(self) -> Vec<Bytes> {
        let mut rest = self.buffer.freeze();
        let mut segments = Vec::with_capacity(2 * self.inserts.len() + 1);
        let mut start = 0;
        for insert in self.inserts {
            if insert.at > start {
                segments.push(rest.split_to(insert.at - start));
                start = insert.at;
            }
            segments.push(insert.slice);
        }
        if !rest.is_empty() {
            segments.push(rest);
        }
        segments
    }

    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.buffer.put_slice(bytes);
    }

    pub(crate) fn put_unsigned_varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.buffer.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.buffer.put_u8(value as u8);
    }

    /// Writes the length of bytes or of a list: 32 bits, -1 for null, or compact.
    pub(crate) fn put_length(
        &mut self,
        length: Option<usize>,
        format: Format,
    ) -> Result<(), EncodeError> {
        let number = match length {
            None => -1,
            Some(length) => i32::try_from(length).map_err(|_| EncodeError::TooLong { length })?,
        };
        if format.flexible {
            self.put_unsigned_varint(number.wrapping_add(1) as u32);
        } else {
            self.buffer.put_i32(number);
        }
        Ok(())
    }

    pub(crate) fn put_nullable_text(
        &mut self,
        text: Option<&str>,
        format: Format,
    ) -> Result<(), EncodeError> {
        let length = text.map(str::len);
        if let Some(length) = length.filter(|&length| length > STRING_BYTES_MAX) {
            return Err(EncodeError::TooLong { length });
        }
        if format.flexible {
            self.put_length(length, format)?;
        } else {
            self.buffer
                .put_i16(length.map_or(-1, |length| length as i16));
        }
        self.put(text.unwrap_or_default().as_bytes());
        Ok(())
    }

    pub(crate) fn put_nullable_bytes(
        &mut self,
        bytes: Option<&Bytes>,
        format: Format,
    ) -> Result<(), EncodeError> {
        self.put_length(bytes.map(Bytes::len), format)?;
        if let Some(bytes) = bytes {
            self.insert(bytes);
        }
        Ok(())
    }

    pub(crate) fn put_nullable_records(
        &mut self,
        records: Option<&Records>,
        format: Format,
    ) -> Result<(), EncodeError> {
        self.put_length(records.map(Records::len), format)?;
        for slice in records.into_iter().flat_map(Records::slices) {
            self.insert(slice);
        }
        Ok(())
    }

    fn insert(&mut self, slice: &Bytes) {
        if slice.len() <= INSERT_COPIED_BYTES_MAX {
            return self.put(slice);
        }
        self.inserts_size += slice.len();
        self.inserts.push(Insert {
            at: self.buffer.len(),
            slice: slice.clone(),
        });
    }

    /// Writes a tagged field: tag, size, and the value that `encode` writes.
    pub(crate) fn put_tagged(
        &mut self,
        tag: u32,
        encode: impl FnOnce(&mut Self) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.put_unsigned_varint(tag);
        let start = self.buffer.len();
        let start_length = self.len();
        let inserts = self.inserts.len();
        encode(self)?;
        let end = self.buffer.len();
        let size = self.len() - start_length;
        let size = u32::try_from(size).map_err(|_| EncodeError::TooLong { length: size })?;
        self.put_unsigned_varint(size);
        let size_length = self.buffer.len() - end;
        self.buffer[start..].rotate_right(size_length);
        for insert in &mut self.inserts[inserts..] {
            insert.at += size_length;
        }
        Ok(())
    }

    /// Writes the number of bytes that follow them into the first four bytes.
    pub(crate) fn set_length_prefix(&mut self) -> Result<(), EncodeError> {
        let length = self.len() - 4;
        let prefix = i32::try_from(length).map_err(|_| EncodeError::TooLong { length })?;
        self.buffer[..4].copy_from_slice(&prefix.to_be_bytes());
        Ok(())
    }
}
