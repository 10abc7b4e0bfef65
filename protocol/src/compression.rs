//! Compression codecs of record batches, each with a cap on what it may produce.
//!
//! gzip, snappy in Java's chunked framing (read also raw, as librdkafka writes it), lz4 and zstd frames. A batch that
//! would grow beyond the cap is an error before it is memory.

mod snappy;

use std::io::{self, Read, Write};

/// The most bytes that the records of one batch may decompress to, unless the caller says less: ten times the largest
/// request a listener takes would already be a strange batch, so the bound is the size of that request.
pub const DECOMPRESSED_BYTES_MAX: usize = 100 * 1024 * 1024;

/// What a decoder reserves before it has seen output: memory follows output, never a declared length.
const CHUNK_BYTES: usize = 64 * 1024;

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
        let result = match self {
            Self::None => out.write_all(bytes),
            Self::Gzip => gzip(bytes, out),
            Self::Snappy => snappy::compress(bytes, out),
            Self::Lz4 => lz4(bytes, out),
            Self::Zstd => zstd::stream::copy_encode(bytes, out, zstd::DEFAULT_COMPRESSION_LEVEL),
        };
        result.map_err(|source| self.damaged(source))
    }

    /// Returns the decompressed bytes, at most `limit`.
    ///
    /// # Errors
    /// When the bytes are damaged or decompress to more than `limit` bytes.
    pub fn decompress(self, bytes: &[u8], limit: usize) -> Result<Vec<u8>, CompressionError> {
        match self {
            Self::None => self.read_within(bytes, limit),
            Self::Gzip => self.read_within(flate2::read::MultiGzDecoder::new(bytes), limit),
            Self::Snappy => snappy::decompress(bytes, limit),
            Self::Lz4 => self.read_within(lz4_flex::frame::FrameDecoder::new(bytes), limit),
            Self::Zstd => {
                let mut decoder = zstd::stream::Decoder::with_buffer(bytes)
                    .map_err(|source| self.damaged(source))?;
                // The window is memory too; 8 MiB is the most the default levels use.
                decoder
                    .window_log_max(23)
                    .map_err(|source| self.damaged(source))?;
                self.read_within(decoder, limit)
            }
        }
    }

    fn read_within(
        self,
        mut decoder: impl Read,
        limit: usize,
    ) -> Result<Vec<u8>, CompressionError> {
        let mut out = Vec::new();
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match decoder.read(&mut chunk) {
                Ok(0) => return Ok(out),
                Ok(count) if out.len() + count > limit => return Err(self.too_large(limit)),
                Ok(count) => out.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(self.damaged(source)),
            }
        }
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

fn gzip(bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::default());
    encoder.write_all(bytes)?;
    encoder.finish().map(|_| ())
}

fn lz4(bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    // Java's decoder takes only independent blocks, and librdkafka's likewise.
    let info = lz4_flex::frame::FrameInfo::new()
        .block_size(lz4_flex::frame::BlockSize::Max64KB)
        .block_mode(lz4_flex::frame::BlockMode::Independent);
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, out);
    encoder.write_all(bytes)?;
    encoder.finish().map(|_| ()).map_err(io::Error::from)
}
