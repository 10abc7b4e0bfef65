//! When the sender must be woken, and how large batches become.

use super::*;
use keylane_protocol::record_batch::NewRecord;

const LINGER: Duration = Duration::from_millis(5);
const BATCH_BYTES: usize = 16 * 1024;

fn accumulator() -> Accumulator {
    let settings = AccumulatorSettings {
        batch_size_bytes: BATCH_BYTES,
        max_record_bytes: 1024 * 1024,
        linger: LINGER,
        delivery_timeout: Duration::from_secs(120),
    };
    let mut accumulator = Accumulator::new(settings, 1);
    accumulator.set_partitions(&Arc::from("orders"), 2);
    accumulator
}

/// Appends a record of so many bytes and returns whether that wakes the sender.
fn append(accumulator: &mut Accumulator, partition: i32, bytes: usize, now: Instant) -> bool {
    let value = vec![7; bytes];
    let fields = RecordFields {
        topic: "orders",
        partition: Some(PartitionIndex(partition)),
        record: NewRecord {
            value: Some(&value),
            ..NewRecord::default()
        },
    };
    match accumulator.append(&fields, || now, |_| true) {
        Ok(Placing::Placed { wakes_sender, .. }) => wakes_sender,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_batch_that_cannot_be_sent_does_not_hide_when_another_is_due() {
    let mut accumulator = accumulator();
    let start = crate::ambient::now();
    assert!(append(&mut accumulator, 0, 10, start));
    assert!(
        !append(&mut accumulator, 1, 10, start + LINGER / 2),
        "the sender looks again when the first is due"
    );
    let later = start + LINGER + LINGER / 4;
    assert_eq!(
        accumulator.next_due(later),
        Some(start + LINGER + LINGER / 2)
    );
    // The leader of the first is away: its batch stays, overdue.
    accumulator.take(LaneId(1)).expect("the second is sent");
    let much_later = start + 10 * LINGER;
    assert_eq!(accumulator.next_due(much_later), None);
    assert!(append(&mut accumulator, 1, 10, much_later));
    assert_eq!(accumulator.next_due(much_later), Some(much_later + LINGER));
}

#[test]
fn a_batch_never_grows_beyond_its_size() {
    let mut accumulator = accumulator();
    let now = crate::ambient::now();
    // The capacity of a batch follows the one before it, whatever that was.
    for first in [100, 5_000, 9_000, 12_000] {
        append(&mut accumulator, 0, first, now);
        accumulator.seal_all();
        for _ in 0..200 {
            append(&mut accumulator, 0, 150, now);
        }
        accumulator.seal_all();
    }
    let batches = std::iter::from_fn(|| accumulator.take(LaneId(0)));
    let largest = batches.map(|batch| batch.len()).max();
    assert!(
        largest.is_some_and(|bytes| bytes <= BATCH_BYTES),
        "{largest:?}"
    );
}
