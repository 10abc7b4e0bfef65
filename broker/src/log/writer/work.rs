//! What a group asks of a disk.

use bytes::Bytes;
use keylane_protocol::offset::Offset;

use crate::log::TopicPartition;

/// One thing to do; the steps of a group are done in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Create the segment's file.
    Create {
        /// The partition.
        partition: TopicPartition,
        /// The segment.
        segment: Offset,
    },
    /// Reserve a range of the segment's file, if the disk has the room: writing does not depend on it.
    Allocate {
        /// The partition.
        partition: TopicPartition,
        /// The segment.
        segment: Offset,
        /// The first byte.
        at: u64,
        /// How many bytes.
        length: u64,
    },
    /// Write consecutive batches.
    Write {
        /// The partition.
        partition: TopicPartition,
        /// The segment.
        segment: Offset,
        /// The first byte.
        at: u64,
        /// Prefixes and rests in turn.
        slices: Vec<Bytes>,
    },
    /// Give back what was reserved beyond the end of a segment that takes no more batches.
    Cut {
        /// The partition.
        partition: TopicPartition,
        /// The segment.
        segment: Offset,
        /// Its size.
        length: u64,
    },
}

/// Something to make durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncTarget {
    /// A segment's bytes.
    Segment {
        /// The partition.
        partition: TopicPartition,
        /// The segment.
        segment: Offset,
    },
    /// The creation of segments.
    Folder {
        /// The partition.
        partition: TopicPartition,
    },
}

/// What makes a group durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupWork {
    /// To be done one after the other.
    pub steps: Vec<Step>,
    /// To be made durable after all steps, in any order.
    pub syncs: Vec<SyncTarget>,
    /// Segments that take no more batches: their files are closed after that.
    pub closes: Vec<(TopicPartition, Offset)>,
}
