//! The controller: the voters among the brokers, who agree on the cluster's metadata.
//!
//! [`raft`] makes a log of opaque entries agree between voters and survive them. Read it first.

pub mod raft;
