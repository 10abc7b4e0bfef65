//! A Keylane broker: durable partitions behind a Kafka listener.
//!
//! [`Broker::start`] makes everything; [`config::BrokerConfig`] says how. A request comes in through `server` and
//! `connection`, becomes a command in `handler`, is decided by the `shard` that owns the [`partition`], and reaches the
//! disk by the writer. Cores (`partition`, `topics`, `topic_settings`) know no sockets, clocks or threads.

mod broker;
mod clock;
pub mod config;
mod connection;
pub mod controller;
pub mod disk;
mod entropy;
pub mod folder;
pub mod groups;
mod handler;
mod hosting;
pub mod limits;
mod link;
pub mod log;
mod membership;
mod meters;
pub mod partition;
mod partitions;
mod probe;
mod readers;
mod server;
mod shard;
mod threads;
pub mod topic_settings;
pub mod topics;

pub use broker::{Broker, BrokerFailure, FailureWatch, StartError, StopError};
pub use partitions::RecoverError;
pub use probe::{PartitionReading, Probe};

#[cfg(not(target_os = "linux"))]
compile_error!("Keylane's broker runs on Linux only so far");
