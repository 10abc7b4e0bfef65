//! The file beside a segment that proves its end and holds its index: a cache that recovery can do without.
//!
//! ```text
//! <base offset>.index, big-endian
//!  0 "KEYLANEI" · version u32 (1) · entry count u32
//! 16 base offset i64 · proven end offset i64 · proven size u64 · largest timestamp i64 · last leader epoch i32
//! 52 producers length u32 · entries (offset delta u32, position u32, largest timestamp before i64) …
//!    · producer state as of the proven end, in its own format · CRC-32C of everything before u32
//! ```
//! Written only after the segment's bytes up to the proven end were synced: damage below it is rot, never a torn write.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use keylane_protocol::offset::{LeaderEpoch, Offset};

use super::segment::{IndexEntry, Segment};

const MAGIC: &[u8; 8] = b"KEYLANEI";
const VERSION: u32 = 1;
const FIXED_BYTES: usize = 56;
const ENTRY_BYTES: usize = 16;

/// The largest index file that is read: that of a 2 GiB segment with an entry every 4 KiB, and its producers.
pub const INDEX_FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What an index file says.
#[derive(Clone, Debug)]
pub struct IndexFile {
    /// The segment up to the proven end.
    pub segment: Segment,
    /// The leader epoch of its last batch.
    pub last_leader_epoch: LeaderEpoch,
    /// The producers' state as of the proven end; empty if it is not known there.
    pub producers: Bytes,
}

impl IndexFile {
    /// Returns the file's contents.
    #[must_use]
    pub fn encode(segment: &Segment, last_leader_epoch: LeaderEpoch, producers: &[u8]) -> Bytes {
        let index = segment.index();
        let mut out =
            BytesMut::with_capacity(FIXED_BYTES + index.len() * ENTRY_BYTES + producers.len() + 4);
        out.put_slice(MAGIC);
        out.put_u32(VERSION);
        out.put_u32(u32::try_from(index.len()).expect("entries are 4 KiB apart"));
        out.put_i64(segment.base_offset().0);
        out.put_i64(segment.end_offset().0);
        out.put_u64(segment.size_bytes());
        out.put_i64(segment.max_timestamp());
        out.put_i32(last_leader_epoch.0);
        out.put_u32(u32::try_from(producers.len()).expect("producer state is bounded"));
        for entry in index {
            out.put_u32(entry.offset_delta);
            out.put_u32(entry.position);
            out.put_i64(entry.max_timestamp_before);
        }
        out.put_slice(producers);
        out.put_u32(crate::folder::checked::checksum(&out));
        out.freeze()
    }

    /// Returns what the file says; `None` if it is damaged, of another version or of another segment.
    #[must_use]
    pub fn decode(bytes: &Bytes, base_offset: Offset) -> Option<Self> {
        let body_length = bytes
            .len()
            .checked_sub(4)
            .filter(|&length| length >= FIXED_BYTES)?;
        let declared = bytes.slice(body_length..).get_u32();
        if declared != crate::folder::checked::checksum(&bytes[..body_length]) {
            return None;
        }
        let mut body = bytes.slice(..body_length);
        if !body.starts_with(MAGIC) {
            return None;
        }
        body.advance(MAGIC.len());
        if body.get_u32() != VERSION {
            return None;
        }
        let count = usize::try_from(body.get_u32()).ok()?;
        if body.get_i64() != base_offset.0 {
            return None;
        }
        let end_offset = Offset(body.get_i64());
        let size_bytes = body.get_u64();
        let max_timestamp = body.get_i64();
        let last_leader_epoch = LeaderEpoch(body.get_i32());
        let producers_length = usize::try_from(body.get_u32()).ok()?;
        let entries_length = count.checked_mul(ENTRY_BYTES)?;
        if body.remaining() != entries_length.checked_add(producers_length)? {
            return None;
        }
        let index = (0..count)
            .map(|_| IndexEntry {
                offset_delta: body.get_u32(),
                position: body.get_u32(),
                max_timestamp_before: body.get_i64(),
            })
            .collect();
        let segment = Segment::restored(base_offset, end_offset, size_bytes, max_timestamp, index)?;
        Some(Self {
            segment,
            last_leader_epoch,
            producers: body,
        })
    }
}
