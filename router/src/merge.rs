//! How the brokers' answers become the client's: every requested thing once, at its place.
//!
//! What was never sent and what was sent and not answered are told apart: clients take NOT_LEADER_OR_FOLLOWER as "not
//! written" and REQUEST_TIMED_OUT as "perhaps written". Addresses of brokers never pass.

pub mod describe_configs;
pub mod fetch;
pub mod inquiry;
pub mod list_offsets;
pub mod offset_for_leader_epoch;
pub mod produce;

use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::offset::LeaderEpoch;

/// Returns what a client is told of a broker's error. `known` is the leader epoch that the client gave.
///
/// An error about a leader epoch is passed on to a client that gave one. Where this router gave it, the client is told
/// what it would have been told in Kafka: librdkafka takes the unexpected codes for final and drops the records.
pub(crate) fn told(error_code: ErrorCode, known: LeaderEpoch) -> ErrorCode {
    match error_code {
        ErrorCode::FencedLeaderEpoch | ErrorCode::UnknownLeaderEpoch
            if known == LeaderEpoch::NONE =>
        {
            ErrorCode::NotLeaderOrFollower
        }
        other => other,
    }
}
