//! Batches and the records in them.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| keylane_protocol::record_batch::fuzzing::record_batch(input));
