//! Every bound of the internal link, with the reason for its number; what happens at a bound is said where it is kept.

use std::time::Duration;

/// The longest frame taken before the handshake is over: names and ids fit many times.
pub const HANDSHAKE_FRAME_BYTES_MAX: usize = 16 * 1024;

/// The longest frame taken after the handshake: a full append frame, and room for its fields.
pub const LINK_FRAME_BYTES_MAX: usize = APPEND_FRAME_BYTES_MAX + 64 * 1024;

/// Bodies longer than this are cut, so that frames of other lanes come in between.
pub const CHUNK_BYTES_MAX: usize = 64 * 1024;

/// The most bytes of sub-batches, at their cost, in one append frame.
pub const APPEND_FRAME_BYTES_MAX: usize = 1024 * 1024;

/// What a sub-batch costs of the credit and of a frame besides its records; above what its fields take.
pub const SUB_BATCH_COST_BYTES: usize = 96;

/// The append bytes that a broker grants to a link to begin with.
pub const CREDIT_BYTES: usize = 16 * 1024 * 1024;

/// Credit is given back in steps of at least the window divided by this, so that grants stay few.
pub const CREDIT_STEP_DIVISOR: usize = 8;

/// How much a lane may send before it is another's turn.
pub const QUANTUM_BYTES: usize = 256 * 1024;

/// What may wait for one link; when it is reached, lanes with something for that broker wait.
pub const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What calls of the node itself may take of the queue beyond its bound, so that clients' data keeps none from going.
pub const QUEUE_BYTES_FOR_CALLS: usize = 16 * 1024 * 1024;

/// What an entry costs of the queue besides its body: about what it takes in memory.
pub const ENTRY_COST_BYTES: usize = 128;

/// Answers up to this size go out with the acknowledgements, before everything else.
pub const SMALL_ANSWER_BYTES_MAX: usize = 4 * 1024;

/// The most outcomes in one frame of them.
pub const OUTCOMES_MAX: usize = 512;

/// The longest body taken, put together from its chunks: that of the largest request of a client.
pub const BODY_BYTES_MAX: usize = crate::limits::FRAME_SIZE_BYTES_MAX;

/// The bytes of bodies that may be under way in chunks on one link at a time; the sender starts no further body
/// beyond it, the receiver closes the link.
pub const ASSEMBLY_BYTES_MAX: usize = BODY_BYTES_MAX + 28 * 1024 * 1024;

/// Every chunk but a body's last has at least this many bytes: it then has a read buffer of its own, so that a body
/// under way holds no more memory than it has bytes.
pub const CHUNK_BYTES_MIN: usize = crate::limits::FRAME_SHARED_BYTES_MAX;

/// The most lanes one link takes: as many as a router may have client connections.
pub const LANES_MAX: usize = 65_536;

/// What a lane keeps of each text of its LaneOpen, such as the client's id; the rest is cut.
pub const LANE_TEXT_BYTES_MAX: usize = 1024;

/// Longer words for people, such as why an append was refused, are cut.
pub const WORDS_BYTES_MAX: usize = 512;

/// A peer that has been silent for this long is asked for a sign of life.
pub const SILENCE_BEFORE_PING: Duration = Duration::from_secs(2);

/// A peer that has been silent for this long is taken for dead.
pub const SILENCE_BEFORE_DEATH: Duration = Duration::from_secs(8);

/// Frames are taken from the outbox until this much waits for the socket: what is urgent later goes behind it.
pub const WRITE_BYTES_AHEAD: usize = 256 * 1024;

/// The most calls of a node that wait for a reply on one link; further ones wait in their queue.
pub const CALLS_PENDING_MAX: usize = 1_024;

/// The most calls that wait to be looked at, per link; whoever has one more waits for room.
pub const CALLS_WAITING_MAX: usize = 64;

/// A peer must have taken the connection and welcomed the dialer within this time.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(2);

/// How long nothing is dialled after a dial that failed; each time twice as long …
pub const DIAL_PAUSE_MIN: Duration = Duration::from_millis(50);

/// … up to this.
pub const DIAL_PAUSE_MAX: Duration = Duration::from_millis(500);
