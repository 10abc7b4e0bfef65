//! The types messages are made of: reading them within bounds, writing them without copying records.
//!
//! [`Decoder`] reads from one frame and hands out slices of it; [`Encoder`] collects bytes and slices for one
//! vectored write. How each type looks on the wire is in `wire`. The macro in `message::declaration` strings them
//! together. Nothing here panics on what a peer sent, recurses, or sizes an allocation by a number it has not checked.

mod decoder;
mod encoder;
mod records;
pub(crate) mod wire;

pub use decoder::{DecodeError, Decoder};
pub use encoder::{EncodeError, Encoder};
pub use records::Records;

pub(crate) use wire::Format;

#[cfg(test)]
mod tests;
