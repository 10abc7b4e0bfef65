//! Reading any range of any segment, sound or damaged.

use std::path::Path;

use keylane_protocol::compression::Compression;
use keylane_protocol::offset::LeaderEpoch;
use keylane_protocol::record_batch::{BatchProducer, NewRecord, RecordBatchBuilder, stamp};
use proptest::prelude::*;

use super::*;
use crate::disk::OpenMode;
use crate::disk::simulated::SimulatedDisk;

/// A batch of a segment: its offsets and bytes.
#[derive(Clone, Debug)]
struct Stored {
    base: i64,
    end: i64,
    position: usize,
    bytes: Vec<u8>,
}

/// Returns a segment with batches of so many records and so large values.
fn segment(shapes: &[(usize, usize)]) -> Vec<Stored> {
    let (mut base, mut position) = (0, 0);
    let mut stored = Vec::new();
    for (records, value_bytes) in shapes {
        let value = Bytes::from(vec![7; *value_bytes]);
        let mut builder = RecordBatchBuilder::with_capacity(64);
        for _ in 0..*records {
            builder.append(&NewRecord {
                timestamp: 1,
                value: Some(&value),
                ..NewRecord::default()
            });
        }
        let batch = builder.finish(Compression::None, BatchProducer::NONE);
        let mut bytes = batch.expect("memory suffices").to_vec();
        stamp(&mut bytes, Offset(base), LeaderEpoch(1));
        let end = base + i64::try_from(*records).expect("small");
        let next = position + bytes.len();
        stored.push(Stored {
            base,
            end,
            position,
            bytes,
        });
        (base, position) = (end, next);
    }
    stored
}

fn bytes_of(stored: &[Stored]) -> Vec<u8> {
    stored
        .iter()
        .flat_map(|batch| batch.bytes.clone())
        .collect()
}

fn read(contents: &[u8], range: &ReadRange) -> Result<Bytes, ReadError> {
    let disk = SimulatedDisk::new(1);
    let file = disk.open(Path::new("/segment"), OpenMode::Create)?;
    // What is reserved behind the batches is no part of them.
    let reserved = Bytes::from_static(&[0; 5000]);
    disk.write(&file, 0, &[Bytes::copy_from_slice(contents), reserved])?;
    read_batches(&disk, &file, range)
}

/// What must be read, by looking at the batches one by one.
fn expected(stored: &[Stored], range: &ReadRange) -> Vec<u8> {
    let mut answer = Vec::new();
    let wanted = stored.iter().filter(|batch| batch.end > range.offset.0);
    for batch in wanted.take_while(|batch| batch.end <= range.end_offset.0) {
        if !answer.is_empty() && answer.len() + batch.bytes.len() > range.bytes_max {
            break;
        }
        answer.extend_from_slice(&batch.bytes);
    }
    answer
}

fn shapes() -> impl Strategy<Value = Vec<(usize, usize)>> {
    let value_bytes = prop_oneof![4 => 0..300_usize, 1 => 0..150_000_usize];
    prop::collection::vec((1..5_usize, value_bytes), 1..30)
}

const BEGINNING: BatchPlace = BatchPlace {
    position: 0,
    base_offset: Offset(0),
};

#[test]
fn a_base_offset_bent_to_the_one_wanted_is_not_served() {
    let stored = segment(&[(3, 10), (2, 10), (3, 10)]);
    let mut contents = bytes_of(&stored);
    contents[7] ^= 4;
    let range = ReadRange {
        start: BEGINNING,
        end_position: contents.len() as u64,
        offset: Offset(4),
        end_offset: Offset(8),
        bytes_max: 1000,
    };
    let (position, found) = (0, Offset(4));
    let misplaced = ReadError::Misplaced { position, found };
    assert_eq!(read(&contents, &range), Err(misplaced));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_range_is_answered_with_whole_batches_from_the_one_that_holds_the_offset(
        shapes in shapes(),
        (start, offset, end) in (0..30_usize, 0..130_i64, 0..130_i64),
        bytes_max in prop_oneof![0..2000_usize, 0..1_000_000_usize],
    ) {
        let stored = segment(&shapes);
        let contents = bytes_of(&stored);
        let begins = &stored[start % stored.len()];
        let log_end = stored.last().expect("there is one").end;
        let range = ReadRange {
            start: BatchPlace {
                position: begins.position as u64,
                base_offset: Offset(begins.base),
            },
            end_position: contents.len() as u64,
            offset: Offset(begins.base + offset % (log_end - begins.base)),
            end_offset: Offset(end % (log_end + 1)),
            bytes_max,
        };
        let answer = read(&contents, &range).expect("the segment is sound");
        let whole = expected(&stored, &range);
        prop_assert!(whole.starts_with(&answer));
        prop_assert_eq!(answer.is_empty(), whole.is_empty());
        if begins.base == range.offset.0 {
            prop_assert_eq!(answer.len(), whole.len(), "nothing was skipped, so all fits");
        }
    }

    #[test]
    fn a_bent_byte_is_never_served_and_never_a_gap(
        shapes in prop::collection::vec((1..4_usize, 0..400_usize), 1..12),
        at in 0..100_000_usize,
        bit in 0..8_u8,
        offset in 0..50_i64,
    ) {
        let stored = segment(&shapes);
        let mut contents = bytes_of(&stored);
        let at = at % contents.len();
        contents[at] ^= 1 << bit;
        let log_end = stored.last().expect("there is one").end;
        let range = ReadRange {
            start: BEGINNING,
            end_position: contents.len() as u64,
            offset: Offset(offset % log_end),
            end_offset: Offset(log_end),
            bytes_max: 1 << 20,
        };
        let bent = stored.iter().rposition(|batch| batch.position <= at).expect("the first begins at 0");
        let is_epoch = (12..16).contains(&(at - stored[bent].position));
        match read(&contents, &range) {
            // The leader epoch lies outside the checksum, and no other batch tells what it must be.
            Ok(answer) if is_epoch => prop_assert!(!answer.is_empty()),
            Ok(answer) => {
                let before = expected(&stored[..bent], &range);
                let behind = expected(&stored, &range);
                let skipped = stored[bent].end <= range.offset.0;
                prop_assert!(!answer.is_empty(), "an empty answer would be taken for the end");
                prop_assert!(answer == before || (skipped && behind.starts_with(&answer)));
            }
            Err(ReadError::Damaged { .. } | ReadError::Misplaced { .. }) => {}
            Err(error) => prop_assert!(false, "{error}"),
        }
    }

    #[test]
    fn any_bytes_are_refused_without_panic(contents in prop::collection::vec(any::<u8>(), 0..3000)) {
        let range = ReadRange {
            start: BEGINNING,
            end_position: contents.len() as u64 + 10,
            offset: Offset(3),
            end_offset: Offset(9),
            bytes_max: 1000,
        };
        let answer = read(&contents, &range);
        prop_assert!(answer.is_err());
    }
}
