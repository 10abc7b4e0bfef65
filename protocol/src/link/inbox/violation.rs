//! The rules of the link, by the ways in which a peer can break them; the words go to the log.

use super::Side;
use crate::link::Lane;
use crate::link::credit::CreditViolation;
use crate::link::lane::Flow;
use crate::link::limits::{ASSEMBLY_BYTES_MAX, BODY_BYTES_MAX, CHUNK_BYTES_MIN, LANES_MAX};

/// How a peer has broken the rules of the link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkViolation {
    /// The frame is none that this side takes.
    #[error("a frame {name} is not taken by the {side:?} of a link")]
    Unexpected {
        /// The frame's kind.
        name: &'static str,
        /// Which side this is.
        side: Side,
    },
    /// The lane's number was used before.
    #[error("lane {lane} was opened after lane {last}")]
    LaneNotNew {
        /// The lane.
        lane: Lane,
        /// The last that was opened.
        last: Lane,
    },
    /// There are too many lanes.
    #[error("more than {LANES_MAX} lanes were opened")]
    TooManyLanes,
    /// A frame belongs to a lane that is not open.
    #[error("a frame {name} came for lane {lane}, which is not open")]
    LaneNotOpen {
        /// The frame's kind.
        name: &'static str,
        /// The lane.
        lane: Lane,
    },
    /// A body is longer than any may be.
    #[error("a body of {length} bytes was begun, at most {BODY_BYTES_MAX} are taken")]
    BodyTooLong {
        /// The length announced.
        length: usize,
    },
    /// Too much is in assembly.
    #[error("bodies of {length} bytes were under way, at most {ASSEMBLY_BYTES_MAX} are taken")]
    AssemblyTooLarge {
        /// Bytes of all bodies begun.
        length: usize,
    },
    /// A flow sends something before its body is complete.
    #[error("a body of {flow:?} was not complete when the next began")]
    Interleaved {
        /// The flow.
        flow: Flow,
    },
    /// A chunk does not go on where the last one ended, or is longer than what is missing.
    #[error(
        "a chunk of {flow:?} begins at {at} with {length} bytes, not fitting {found} of {whole}"
    )]
    ChunkMisplaced {
        /// The flow.
        flow: Flow,
        /// Where the chunk says it begins.
        at: usize,
        /// Its bytes.
        length: usize,
        /// Bytes that arrived before.
        found: usize,
        /// Bytes of the whole body.
        whole: usize,
    },
    /// A chunk is short although more follows.
    #[error(
        "a chunk of {flow:?} has {length} bytes; all but the last have {CHUNK_BYTES_MIN} at least"
    )]
    ChunkTooShort {
        /// The flow.
        flow: Flow,
        /// Its bytes.
        length: usize,
    },
    /// A chunk goes on with nothing.
    #[error("a chunk of {flow:?} goes on with a body that was not begun")]
    NothingBegun {
        /// The flow.
        flow: Flow,
    },
    /// A sub-batch that is sent in chunks shares its frame.
    #[error("a sub-batch of {length} bytes came in part in a frame with others")]
    PartAmongOthers {
        /// The length of all its records.
        length: usize,
    },
    /// The credit was not kept to.
    #[error(transparent)]
    Credit(#[from] CreditViolation),
}
