//! Placing batches, rolling segments, finding them again.

use bytes::{BufMut, Bytes, BytesMut};
use keylane_protocol::offset::{LeaderEpoch, Offset};
use proptest::prelude::*;

use super::*;
use crate::folder::checked::checksum;

const SETTINGS: RollSettings = RollSettings {
    segment_bytes_max: 10_000,
    segment_ms_max: 1000,
};

fn batch(size_bytes: u64, max_timestamp: i64) -> BatchFacts {
    BatchFacts {
        offset_count: 2,
        size_bytes,
        max_timestamp,
    }
}

fn append(log: &mut Log, size_bytes: u64, max_timestamp: i64, now_ms: u64) -> Placement {
    log.append(
        &batch(size_bytes, max_timestamp),
        LeaderEpoch(1),
        &SETTINGS,
        now_ms,
    )
}

#[test]
fn batches_lie_one_after_the_other_until_the_segment_is_full() {
    let mut log = Log::empty(Offset(0));
    let first = append(&mut log, 6000, 1, 1);
    let second = append(&mut log, 4000, 2, 1);
    let third = append(&mut log, 1, 3, 1);
    assert_eq!(
        (first.base_offset, first.position, first.closed),
        (Offset(0), 0, None)
    );
    assert_eq!(
        (second.base_offset, second.position, second.closed),
        (Offset(2), 6000, None)
    );
    let closed = ClosedSegment {
        base_offset: Offset(0),
        size_bytes: 10_000,
    };
    assert_eq!(
        (third.segment, third.position, third.closed),
        (Offset(4), 0, Some(closed))
    );
    assert_eq!(log.end_offset(), Offset(6));
}

#[test]
fn a_batch_larger_than_a_segment_gets_one_of_its_own() {
    let mut log = Log::empty(Offset(0));
    assert_eq!(append(&mut log, 50_000, 1, 1).closed, None);
    assert!(append(&mut log, 50_000, 1, 1).closed.is_some());
}

#[test]
fn a_segment_ends_when_it_is_old() {
    let mut log = Log::empty(Offset(0));
    append(&mut log, 10, 1, 500);
    assert_eq!(append(&mut log, 10, 1, 1499).closed, None);
    assert!(append(&mut log, 10, 1, 1500).closed.is_some());
}

#[test]
fn every_offset_is_found_at_or_before_its_batch() {
    let mut log = Log::empty(Offset(0));
    let placements: Vec<Placement> = (0..50).map(|_| append(&mut log, 700, 1, 1)).collect();
    for placement in &placements {
        for offset in [placement.base_offset, placement.base_offset.plus(1)] {
            let location = log.locate(offset).expect("inside the log");
            assert_eq!(location.segment, placement.segment);
            assert!(location.place.position <= placement.position);
            let interval = match location.segment == log.active().base_offset() {
                true => segment::INDEX_INTERVAL_BYTES,
                false => segment::CLOSED_INDEX_INTERVAL_BYTES,
            };
            assert!(placement.position - location.place.position <= interval + 700);
        }
    }
    assert_eq!(log.locate(log.end_offset()), None);
    assert_eq!(log.locate(Offset(-1)), None);
}

#[test]
fn a_timestamp_is_found_at_or_before_the_first_batch_that_reaches_it() {
    let mut log = Log::empty(Offset(0));
    let timestamps = [10, 30, 20, 20, 20, 20, 20, 20, 20, 25, 40, 35, 50];
    let placements: Vec<(i64, Placement)> = timestamps
        .iter()
        .map(|&timestamp| (timestamp, append(&mut log, 1500, timestamp, 1)))
        .collect();
    for wanted in 0..=50 {
        let first = placements
            .iter()
            .find(|(timestamp, _)| *timestamp >= wanted)
            .expect("one reaches it")
            .1;
        let location = log.locate_timestamp(wanted).expect("one reaches it");
        assert!(
            (location.segment, location.place.position) <= (first.segment, first.position),
            "timestamp {wanted}"
        );
    }
    assert_eq!(log.locate_timestamp(51), None);
    assert_eq!(
        log.locate_max_timestamp().map(|(largest, _)| largest),
        Some(50)
    );
}

