//! ConsumerGroupDescribe requests and responses of any version.
#![no_main]

use keylane_protocol::fuzzing::exchange;
use keylane_protocol::message::consumer_group_describe::ConsumerGroupDescribeRequest;

libfuzzer_sys::fuzz_target!(|input: &[u8]| exchange::<ConsumerGroupDescribeRequest>(input));
