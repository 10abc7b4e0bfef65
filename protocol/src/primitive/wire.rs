//! How each type looks on the wire, in fixed and in flexible versions (KIP-482).
//!
//! ```text
//!            fixed version               flexible version
//! text       i16 length, UTF-8           length + 1 as varint, UTF-8
//! bytes      i32 length, bytes           length + 1 as varint, bytes
//! list       i32 count, elements         count + 1 as varint, elements
//! null       length or count -1          0
//! structure  fields                      fields, tagged fields
//! ```
//! A structure that may be null has a byte before it, 1 or for null -1 (KIP-893).

use bytes::Bytes;
use bytestring::ByteString;

use super::decoder::{DecodeError, Decoder};
use super::encoder::{EncodeError, Encoder};
use super::records::Records;
use crate::error_code::ErrorCode;
use crate::group::{Generation, GroupEpoch, MemberEpoch};
use crate::identifiers::{
    BrokerId, ClusterId, FolderId, PartitionIndex, ProducerId, StartId, TopicId,
};
use crate::link::handshake::{Refusal, Role};
use crate::link::{Correlation, Features, Lane};
use crate::offset::{BrokerEpoch, LeaderEpoch, Offset, PartitionEpoch, ProducerEpoch, Sequence};

/// The version of a message, and what follows from it for every value inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    pub(crate) version: i16,
    pub(crate) flexible: bool,
}

/// Returns whether a field has its default; a function so that the types of both are the same.
pub(crate) fn is<T: PartialEq>(value: &T, default: &T) -> bool {
    value == default
}

/// A type that can be part of a message.
pub trait Wire: Sized {
    /// Returns the fewest bytes a value takes; used to refuse lists that cannot fit.
    fn size_min(format: Format) -> usize;

    /// Appends the value.
    fn encode_value(&self, encoder: &mut Encoder, format: Format) -> Result<(), EncodeError>;

    /// Reads a value.
    fn decode_value(decoder: &mut Decoder, format: Format) -> Result<Self, DecodeError>;
}

macro_rules! fixed_size {
    ($($type:ty: $inner:ty, |$value:ident| $into:expr, |$number:ident| $from:expr;)*) => {$(
        impl Wire for $type {
            fn size_min(_: Format) -> usize {
                size_of::<$inner>()
            }

            fn encode_value(&self, encoder: &mut Encoder, _: Format) -> Result<(), EncodeError> {
                let $value = self;
                let number: $inner = $into;
                encoder.put(&number.to_be_bytes());
                Ok(())
            }

            fn decode_value(decoder: &mut Decoder, _: Format) -> Result<Self, DecodeError> {
                let $number = <$inner>::from_be_bytes(decoder.read_array()?);
                Ok($from)
            }
        }
    )*};
}

fixed_size! {
    bool: u8, |value| u8::from(*value), |number| number != 0;
    i8: i8, |value| *value, |number| number;
    i16: i16, |value| *value, |number| number;
    i32: i32, |value| *value, |number| number;
    i64: i64, |value| *value, |number| number;
    u16: u16, |value| *value, |number| number;
    u32: u32, |value| *value, |number| number;
    u64: u64, |value| *value, |number| number;
    ErrorCode: i16, |value| value.code(), |number| Self::from_code(number);
    BrokerId: i32, |value| value.0, |number| Self(number);
    PartitionIndex: i32, |value| value.0, |number| Self(number);
    LeaderEpoch: i32, |value| value.0, |number| Self(number);
    PartitionEpoch: i32, |value| value.0, |number| Self(number);
    BrokerEpoch: i64, |value| value.0, |number| Self(number);
    Sequence: i32, |value| value.0, |number| Self(number);
    Generation: i32, |value| value.0, |number| Self(number);
    GroupEpoch: i32, |value| value.0, |number| Self(number);
    MemberEpoch: i32, |value| value.0, |number| Self(number);
    ProducerEpoch: i16, |value| value.0, |number| Self(number);
    ProducerId: i64, |value| value.0, |number| Self(number);
    Offset: i64, |value| value.0, |number| Self(number);
    ClusterId: u128, |value| u128::from_be_bytes(value.0), |number| Self(number.to_be_bytes());
    FolderId: u128, |value| u128::from_be_bytes(value.0), |number| Self(number.to_be_bytes());
    StartId: u128, |value| u128::from_be_bytes(value.0), |number| Self(number.to_be_bytes());
    Lane: u64, |value| value.0, |number| Self(number);
    Correlation: u64, |value| value.0, |number| Self(number);
    Features: u64, |value| value.0, |number| Self(number);
    Role: i8, |value| value.code(), |number| Self::from_code(number);
    Refusal: i16, |value| value.code(), |number| Self::from_code(number);
    TopicId: u128, |value| u128::from_be_bytes(value.0), |number| Self(number.to_be_bytes());
}

fn not_null<T>(value: Option<T>, decoder: &Decoder) -> Result<T, DecodeError> {
    value.ok_or_else(|| decoder.unexpected_null())
}