#[test]
fn an_index_file_gives_the_segment_back() {
    let mut log = Log::empty(Offset(0));
    for number in 0..30 {
        append(&mut log, 300, number, 1);
    }
    let segment = log.active();
    let mut epochs = log.epochs_of(segment);
    epochs.note(LeaderEpoch(4), segment.base_offset().plus(2));
    let contents = index_file::IndexFile::encode(segment, &epochs, b"producers");
    let read = index_file::IndexFile::decode(&contents, segment.base_offset()).expect("sound");
    assert_eq!(read.last_leader_epoch, LeaderEpoch(4));
    assert_eq!(read.epochs, Some(epochs));
    assert_eq!(read.producers, &b"producers"[..]);
    assert_eq!(read.segment.index(), segment.index());
    assert_eq!(read.segment.end_offset(), segment.end_offset());
    assert!(
        index_file::IndexFile::decode(&contents, Offset(1)).is_none(),
        "it is of another segment"
    );
    for length in 0..contents.len() {
        assert!(
            index_file::IndexFile::decode(&contents.slice(..length), segment.base_offset())
                .is_none()
        );
    }
}

/// Returns an index file whose checksum is right, whatever it says.
fn index_file_saying(version: u32, body: &[u8], entries: u32, base_offset: i64) -> Bytes {
    let mut contents = BytesMut::new();
    contents.put_slice(b"KEYLANEI");
    contents.put_u32(version);
    contents.put_u32(entries);
    contents.put_i64(base_offset);
    contents.put_slice(body);
    contents.put_u32(checksum(&contents));
    contents.freeze()
}

proptest! {
    #[test]
    fn an_index_file_that_says_anything_is_refused_or_makes_a_usable_segment(
        version in 0..4_u32,
        body in prop::collection::vec(any::<u8>(), 0..200),
        entries in prop_oneof![0..4_u32, any::<u32>()],
        base_offset in prop_oneof![0..10_i64, any::<i64>()],
        (offset, timestamp, byte) in (any::<i64>(), any::<i64>(), any::<u64>()),
    ) {
        let contents = index_file_saying(version, &body, entries, base_offset);
        let decoded = index_file::IndexFile::decode(&contents, Offset(base_offset));
        if let Some(read) = decoded {
            let mut segment = read.segment;
            segment.close();
            let _ = segment.offset_before(byte);
            let end = segment.end_offset();
            let log = Log::recovered(vec![segment], read.epochs.unwrap_or_default(), Vec::new());
            let _ = log.size_bytes();
            let _ = log.locate(Offset(offset));
            let _ = log.locate(Offset(end.0 - 1));
            let _ = log.locate_timestamp(timestamp);
        }
    }
}

/// Returns what an index file of 10 records in one batch says, with these epochs.
fn index_file_with_epochs(last_leader_epoch: i32, starts: &[(i32, i64)]) -> Option<EpochHistory> {
    let mut body = BytesMut::new();
    body.put_i64(110);
    body.put_u64(500);
    body.put_i64(7);
    body.put_i32(last_leader_epoch);
    body.put_u32(0);
    body.put_u32(u32::try_from(starts.len()).expect("few"));
    for &(epoch, offset) in starts {
        body.put_i32(epoch);
        body.put_i64(offset);
    }
    let contents = index_file_saying(2, &body, 0, 100);
    let read = index_file::IndexFile::decode(&contents, Offset(100))?;
    Some(read.epochs.expect("version 2 tells them"))
}

#[test]
fn an_index_file_whose_epochs_cannot_be_those_of_its_segment_is_no_proof() {
    assert!(index_file_with_epochs(4, &[(3, 100), (4, 105)]).is_some());
    assert!(index_file_with_epochs(-1, &[]).is_some());
    let contradictions: [(i32, &[(i32, i64)]); 7] = [
        (5, &[(3, 100), (4, 105)]),
        (4, &[]),
        (4, &[(3, 99), (4, 105)]),
        (4, &[(3, 100), (4, 110)]),
        (3, &[(4, 100), (3, 105)]),
        (4, &[(3, 105), (4, 105)]),
        (-2, &[(-2, 100)]),
    ];
    for (last, starts) in contradictions {
        assert_eq!(
            index_file_with_epochs(last, starts),
            None,
            "{last} {starts:?}"
        );
    }
    let many: Vec<(i32, i64)> = (0..2000).map(|epoch| (epoch, 100)).collect();
    assert_eq!(index_file_with_epochs(1999, &many), None);
}

#[test]
fn an_index_file_of_the_version_before_is_read_and_tells_no_epochs() {
    let mut body = BytesMut::new();
    body.put_i64(110);
    body.put_u64(500);
    body.put_i64(7);
    body.put_i32(4);
    body.put_u32(3);
    body.put_slice(b"abc");
    let contents = index_file_saying(1, &body, 0, 100);
    let read = index_file::IndexFile::decode(&contents, Offset(100)).expect("sound");
    assert_eq!(read.last_leader_epoch, LeaderEpoch(4));
    assert_eq!((read.epochs, &read.producers[..]), (None, &b"abc"[..]));
    assert!(
        index_file::IndexFile::decode(&index_file_saying(3, &body, 0, 100), Offset(100)).is_none()
    );
}
