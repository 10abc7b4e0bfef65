//! Kafka's wire protocol and record batches: bounded decoding, encoding without copying records, no I/O.
//!
//! Only [`transport`] names tokio. Nothing here reads a clock, draws randomness or opens a socket. Start at
//! [`message`] for requests and responses, at [`record_batch`] for what is stored, at [`cluster`] for what brokers and
//! routers know of one another, at [`link`] for what they say to each other, at
//! [`config`] for what their configurations share.

#[macro_use]
mod number;
#[macro_use]
pub mod message;
pub mod meters;

pub mod api;
pub mod cluster;
pub mod compression;
pub mod config;
pub mod consumer_protocol;
pub mod error_code;
pub mod frame;
#[doc(hidden)]
pub mod fuzzing;
pub mod group;
pub mod group_record;
pub mod header;
pub mod identifiers;
pub mod limits;
pub mod link;
pub mod offset;
pub mod partitioner;
pub mod primitive;
pub mod record;
pub mod record_batch;
pub mod rising;
pub mod routed;
pub mod transport;
