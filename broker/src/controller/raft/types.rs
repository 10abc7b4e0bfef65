//! The types that openraft is built over: node ids are random, nodes are voters with an address, entries are bytes.

use std::io::Cursor;

use bytes::Bytes;
use keylane_protocol::identifiers::BrokerId;

/// A voter's or learner's id: random, made with its `controller` folder, never a broker id, never used again.
pub type NodeId = u64;

openraft::declare_raft_types!(
    /// The types of the metadata quorum.
    pub Types:
        D = Bytes,
        R = (),
        NodeId = u64,
        Node = Voter,
        SnapshotData = Cursor<Vec<u8>>,
);

/// Who a node is and where it is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Voter {
    /// The broker that it is part of.
    pub broker_id: BrokerId,
    /// The host of the broker's internal listener.
    pub host: String,
    /// The listener's port.
    pub port: u16,
}

/// A place in the log, and who put an entry there.
pub type LogId = openraft::LogId<NodeId>;
/// Whom a node voted for, or follows.
pub type Vote = openraft::Vote<NodeId>;
/// Who the members are.
pub type Membership = openraft::Membership<NodeId, Voter>;
/// Who the members are, and since which entry.
pub type StoredMembership = openraft::StoredMembership<NodeId, Voter>;
/// What a snapshot holds.
pub type SnapshotMeta = openraft::SnapshotMeta<NodeId, Voter>;
/// An entry of the log.
pub type Entry = openraft::Entry<Types>;

/// Returns the index that follows a place; 0 if there is none.
pub(super) fn end_of(last: Option<&LogId>) -> u64 {
    last.map_or(0, |id| id.index.saturating_add(1))
}
