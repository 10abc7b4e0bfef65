//! Reads one frame from front to back, within its length and within a budget of memory.
//!
//! Texts and bytes are slices of the frame. Only lists allocate, and only after their length was held against the
//! bytes that are left and against the budget (`limits::DECODE_ALLOCATION_FACTOR`). A frame may lie in several slices, as
//! it arrived: record bytes stay in them, and of the rest a value that is cut is copied.

use std::collections::VecDeque;

use bytes::Bytes;
use bytestring::ByteString;

use super::Records;
use super::wire::{Format, Wire};
use crate::limits::{DECODE_ALLOCATION_BYTES_EXTRA, DECODE_ALLOCATION_FACTOR, STRING_BYTES_MAX};

/// Why bytes are not the message they should be. `at` counts bytes from the start of the frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end in the middle of a value.
    #[error("{needed} bytes are needed at byte {at}, but only {remaining} are left")]
    Truncated {
        /// Where the value starts.
        at: usize,
        /// Bytes the value needs.
        needed: usize,
        /// Bytes that are left.
        remaining: usize,
    },
    /// A length below -1, or a variable-length number of more than 32 bits.
    #[error("the length at byte {at} is out of range")]
    InvalidLength {
        /// Where the length starts.
        at: usize,
    },
    /// A value is null that must not be in this version.
    #[error("the value before byte {at} must not be null in this version")]
    UnexpectedNull {
        /// Where the value ends.
        at: usize,
    },
    /// A number stands for nothing that is known.
    #[error("the value before byte {at} stands for nothing known")]
    UnknownValue {
        /// Where the value ends.
        at: usize,
    },
    /// A text is not UTF-8.
    #[error("the text at byte {at} is not UTF-8")]
    InvalidUtf8 {
        /// Where the text starts.
        at: usize,
    },
    /// A list claims more elements than the bytes that are left can hold.
    #[error("the list at byte {at} claims {count} elements, but only {remaining} bytes are left")]
    TooManyElements {
        /// Where the first element starts.
        at: usize,
        /// Elements claimed.
        count: usize,
        /// Bytes that are left.
        remaining: usize,
    },
    /// The lists of the message need more memory than its length allows.
    #[error("the list at byte {at} needs {needed} bytes of memory, but only {allowed} are allowed")]
    AllocationTooLarge {
        /// Where the first element starts.
        at: usize,
        /// Memory the list needs.
        needed: usize,
        /// Memory that may still be used.
        allowed: usize,
    },
    /// Tagged fields do not ascend, or one is longer or shorter than its content (KIP-482).
    #[error("the tagged field {tag} before byte {at} is out of order or of a wrong size")]
    InvalidTaggedField {
        /// Where the fault was found.
        at: usize,
        /// The field's tag.
        tag: u32,
    },
    /// The message ended before its bytes did.
    #[error("{count} bytes are left over at byte {at}")]
    TrailingBytes {
        /// Where the message ended.
        at: usize,
        /// Bytes left over.
        count: usize,
    },
    /// The version is not one of those this crate decodes.
    #[error("version {version} of {api} cannot be decoded")]
    UnsupportedVersion {
        /// The API's name.
        api: &'static str,
        /// The version asked for.
        version: i16,
    },
}

/// A tagged field whose value comes next.
pub(crate) struct Tag {
    pub(crate) number: u32,
    value_end: usize,
    outer_end: usize,
}

/// How many tagged fields are still to come, and the tag of the last one.
pub(crate) struct Tags {
    left: u32,
    previous: Option<u32>,
}

/// Reads values from a frame; see the module's text for its bounds.
#[derive(Clone, Debug)]
pub struct Decoder {
    /// The slice that was read last.
    slice: Bytes,
    /// Where in the frame it begins.
    slice_start: usize,
    /// The slices behind it.
    others: VecDeque<Bytes>,
    position: usize,
    end: usize,
    allocation_left: usize,
}

impl Decoder {
    /// Returns a decoder at the start of a frame (without its length prefix).
    #[must_use]
    pub fn new(frame: Bytes) -> Self {
        Self::over(&frame.into())
    }

