//! InitRoutedProducer requests and responses of any version.
#![no_main]

use keylane_protocol::fuzzing::exchange;
use keylane_protocol::message::init_routed_producer::InitRoutedProducerRequest;

libfuzzer_sys::fuzz_target!(|input: &[u8]| exchange::<InitRoutedProducerRequest>(input));
