//! Every bound of the codec, with the reason for its number.
//!
//! What stands here is never configured: it protects the process from its peers. Configurable limits, such as the
//! largest frame a listener takes, have their defaults here.

/// The largest frame a listener takes unless configured otherwise: `socket.request.max.bytes` of Apache Kafka.
pub const FRAME_SIZE_BYTES_MAX: usize = 100 * 1024 * 1024;

/// The largest frame taken from a peer that has not authenticated: no request before that needs more.
pub const FRAME_SIZE_BYTES_MAX_UNAUTHENTICATED: usize = 1024 * 1024;

/// Decoding may allocate this many bytes for each byte it was given. The most a lawful message needs is a list of
/// names of one character: 48 bytes in memory for 3 on the wire.
pub const DECODE_ALLOCATION_FACTOR: usize = 16;

/// Decoding may allocate this much besides, so that short messages of odd shape are not refused.
pub const DECODE_ALLOCATION_BYTES_EXTRA: usize = 1024 * 1024;

/// The read buffer of a connection that has sent more than [`READ_FIRST_BYTES`] at once: one system call then
/// fetches many small frames.
pub const READ_BUFFER_BYTES: usize = 64 * 1024;

/// What an idle connection reads to begin with, on the stack: a connection that waits owns no buffer.
pub const READ_FIRST_BYTES: usize = 4 * 1024;

/// The same once that has been full of small frames: a few dozen of them then cost one system call, and a buffer of just
/// their size.
pub const READ_FIRST_BYTES_MAX: usize = 16 * 1024;

/// A read buffer with less room than this is not read into any more.
pub const READ_ROOM_BYTES_MIN: usize = 4 * 1024;

/// Frames longer than this get a buffer of their own instead of passing through the read buffer.
pub const FRAME_SHARED_BYTES_MAX: usize = 32 * 1024;

/// A frame's own buffer starts with at most this much and doubles as bytes arrive, so that a length alone, without
/// the bytes it promises, costs little.
pub const FRAME_BUFFER_BYTES_FIRST: usize = 1024 * 1024;

/// What an encoder's buffer has room for at first: most requests and answers without their records.
pub const ENCODER_BYTES_FIRST: usize = 128;

/// Records up to this size are copied into the buffer of what is encoded: to keep a slice of its own for each, and have
/// the kernel gather them, costs more.
pub const INSERT_COPIED_BYTES_MAX: usize = 512;

/// The most slices of one vectored write: `IOV_MAX` of Linux.
pub const WRITE_SLICES_MAX: usize = 1024;

/// The longest text that `STRING` can carry outside flexible versions, and the longest taken in flexible ones: the
/// length is a signed 16-bit number.
pub const STRING_BYTES_MAX: usize = 32_767;
