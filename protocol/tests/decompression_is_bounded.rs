//! Reading a batch takes no more memory than the caller's cap and the bound of its headers, whatever the bytes claim:
//! counted by the allocator. What libzstd allocates is not counted; it is called so that it needs no window.

#![allow(unsafe_code, reason = "counting allocations needs an allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::Bytes;
use keylane_protocol::compression::{Compression, CompressionError};
use keylane_protocol::limits::{DECODE_ALLOCATION_BYTES_EXTRA, DECODE_ALLOCATION_FACTOR};
use keylane_protocol::record_batch::{
    BatchProducer, NewRecord, RecordBatch, RecordBatchBuilder, checksum,
};

/// A decoder's tables and buffers besides its output.
const SLACK_BYTES: usize = 256 * 1024;

const CODECS: [Compression; 4] = [
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

thread_local! {
    static LIVE: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

/// Counts what each thread holds, and the most it held.
struct Counting;

fn count(taken: usize, given: usize) {
    // A thread that ends has no counter any more; what happens then is not measured.
    let _ = LIVE.try_with(|live| {
        live.set(live.get().wrapping_add(taken).saturating_sub(given));
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
}

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller keeps the promises of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: the pointer came from `alloc` or `realloc` here, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        // SAFETY: the caller keeps the promises of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Returns a result and the most memory held beyond what was held before.
fn measured<T>(run: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE.get();
    PEAK.set(before);
    let result = run();
    (result, PEAK.get() - before)
}

fn compress(compression: Compression, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    compression
        .compress(content, &mut out)
        .expect("memory suffices");
    out
}

#[test]
fn the_allocator_is_counted() {
    let (_, held) = measured(|| vec![1_u8; 5000]);
    assert!(held >= 5000);
}

#[test]
fn a_bomb_takes_no_more_than_its_cap() {
    let content = vec![0; 32 << 20];
    for compression in CODECS {
        let bomb = compress(compression, &content);
        for cap in [0, 10_000, 1 << 20, 20 << 20] {
            let (result, held) = measured(|| compression.decompress(&bomb, cap));
            assert!(
                matches!(result, Err(CompressionError::TooLarge { .. })),
                "{compression:?}"
            );
            assert!(
                held <= cap + SLACK_BYTES,
                "{compression:?}: {held} of {cap}"
            );
        }
    }
}

#[test]
fn sizes_that_frames_claim_are_not_believed() {
    let lz4_blocks_of_four_megabytes = [0x04, 0x22, 0x4d, 0x18, 0x40, 0x70, 0xdf, 1, 0, 0, 0, 0];
    let snappy_of_four_gigabytes = [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0];
    let zstd_window_of_two_gigabytes = [0x28, 0xb5, 0x2f, 0xfd, 0, 0xa8, 0x0d, 0, 0, 1, 2, 3];
    let zstd_content_of_an_exabyte = [
        0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 0, 0, 0x10, 1, 0, 0,
    ];
    let cases: [(Compression, &[u8]); 4] = [
        (Compression::Lz4, &lz4_blocks_of_four_megabytes),
        (Compression::Snappy, &snappy_of_four_gigabytes),
        (Compression::Zstd, &zstd_window_of_two_gigabytes),
        (Compression::Zstd, &zstd_content_of_an_exabyte),
    ];
    for (compression, bytes) in cases {
        let cap = 100_000;
        let (result, held) = measured(|| compression.decompress(bytes, cap));
        assert!(result.is_err(), "{compression:?}");
        assert!(
            held <= cap + SLACK_BYTES,
            "{compression:?} took {held} bytes"
        );
    }
}

/// Returns a batch of one record that is nothing but empty headers.
fn batch_of_headers(count: usize, compression: Compression) -> Bytes {
    let mut varint = Vec::new();
    let put = |mut value: usize, out: &mut Vec<u8>| {
        value <<= 1;
        while value >= 0x80 {
            out.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
    };
    put(count, &mut varint);
    let mut fields = vec![0, 0, 0, 1, 1];
    fields.extend_from_slice(&varint);
    fields.resize(fields.len() + 2 * count, 0);
    let mut record = Vec::new();
    put(fields.len(), &mut record);
    record.extend(fields);

    let mut builder = RecordBatchBuilder::with_capacity(0);
    builder.append(&NewRecord::default());
    let one = builder
        .finish(compression, BatchProducer::NONE)
        .expect("memory suffices");
    let mut batch = one[..61].to_vec();
    compression
        .compress(&record, &mut batch)
        .expect("memory suffices");
    let length = u32::try_from(batch.len() - 12).expect("a small batch");
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = checksum(&batch);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch.into()
}

#[test]
fn headers_take_memory_in_proportion_to_their_bytes() {
    let cap = 20 << 20;
    for (count, is_refused) in [(10_000, false), (8_000_000, true)] {
        let batch = batch_of_headers(count, Compression::Zstd);
        let batch = RecordBatch::check(batch).expect("sound but for its headers");
        let (refused, held) = measured(|| {
            let mut records = batch.records(cap).expect("it decompresses");
            records.next().expect("a record").is_err()
        });
        assert_eq!(refused, is_refused, "{count} headers");
        let body = 2 * count + 20;
        let bound = body * (1 + DECODE_ALLOCATION_FACTOR) + DECODE_ALLOCATION_BYTES_EXTRA;
        assert!(held <= bound + SLACK_BYTES, "{count} headers took {held}");
        assert!(!is_refused || held <= body + SLACK_BYTES, "{held}");
    }
}