impl Wire for ByteString {
    fn size_min(format: Format) -> usize {
        if format.flexible { 1 } else { 2 }
    }

    fn encode_value(&self, encoder: &mut Encoder, format: Format) -> Result<(), EncodeError> {
        encoder.put_nullable_text(Some(self), format)
    }

    fn decode_value(decoder: &mut Decoder, format: Format) -> Result<Self, DecodeError> {
        let text = decoder.read_nullable_text(format)?;
        not_null(text, decoder)
    }
}

impl Wire for Option<ByteString> {
    fn size_min(format: Format) -> usize {
        ByteString::size_min(format)
    }

    fn encode_value(&self, encoder: &mut Encoder, format: Format) -> Result<(), EncodeError> {
        encoder.put_nullable_text(self.as_deref(), format)
    }

    fn decode_value(decoder: &mut Decoder, format: Format) -> Result<Self, DecodeError> {
        decoder.read_nullable_text(format)
    }
}

fn length_size(format: Format) -> usize {
    if format.flexible { 1 } else { 4 }
}

impl Wire for Bytes {
    fn size_min(format: Format) -> usize {
        length_size(format)
    }

    fn encode_value(&self, encoder: &mut Encoder, format: Format) -> Result<(), EncodeError> {
        encoder.put_nullable_bytes(Some(self), format)
    }

    fn decode_value(decoder: &mut Decoder, format: Format) -> Result<Self, DecodeError> {
        let bytes = decoder.read_nullable_bytes(format)?;
        not_null(bytes, decoder)
    }
}

impl Wire for Option<Bytes> {
    fn size_min(format: Format) -> usize {
        length_size(format)
    }

    fn encode_value(&self, encoder: &mut Encoder, format: Format) -> Result<(), EncodeError> {
        encoder.put_nullable_bytes(self.as_ref(), format)
    }

    fn decode_value(decoder: &mut Decoder, format: Format) -> Result<Self, DecodeError> {
        decoder.read_nullable_bytes(format)
    }
}

impl Wire for Records {
    fn size_min(format: Format) -> usize {
        length_size(format)
    }

    fn encode_value(&self, encoder: &mut Encoder, format: Format) -> Result<(), EncodeError> {
        encoder.put_nullable_records(Some(self), format)
    }

    fn decode_value(decoder: &mut Decoder, format: Format) -> Result<Self, DecodeError> {
        let records = decoder.read_nullable_records(format)?;
        not_null(records, decoder)
    }
}

impl Wire for Option<Records> {
    fn size_min(format: Format) -> usize {
        length_size(format)
    }

    fn encode_value(&self, encoder: &mut Encoder, format: Format) -> Result<(), EncodeError> {
        encoder.put_nullable_records(self.as_ref(), format)
    }

    fn decode_value(decoder: &mut Decoder, format: Format) -> Result<Self, DecodeError> {
        decoder.read_nullable_records(format)
    }
}

fn encode_list<T: Wire>(
    list: &[T],
    encoder: &mut Encoder,
    format: Format,
) -> Result<(), EncodeError> {
    encoder.put_length(Some(list.len()), format)?;
    list.iter()
        .try_for_each(|element| element.encode_value(encoder, format))
}

impl<T: Wire> Wire for Vec<T> {
    fn size_min(format: Format) -> usize {
        length_size(format)
    }

    fn encode_value(&self, encoder: &mut Encoder, format: Format) -> Result<(), EncodeError> {
        encode_list(self, encoder, format)
    }

    fn decode_value(decoder: &mut Decoder, format: Format) -> Result<Self, DecodeError> {
        let list = decoder.read_nullable_list(format)?;
        not_null(list, decoder)
    }
}

impl<T: Wire> Wire for Option<Vec<T>> {
    fn size_min(format: Format) -> usize {
        length_size(format)
    }

    fn encode_value(&self, encoder: &mut Encoder, format: Format) -> Result<(), EncodeError> {
        match self {
            Some(list) => encode_list(list, encoder, format),
            None => encoder.put_length(None, format),
        }
    }

    fn decode_value(decoder: &mut Decoder, format: Format) -> Result<Self, DecodeError> {
        decoder.read_nullable_list(format)
    }
}

/// Appends a structure that may be null.
pub(crate) fn encode_nullable<T: Wire>(
    structure: Option<&T>,
    encoder: &mut Encoder,
    format: Format,
) -> Result<(), EncodeError> {
    match structure {
        Some(structure) => {
            1i8.encode_value(encoder, format)?;
            structure.encode_value(encoder, format)
        }
        None => (-1i8).encode_value(encoder, format),
    }
}

/// Reads a structure that may be null; as in Kafka any negative byte stands for null, and any other for what follows.
pub(crate) fn decode_nullable<T: Wire>(
    decoder: &mut Decoder,
    format: Format,
) -> Result<Option<T>, DecodeError> {
    match i8::decode_value(decoder, format)? {
        ..0 => Ok(None),
        _ => T::decode_value(decoder, format).map(Some),
    }
}
