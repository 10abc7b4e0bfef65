//! Every kind of frame is read as it was written, without its records being copied, and damage is an error.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::frame::{FrameSplitter, frame_length};
use crate::link::append::SubBatch;
use crate::link::limits::{LINK_FRAME_BYTES_MAX, SUB_BATCH_COST_BYTES};
use crate::link::{Body, Correlation, Lane};

fn encoded(frame: &Frame) -> Bytes {
    let segments = frame.encode().expect("a sample can be encoded");
    let mut splitter = FrameSplitter::new(LINK_FRAME_BYTES_MAX);
    splitter.buffer.extend_from_slice(&segments.concat());
    let whole = splitter.next_frame().expect("a length that is taken");
    assert!(splitter.buffer.is_empty());
    whole.expect("a whole frame")
}

proptest! {
    #[test]
    fn every_kind_is_read_as_it_was_written(choices in vec(any::<u8>(), 0..300)) {
        for frame in Frame::samples(&choices) {
            let bytes = encoded(&frame);
            prop_assert_eq!(Frame::decode(bytes.clone()), Ok(frame.clone()));
            for end in 0..bytes.len() {
                prop_assert!(Frame::decode(bytes.slice(..end)).is_err(), "{} cut at {end}", frame.name());
            }
        }
    }

    #[test]
    fn damage_is_an_error_or_another_frame(choices in vec(any::<u8>(), 0..200), at: usize, byte: u8) {
        for frame in Frame::samples(&choices) {
            let mut bytes = encoded(&frame).to_vec();
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Ok(other) = Frame::decode(bytes.into()) {
                prop_assert_eq!(Frame::decode(encoded(&other)), Ok(other));
            }
        }
    }
}

#[test]
fn every_kind_has_its_own_number() {
    let numbers: std::collections::BTreeSet<u8> =
        Frame::KINDS.iter().map(|(code, _)| *code).collect();
    assert_eq!(numbers.len(), Frame::KINDS.len());
    for code in (0..=u8::MAX).filter(|code| !numbers.contains(code)) {
        let refused = Frame::decode(vec![code, 0].into());
        assert_eq!(refused, Err(FrameError::UnknownKind { kind: code }));
    }
    assert_eq!(Frame::decode(Bytes::new()), Err(FrameError::Empty));
}

#[test]
fn records_are_written_from_where_they_lie() {
    let records = Bytes::from(vec![7; 5000]);
    let sub_batch = SubBatch {
        lane: Lane(1),
        correlation: Correlation(2),
        records_length: 5000,
        records: Body::from(records.clone()),
        ..SubBatch::default()
    };
    let append = Append {
        sub_batches: vec![sub_batch.clone(), sub_batch],
    };
    let segments = Frame::from(append).encode().expect("encoded");
    let same = |segment: &&Bytes| segment.as_ptr() == records.as_ptr();
    assert_eq!(segments.iter().filter(same).count(), 2);
}

#[test]
fn a_sub_batch_costs_more_than_its_fields_take() {
    let append = |count| Append {
        sub_batches: vec![
            SubBatch {
                lane: Lane(u64::MAX),
                records_length: u32::MAX,
                ..SubBatch::default()
            };
            count
        ],
    };
    let length = |count| {
        let segments = Frame::from(append(count)).encode().expect("encoded");
        let prefix = *segments[0].first_chunk().expect("a prefix");
        frame_length(prefix, usize::MAX).expect("a length")
    };
    // A length of five bytes for the records instead of one.
    assert!(length(100) - length(0) + 100 * 4 <= 100 * SUB_BATCH_COST_BYTES);
}

#[test]
#[ignore = "writes files: run it to renew the corpus after a declaration has changed"]
fn corpus_is_written() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/link_frame");
    std::fs::create_dir_all(folder).expect("the corpus can be written");
    for (place, (_, name)) in Frame::KINDS.iter().enumerate() {
        let candidates = (1..=u8::MAX).map(|step| {
            let choice = |place: u8| place.wrapping_mul(step) ^ (place >> 3) ^ step;
            let choices: Vec<u8> = (0..120).map(choice).collect();
            encoded(&Frame::samples(&choices)[place])
        });
        let longest = candidates
            .filter(|bytes| bytes.len() < 512)
            .max_by_key(Bytes::len)
            .expect("a short frame");
        std::fs::write(format!("{folder}/{name}"), longest).expect("it can be written");
    }
}
