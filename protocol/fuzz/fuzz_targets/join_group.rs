//! JoinGroup requests and responses of any version.
#![no_main]

use keylane_protocol::fuzzing::exchange;
use keylane_protocol::message::join_group::JoinGroupRequest;

libfuzzer_sys::fuzz_target!(|input: &[u8]| exchange::<JoinGroupRequest>(input));
