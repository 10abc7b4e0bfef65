//! What a group consists of, without a disk.

use super::*;
use keylane_protocol::identifiers::{PartitionIndex, TopicId};
use std::collections::BTreeMap;

const AHEAD: u64 = u64::MAX;

fn partition(index: i32) -> TopicPartition {
    TopicPartition {
        topic_id: TopicId([1; 16]),
        partition: PartitionIndex(index),
    }
}

/// An append of 100 bytes and one offset.
fn append(index: i32, segment: i64, position: u64) -> Append {
    Append {
        partition: partition(index),
        generation: 0,
        shard: usize::try_from(index).expect("small") % 2,
        durability: Durability::Fsync,
        segment: Offset(segment),
        position,
        closed: None,
        end_offset: Offset(segment).plus(i64::try_from(position / 100 + 1).expect("small")),
        prefix: Bytes::from_static(&[7; 16]),
        rest: Bytes::from_static(&[7; 84]),
    }
}

fn sync(index: i32, segment: i64) -> SyncTarget {
    SyncTarget::Segment {
        partition: partition(index),
        segment: Offset(segment),
    }
}

fn ends(writer: &mut LogWriter) -> Vec<(usize, i32, i64)> {
    let mut ends = BTreeMap::new();
    writer.end_group(&mut ends);
    let flat = ends
        .into_iter()
        .flat_map(|(shard, ends)| ends.into_iter().map(move |end| (shard, end)));
    flat.map(|(shard, end)| (shard, end.partition.partition.0, end.end_offset.0))
        .collect()
}

/// Returns the writes of a group as (partition, segment, first byte, bytes).
fn writes(work: &GroupWork) -> Vec<(i32, i64, u64, usize)> {
    let steps = work.steps.iter().filter_map(|step| match step {
        Step::Write {
            partition,
            segment,
            at,
            slices,
        } => {
            let bytes = slices.iter().map(Bytes::len).sum();
            Some((partition.partition.0, segment.0, *at, bytes))
        }
        _ => None,
    });
    steps.collect()
}

fn allocated(work: &GroupWork) -> Vec<(u64, u64)> {
    let steps = work.steps.iter().filter_map(|step| match step {
        Step::Allocate { at, length, .. } => Some((*at, *length)),
        _ => None,
    });
    steps.collect()
}

#[test]
fn what_waits_becomes_one_write_and_one_sync_for_each_segment() {
    let mut writer = LogWriter::default();
    for position in [500, 600, 700] {
        writer.on_append(append(0, 0, position));
    }
    writer.on_append(append(1, 0, 0));
    assert_eq!((writer.waiting_bytes(), writer.waiting_batches()), (400, 4));
    assert_eq!(writer.waiting_segments(), 2);
    let work = writer.begin_group(AHEAD);
    assert_eq!(writes(&work), [(0, 0, 500, 300), (1, 0, 0, 100)]);
    let folder = SyncTarget::Folder {
        partition: partition(1),
    };
    assert_eq!(work.syncs, [sync(0, 0), sync(1, 0), folder]);
    assert_eq!(ends(&mut writer), [(0, 0, 8), (1, 1, 1)]);
    assert_eq!(writer.begin_group(AHEAD), GroupWork::default());
}

#[test]
fn what_arrives_while_a_group_is_under_way_forms_the_next() {
    let mut writer = LogWriter::default();
    writer.on_append(append(0, 0, 0));
    writer.begin_group(AHEAD);
    writer.on_append(append(0, 0, 100));
    assert_eq!(ends(&mut writer), [(0, 0, 1)]);
    let work = writer.begin_group(AHEAD);
    assert_eq!(writes(&work), [(0, 0, 100, 100)]);
    assert_eq!(ends(&mut writer), [(0, 0, 2)]);
}

