//! Behaviour of [`Producers`], by example and by property.

use proptest::prelude::*;

use super::*;

const LIMITS: ProducerLimits = ProducerLimits {
    producers_max: 4,
    expiry_ms: 1_000_000,
    idle_ms_min: 1_000,
};

fn batch(id: i64, epoch: i16, base_sequence: i32, record_count: i32) -> SequencedBatch {
    SequencedBatch {
        producer_id: ProducerId(id),
        epoch: ProducerEpoch(epoch),
        base_sequence: Sequence(base_sequence),
        record_count,
    }
}

/// Judges as a partition does, appending what may be appended; returns the judgement.
fn offer(producers: &mut Producers, end: &mut Offset, batch: SequencedBatch) -> Judgement {
    let judgement = producers.judge(&batch, 0);
    if judgement == Judgement::Append {
        producers.remember(&batch, *end, 0);
        *end = end.plus(i64::from(batch.record_count));
    }
    judgement
}

#[test]
fn the_last_five_batches_are_duplicates_and_older_ones_are_out_of_order() {
    let (mut producers, mut end) = (Producers::new(LIMITS), Offset(100));
    for i in 0..6 {
        assert_eq!(
            offer(&mut producers, &mut end, batch(1, 0, i * 10, 10)),
            Judgement::Append
        );
    }
    for i in 1..6 {
        let judgement = producers.judge(&batch(1, 0, i * 10, 10), 0);
        let Judgement::Duplicate(original) = judgement else {
            panic!("batch {i}: {judgement:?}");
        };
        assert_eq!(original.base_offset, Offset(100 + i64::from(i) * 10));
    }
    assert!(matches!(
        producers.judge(&batch(1, 0, 0, 10), 0),
        Judgement::Refused(Refusal::OutOfOrder { .. })
    ));
}

#[test]
fn a_batch_with_the_same_start_and_another_end_is_not_a_duplicate() {
    let (mut producers, mut end) = (Producers::new(LIMITS), Offset(0));
    offer(&mut producers, &mut end, batch(1, 0, 0, 10));
    assert!(matches!(
        producers.judge(&batch(1, 0, 0, 9), 0),
        Judgement::Refused(Refusal::OutOfOrder { .. })
    ));
}

#[test]
fn a_gap_is_out_of_order_until_the_missing_batch_came() {
    let (mut producers, mut end) = (Producers::new(LIMITS), Offset(0));
    offer(&mut producers, &mut end, batch(1, 0, 0, 1));
    let gap = batch(1, 0, 2, 1);
    assert_eq!(
        producers.judge(&gap, 0),
        Judgement::Refused(Refusal::OutOfOrder {
            found: Sequence(2),
            last: Sequence(0)
        })
    );
    offer(&mut producers, &mut end, batch(1, 0, 1, 1));
    assert_eq!(producers.judge(&gap, 0), Judgement::Append);
}

#[test]
fn a_lower_epoch_is_fenced_and_a_higher_one_starts_at_zero() {
    let (mut producers, mut end) = (Producers::new(LIMITS), Offset(0));
    offer(&mut producers, &mut end, batch(1, 3, 0, 1));
    assert!(matches!(
        producers.judge(&batch(1, 2, 1, 1), 0),
        Judgement::Refused(Refusal::Fenced { .. })
    ));
    assert!(matches!(
        producers.judge(&batch(1, 4, 1, 1), 0),
        Judgement::Refused(Refusal::OutOfOrder { .. })
    ));
    assert_eq!(
        offer(&mut producers, &mut end, batch(1, 4, 0, 1)),
        Judgement::Append
    );
    assert!(matches!(
        producers.judge(&batch(1, 3, 1, 1), 0),
        Judgement::Refused(Refusal::Fenced { .. })
    ));
}

#[test]
fn an_unknown_producer_must_begin_at_zero() {
    let mut producers = Producers::new(LIMITS);
    assert!(matches!(
        producers.judge(&batch(9, 0, 7, 1), 0),
        Judgement::Refused(Refusal::Unknown { .. })
    ));
    assert_eq!(producers.judge(&batch(9, 5, 0, 1), 0), Judgement::Append);
}

#[test]
fn sequences_wrap_to_zero() {
    let (mut producers, mut end) = (Producers::new(LIMITS), Offset(0));
    let first = batch(1, 0, 0, i32::MAX);
    offer(&mut producers, &mut end, first);
    let wrapping = batch(1, 0, i32::MAX, 2);
    assert_eq!(offer(&mut producers, &mut end, wrapping), Judgement::Append);
    assert!(matches!(
        producers.judge(&wrapping, 0),
        Judgement::Duplicate(_)
    ));
    assert_eq!(
        offer(&mut producers, &mut end, batch(1, 0, 1, 1)),
        Judgement::Append
    );
}

