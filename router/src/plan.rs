//! What a request becomes: its answer, where this router has all it needs, or parts for brokers.
//!
//! Pure functions over the cluster's image, one file per API. Wire codes appear here and in [`crate::merge`] only.

pub mod alter_configs;
pub mod api_versions;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_topics;
pub mod describe_cluster;
pub mod describe_configs;
pub mod fetch;
pub mod find_coordinator;
pub mod for_controller;
pub mod init_producer_id;
pub mod inquiry;
pub mod list_offsets;
pub mod metadata;
pub mod offset_for_leader_epoch;
pub mod produce;
pub mod routed_produce;

/// A request that names so much that its answer would be much larger than itself; its connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyItems {
    /// How many topics, partitions or resources it names.
    pub count: usize,
}

/// Refuses a request that names more than [`crate::limits::REQUEST_ITEMS_MAX`].
///
/// # Errors
/// When it does.
pub fn check_items(count: usize) -> Result<(), TooManyItems> {
    if count > crate::limits::REQUEST_ITEMS_MAX {
        return Err(TooManyItems { count });
    }
    Ok(())
}

/// Where in a request, and so in its answer, something belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The topic, counted from 0.
    pub topic: usize,
    /// The partition within it, counted from 0.
    pub partition: usize,
}
