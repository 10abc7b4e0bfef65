//! LZ4 frames, one or more after another.
//!
//! ```text
//!  4  magic, little-endian as all numbers         per block until a length of 0:
//!  1  flags: 6-7 version 01, 5 independent         4  length; top bit: stored
//!     blocks, 4 block checksums, 3 content size,   n  block
//!     2 content checksum, 0 dictionary id         (4) block checksum
//!  1  bits 4-6: largest block, 64 KiB to 4 MiB
//! (8) content size                                then (4) content checksum
//!  1  header checksum
//! ```
//! The inner checksums are passed over: the CRC-32C of the batch covers the same bytes. Kafka writes independent blocks
//! of 64 KiB without them; linked blocks, which some Python clients write, are read, too.

use std::io;

use lz4_flex::block::{
    DecompressError as BlockError, compress_into, decompress_into_with_dict,
    get_maximum_output_size,
};

use super::{Compression, CompressionError, Output};

/// The start of a frame of independent blocks of at most 64 KiB, without checksums, with its own header checksum.
const HEADER: &[u8; 7] = &[0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82];
const BLOCK_BYTES: usize = 64 * 1024;

const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
const VERSION_BITS: u8 = 0b1100_0000;
const VERSION: u8 = 0b0100_0000;
const INDEPENDENT_BLOCKS: u8 = 1 << 5;
const BLOCK_CHECKSUMS: u8 = 1 << 4;
const CONTENT_SIZE: u8 = 1 << 3;
const CONTENT_CHECKSUM: u8 = 1 << 2;
const DICTIONARY: u8 = 1 << 0;
const STORED: u32 = 1 << 31;
const CHECKSUM_BYTES: usize = 4;

/// How far back a block may refer.
const WINDOW_BYTES: usize = 64 * 1024;

/// A byte of a block unfolds to at most this many: it lengthens a match by up to 255.
const EXPANSION_MAX: usize = 255;
/// What the first bytes of a sequence unfold to besides.
const EXPANSION_EXTRA: usize = 64;

const TOO_EARLY: &str = "it ends too early";

pub(super) fn compress(content: &[u8], out: &mut Vec<u8>) -> Result<(), CompressionError> {
    out.extend_from_slice(HEADER);
    for block in content.chunks(BLOCK_BYTES) {
        let length_at = out.len();
        let block_at = length_at + 4;
        out.resize(block_at + get_maximum_output_size(block.len()), 0);
        let compressed = compress_into(block, &mut out[block_at..])
            .map_err(|error| Compression::Lz4.damaged(io::Error::other(error)))?;
        let stored = compressed >= block.len();
        let length = if stored { block.len() } else { compressed };
        if stored {
            out[block_at..block_at + length].copy_from_slice(block);
        }
        let length_field = u32::try_from(length).expect("a block is small");
        let length_field = if stored {
            length_field | STORED
        } else {
            length_field
        };
        out[length_at..block_at].copy_from_slice(&length_field.to_le_bytes());
        out.truncate(block_at + length);
    }
    out.extend_from_slice(&[0; 4]);
    Ok(())
}

pub(super) fn decompress(compressed: &[u8], output: &mut Output) -> Result<(), CompressionError> {
    let mut rest = compressed;
    loop {
        frame(&mut rest, output)?;
        if rest.is_empty() {
            return Ok(());
        }
    }
}

struct FrameHeader {
    flags: u8,
    block_bytes_max: usize,
    content_size: Option<u64>,
}

/// Cuts one frame off the front.
fn frame(rest: &mut &[u8], output: &mut Output) -> Result<(), CompressionError> {
    let header = frame_header(rest, output)?;
    let start = output.bytes.len();
    loop {
        let field = u32::from_le_bytes(take(rest, output)?);
        if field == 0 {
            break;
        }
        let length = (field & !STORED) as usize;
        if length > header.block_bytes_max {
            return Err(output.damaged("a block is longer than the frame allows"));
        }
        let (block, after) = rest
            .split_at_checked(length)
            .ok_or_else(|| output.damaged(TOO_EARLY))?;
        *rest = after;
        if field & STORED == 0 {
            unfold(block, &header, start, output)?;
        } else {
            output.reserve(block.len());
            let taken = block.len().min(output.left());
            output.bytes.extend_from_slice(&block[..taken]);
        }
        output.check()?;
        if header.flags & BLOCK_CHECKSUMS != 0 {
            take::<CHECKSUM_BYTES>(rest, output)?;
        }
    }
    if header.flags & CONTENT_CHECKSUM != 0 {
        take::<CHECKSUM_BYTES>(rest, output)?;
    }
    let size = (output.bytes.len() - start) as u64;
    match header.content_size {
        Some(expected) if expected != size => {
            Err(output.damaged(format!("a frame of {size} bytes claims to have {expected}")))
        }
        _ => Ok(()),
    }
}

fn frame_header(rest: &mut &[u8], output: &Output) -> Result<FrameHeader, CompressionError> {
    if take(rest, output)? != MAGIC {
        return Err(output.damaged("it does not start like an LZ4 frame"));
    }
    let [flags, block_size] = take(rest, output)?;
    if flags & VERSION_BITS != VERSION {
        return Err(output.damaged("the frame has an unknown version"));
    }
    if flags & DICTIONARY != 0 {
        return Err(output.damaged("the frame needs a dictionary"));
    }
    let block_bytes_max = match block_size >> 4 & 0b111 {
        4 => 64 * 1024,
        5 => 256 * 1024,
        6 => 1024 * 1024,
        7 => 4 * 1024 * 1024,
        _ => return Err(output.damaged("the frame has an unknown block size")),
    };
    let content_size = match flags & CONTENT_SIZE {
        0 => None,
        _ => Some(u64::from_le_bytes(take(rest, output)?)),
    };
    let [_checksum] = take(rest, output)?;
    Ok(FrameHeader {
        flags,
        block_bytes_max,
        content_size,
    })
}

/// Appends the content of one block of a frame that started at `start`.
fn unfold(
    block: &[u8],
    header: &FrameHeader,
    start: usize,
    output: &mut Output,
) -> Result<(), CompressionError> {
    let room_max = header
        .block_bytes_max
        .min(block.len() * EXPANSION_MAX + EXPANSION_EXTRA);
    let room = room_max.min(output.left());
    output.reserve(room);
    let end = output.bytes.len();
    output.bytes.resize(end + room, 0);
    let (before, after) = output.bytes.split_at_mut(end);
    let window = match header.flags & INDEPENDENT_BLOCKS {
        0 => &before[start.max(end.saturating_sub(WINDOW_BYTES))..],
        _ => &[],
    };
    let length = decompress_into_with_dict(block, after, window).map_err(|error| match error {
        BlockError::OutputTooSmall { .. } if room < room_max => output.too_large(),
        error => output.damaged(error),
    })?;
    output.bytes.truncate(end + length);
    Ok(())
}

fn take<const N: usize>(rest: &mut &[u8], output: &Output) -> Result<[u8; N], CompressionError> {
    let (&bytes, after) = rest
        .split_first_chunk()
        .ok_or_else(|| output.damaged(TOO_EARLY))?;
    *rest = after;
    Ok(bytes)
}
