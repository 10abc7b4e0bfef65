//! Zstandard frames, one or more after another.
//!
//! They are decoded in one call into a buffer that can hold all they may contain, so that the decoder never allocates
//! the window a frame asks for (up to 128 MiB).

use std::io;

use zstd::zstd_safe::zstd_sys::ZSTD_ErrorCode;
use zstd::zstd_safe::{self, CCtx, DCtx};

use super::{Compression, CompressionError, Output};

/// What the library returns when the buffer is too small: error codes are negated.
const NO_ROOM: usize = (ZSTD_ErrorCode::ZSTD_error_dstSize_tooSmall as usize).wrapping_neg();

/// The library's and Kafka's default.
const LEVEL: i32 = 3;

pub(super) fn compress(content: &[u8], out: &mut Vec<u8>) -> Result<(), CompressionError> {
    let mut frame = Vec::with_capacity(zstd_safe::compress_bound(content.len()));
    CCtx::create()
        .compress(&mut frame, content, LEVEL)
        .map_err(|error| {
            Compression::Zstd.damaged(io::Error::other(zstd_safe::get_error_name(error)))
        })?;
    out.extend_from_slice(&frame);
    Ok(())
}

pub(super) fn decompress(compressed: &[u8], output: &mut Output) -> Result<(), CompressionError> {
    if compressed.is_empty() {
        return Err(output.damaged("it ends too early"));
    }
    // Sums what the frames claim or, where they claim nothing, the most that their blocks can unfold to.
    let bound = zstd_safe::decompress_bound(compressed)
        .map_err(|error| output.damaged(zstd_safe::get_error_name(error)))?;
    let bound = usize::try_from(bound).unwrap_or(usize::MAX);
    output.reserve(bound);
    DCtx::create()
        .decompress(&mut output.bytes, compressed)
        .map_err(|error| {
            if error == NO_ROOM && bound >= output.left() {
                output.too_large()
            } else {
                output.damaged(zstd_safe::get_error_name(error))
            }
        })?;
    output.check()
}
