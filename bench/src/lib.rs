//! Workloads, checks and measurements for Keylane, and an embedded cluster for tests.
//!
//! ```text
//! flights.rs    the real input that comes with the crate
//! workload/     what is sent                     schedule.rs   when
//! load/         producers and readers
//! verify.rs     what must have been read         latency.rs    how long it took
//! null_broker/  the yardstick                    clock.rs      the one clock
//! ```

pub mod clock;
pub mod flights;
pub mod latency;
pub mod load;
pub mod null_broker;
pub mod schedule;
pub mod verify;
pub mod workload;
