//! Consumer groups: who consumes what, and how far they are.
//!
//! - [`classic`]: the state machine of one group whose members agree among themselves (JoinGroup, SyncGroup, Heartbeat,
//!   LeaveGroup).
//! - [`offsets`]: how far the groups of one partition of `__consumer_offsets` have read.
//! - [`record`]: batches of the records that groups and offsets consist of.
//! - [`compaction`]: which of these records may be forgotten.
//!
//! Cores: times, random parts of ids and outcomes of appends come in, records and answers go out.

pub mod classic;
pub mod compaction;
pub mod offsets;
pub mod record;