#[test]
fn when_full_an_idle_producer_makes_room_and_a_busy_one_does_not() {
    let (mut producers, mut end) = (Producers::new(LIMITS), Offset(0));
    for id in 0..4 {
        offer(&mut producers, &mut end, batch(id, 0, 0, 1));
    }
    let fifth = batch(4, 0, 0, 1);
    assert!(matches!(
        producers.judge(&fifth, 999),
        Judgement::Refused(Refusal::TooMany { limit: 4 })
    ));
    assert_eq!(producers.judge(&fifth, 1_000), Judgement::Append);
    producers.remember(&fifth, end, 1_000);
    assert_eq!(producers.count(), 4);
    assert!(matches!(
        producers.judge(&batch(0, 0, 1, 1), 1_000),
        Judgement::Refused(Refusal::Unknown { .. })
    ));
}

#[test]
fn a_silent_producer_expires_by_the_shards_clock() {
    let (mut producers, mut end) = (Producers::new(LIMITS), Offset(0));
    offer(&mut producers, &mut end, batch(1, 0, 0, 1));
    assert_eq!(
        producers.judge(&batch(1, 0, 1, 1), 999_999),
        Judgement::Append
    );
    assert!(matches!(
        producers.judge(&batch(1, 0, 1, 1), 1_000_000),
        Judgement::Refused(Refusal::Unknown { .. })
    ));
    assert_eq!(producers.count(), 0);
}

#[test]
fn a_damaged_snapshot_is_refused_wherever_the_damage_is() {
    let (mut producers, mut end) = (Producers::new(LIMITS), Offset(0));
    offer(&mut producers, &mut end, batch(1, 0, 0, 1));
    offer(&mut producers, &mut end, batch(2, 0, 0, 1));
    let bytes = producers.encode();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        assert!(Producers::decode(&damaged, LIMITS, 0).is_err(), "byte {at}");
        assert!(Producers::decode(&bytes[..at], LIMITS, 0).is_err());
    }
}

fn any_batch() -> impl Strategy<Value = SequencedBatch> {
    (0_i64..6, 0_i16..3, 0_i32..12, 1_i32..4)
        .prop_map(|(id, epoch, base_sequence, count)| batch(id, epoch, base_sequence, count))
}

proptest! {
    #[test]
    fn state_rebuilt_from_the_log_equals_the_live_state(
        offered in prop::collection::vec(any_batch(), 0..200),
        cut in 0_usize..200,
    ) {
        let mut live = Producers::new(LIMITS);
        let mut log = Vec::new();
        let mut end = Offset(0);
        for (at, batch) in offered.iter().enumerate() {
            // The clock runs, so that full states change hands.
            let now_ms = at as u64 * 400;
            if live.judge(batch, now_ms) == Judgement::Append {
                live.remember(batch, end, now_ms);
                log.push((*batch, end));
                end = end.plus(i64::from(batch.record_count));
            }
        }
        let mut rebuilt = Producers::new(LIMITS);
        for (at, (batch, base_offset)) in log.iter().enumerate() {
            if at == cut {
                // A snapshot taken anywhere, then the rest of the log, is as good as the whole log.
                rebuilt = Producers::decode(&rebuilt.encode(), LIMITS, 0).expect("just encoded");
            }
            rebuilt.remember(batch, *base_offset, 0);
        }
        prop_assert_eq!(rebuilt.encode(), live.encode());
    }

    #[test]
    fn no_sequence_is_appended_twice(offered in prop::collection::vec(any_batch(), 0..200)) {
        let (mut producers, mut end) = (Producers::new(LIMITS), Offset(0));
        let mut appended: BTreeMap<(i64, i16), i32> = BTreeMap::new();
        for batch in offered.iter().filter(|batch| batch.producer_id.0 < 4) {
            if offer(&mut producers, &mut end, *batch) == Judgement::Append {
                let next = appended.entry((batch.producer_id.0, batch.epoch.0)).or_insert(0);
                prop_assert_eq!(batch.base_sequence.0, *next);
                *next += batch.record_count;
            }
        }
    }

    #[test]
    fn any_bytes_decode_to_a_state_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Producers::decode(&bytes, LIMITS, 0);
    }
}
