//! Consumer groups: who consumes what, and how far they are.
//!
//! - [`classic`]: the state machine of one group whose members agree among themselves (JoinGroup, SyncGroup, Heartbeat,
//!   LeaveGroup).
//!
//! Cores: times, random parts of ids and outcomes of appends come in, records and answers go out.

pub mod classic;
