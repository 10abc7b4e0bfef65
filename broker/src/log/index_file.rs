//! The file beside a segment that proves its end and holds its index: a cache that recovery can do without.
//!
//! ```text
//! <base offset>.index, big-endian
//!  0 "KEYLANEI" · version u32 (2) · entry count u32
//! 16 base offset i64 · proven end offset i64 · proven size u64 · largest timestamp i64 · last leader epoch i32
//! 52 producers length u32 · epoch count u32 · entries (offset delta u32, position u32, largest timestamp before i64) …
//!    · epochs (leader epoch i32, first offset i64) … · producer state as of the proven end · CRC-32C of all before u32
//! ```
//! Version 1, which is read, has no epochs and no count of them. Written only after the segment's bytes up to the proven end were synced: damage below it is rot, never a torn write.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use keylane_protocol::offset::{LeaderEpoch, Offset};

use super::epochs::{EpochHistory, EpochStart};
use super::segment::{IndexEntry, Segment};

const MAGIC: &[u8; 8] = b"KEYLANEI";
const VERSION: u32 = 2;
const VERSION_WITHOUT_EPOCHS: u32 = 1;
/// What comes before the entries in the version without epochs.
const FIXED_BYTES: usize = 56;
const ENTRY_BYTES: usize = 16;
const EPOCH_BYTES: usize = 12;

/// The largest index file that is read: that of a 2 GiB segment with an entry every 4 KiB, and its producers.
pub const INDEX_FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What an index file says.
#[derive(Clone, Debug)]
pub struct IndexFile {
    /// The segment up to the proven end.
    pub segment: Segment,
    /// The leader epoch of its last batch.
    pub last_leader_epoch: LeaderEpoch,
    /// The leader epochs of its batches; `None` if the file's version does not tell them.
    pub epochs: Option<EpochHistory>,
    /// The producers' state as of the proven end; empty if it is not known there.
    pub producers: Bytes,
}

impl IndexFile {
    /// Tells whether the file proves the whole of the segment as it has become.
    #[must_use]
    pub fn proves(&self, segment: &Segment) -> bool {
        self.segment.end_offset() == segment.end_offset()
            && self.segment.size_bytes() == segment.size_bytes()
    }

    /// Returns the file's contents.
    #[must_use]
    pub fn encode(segment: &Segment, epochs: &EpochHistory, producers: &[u8]) -> Bytes {
        let index = segment.index();
        let starts = epochs.starts();
        let lists_bytes = index.len() * ENTRY_BYTES + starts.len() * EPOCH_BYTES;
        let mut out = BytesMut::with_capacity(FIXED_BYTES + lists_bytes + producers.len() + 8);
        out.put_slice(MAGIC);
        out.put_u32(VERSION);
        out.put_u32(u32::try_from(index.len()).expect("entries are 4 KiB apart"));
        out.put_i64(segment.base_offset().0);
        out.put_i64(segment.end_offset().0);
        out.put_u64(segment.size_bytes());
        out.put_i64(segment.max_timestamp());
        out.put_i32(epochs.last().0);
        out.put_u32(u32::try_from(producers.len()).expect("producer state is bounded"));
        out.put_u32(u32::try_from(starts.len()).expect("a history is bounded"));
        for entry in index {
            out.put_u32(entry.offset_delta);
            out.put_u32(entry.position);
            out.put_i64(entry.max_timestamp_before);
        }
        for start in starts {
            out.put_i32(start.epoch.0);
            out.put_i64(start.offset.0);
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
        let has_epochs = match body.get_u32() {
            VERSION => true,
            VERSION_WITHOUT_EPOCHS => false,
            _ => return None,
        };
        let count = usize::try_from(body.get_u32()).ok()?;
        if body.get_i64() != base_offset.0 {
            return None;
        }
        let end_offset = Offset(body.get_i64());
        let size_bytes = body.get_u64();
        let max_timestamp = body.get_i64();
        let last_leader_epoch = LeaderEpoch(body.get_i32());
        let producers_length = usize::try_from(body.get_u32()).ok()?;
        let epoch_count = match has_epochs {
            true => usize::try_from(body.try_get_u32().ok()?).ok()?,
            false => 0,
        };
        let lists_length = count
            .checked_mul(ENTRY_BYTES)?
            .checked_add(epoch_count.checked_mul(EPOCH_BYTES)?)?;
        if body.remaining() != lists_length.checked_add(producers_length)? {
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
        let starts = (0..epoch_count).map(|_| EpochStart {
            epoch: LeaderEpoch(body.get_i32()),
            offset: Offset(body.get_i64()),
        });
        let epochs = EpochHistory::restored(starts.collect())?;
        if has_epochs && !belongs(&epochs, &segment, last_leader_epoch) {
            return None;
        }
        Some(Self {
            segment,
            last_leader_epoch,
            epochs: has_epochs.then_some(epochs),
            producers: body,
        })
    }
}

fn belongs(epochs: &EpochHistory, segment: &Segment, last_leader_epoch: LeaderEpoch) -> bool {
    let is_within = epochs
        .starts()
        .iter()
        .all(|start| segment.base_offset() <= start.offset && start.offset < segment.end_offset());
    is_within && epochs.last() == last_leader_epoch
}
