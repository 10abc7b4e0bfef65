//! A Keylane broker.

pub mod disk;
pub mod folder;
pub mod log;