    /// Returns a decoder at the start of a frame that lies in slices; they are shared, not copied.
    #[must_use]
    pub fn over(frame: &Records) -> Self {
        let end = frame.len();
        let allowed = end.saturating_mul(DECODE_ALLOCATION_FACTOR);
        let mut slices = frame.slices().cloned();
        Self {
            slice: slices.next().unwrap_or_default(),
            slice_start: 0,
            others: slices.collect(),
            position: 0,
            end,
            allocation_left: allowed.saturating_add(DECODE_ALLOCATION_BYTES_EXTRA),
        }
    }

    /// Returns the number of bytes not read yet.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.end - self.position
    }

    /// Checks that every byte was read.
    ///
    /// # Errors
    /// [`DecodeError::TrailingBytes`] if some were not.
    pub fn finish(&self) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            count => Err(DecodeError::TrailingBytes {
                at: self.position,
                count,
            }),
        }
    }

    /// Returns the error for a null that was read just now.
    pub(crate) fn unexpected_null(&self) -> DecodeError {
        DecodeError::UnexpectedNull { at: self.position }
    }

    /// Returns the error for a number that was read just now and stands for nothing known.
    pub(crate) fn unknown_value(&self) -> DecodeError {
        DecodeError::UnknownValue { at: self.position }
    }

    fn advance(&mut self, count: usize) -> Result<usize, DecodeError> {
        let at = self.position;
        let remaining = self.remaining();
        if count > remaining {
            return Err(DecodeError::Truncated {
                at,
                needed: count,
                remaining,
            });
        }
        self.position += count;
        Ok(at)
    }

    /// Returns how many bytes before `at` the slice begins that holds it, having moved to that slice; there is no way back.
    fn seek(&mut self, at: usize) -> usize {
        while at - self.slice_start >= self.slice.len() {
            let Some(next) = self.others.pop_front() else {
                break;
            };
            self.slice_start += self.slice.len();
            self.slice = next;
        }
        at - self.slice_start
    }

    /// Returns bytes that were passed just now, in the slices they lie in.
    fn slices(&mut self, mut at: usize, length: usize) -> Records {
        let mut found = Records::default();
        let end = at + length;
        while at < end {
            let start = self.seek(at);
            let count = (end - at).min(self.slice.len() - start);
            found.push(self.slice.slice(start..start + count));
            at += count;
        }
        found
    }

    pub(crate) fn read_array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let at = self.advance(N)?;
        let start = self.seek(at);
        let mut bytes = [0; N];
        match self.slice.get(start..start + N) {
            Some(found) => bytes.copy_from_slice(found),
            None => bytes.copy_from_slice(&self.slices(at, N).into_bytes()),
        }
        Ok(bytes)
    }

    pub(crate) fn read_i16(&mut self) -> Result<i16, DecodeError> {
        Ok(i16::from_be_bytes(self.read_array()?))
    }

    pub(crate) fn read_i32(&mut self) -> Result<i32, DecodeError> {
        Ok(i32::from_be_bytes(self.read_array()?))
    }

    /// Reads seven bits per byte, the lowest first; the top bit says that another byte follows.
    pub(crate) fn read_unsigned_varint(&mut self) -> Result<u32, DecodeError> {
        let at = self.position;
        let mut value = 0;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.read_array()?;
            if shift == 28 && byte > 0b1111 {
                break;
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError::InvalidLength { at })
    }

    /// Reads a length that is one less than the number on the wire, 0 being null.
    fn read_compact_length(&mut self) -> Result<Option<usize>, DecodeError> {
        let at = self.position;
        match self.read_unsigned_varint()?.checked_sub(1) {
            None => Ok(None),
            Some(length) => usize::try_from(length)
                .map(Some)
                .map_err(|_| DecodeError::InvalidLength { at }),
        }
    }

    /// Reads the length of bytes or of a list: 32 bits or compact.
    pub(crate) fn read_length(&mut self, format: Format) -> Result<Option<usize>, DecodeError> {
        if format.flexible {
            return self.read_compact_length();
        }
        let at = self.position;
        match self.read_i32()? {
            -1 => Ok(None),
            length => usize::try_from(length)
                .map(Some)
                .map_err(|_| DecodeError::InvalidLength { at }),
        }
    }

    /// Reads the length of a text: 16 bits or compact.
    fn read_text_length(&mut self, format: Format) -> Result<Option<usize>, DecodeError> {
        if format.flexible {
            return self.read_compact_length();
        }
        let at = self.position;
        match self.read_i16()? {
            -1 => Ok(None),
            length => usize::try_from(length)
                .map(Some)
                .map_err(|_| DecodeError::InvalidLength { at }),
        }
    }

    pub(crate) fn read_nullable_text(
        &mut self,
        format: Format,
    ) -> Result<Option<ByteString>, DecodeError> {
        let start = self.position;
        let Some(length) = self.read_text_length(format)? else {
            return Ok(None);
        };
        if length > STRING_BYTES_MAX {
            return Err(DecodeError::InvalidLength { at: start });
        }
        let at = self.advance(length)?;
        match ByteString::try_from(self.slices(at, length).into_bytes()) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(DecodeError::InvalidUtf8 { at }),
        }
    }

    pub(crate) fn read_nullable_bytes(
        &mut self,
        format: Format,
    ) -> Result<Option<Bytes>, DecodeError> {
        Ok(self.read_nullable_records(format)?.map(Records::into_bytes))
    }

    /// Reads bytes and leaves them in the slices they lie in.
    pub(crate) fn read_nullable_records(
        &mut self,
        format: Format,
    ) -> Result<Option<Records>, DecodeError> {
        let Some(length) = self.read_length(format)? else {
            return Ok(None);
        };
        let at = self.advance(length)?;
        Ok(Some(self.slices(at, length)))
    }

    pub(crate) fn read_nullable_list<T: Wire>(
        &mut self,
        format: Format,
    ) -> Result<Option<Vec<T>>, DecodeError> {
        let Some(count) = self.read_length(format)? else {
            return Ok(None);
        };
        let mut list = self.reserve(count, T::size_min(format))?;
        for _ in 0..count {
            list.push(T::decode_value(self, format)?);
        }
        Ok(Some(list))
    }

    /// Returns room for `count` elements, after checking them against what is left of bytes and budget.
    fn reserve<T>(&mut self, count: usize, size_min: usize) -> Result<Vec<T>, DecodeError> {
        let at = self.position;
        let remaining = self.remaining();
        if count > remaining / size_min.max(1) {
            return Err(DecodeError::TooManyElements {
                at,
                count,
                remaining,
            });
        }
        let needed = count.saturating_mul(size_of::<T>());
        match self.allocation_left.checked_sub(needed) {
            Some(left) => self.allocation_left = left,
            None => {
                return Err(DecodeError::AllocationTooLarge {
                    at,
                    needed,
                    allowed: self.allocation_left,
                });
            }
        }
        Ok(Vec::with_capacity(count))
    }

    /// Reads how many tagged fields follow; there are none outside flexible versions.
    pub(crate) fn read_tags(&mut self, format: Format) -> Result<Tags, DecodeError> {
        let left = if format.flexible {
            self.read_unsigned_varint()?
        } else {
            0
        };
        Ok(Tags {
            left,
            previous: None,
        })
    }

    /// Reads the next tag and confines the decoder to its value, until [`Decoder::end_tag`].
    pub(crate) fn next_tag(&mut self, tags: &mut Tags) -> Result<Option<Tag>, DecodeError> {
        if tags.left == 0 {
            return Ok(None);
        }
        tags.left -= 1;
        let number = self.read_unsigned_varint()?;
        if tags.previous.is_some_and(|previous| previous >= number) {
            return Err(DecodeError::InvalidTaggedField {
                at: self.position,
                tag: number,
            });
        }
        tags.previous = Some(number);
        let at = self.position;
        let size = usize::try_from(self.read_unsigned_varint()?)
            .map_err(|_| DecodeError::InvalidLength { at })?;
        let value_start = self.advance(size)?;
        self.position = value_start;
        let tag = Tag {
            number,
            value_end: value_start + size,
            outer_end: self.end,
        };
        self.end = tag.value_end;
        Ok(Some(tag))
    }

    /// Passes over the value of a tagged field that this crate does not know.
    pub(crate) fn skip_tag(&mut self, tag: &Tag) {
        self.position = tag.value_end;
    }

    /// Checks that the value of the tagged field was read whole, and lifts its confines.
    pub(crate) fn end_tag(&mut self, tag: &Tag) -> Result<(), DecodeError> {
        if self.position != tag.value_end {
            return Err(DecodeError::InvalidTaggedField {
                at: self.position,
                tag: tag.number,
            });
        }
        self.end = tag.outer_end;
        Ok(())
    }
}
