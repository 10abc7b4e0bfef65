//! Records of `__consumer_offsets`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| keylane_protocol::fuzzing::group_record(input));
