//! Prints what splitting routed batches costs, in CPU seconds per GB and nanoseconds per record, beside the check of
//! their checksum: `cargo run --release -p keylane-protocol --example routed_split`.

#![allow(clippy::print_stdout, reason = "an example prints")]
#![allow(clippy::disallowed_methods, reason = "it measures real time")]

use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use keylane_protocol::compression::Compression;
use keylane_protocol::offset::{ProducerEpoch, Sequence};
use keylane_protocol::record_batch::{BatchProducer, NewRecord, RecordBatch, RecordBatchBuilder};
use keylane_protocol::routed::{PRODUCER_ID_MIN, split};

/// Many short rounds: on a busy machine some of them are not interrupted.
const ROUNDS: usize = 400;

/// What a call costs is measured over about so many bytes.
const ROUND_BYTES: usize = 1_500_000;

/// Returns the nanoseconds of one call: the best of several rounds, which noise only lengthens. It waits for nothing, so
/// that they are the processor's.
fn nanoseconds(calls: usize, mut call: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..calls {
            call();
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / calls as f64);
    }
    best
}

/// Returns a batch with values of this size and keys of eight to twelve characters.
fn batch(record_count: usize, value_bytes: usize) -> Bytes {
    let mut builder = RecordBatchBuilder::with_capacity(record_count * (value_bytes + 40));
    let mut state = 1_u32;
    for index in 0..record_count {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let key = format!("flight-{}", state >> 16);
        let value = vec![key.as_bytes()[7]; value_bytes];
        builder.append(&NewRecord {
            timestamp: 1_700_000_000_000 + index as i64 / 10,
            key: Some(key.as_bytes()),
            value: Some(&value),
            headers: &[],
        });
    }
    let producer = BatchProducer {
        id: PRODUCER_ID_MIN,
        epoch: ProducerEpoch(0),
        base_sequence: Sequence(0),
    };
    builder
        .finish(Compression::None, producer)
        .expect("memory suffices")
}

fn measure(value_bytes: usize, partition_count: i32, batch_bytes: usize) {
    let record_count = batch_bytes / (value_bytes + 20);
    let batch = batch(record_count, value_bytes);
    let bytes = batch.len();
    let calls = ROUND_BYTES.div_ceil(bytes);
    let check = nanoseconds(calls, || {
        black_box(RecordBatch::check(black_box(batch.clone())).is_ok());
    });
    let checked = RecordBatch::check(batch).expect("sound");
    let parts = split(&checked, partition_count).expect("sound").len();
    let split = nanoseconds(calls, || {
        black_box(split(black_box(&checked), partition_count).is_ok());
    });
    println!(
        "{value_bytes:>6} {partition_count:>10} {bytes:>9} {parts:>6} {:>10.3} {:>10.3} {:>12.1}",
        check / bytes as f64,
        split / bytes as f64,
        split / record_count as f64,
    );
}

fn main() {
    println!(" value  partitions     bytes  parts  check s/GB split s/GB split ns/record");
    for value_bytes in [100, 1024] {
        for partition_count in [1, 16, 64, 1000] {
            for batch_bytes in [64 * 1024, 1024 * 1024] {
                measure(value_bytes, partition_count, batch_bytes);
            }
        }
    }
}
