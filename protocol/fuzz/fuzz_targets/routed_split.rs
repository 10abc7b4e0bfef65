//! Routed batches and how they are split.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| keylane_protocol::fuzzing::routed_split(input));
