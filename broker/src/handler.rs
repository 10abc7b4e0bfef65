//! From requests to commands and from outcomes to responses: the only place of the broker that knows wire messages.

pub(crate) mod api_versions;
pub(crate) mod cluster;
pub(crate) mod describe_configs;
pub(crate) mod fetch;
pub(crate) mod find_coordinator;
pub(crate) mod init_producer_id;
pub(crate) mod list_offsets;
pub(crate) mod metadata;
pub(crate) mod produce;
pub(crate) mod topic_changes;
