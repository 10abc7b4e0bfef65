//! Subscriptions and assignments that consumers send one another through their group.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| keylane_protocol::fuzzing::consumer_protocol(input));
