//! The metadata quorum's Raft layer: opaque entries, agreed on by voters, durable in files of our own.
//!
//! It knows nothing of topics or images: entries are bytes, applied to a replica in order. The algorithm is
//! openraft's; the files under `controller/` in the data folder ([`store`]).
//!
//! Known of openraft 0.9: one sync for each proposal, so a proposal should carry many changes; no Pre-Vote; a leader
//! without a quorum does not step down by itself.

mod codec;
pub mod store;
mod types;

pub use codec::Malformed;
pub use types::{
    Entry, LogId, Membership, NodeId, SnapshotMeta, StoredMembership, Types, Vote, Voter,
};
