//! IncrementalAlterConfigs requests and responses of any version.
#![no_main]

use keylane_protocol::fuzzing::exchange;
use keylane_protocol::message::incremental_alter_configs::IncrementalAlterConfigsRequest;

libfuzzer_sys::fuzz_target!(|input: &[u8]| exchange::<IncrementalAlterConfigsRequest>(input));
