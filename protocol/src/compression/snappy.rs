//! Snappy blocks, in the framing of the Java library or bare.
//!
//! ```text
//!  8  0x82 "SNAPPY" 0        then per block:  4  length, big-endian
//!  4  version, 1                              n  a snappy block
//!  4  oldest compatible version, 1
//! ```
//! Kafka's Java client writes blocks of 32 KiB in this framing; librdkafka writes one bare block. The header may stand
//! again between blocks, as the Java library allows to join what it wrote.

use std::io;

use snap::raw::{Decoder, Encoder, decompress_len, max_compress_len};

use super::{Compression, CompressionError, Output};

const MAGIC: &[u8; 8] = b"\x82SNAPPY\0";
const VERSIONS: &[u8; 8] = &[0, 0, 0, 1, 0, 0, 0, 1];
const BLOCK_BYTES: usize = 32 * 1024;

/// What a block may unfold to per byte: the densest element makes 64 bytes of 3.
const EXPANSION_MAX: usize = 32;

pub(super) fn compress(content: &[u8], out: &mut Vec<u8>) -> Result<(), CompressionError> {
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(VERSIONS);
    let mut encoder = Encoder::new();
    for block in content.chunks(BLOCK_BYTES) {
        let length_at = out.len();
        let block_at = length_at + 4;
        out.resize(block_at + max_compress_len(block.len()), 0);
        let length = encoder
            .compress(block, &mut out[block_at..])
            .map_err(|error| Compression::Snappy.damaged(io::Error::other(error)))?;
        let length_field = u32::try_from(length).expect("a block is small");
        out[length_at..block_at].copy_from_slice(&length_field.to_be_bytes());
        out.truncate(block_at + length);
    }
    Ok(())
}

pub(super) fn decompress(compressed: &[u8], output: &mut Output) -> Result<(), CompressionError> {
    let Some(framed) = strip_header(compressed) else {
        return block(compressed, output);
    };
    let mut rest = framed;
    while !rest.is_empty() {
        if let Some(framed) = strip_header(rest) {
            rest = framed;
            continue;
        }
        let too_early = "it ends within a block";
        let (&length, blocks) = rest
            .split_first_chunk()
            .ok_or_else(|| output.damaged(too_early))?;
        let length = u32::from_be_bytes(length) as usize;
        let (compressed, after) = blocks
            .split_at_checked(length)
            .ok_or_else(|| output.damaged(too_early))?;
        block(compressed, output)?;
        rest = after;
    }
    Ok(())
}

fn strip_header(bytes: &[u8]) -> Option<&[u8]> {
    bytes.strip_prefix(MAGIC)?.get(VERSIONS.len()..)
}

fn block(compressed: &[u8], output: &mut Output) -> Result<(), CompressionError> {
    let length = decompress_len(compressed).map_err(|error| output.damaged(error))?;
    if length > compressed.len().saturating_mul(EXPANSION_MAX) {
        return Err(output.damaged("a block claims more than its bytes can unfold to"));
    }
    if length >= output.left() {
        return Err(output.too_large());
    }
    output.reserve(length);
    let start = output.bytes.len();
    output.bytes.resize(start + length, 0);
    Decoder::new()
        .decompress(compressed, &mut output.bytes[start..])
        .map_err(|error| output.damaged(error))?;
    Ok(())
}
