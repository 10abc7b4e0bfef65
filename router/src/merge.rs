//! How the brokers' answers become the client's: every requested thing once, at its place.
//!
//! What was never sent and what was sent and not answered are told apart: clients take NOT_LEADER_OR_FOLLOWER as "not
//! written" and REQUEST_TIMED_OUT as "perhaps written". Addresses of brokers never pass.

pub mod describe_configs;
pub mod fetch;
pub mod list_offsets;
pub mod produce;
