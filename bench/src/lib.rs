//! Workloads, checks and measurements for Keylane, and an embedded cluster for tests.
//!
//! ```text
//! run.rs        options in, report out           options.rs    what can be asked
//! tour.rs       what is run by default           scenario.rs   one workload with all its settings
//! measure/      slots A B B A of a scenario      report/       table, JSON, picture
//! workload/     what is sent                     flights.rs    the real input
//! schedule.rs   when                             load/         producers and readers
//! verify/       what must have been read         null_broker/  the yardstick, null_relay.rs before it
//! cluster.rs    brokers and routers to measure
//! probe.rs      what disk and loopback give      process.rs    servers as child processes
//! proc_stat.rs  what they cost                   metrics.rs    what they tell of themselves
//! machine.rs    where it was measured            latency.rs, clock.rs, progress.rs, interrupt.rs
//! relay/        does wrong, to test the checks   embedded.rs   a cluster for tests
//! ```

pub mod clock;
pub mod cluster;
pub mod embedded;
pub mod flights;
mod interrupt;
pub mod latency;
pub mod load;
pub mod machine;
pub mod measure;
pub mod metrics;
pub mod null_broker;
pub mod null_relay;
pub mod options;
pub mod probe;
pub mod proc_stat;
pub mod process;
mod progress;
pub mod relay;
pub mod report;
mod run;
pub mod scenario;
pub mod schedule;
pub mod tour;
pub mod verify;
pub mod workload;

pub use embedded::{EmbeddedCluster, EmbeddedError};
pub use measure::BenchError;
pub use run::run;
