//! Streams of frames, each decoded as a request.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| keylane_protocol::fuzzing::frame(input));
