//! The core of the writer: from appends to steps, from finished steps to durable ends.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use bytes::Bytes;
use keylane_protocol::offset::Offset;

use super::{Append, Durability, DurableEnd};
use crate::log::TopicPartition;

/// The first reservation of a segment: idle partitions cost little.
const CHUNK_BYTES_MIN: u64 = 64 * 1024;
/// The largest reservation: busy segments change their size rarely.
const CHUNK_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// A new segment reserves at most this part of what the one before it grew to.
const CHUNK_DIVISOR: u64 = 4;

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

/// What the writer knows of a partition's active segment.
#[derive(Clone, Copy, Debug)]
struct ActiveSegment {
    base_offset: Offset,
    written_end: u64,
    allocated_end: u64,
    next_chunk: u64,
}

impl ActiveSegment {
    fn new(base_offset: Offset, size_bytes: u64) -> Self {
        Self {
            base_offset,
            written_end: size_bytes,
            allocated_end: size_bytes,
            next_chunk: CHUNK_BYTES_MIN,
        }
    }

    /// Returns the segment that follows this one: a busy partition begins it with large chunks.
    fn next(self, base_offset: Offset) -> Self {
        let largest = (self.written_end / CHUNK_DIVISOR).next_power_of_two();
        Self {
            next_chunk: self.next_chunk.min(largest).max(CHUNK_BYTES_MIN),
            ..Self::new(base_offset, 0)
        }
    }
}

/// What a group does to one partition.
#[derive(Debug)]
struct PartitionGroup {
    shard: usize,
    generation: u64,
    end_offset: Offset,
    is_synced: bool,
    writes: Vec<SegmentWrite>,
}

#[derive(Debug)]
struct SegmentWrite {
    segment: Offset,
    is_new: bool,
    at: u64,
    length: u64,
    slices: Vec<Bytes>,
    /// The size at which the segment ends for good.
    closes_at: Option<u64>,
}

/// Collects appends into groups; no I/O, no clock, no thread.
#[derive(Debug, Default)]
pub struct LogWriter {
    active: BTreeMap<TopicPartition, ActiveSegment>,
    waiting: BTreeMap<TopicPartition, PartitionGroup>,
    waiting_bytes: u64,
    waiting_batches: u64,
    waiting_segments: usize,
    under_way: BTreeMap<TopicPartition, PartitionGroup>,
}

impl LogWriter {
    /// Makes known a partition whose active segment exists on disk with so many bytes.
    pub fn on_recovered(&mut self, partition: TopicPartition, segment: Offset, size_bytes: u64) {
        self.active
            .insert(partition, ActiveSegment::new(segment, size_bytes));
    }

    /// Forgets a partition that is being deleted; nothing of it waits or is under way.
    pub fn on_deleted(&mut self, partition: TopicPartition) {
        assert!(!self.waiting.contains_key(&partition) && !self.under_way.contains_key(&partition));
        self.active.remove(&partition);
    }

    /// Returns the bytes that wait for the next group.
    #[must_use]
    pub fn waiting_bytes(&self) -> u64 {
        self.waiting_bytes
    }

    /// Returns how many batches wait for the next group.
    #[must_use]
    pub fn waiting_batches(&self) -> u64 {
        self.waiting_batches
    }

    /// Returns how many segments the next group writes to.
    #[must_use]
    pub fn waiting_segments(&self) -> usize {
        self.waiting_segments
    }

    /// Adds an append to the next group. Appends of one partition arrive in the order of their offsets; one of an older
    /// generation than another that waits is dropped, one of a newer generation drops those that wait.
    pub fn on_append(&mut self, append: Append) {
        let size = append.size_bytes();
        // Room was taken for dropped ones too, and is settled with the group.
        self.waiting_bytes += size;
        self.waiting_batches += 1;
        let waits = self.waiting.get(&append.partition);
        match waits.map(|group| append.generation.cmp(&group.generation)) {
            Some(Ordering::Less) => return,
            Some(Ordering::Greater) => {
                let dropped = self.waiting.remove(&append.partition);
                self.waiting_segments -= dropped.map_or(0, |group| group.writes.len());
            }
            Some(Ordering::Equal) | None => {}
        }
        let group = self
            .waiting
            .entry(append.partition)
            .or_insert_with(|| PartitionGroup {
                shard: append.shard,
                generation: append.generation,
                end_offset: append.end_offset,
                is_synced: false,
                writes: Vec::new(),
            });
        let segments_before = group.writes.len();
        group.end_offset = append.end_offset;
        group.is_synced |= append.durability == Durability::Fsync;
        if let Some(closed) = append.closed {
            close(group, closed.base_offset, closed.size_bytes);
        }
        match group.writes.last_mut() {
            Some(write) if write.segment == append.segment && write.closes_at.is_none() => {
                assert_eq!(
                    write.at + write.length,
                    append.position,
                    "batches follow one another"
                );
                write.length += size;
                write.slices.extend([append.prefix, append.rest]);
            }
            _ => group.writes.push(SegmentWrite {
                segment: append.segment,
                is_new: append.position == 0,
                at: append.position,
                length: size,
                slices: vec![append.prefix, append.rest],
                closes_at: None,
            }),
        }
        self.waiting_segments += group.writes.len() - segments_before;
    }

