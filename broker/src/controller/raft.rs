//! The metadata quorum's Raft layer: opaque entries, agreed on by voters, durable in files of our own.
//!
//! It knows nothing of topics or images: entries are bytes, applied to a [`Replica`] in order. The algorithm is
//! openraft's; the files under `controller/` in the data folder ([`store`]), the messages between voters ([`message`])
//! and what they travel over ([`Peers`]) are ours. The rest of the broker sees [`Quorum`] and nothing else.
//!
//! Known of openraft 0.9: one sync for each proposal, so a proposal should carry many changes; no Pre-Vote; a leader
//! without a quorum does not step down by itself, so [`Quorum::acknowledged_ago`] says how old its quorum's last acknowledgement is.

mod codec;
mod log_storage;
mod machine;
pub mod message;
mod network;
mod quorum;
pub mod store;
mod types;

#[cfg(test)]
mod tests;

pub use codec::Malformed;
pub use machine::{Replica, RestoreError};
pub use network::{PeerError, Peers};
pub use quorum::{
    ChangeError, ConfirmError, InitializeError, Leadership, ProposeError, Quorum, QuorumSettings,
    StartError, Stopped,
};
pub use types::{
    Entry, LogId, Membership, NodeId, SnapshotMeta, StoredMembership, Types, Vote, Voter,
};
