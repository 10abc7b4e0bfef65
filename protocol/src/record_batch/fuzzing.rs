//! Bodies of the fuzz targets for batches and codecs; `crate::fuzzing` lists them.
//!
//! A fuzzer does not guess a CRC: the batch's is put right first, so that what lies behind it is reached.

use bytes::Bytes;

use super::{HEADER_BYTES, LENGTH_OVERHEAD_BYTES, RecordBatch, RecordBatches, seal, stamp};
use crate::compression::Compression;
use crate::offset::{LeaderEpoch, Offset};

/// What a fuzzed batch may decompress to.
const LIMIT: usize = 1 << 20;

/// Checks any bytes as a batch and as a buffer of batches, then again with length, magic and checksum put right, and
/// reads the records of whatever is sound.
pub fn record_batch(input: &[u8]) {
    let bytes = Bytes::copy_from_slice(input);
    for batch in RecordBatches::new(bytes.clone()).flatten() {
        read(&batch);
    }
    let Some(repaired) = repair(input) else {
        assert!(RecordBatch::check(bytes).is_err());
        return;
    };
    let sent = RecordBatch::check(repaired.clone());
    if let Ok(batch) = &sent {
        read(batch);
        let mut stamped = repaired.to_vec();
        stamp(&mut stamped, Offset(1 << 40), LeaderEpoch(3));
        RecordBatch::check_stored(stamped.into()).expect("a sent batch can be stored");
    }
    if let Ok(batch) = RecordBatch::check_stored(repaired) {
        read(&batch);
    }
}

/// Returns the bytes as a batch whose length, magic and checksum are right.
pub(crate) fn repair(input: &[u8]) -> Option<Bytes> {
    if input.len() < HEADER_BYTES {
        return None;
    }
    let mut batch = input.to_vec();
    let length = i32::try_from(batch.len() - LENGTH_OVERHEAD_BYTES).ok()?;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[16] = 2;
    seal(&mut batch);
    Some(batch.into())
}

fn read(batch: &RecordBatch) {
    let header = batch.header();
    let Ok(records) = batch.records(LIMIT) else {
        return;
    };
    let mut last = None;
    let mut count = 0;
    for record in records.flatten() {
        assert!(last.is_none_or(|last| last != record.offset));
        last = Some(record.offset);
        count += 1;
    }
    assert!(count <= header.record_count, "more records than declared");
}

/// Decompresses any bytes with the codec the first byte chooses, then compresses the bytes and wants them back.
pub fn compression(input: &[u8]) {
    let Some((&choice, bytes)) = input.split_first() else {
        return;
    };
    let codec = Compression::ALL[usize::from(choice) % Compression::ALL.len()];
    if let Ok(content) = codec.decompress(bytes, LIMIT) {
        assert!(content.len() <= LIMIT);
    }
    let mut compressed = Vec::new();
    codec
        .compress(bytes, &mut compressed)
        .expect("memory suffices");
    let content = codec.decompress(&compressed, bytes.len());
    assert_eq!(content.expect("the codec's own bytes"), bytes);
}
