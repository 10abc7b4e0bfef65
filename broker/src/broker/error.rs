//! Why a broker does not start, stop or go on, in words that say what to do.

use std::io;
use std::net::SocketAddr;

use keylane_protocol::config::InvalidConfig;

use crate::controller::raft;
use crate::controller::raft::store::StoreError;
use crate::disk::DiskError;
use crate::folder::OpenError;
use crate::partitions::RecoverError;

/// Why a broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration has faults.
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    /// Somebody listens there already.
    #[error(
        "{address} is in use: is another broker running? Stop it, or choose another port (0 takes a free one)"
    )]
    PortInUse {
        /// The address.
        address: SocketAddr,
    },
    /// The listener could not be opened.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The data folder cannot be used.
    #[error(transparent)]
    Folder(#[from] OpenError),
    /// What lies in the data folder cannot be served.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// What the folder holds of the controllers cannot be used.
    #[error(transparent)]
    Controller(#[from] StoreError),
    /// This voter could not be started.
    #[error(transparent)]
    Quorum(#[from] raft::StartError),
    /// The cluster refuses the broker, or it could not become a member.
    #[error("the broker cannot take part in its cluster: {reason}")]
    Refused {
        /// Why, and what to do.
        reason: String,
    },
    /// A thread could not be started.
    #[error("cannot start a thread: {source}")]
    Thread {
        /// Why.
        #[from]
        source: io::Error,
    },
}

/// Why a broker did not end well; what was acknowledged is safe all the same.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    /// It had failed before.
    #[error("the broker had failed before: {reason}")]
    Failed {
        /// Why.
        reason: String,
    },
    /// The disk failed when the clean end was noted; the next start recovers as after a crash.
    #[error("the clean stop could not be noted in the data folder: {source}")]
    Disk {
        /// What the disk reports.
        source: DiskError,
    },
    /// A thread ended early; the next start recovers as after a crash.
    #[error("the broker's threads did not end in order")]
    Unfinished,
}

/// Why a broker ended by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the broker failed: {reason}")]
pub struct BrokerFailure {
    /// What happened, and what to do.
    pub reason: String,
}
