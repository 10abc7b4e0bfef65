//! Records of the metadata log, and the image they make.
#![no_main]

use keylane_protocol::fuzzing::cluster_metadata;

libfuzzer_sys::fuzz_target!(|input: &[u8]| cluster_metadata(input));
