//! Each codec, in both directions.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| keylane_protocol::record_batch::fuzzing::compression(input));
