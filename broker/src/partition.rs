//! One partition's decisions: which batch is appended where, who may read what, who waits. No I/O, no clock.

pub mod producer_state;
pub mod waiting;
