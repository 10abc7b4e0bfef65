//! What the client knows of the cluster: immutable snapshots, asked for again when they prove wrong.
//!
//! `view` is the snapshot and how an answer changes it, without I/O; `cache` asks brokers, one at a time for everyone.

mod cache;
mod view;

pub(crate) use self::cache::MetadataCache;
pub use self::cache::MetadataError;
pub(crate) use self::view::{ClusterView, TopicView};
