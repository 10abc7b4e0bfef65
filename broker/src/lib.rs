//! A Keylane broker: durable partitions behind a Kafka listener.

pub mod disk;
pub mod folder;
pub mod log;
pub mod partition;
