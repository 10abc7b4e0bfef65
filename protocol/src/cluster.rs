//! What brokers and routers know of one another: the cluster's metadata, as records and as the image they make.
//!
//! The controllers agree on a log of [`MetadataRecord`]s. Whoever applies them in order has the same [`ClusterImage`],
//! and from it alone follow placement, leadership, and what clients are told. An image turns into records again: that
//! is a snapshot. What controllers are asked is in [`call`].

pub mod call;
mod image;
mod node;
mod record;
mod topic;

#[cfg(test)]
mod tests;

pub use image::{ApplyError, ClusterImage};
pub use node::{BrokerImage, Endpoint, InvalidEndpoint, RouterImage};
pub use record::{
    BrokerFenceChanged, BrokerRegistered, ClusterFounded, EpochsUsed, MetadataRecord,
    PartitionChanged, RecordsError, RouterRegistered, RouterRemoved, TopicConfigured, TopicCreated,
    TopicDeleted, decode_records, encode_records,
};
pub use topic::{PartitionImage, TopicImage};
