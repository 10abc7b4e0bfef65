//! Tests over the real binary: servers are started on port 0 and ended by their own id, commands have a time limit.

#[path = "process/admin.rs"]
mod admin;
#[path = "process/away.rs"]
mod away;
#[path = "process/bench.rs"]
mod bench;
#[path = "process/broker.rs"]
mod broker;
#[path = "process/cluster.rs"]
mod cluster;
#[path = "process/crash.rs"]
mod crash;
#[path = "process/dev.rs"]
mod dev;
#[path = "process/disk.rs"]
mod disk;
#[path = "process/failover.rs"]
mod failover;
#[path = "process/folder.rs"]
mod folder;
#[path = "process/growth.rs"]
mod growth;
#[path = "process/keys.rs"]
mod keys;
#[path = "process/metrics.rs"]
mod metrics;
#[path = "process/relay.rs"]
mod relay;
#[path = "process/router.rs"]
mod router;
#[path = "process/rows.rs"]
mod rows;
#[path = "process/status.rs"]
mod status;
#[path = "process/stopped.rs"]
mod stopped;
#[path = "process/support.rs"]
mod support;
#[path = "process/topic.rs"]
mod topic;
#[path = "process/usage.rs"]
mod usage;
