//! The core of the writer: from appends to steps, from finished steps to durable ends.

use std::collections::BTreeMap;

use bytes::Bytes;
use keylane_protocol::offset::Offset;

use super::{Append, Durability, DurableEnd};
use crate::log::TopicPartition;

/// The first reservation of a segment: idle partitions cost little.
const CHUNK_BYTES_MIN: u64 = 64 * 1024;
/// The largest reservation: busy segments change their size rarely.
const CHUNK_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Reservations ahead take at most this part of what is free.
const SPARE_DIVISOR: u64 = 8;

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
    /// Reserve a range of the segment's file.
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
    /// Make the segment's bytes durable.
    Sync {
        /// The partition.
        partition: TopicPartition,
        /// The segment.
        segment: Offset,
    },
    /// Make the creation of segments durable.
    SyncFolder {
        /// The partition.
        partition: TopicPartition,
    },
    /// Close the file of a segment that takes no more batches.
    Close {
        /// The partition.
        partition: TopicPartition,
        /// The segment.
        segment: Offset,
    },
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
    fn ahead_bytes(&self) -> u64 {
        self.allocated_end.saturating_sub(self.written_end)
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
    under_way: BTreeMap<TopicPartition, PartitionGroup>,
    /// What reservations may take besides what is written now; `None` means that nobody measured.
    spare_bytes: Option<u64>,
}

impl LogWriter {
    /// Makes known a partition whose active segment exists on disk with so many bytes.
    pub fn on_recovered(&mut self, partition: TopicPartition, segment: Offset, size_bytes: u64) {
        let active = ActiveSegment {
            base_offset: segment,
            written_end: size_bytes,
            allocated_end: size_bytes,
            next_chunk: CHUNK_BYTES_MIN,
        };
        self.active.insert(partition, active);
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

    /// Returns the bytes reserved in active segments and not yet used.
    #[must_use]
    pub fn allocated_ahead_bytes(&self) -> u64 {
        self.active.values().map(ActiveSegment::ahead_bytes).sum()
    }

    /// Notes how much is free on the filesystem, so that reservations leave most of it to others.
    pub fn on_space(&mut self, free_bytes: u64) {
        self.spare_bytes = Some(free_bytes / SPARE_DIVISOR);
    }

    /// Adds an append to the next group. Appends of one partition arrive in the order of their offsets.
    pub fn on_append(&mut self, append: Append) {
        let size = append.size_bytes();
        self.waiting_bytes += size;
        self.waiting_batches += 1;
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
        group.generation = append.generation;
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
    }

    /// Begins the next group: adds its steps. Nothing if nothing waits.
    ///
    /// # Panics
    /// When the group before is not finished.
    pub fn begin_group(&mut self, steps: &mut Vec<Step>) {
        assert!(self.under_way.is_empty(), "one group at a time");
        self.under_way = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        self.waiting_batches = 0;
        let mut syncs = Vec::new();
        for (&partition, group) in &mut self.under_way {
            let mut created = false;
            for write in &mut group.writes {
                let spare = &mut self.spare_bytes;
                created |= prepare(&mut self.active, partition, write, spare, steps);
                if write.length > 0 {
                    let slices = std::mem::take(&mut write.slices);
                    steps.push(Step::Write {
                        partition,
                        segment: write.segment,
                        at: write.at,
                        slices,
                    });
                }
                if let Some(length) = write.closes_at {
                    steps.push(Step::Cut {
                        partition,
                        segment: write.segment,
                        length,
                    });
                }
                if group.is_synced {
                    syncs.push(Step::Sync {
                        partition,
                        segment: write.segment,
                    });
                }
                if write.closes_at.is_some() {
                    syncs.push(Step::Close {
                        partition,
                        segment: write.segment,
                    });
                }
            }
            if created {
                syncs.push(Step::SyncFolder { partition });
            }
        }
        steps.append(&mut syncs);
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

/// Returns how much to reserve for so many bytes: whole chunks, unless the disk is too full for what they take ahead.
fn reservation(needed: u64, chunk: u64, spare_bytes: &mut Option<u64>) -> u64 {
    let chunked = needed.next_multiple_of(chunk);
    match spare_bytes {
        Some(spare) if chunked - needed > *spare => needed,
        Some(spare) => {
            *spare -= chunked - needed;
            chunked
        }
        None => chunked,
    }
}

/// Adds what must be done before the write; tells whether that creates a file.
fn prepare(
    active: &mut BTreeMap<TopicPartition, ActiveSegment>,
    partition: TopicPartition,
    write: &SegmentWrite,
    spare_bytes: &mut Option<u64>,
    steps: &mut Vec<Step>,
) -> bool {
    let segment = write.segment;
    if write.is_new {
        steps.push(Step::Create { partition, segment });
    }
    let fresh = ActiveSegment {
        base_offset: segment,
        written_end: 0,
        allocated_end: 0,
        next_chunk: CHUNK_BYTES_MIN,
    };
    let known = active.entry(partition).or_insert(fresh);
    if known.base_offset != segment {
        // A partition that fills segments begins the next one with the chunks it has grown to.
        *known = ActiveSegment {
            next_chunk: known.next_chunk,
            ..fresh
        };
    }
    let end = write.at + write.length;
    if end > known.allocated_end && write.closes_at.is_none() {
        let length = reservation(end - known.allocated_end, known.next_chunk, spare_bytes);
        steps.push(Step::Allocate {
            partition,
            segment,
            at: known.allocated_end,
            length,
        });
        known.allocated_end += length;
        known.next_chunk = (known.next_chunk * 2).min(CHUNK_BYTES_MAX);
    }
    known.written_end = end;
    write.is_new
}
