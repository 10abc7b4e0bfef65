//! The frame around every small file of a data folder: what it is, which version, how long, and a checksum.
//!
//! ```text
//! magic 8 bytes · version u32 · body length u32 · body · CRC-32C of everything before u32      (big-endian)
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The largest small file that is read.
pub const CHECKED_FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

const FRAME_BYTES: usize = 20;

/// What a checked file must be.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Its first eight bytes.
    pub magic: &'static [u8; 8],
    /// The version that this program writes, and the newest it reads.
    pub version: u32,
}

/// Why bytes are not a sound file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsound {
    /// The file is damaged or something else.
    Damaged,
    /// The file is sound and of a later version.
    Newer {
        /// Its version.
        version: u32,
    },
}

/// Returns the CRC-32C of the bytes.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u32 {
    let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes);
    u32::try_from(sum).expect("a CRC-32 has 32 bits")
}

/// Returns the contents of a file.
#[must_use]
pub fn encode(kind: Kind, body: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(FRAME_BYTES + body.len());
    out.put_slice(kind.magic);
    out.put_u32(kind.version);
    out.put_u32(u32::try_from(body.len()).expect("small files are small"));
    out.put_slice(body);
    out.put_u32(checksum(&out));
    out.freeze()
}

/// Returns the body of a file; bytes behind the frame are ignored.
///
/// # Errors
/// When the file is not sound or of a later version.
pub fn decode(kind: Kind, contents: &Bytes) -> Result<Bytes, Unsound> {
    decode_version(kind, contents).map(|(_, body)| body)
}

/// Returns the version and the body of a file that earlier versions wrote differently.
pub(super) fn decode_version(kind: Kind, contents: &Bytes) -> Result<(u32, Bytes), Unsound> {
    if contents.len() < FRAME_BYTES || !contents.starts_with(kind.magic) {
        return Err(Unsound::Damaged);
    }
    let mut fields = contents.slice(kind.magic.len()..);
    let version = fields.get_u32();
    let length = usize::try_from(fields.get_u32()).map_err(|_| Unsound::Damaged)?;
    let covered = (FRAME_BYTES - 4)
        .checked_add(length)
        .filter(|covered| contents.len() >= covered + 4);
    let covered = covered.ok_or(Unsound::Damaged)?;
    if contents.slice(covered..).get_u32() != checksum(&contents[..covered]) {
        return Err(Unsound::Damaged);
    }
    if version > kind.version {
        return Err(Unsound::Newer { version });
    }
    Ok((version, fields.slice(..length)))
}

/// Takes a text with a 32-bit length; `None` if it is cut short or not UTF-8.
pub(super) fn take_text(body: &mut Bytes) -> Option<String> {
    let length = usize::try_from(body.try_get_u32().ok()?).ok()?;
    if length > body.len() {
        return None;
    }
    String::from_utf8(body.split_to(length).into()).ok()
}

pub(super) fn put_text(body: &mut BytesMut, text: &str) {
    body.put_u32(u32::try_from(text.len()).expect("texts are short"));
    body.put_slice(text.as_bytes());
}

/// Takes sixteen bytes; `None` if they are not there.
pub(super) fn take_id(body: &mut Bytes) -> Option<[u8; 16]> {
    let mut id = [0; 16];
    body.try_copy_to_slice(&mut id).ok()?;
    Some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Kind = Kind {
        magic: b"KEYLANET",
        version: 1,
    };

    #[test]
    fn any_bent_bit_is_found() {
        let contents = encode(KIND, b"what it says");
        assert_eq!(
            decode(KIND, &contents).expect("sound"),
            &b"what it says"[..]
        );
        for at in 0..contents.len() {
            let mut bent = BytesMut::from(contents.as_ref());
            bent[at] ^= 0x10;
            assert_eq!(
                decode(KIND, &bent.freeze()),
                Err(Unsound::Damaged),
                "byte {at}"
            );
        }
        for length in 0..contents.len() {
            assert_eq!(
                decode(KIND, &contents.slice(..length)),
                Err(Unsound::Damaged),
                "length {length}"
            );
        }
    }

    #[test]
    fn a_later_version_is_told_from_damage() {
        let later = encode(Kind { version: 2, ..KIND }, b"unknown");
        assert_eq!(decode(KIND, &later), Err(Unsound::Newer { version: 2 }));
    }
}
