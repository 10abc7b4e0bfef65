//! gzip members (RFC 1952), one or more after another.

use flate2::{Compress, Decompress, FlushCompress, FlushDecompress, Status};

use super::{Compression, CompressionError, FIRST_BUFFER_BYTES, Output};

/// The base-2 logarithm of the largest window the format has.
const WINDOW_BITS: u8 = 15;

pub(super) fn compress(content: &[u8], out: &mut Vec<u8>) -> Result<(), CompressionError> {
    let mut deflate = Compress::new_gzip(flate2::Compression::default(), WINDOW_BITS);
    loop {
        // Records that do not compress grow by a few bytes per block.
        out.reserve(content.len() / 2 + FIRST_BUFFER_BYTES);
        let consumed = usize::try_from(deflate.total_in()).expect("at most the content's length");
        let status = deflate
            .compress_vec(&content[consumed..], out, FlushCompress::Finish)
            .map_err(|error| Compression::Gzip.damaged(error.into()))?;
        if status == Status::StreamEnd {
            return Ok(());
        }
    }
}

pub(super) fn decompress(compressed: &[u8], output: &mut Output) -> Result<(), CompressionError> {
    let mut rest = compressed;
    loop {
        member(&mut rest, output)?;
        if rest.is_empty() {
            return Ok(());
        }
    }
}

/// Cuts one member off the front.
fn member(rest: &mut &[u8], output: &mut Output) -> Result<(), CompressionError> {
    let mut inflate = Decompress::new_gzip(WINDOW_BITS);
    output.reserve(rest.len().saturating_mul(4).max(FIRST_BUFFER_BYTES));
    loop {
        let consumed_before = inflate.total_in();
        let produced_before = inflate.total_out();
        let status = inflate
            .decompress_vec(rest, &mut output.bytes, FlushDecompress::None)
            .map_err(|error| output.damaged(error))?;
        output.check()?;
        let consumed = inflate.total_in() - consumed_before;
        *rest = &rest[usize::try_from(consumed).expect("at most the input's length")..];
        if status == Status::StreamEnd {
            return Ok(());
        }
        if output.bytes.len() == output.bytes.capacity() {
            output.reserve(FIRST_BUFFER_BYTES);
        } else if consumed == 0 && inflate.total_out() == produced_before {
            return Err(output.damaged("it ends too early"));
        }
    }
}