    /// Begins the next group and returns its work; nothing if nothing waits. At most `ahead_bytes_max` are reserved beyond
    /// what is written.
    ///
    /// # Panics
    /// When the group before is not finished.
    pub fn begin_group(&mut self, ahead_bytes_max: u64) -> GroupWork {
        assert!(self.under_way.is_empty(), "one group at a time");
        self.under_way = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        self.waiting_batches = 0;
        self.waiting_segments = 0;
        let mut ahead_bytes_left = ahead_bytes_max;
        let mut work = GroupWork::default();
        for (&partition, group) in &mut self.under_way {
            let mut creates = false;
            for write in &mut group.writes {
                let segment = write.segment;
                creates |= write.is_new;
                let active = activate(&mut self.active, partition, segment);
                prepare(
                    active,
                    partition,
                    write,
                    &mut ahead_bytes_left,
                    &mut work.steps,
                );
                add_write(partition, write, &mut work.steps);
                if group.is_synced {
                    work.syncs.push(SyncTarget::Segment { partition, segment });
                }
                if write.closes_at.is_some() {
                    work.closes.push((partition, segment));
                }
            }
            if creates {
                work.syncs.push(SyncTarget::Folder { partition });
            }
        }
        work
    }

    /// Ends the group whose steps were all done: adds the durable ends by shard, and the bytes written to each.
    pub fn end_group(&mut self, ends: &mut BTreeMap<usize, Vec<DurableEnd>>) {
        for (partition, group) in std::mem::take(&mut self.under_way) {
            let PartitionGroup {
                shard,
                generation,
                end_offset,
                ..
            } = group;
            ends.entry(shard).or_default().push(DurableEnd {
                partition,
                generation,
                end_offset,
            });
        }
    }
}

fn close(group: &mut PartitionGroup, segment: Offset, size_bytes: u64) {
    match group
        .writes
        .iter_mut()
        .find(|write| write.segment == segment)
    {
        Some(write) => write.closes_at = Some(size_bytes),
        None => group.writes.push(SegmentWrite {
            segment,
            is_new: false,
            at: size_bytes,
            length: 0,
            slices: Vec::new(),
            closes_at: Some(size_bytes),
        }),
    }
}

fn add_write(partition: TopicPartition, write: &mut SegmentWrite, steps: &mut Vec<Step>) {
    let segment = write.segment;
    if write.length > 0 {
        steps.push(Step::Write {
            partition,
            segment,
            at: write.at,
            slices: std::mem::take(&mut write.slices),
        });
    }
    if let Some(length) = write.closes_at {
        steps.push(Step::Cut {
            partition,
            segment,
            length,
        });
    }
}

fn activate(
    active: &mut BTreeMap<TopicPartition, ActiveSegment>,
    partition: TopicPartition,
    segment: Offset,
) -> &mut ActiveSegment {
    let known = active
        .entry(partition)
        .or_insert_with(|| ActiveSegment::new(segment, 0));
    if known.base_offset != segment {
        *known = known.next(segment);
    }
    known
}

/// Adds what must be done before the write.
fn prepare(
    active: &mut ActiveSegment,
    partition: TopicPartition,
    write: &SegmentWrite,
    ahead_bytes_left: &mut u64,
    steps: &mut Vec<Step>,
) {
    let segment = write.segment;
    if write.is_new {
        steps.push(Step::Create { partition, segment });
    }
    let end = write.at + write.length;
    if end > active.allocated_end && write.closes_at.is_none() {
        let needed = end - active.allocated_end;
        let length = needed.next_multiple_of(active.next_chunk);
        if length - needed <= *ahead_bytes_left {
            *ahead_bytes_left -= length - needed;
            steps.push(Step::Allocate {
                partition,
                segment,
                at: active.allocated_end,
                length,
            });
            active.allocated_end += length;
            active.next_chunk = (active.next_chunk * 2).min(CHUNK_BYTES_MAX);
        } else {
            active.next_chunk = CHUNK_BYTES_MIN;
        }
    }
    active.allocated_end = active.allocated_end.max(end);
    active.written_end = end;
}
