//! The controllers: brokers that agree on the cluster's metadata.
//!
//! `core` decides what changes, with `registration`, `election`, `placement`, `new_topic`, `partitions`, `configs` and
//! `routers`; `liveness` knows who has been silent. They are without I/O and clock. `service` is the task around them;
//! [`raft`] makes a log of opaque entries agree between voters and survive them, and `replica` makes an image of it.

pub(crate) mod configs;
pub(crate) mod core;
mod election;
pub(crate) mod liveness;
pub(crate) mod new_topic;
pub(crate) mod partitions;
mod placement;
pub mod raft;
pub(crate) mod registration;
pub(crate) mod replica;
mod routers;
pub(crate) mod service;

#[cfg(test)]
mod tests;
