//! OffsetForLeaderEpoch requests and responses of any version.
#![no_main]

use keylane_protocol::fuzzing::exchange;
use keylane_protocol::message::offset_for_leader_epoch::OffsetForLeaderEpochRequest;

libfuzzer_sys::fuzz_target!(|input: &[u8]| exchange::<OffsetForLeaderEpochRequest>(input));
