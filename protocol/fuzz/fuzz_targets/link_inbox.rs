//! Streams of frames of the internal link.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| keylane_protocol::fuzzing::link_inbox(input));
