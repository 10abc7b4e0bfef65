//! Compression codecs of record batches, each with a cap on what it may produce.
//!
//! gzip, snappy in Java's chunked framing (read also raw, as librdkafka writes it), lz4 and zstd frames. A batch that
//! would grow beyond the cap is an error before it is memory: besides the cap, a decoder allocates its own tables only,
//! whatever windows and block sizes the bytes ask for.

mod gzip;
mod lz4;
mod snappy;
#[cfg(test)]
mod tests;
mod zstd;

use std::error::Error;
use std::io;

/// The most bytes that the records of one batch may decompress to, unless the caller says less: ten times the largest
/// request a listener takes would already be a strange batch, so the bound is the size of that request.
pub const DECOMPRESSED_BYTES_MAX: usize = 100 * 1024 * 1024;

/// The first buffer of a decoder that cannot tell how much will come.
const FIRST_BUFFER_BYTES: usize = 4 * 1024;

/// The codec of a batch's records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Records as they are.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// Zstandard (KIP-110).
    Zstd,
}

/// Why records cannot be compressed or decompressed.
#[derive(Debug, thiserror::Error)]
pub enum CompressionError {
    /// The bytes are not what the codec writes.
    #[error("{codec} data is damaged")]
    Damaged {
        /// The codec's name.
        codec: &'static str,
        /// What the codec says.
        #[source]
        source: io::Error,
    },
    /// There would be more bytes than allowed.
    #[error("{codec} data decompresses to more than {limit} bytes")]
    TooLarge {
        /// The codec's name.
        codec: &'static str,
        /// The cap.
        limit: usize,
    },
}

impl Compression {
    /// All codecs.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// Returns the codec that the bits of a batch's attributes name.
    #[must_use]
    pub fn from_bits(bits: i16) -> Option<Self> {
        usize::try_from(bits)
            .ok()
            .and_then(|index| Self::ALL.get(index).copied())
    }

    /// Returns the bits that name the codec in a batch's attributes.
    #[must_use]
    pub fn bits(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// Returns the codec's name, as in Kafka's `compression.type`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// Appends the compressed bytes to `out`.
    ///
    /// # Errors
    /// When the codec fails, which only exhausted memory can cause.
    pub fn compress(self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), CompressionError> {
        match self {
            Self::None => out.extend_from_slice(bytes),
            Self::Gzip => gzip::compress(bytes, out)?,
            Self::Snappy => snappy::compress(bytes, out)?,
            Self::Lz4 => lz4::compress(bytes, out)?,
            Self::Zstd => zstd::compress(bytes, out)?,
        }
        Ok(())
    }

    /// Returns the decompressed bytes, at most `limit`.
    ///
    /// # Errors
    /// When the bytes are damaged or decompress to more than `limit` bytes.
    pub fn decompress(self, bytes: &[u8], limit: usize) -> Result<Vec<u8>, CompressionError> {
        let mut output = Output {
            bytes: Vec::new(),
            limit,
            compression: self,
        };
        match self {
            Self::None if bytes.len() > limit => return Err(self.too_large(limit)),
            Self::None => output.bytes.extend_from_slice(bytes),
            Self::Gzip => gzip::decompress(bytes, &mut output)?,
            Self::Snappy => snappy::decompress(bytes, &mut output)?,
            Self::Lz4 => lz4::decompress(bytes, &mut output)?,
            Self::Zstd => zstd::decompress(bytes, &mut output)?,
        }
        Ok(output.finish())
    }

    fn damaged(self, source: io::Error) -> CompressionError {
        CompressionError::Damaged {
            codec: self.name(),
            source,
        }
    }

    fn too_large(self, limit: usize) -> CompressionError {
        CompressionError::TooLarge {
            codec: self.name(),
            limit,
        }
    }
}

/// What a decoder has produced, and how much it may. Holds at most one byte more than allowed, which tells a content
/// that fits from one that does not.
struct Output {
    bytes: Vec<u8>,
    limit: usize,
    compression: Compression,
}

impl Output {
    /// Returns how many bytes may still be produced, counting the one too many.
    fn left(&self) -> usize {
        self.limit
            .saturating_add(1)
            .saturating_sub(self.bytes.len())
    }

    /// Refuses what has become too much.
    fn check(&self) -> Result<(), CompressionError> {
        if self.bytes.len() > self.limit {
            return Err(self.too_large());
        }
        Ok(())
    }

    /// Makes sure that there is spare capacity for `wanted` bytes, or for all that may still come.
    fn reserve(&mut self, wanted: usize) {
        let left = self.left();
        let wanted = wanted.min(left);
        if self.bytes.capacity() - self.bytes.len() >= wanted {
            return;
        }
        // Doubles like a vector, but never beyond what is allowed.
        let doubled = self.bytes.len().min(left);
        self.bytes.reserve_exact(wanted.max(doubled));
    }

    fn too_large(&self) -> CompressionError {
        self.compression.too_large(self.limit)
    }

    fn damaged(&self, reason: impl Into<Box<dyn Error + Send + Sync>>) -> CompressionError {
        self.compression.damaged(io::Error::other(reason))
    }

    /// Gives back memory that is not used: records keep it alive for long.
    fn finish(mut self) -> Vec<u8> {
        if self.bytes.capacity() > 2 * self.bytes.len() {
            self.bytes.shrink_to_fit();
        }
        self.bytes
    }
}
