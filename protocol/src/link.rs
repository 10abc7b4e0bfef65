//! The internal link: what a router or broker that dials, and the internal listener of a broker, say to each other.
//!
//! ```text
//!  client ─┐ lane 1   ┌────────── one connection ──────────┐   lane 1
//!  client ─┤ lane 2 ══╡ Request, Append, Cancel …   ──────▶ ╞══ lane 2 …
//!  client ─┘ lane 3   │ ◀──────── Answer, Appended, Credit │   lane 3
//!  this node ─────────┤ Call ──▶            ◀── Reply, Push ├── that node
//!                     └────────────────────────────────────┘
//! ```
//! Frames are drawn in [`frame`], their fields in [`handshake`], [`lane`], [`append`] and [`call`]. [`Dialer`] and
//! [`Listener`] are the two ends; what they send when is decided by [`Outbox`], what arrives is put together by
//! [`Inbox`]. None of it does I/O or reads a clock: `transport::link` moves the bytes, times are parameters.

pub mod append;
pub mod call;
pub mod credit;
pub mod frame;
pub mod handshake;
pub mod lane;
pub mod limits;

mod calls;
mod dialer;
mod inbox;
mod listener;
mod outbox;
mod pulse;

pub use calls::{Calls, Fate};
pub use dialer::{Dialer, Told};
pub use frame::{Frame, FrameError};
pub use inbox::{Inbox, LinkViolation, Side};
pub use listener::Listener;
pub use outbox::{NoRoom, NotQueued, Outbox, Withdrawn};
pub use pulse::{Beat, Pulse};

use crate::primitive::Records;

/// Bytes that the link carries and does not read, as slices; never copied on their way out.
pub type Body = Records;

number! {
    /// A client's connection within a link, counted by the dialer from 1 and never used twice on one connection, so
    /// that a late answer cannot be taken for another's.
    Lane(u64)
}

number! {
    /// What an answer refers to: counted by the dialer, unique on one connection over all lanes and calls.
    Correlation(u64)
}

number! {
    /// Abilities besides those of the format version, one bit each; unknown bits are ignored.
    Features(u64)
}

impl Features {
    /// Returns what both sides are able to do.
    #[must_use]
    pub fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Returns whether all of `wanted` are there.
    #[must_use]
    pub fn contains(self, wanted: Self) -> bool {
        self.0 & wanted.0 == wanted.0
    }
}

#[cfg(test)]
mod tests;
