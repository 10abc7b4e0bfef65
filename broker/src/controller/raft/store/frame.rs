//! One entry of the log as it lies in a file, and how to look for entries behind damage. A core without I/O.
//!
//! ```text
//! file    magic "KLRAFTLG" · version u32 · node id u64 · first index u64 · CRC-32C of all before u32, then frames
//! frame   magic u32 · CRC-32C of what follows u32 · length of the body u32 · body
//! body    log id · synced end u64 · committed end u64 · payload (`codec`)
//! ```
//! `synced end`: entries below this index were synced before this frame was written; damage there is rot, never a torn
//! write. A file's first frame is written when everything before its first index is synced.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::state::Marks;
use crate::controller::raft::codec::{
    Malformed, put_log_id, put_payload, take_log_id, take_payload, take_u64,
};
use crate::controller::raft::types::{Entry, NodeId};
use crate::folder::checked::checksum;
use crate::limits::RAFT_ENTRY_BYTES_MAX;

const FILE_MAGIC: &[u8; 8] = b"KLRAFTLG";
const FILE_VERSION: u32 = 1;

/// The length of a file's header.
pub const HEADER_BYTES: usize = 32;

const FRAME_MAGIC: u32 = 0x4b4c_5246;
const FRAME_PREFIX_BYTES: usize = 12;
/// Ids, marks and the kind of the payload; a membership is far smaller than the largest payload.
const BODY_BYTES_MAX: usize = 64 + RAFT_ENTRY_BYTES_MAX;

/// What a file's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The voter whose log it is.
    pub node_id: NodeId,
    /// The index of its first entry.
    pub first: u64,
}

impl Header {
    /// Returns the header's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(HEADER_BYTES);
        out.put_slice(FILE_MAGIC);
        out.put_u32(FILE_VERSION);
        out.put_u64(self.node_id);
        out.put_u64(self.first);
        out.put_u32(checksum(&out));
        out.freeze()
    }

    /// Returns the header of a file; `Err` with the version if that is later, or with `None` if there is no sound one.
    ///
    /// # Errors
    /// When the bytes are not a sound header of a known version.
    pub fn decode(contents: &Bytes) -> Result<Self, Option<u32>> {
        if contents.len() < HEADER_BYTES || !contents.starts_with(FILE_MAGIC) {
            return Err(None);
        }
        let covered = HEADER_BYTES - 4;
        if contents.slice(covered..).get_u32() != checksum(&contents[..covered]) {
            return Err(None);
        }
        let mut fields = contents.slice(FILE_MAGIC.len()..);
        let version = fields.get_u32();
        if version > FILE_VERSION {
            return Err(Some(version));
        }
        Ok(Self {
            node_id: fields.get_u64(),
            first: fields.get_u64(),
        })
    }
}

/// A frame that was read.
#[derive(Debug)]
pub struct Frame {
    /// The entry.
    pub entry: Entry,
    /// What was certain when it was written.
    pub marks: Marks,
    /// The length of the whole frame.
    pub length: usize,
}

/// Appends an entry's frame.
pub fn encode(out: &mut BytesMut, entry: &Entry, marks: Marks) {
    let start = out.len();
    out.put_u32(FRAME_MAGIC);
    out.put_u32(0);
    out.put_u32(0);
    put_log_id(out, &entry.log_id);
    out.put_u64(marks.synced_end);
    out.put_u64(marks.committed_end);
    put_payload(out, &entry.payload);
    let length = out.len() - start - FRAME_PREFIX_BYTES;
    let length = u32::try_from(length).expect("entries were checked when they came in");
    out[start + 8..start + 12].copy_from_slice(&length.to_be_bytes());
    let sum = checksum(&out[start + 8..]);
    out[start + 4..start + 8].copy_from_slice(&sum.to_be_bytes());
}

/// Returns the frame that the bytes begin with.
///
/// # Errors
/// When they do not begin with a sound frame.
pub fn decode(contents: &Bytes) -> Result<Frame, Malformed> {
    let malformed = Malformed { what: "a frame" };
    if contents.len() < FRAME_PREFIX_BYTES {
        return Err(malformed);
    }
    let mut fields = contents.clone();
    let magic = fields.get_u32();
    let sum = fields.get_u32();
    let length = usize::try_from(fields.get_u32()).map_err(|_| malformed)?;
    if magic != FRAME_MAGIC || length > BODY_BYTES_MAX || length > fields.len() {
        return Err(malformed);
    }
    let end = FRAME_PREFIX_BYTES + length;
    if checksum(&contents[8..end]) != sum {
        return Err(malformed);
    }
    let mut body = fields.slice(..length);
    let log_id = take_log_id(&mut body)?;
    let what = "a frame's marks";
    let marks = Marks {
        synced_end: take_u64(&mut body, what)?,
        committed_end: take_u64(&mut body, what)?,
    };
    let payload = take_payload(&mut body)?;
    Ok(Frame {
        entry: Entry { log_id, payload },
        marks,
        length: end,
    })
}

/// Returns the highest synced end of the sound frames anywhere in the bytes.
#[must_use]
pub fn highest_mark(contents: &Bytes) -> Option<u64> {
    let magic = FRAME_MAGIC.to_be_bytes();
    let mut highest = None;
    let mut at = 0;
    while at + FRAME_PREFIX_BYTES <= contents.len() {
        if contents[at..].starts_with(&magic)
            && let Ok(frame) = decode(&contents.slice(at..))
        {
            highest = highest.max(Some(frame.marks.synced_end));
            at += frame.length;
        } else {
            at += 1;
        }
    }
    highest
}

/// The body of a fuzz target: any bytes as a log file must not panic, and what decodes encodes to the same.
///
/// # Panics
/// When it does not.
pub fn fuzz(input: &[u8]) {
    let contents = Bytes::copy_from_slice(input);
    let _ = Header::decode(&contents);
    let _ = highest_mark(&contents);
    if let Ok(frame) = decode(&contents) {
        let mut again = BytesMut::new();
        encode(&mut again, &frame.entry, frame.marks);
        let decoded = decode(&again.freeze()).expect("what was encoded decodes");
        assert_eq!(decoded.entry, frame.entry);
        assert_eq!(decoded.marks, frame.marks);
    }
}
