//! The writer of a data folder: many appends become one write for each segment and one sync for each dirty file.
//!
//! [`LogWriter`] is a core: it collects appends into a *group*, says what [`GroupWork`] makes the group durable, and which
//! ends to report when it is done. [`run_group`] carries it out on a disk; [`Writer`] does so on threads of its own. There
//! is no timer: what arrives while one group is synced forms the next. Any failed step takes the folder offline for good:
//! nobody knows what the disk holds then, and nothing is acknowledged or written after it.

mod group;
mod reservation;
mod run;
mod thread;
mod work;

#[cfg(test)]
mod tests;

pub use group::LogWriter;
pub use run::{StepRunner, SyncWork, run_group};
pub use thread::{DurableSink, Writer, WriterHandle, WriterMeters, WriterStopped};
pub use work::{GroupWork, Step, SyncTarget};

use bytes::Bytes;
use keylane_protocol::offset::Offset;

use super::{ClosedSegment, TopicPartition};

/// When an append counts as durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// When the disk has synced it.
    Fsync,
    /// When the operating system has it.
    PageCache,
}

/// A batch on its way to the disk.
#[derive(Clone, Debug)]
pub struct Append {
    /// The partition.
    pub partition: TopicPartition,
    /// Which life of the partition's log: a report of an older one is void.
    pub generation: u64,
    /// Which shard hears of it.
    pub shard: usize,
    /// When it counts as durable.
    pub durability: Durability,
    /// The segment, by its base offset.
    pub segment: Offset,
    /// The byte in the segment.
    pub position: u64,
    /// The segment that ends before this batch, if this one begins a new segment.
    pub closed: Option<ClosedSegment>,
    /// The offset after the batch's last record.
    pub end_offset: Offset,
    /// The stamped prefix of the batch.
    pub prefix: Bytes,
    /// The rest of the batch.
    pub rest: Bytes,
}

impl Append {
    pub(super) fn size_bytes(&self) -> u64 {
        (self.prefix.len() + self.rest.len()) as u64
    }
}

/// A partition's records below this offset are durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DurableEnd {
    /// The partition.
    pub partition: TopicPartition,
    /// Which life of its log.
    pub generation: u64,
    /// The offset after the last durable record.
    pub end_offset: Offset,
}
