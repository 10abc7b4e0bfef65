//! The core of the writer: from appends to steps, from finished steps to durable ends.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use bytes::Bytes;
use keylane_protocol::offset::Offset;

use super::reservation::ActiveSegment;
use super::work::{GroupWork, Step, SyncTarget};
use super::{Append, Durability, DurableEnd};
use crate::log::TopicPartition;

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
            // Where a log begins must be known for good, even of a page-cache topic.
            let are_names_synced = group.is_synced || !self.active.contains_key(&partition);
            for write in &mut group.writes {
                let segment = write.segment;
                creates |= write.is_new;
                // One not known was found on disk; recovery has cut it to where the first append begins.
                let active = self
                    .active
                    .entry(partition)
                    .or_insert_with(|| ActiveSegment::new(segment, write.at));
                prepare(
                    active,
                    partition,
                    write,
                    &mut ahead_bytes_left,
                    &mut work.steps,
                );
                add_write(partition, write, &mut work.steps);
                if group.is_synced {
                    add_cut(partition, write, &mut work.steps);
                    work.syncs.push(SyncTarget::Segment { partition, segment });
                }
                if write.closes_at.is_some() {
                    work.closes.push((partition, segment));
                }
            }
            if creates && are_names_synced {
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
}

/// Adds the cut of a segment that ends. One of a page-cache topic is cut when it is sealed, which makes its name durable
/// too: neither holds up the batches behind it.
fn add_cut(partition: TopicPartition, write: &SegmentWrite, steps: &mut Vec<Step>) {
    let segment = write.segment;
    if let Some(length) = write.closes_at {
        steps.push(Step::Cut {
            partition,
            segment,
            length,
        });
    }
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
    active.go_on_with(segment);
    let end = write.at + write.length;
    // A segment that ends needs no more room.
    let reserved = match write.closes_at {
        None => active.reserve(end, ahead_bytes_left),
        Some(_) => None,
    };
    if let Some((at, length)) = reserved {
        steps.push(Step::Allocate {
            partition,
            segment,
            at,
            length,
        });
    }
    active.written(end, reserved.map(|(_, length)| length));
}
