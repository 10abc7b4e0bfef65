//! InitProducerId requests and responses of any version.
#![no_main]

use keylane_protocol::fuzzing::exchange;
use keylane_protocol::message::init_producer_id::InitProducerIdRequest;

libfuzzer_sys::fuzz_target!(|input: &[u8]| exchange::<InitProducerIdRequest>(input));
