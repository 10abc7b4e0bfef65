//! Frames over sockets: the one module that names tokio.
//!
//! [`FrameReader`] reads frames from anything that can be read, [`FrameWriter`] writes frames to anything that can be
//! written; [`link`] does both for the internal link. They keep their progress in themselves, so that dropping a future
//! of theirs loses nothing. Timeouts are the caller's: a peer that sends or takes nothing is not noticed here, but by
//! [`LinkCalls`], which dials and asks over links. What every listener bounds is here too: how many connections there are
//! ([`ConnectionSlots`]), and what of their requests and answers is in memory ([`BytePool`], [`Metered`]).

mod byte_pool;
mod frame_reader;
mod frame_writer;
pub mod link;
mod link_calls;
mod metered;
mod ports;
mod pulse;
mod slots;

pub use byte_pool::{BytePool, HeldBytes};
pub use frame_reader::{FrameReader, ReadFrameError};
pub use frame_writer::FrameWriter;
pub use link_calls::{CallError, LinkCalls};
pub use metered::{Metered, ReceiveBudget, Unfinished};
#[doc(hidden)]
pub use ports::free_ports;
pub use pulse::Pulse;
pub use slots::{ConnectionSlots, Slot};
