//! Snappy as Kafka's clients write it: in the chunked framing of snappy-java, or raw (librdkafka).
//!
//! ```text
//! framing: 0x82 "SNAPPY" 0x00 · version i32 · compatible version i32 · then per chunk: length i32 · raw snappy
//! ```

use std::io;

use super::{Compression, CompressionError};

const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const VERSION: i32 = 1;
const HEADER_BYTES: usize = 16;
/// The block size of snappy-java.
const CHUNK_BYTES: usize = 32 * 1024;

/// Appends the bytes in snappy-java's framing.
pub(super) fn compress(bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.extend_from_slice(&VERSION.to_be_bytes());
    let mut encoder = snap::raw::Encoder::new();
    for chunk in bytes.chunks(CHUNK_BYTES) {
        let compressed = encoder.compress_vec(chunk).map_err(io::Error::other)?;
        let length = i32::try_from(compressed.len()).map_err(io::Error::other)?;
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&compressed);
    }
    Ok(())
}

/// Returns the decompressed bytes of either form.
pub(super) fn decompress(bytes: &[u8], limit: usize) -> Result<Vec<u8>, CompressionError> {
    let mut out = Vec::new();
    if !bytes.starts_with(&MAGIC) {
        decompress_raw(bytes, limit, &mut out)?;
        return Ok(out);
    }
    let Some(mut rest) = bytes.get(HEADER_BYTES..) else {
        return Err(damaged("the header is cut short"));
    };
    while !rest.is_empty() {
        let length = rest
            .split_off(..4)
            .and_then(|length| length.try_into().ok())
            .map(i32::from_be_bytes);
        let chunk = length
            .and_then(|length| usize::try_from(length).ok())
            .and_then(|length| rest.split_off(..length))
            .ok_or_else(|| damaged("a chunk is cut short"))?;
        decompress_raw(chunk, limit, &mut out)?;
    }
    Ok(out)
}

fn decompress_raw(bytes: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), CompressionError> {
    let declared = snap::raw::decompress_len(bytes).map_err(damaged)?;
    if out.len().saturating_add(declared) > limit {
        return Err(Compression::Snappy.too_large(limit));
    }
    // Snappy's tightest element makes 64 bytes of three, so that a larger promise is a lie.
    if declared > bytes.len().saturating_mul(64) {
        return Err(damaged("the declared length cannot be reached"));
    }
    let start = out.len();
    out.resize(start + declared, 0);
    let written = snap::raw::Decoder::new()
        .decompress(bytes, &mut out[start..])
        .map_err(damaged)?;
    out.truncate(start + written);
    Ok(())
}

fn damaged(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> CompressionError {
    Compression::Snappy.damaged(io::Error::other(reason))
}
