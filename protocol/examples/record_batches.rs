//! Prints what building, checking and reading a batch costs, per batch and per record, and each codec's speed:
//! `cargo run --release -p keylane-protocol --example record_batches`.

#![allow(clippy::print_stdout, reason = "an example prints")]
#![allow(clippy::disallowed_methods, reason = "it measures real time")]

use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use keylane_protocol::compression::{Compression, DECOMPRESSED_BYTES_MAX};
use keylane_protocol::offset::{LeaderEpoch, Offset};
use keylane_protocol::record_batch::{
    BatchProducer, NewRecord, RecordBatch, RecordBatchBuilder, RecordBatchHeader, renumber, stamp,
};

/// Many short rounds: on a busy machine some of them are not interrupted.
const ROUNDS: usize = 150;

/// Returns the nanoseconds of one call: the best of several rounds, which noise only lengthens.
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

/// Values of rows of text, different from record to record, of which about two thirds compress away.
fn values(count: usize, size: usize) -> Vec<Vec<u8>> {
    let mut state = 1_u32;
    (0..count)
        .map(|index| {
            let mut value = Vec::with_capacity(size + 40);
            while value.len() < size {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                value.extend_from_slice(format!("{index},JFK,LAX,{},", state >> 16).as_bytes());
            }
            value.truncate(size);
            value
        })
        .collect()
}

fn append_all(values: &[Vec<u8>], capacity: usize) -> RecordBatchBuilder {
    let mut builder = RecordBatchBuilder::with_capacity(capacity);
    for (index, value) in values.iter().enumerate() {
        builder.append(&NewRecord {
            timestamp: 1_700_000_000_000 + index as i64,
            key: Some(&value[..8]),
            value: Some(value),
            headers: &[],
        });
    }
    builder
}

fn build(values: &[Vec<u8>], capacity: usize, compression: Compression) -> Bytes {
    append_all(values, capacity)
        .finish(compression, BatchProducer::NONE)
        .expect("memory suffices")
}

fn report(what: &str, batch_ns: f64, records: usize, bytes: usize) {
    println!(
        "{what:<34} {batch_ns:>10.0} ns/batch {:>8.1} ns/record {:>7.2} GB/s",
        batch_ns / records as f64,
        bytes as f64 / batch_ns
    );
}

fn measure(count: usize, size: usize) {
    println!("\n{count} records of {size} B");
    let values = values(count, size);
    let capacity = 61 + count * (size + 40);
    let batch = build(&values, capacity, Compression::None);
    let bytes = batch.len();
    let calls = 1_500_000 / bytes;
    let print = |what: &str, call: &mut dyn FnMut()| {
        report(what, nanoseconds(calls, call), count, bytes);
    };
    print("append", &mut || {
        black_box(append_all(&values, capacity).size_bytes());
    });
    print("append + finish", &mut || {
        black_box(build(&values, capacity, Compression::None));
    });
    print("append + finish, growing buffer", &mut || {
        black_box(build(&values, 0, Compression::None));
    });
    let header = nanoseconds(calls, || {
        black_box(RecordBatchHeader::read(black_box(&batch)).is_ok());
    });
    println!("{:<34} {header:>10.1} ns/batch", "read header");
    print("check", &mut || {
        black_box(RecordBatch::check(black_box(batch.clone())).is_ok());
    });
    let mut own = batch.to_vec();
    let stamped = nanoseconds(calls, || {
        stamp(black_box(&mut own), Offset(7), LeaderEpoch(1));
    });
    println!("{:<34} {stamped:>10.1} ns/batch", "stamp");
    let mut own = Some(Bytes::from(own));
    print("renumber in place", &mut || {
        own = own.take().map(|batch| renumber(batch, BatchProducer::NONE));
    });
    let checked = RecordBatch::check(batch).expect("sound");
    print("iterate", &mut || read(&checked));
    for compression in &Compression::ALL[1..] {
        let name = compression.name();
        let compressed = build(&values, capacity, *compression);
        let calls = calls / 20 + 1;
        let ns = nanoseconds(calls, || {
            black_box(build(&values, capacity, *compression));
        });
        let ratio = bytes as f64 / compressed.len() as f64;
        report(
            &format!("append + finish {name}, {ratio:.1}:1"),
            ns,
            count,
            bytes,
        );
        let checked = RecordBatch::check(compressed).expect("sound");
        let ns = nanoseconds(calls, || read(&checked));
        report(&format!("iterate {name}"), ns, count, bytes);
    }
}

fn read(batch: &RecordBatch) {
    for record in batch.records(DECOMPRESSED_BYTES_MAX).expect("sound") {
        black_box(record.expect("sound").value);
    }
}

fn main() {
    measure(100, 100);
    measure(64, 1024);
    measure(1000, 100);
}
