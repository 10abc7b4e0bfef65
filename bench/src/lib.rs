//! Workloads, checks and measurements for Keylane, and an embedded cluster for tests.
//!
//! ```text
//! options.rs    what can be asked                workload/     what is sent
//! flights.rs    the real input                   schedule.rs   when
//! load/         producers and readers            verify/       what must have been read
//! null_broker/  the yardstick                    probe.rs      what disk and loopback give
//! process.rs    servers as child processes       proc_stat.rs  what they cost
//! latency.rs    distributions                    machine.rs    where it was measured
//! clock.rs      the one clock                embedded.rs    a cluster for tests
//! ```

pub mod clock;
pub mod embedded;
pub mod flights;
pub mod latency;
pub mod load;
pub mod machine;
pub mod null_broker;
pub mod options;
pub mod probe;
pub mod proc_stat;
pub mod process;
pub mod schedule;
pub mod verify;
pub mod workload;

pub use embedded::{EmbeddedCluster, EmbeddedError};