#[test]
fn a_segment_that_ends_is_cut_synced_and_closed_with_the_group_that_begins_the_next() {
    let mut writer = LogWriter::default();
    writer.on_append(append(0, 0, 100));
    let mut first = append(0, 2, 0);
    first.closed = Some(ClosedSegment {
        base_offset: Offset(0),
        size_bytes: 200,
    });
    writer.on_append(first);
    let work = writer.begin_group(AHEAD);
    assert_eq!(writes(&work), [(0, 0, 100, 100), (0, 2, 0, 100)]);
    assert!(work.steps.contains(&Step::Cut {
        partition: partition(0),
        segment: Offset(0),
        length: 200,
    }));
    assert!(work.syncs.contains(&sync(0, 0)) && work.syncs.contains(&sync(0, 2)));
    assert_eq!(work.closes, [(partition(0), Offset(0))]);
}

#[test]
fn a_segment_that_ended_before_the_group_is_still_cut_and_synced() {
    let mut writer = LogWriter::default();
    let mut first = append(0, 2, 0);
    first.closed = Some(ClosedSegment {
        base_offset: Offset(0),
        size_bytes: 200,
    });
    writer.on_append(first);
    let work = writer.begin_group(AHEAD);
    assert_eq!(writes(&work), [(0, 2, 0, 100)]);
    assert!(work.syncs.contains(&sync(0, 0)));
    assert_eq!(work.closes, [(partition(0), Offset(0))]);
}

#[test]
fn of_page_cache_topics_only_the_name_of_the_first_segment_is_synced() {
    let mut writer = LogWriter::default();
    let page_cache = |position| Append {
        durability: Durability::PageCache,
        ..append(0, 0, position)
    };
    writer.on_append(page_cache(0));
    let folder = SyncTarget::Folder {
        partition: partition(0),
    };
    assert_eq!(writer.begin_group(AHEAD).syncs, [folder]);
    assert_eq!(ends(&mut writer), [(0, 0, 1)]);
    writer.on_append(Append {
        segment: Offset(1),
        closed: Some(ClosedSegment {
            base_offset: Offset(0),
            size_bytes: 100,
        }),
        ..page_cache(0)
    });
    let work = writer.begin_group(AHEAD);
    assert_eq!(work.syncs, []);
    assert!(
        !work
            .steps
            .iter()
            .any(|step| matches!(step, Step::Cut { .. }))
    );
    assert_eq!(work.closes, [(partition(0), Offset(0))]);
}

#[test]
fn reservations_double_and_are_left_out_where_there_is_no_room() {
    let mut writer = LogWriter::default();
    let mut position = 0;
    let mut reserved = Vec::new();
    for _ in 0..4000 {
        writer.on_append(append(0, 0, position));
        position += 100;
        reserved.extend(allocated(&writer.begin_group(AHEAD)));
        ends(&mut writer);
    }
    let kibibytes = |at: u64, length: u64| (at * 1024, length * 1024);
    let expected = [kibibytes(0, 64), kibibytes(64, 128), kibibytes(192, 256)];
    assert_eq!(reserved, expected);
    let mut writer = LogWriter::default();
    writer.on_append(append(0, 0, position));
    let work = writer.begin_group(1000);
    assert_eq!(allocated(&work), []);
    assert_eq!(writes(&work), [(0, 0, position, 100)]);
    ends(&mut writer);
    writer.on_append(append(0, 0, position + 100));
    let work = writer.begin_group(AHEAD);
    assert_eq!(allocated(&work), [(position + 100, 64 * 1024)]);
}

#[test]
fn appends_of_an_older_generation_are_dropped() {
    let mut writer = LogWriter::default();
    let of = |generation, position| Append {
        generation,
        ..append(0, 0, position)
    };
    writer.on_append(of(1, 0));
    writer.on_append(of(1, 100));
    writer.on_append(of(2, 0));
    writer.on_append(of(1, 200));
    assert_eq!(writer.waiting_batches(), 4, "room was taken for all");
    let work = writer.begin_group(AHEAD);
    assert_eq!(writes(&work), [(0, 0, 0, 100)]);
    let mut reported = BTreeMap::new();
    writer.end_group(&mut reported);
    assert_eq!(
        reported[&0],
        [DurableEnd {
            partition: partition(0),
            generation: 2,
            end_offset: Offset(1),
        }]
    );
}
