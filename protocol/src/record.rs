//! One record of a batch, as a consumer sees it: views of the batch's (decompressed) bytes.

use bytes::Bytes;
use bytestring::ByteString;

use crate::offset::Offset;

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place in the partition.
    pub offset: Offset,
    /// Milliseconds since 1970; -1 means none.
    pub timestamp: i64,
    /// The key; `None` is null, which is not the same as empty.
    pub key: Option<Bytes>,
    /// The value; `None` is null.
    pub value: Option<Bytes>,
    /// Headers in order; names may repeat (KIP-82).
    pub headers: Vec<RecordHeader>,
}

/// A header of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// Its name; what is not UTF-8 in it reads as U+FFFD.
    pub name: ByteString,
    /// Its value; `None` is null.
    pub value: Option<Bytes>,
}
