//! Workloads, checks and measurements for Keylane, and an embedded cluster for tests.
//!
//! ```text
//! flights.rs    the real input that comes with the crate
//! ```

pub mod flights;
