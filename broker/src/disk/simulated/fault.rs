//! What goes wrong on a simulated disk, and when.

use crate::disk::DiskError;

const IO_ERRNO: i32 = 5;

/// What goes wrong, and when; operations are counted from 1 and reads are not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The power goes before the operation; a write among them may be torn.
    PowerCut {
        /// The operation's number.
        operation: u64,
    },
    /// The operation fails with an input or output error. A write may have been done in part; after a sync the pages
    /// count as clean, as on Linux.
    Failed {
        /// The operation's number.
        operation: u64,
    },
    /// The same, but only if the operation is a sync.
    FailedSync {
        /// The operation's number.
        operation: u64,
    },
    /// The operation finds no space. A write may have been done in part, a sync counts as failed.
    NoSpace {
        /// The operation's number.
        operation: u64,
    },
    /// The operation finds no descriptor left, and nothing is done.
    TooManyFiles {
        /// The operation's number.
        operation: u64,
    },
    /// No more than this may be stored from now on.
    Full {
        /// Bytes of all files together.
        bytes_max: u64,
    },
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Change,
    Sync,
}

impl Fault {
    pub(super) fn is_at(&self, number: u64, kind: Kind) -> bool {
        match *self {
            Self::FailedSync { operation } => operation == number && kind == Kind::Sync,
            Self::PowerCut { operation }
            | Self::Failed { operation }
            | Self::NoSpace { operation }
            | Self::TooManyFiles { operation } => operation == number,
            Self::Full { .. } => false,
        }
    }

    pub(super) fn is_power_cut(&self) -> bool {
        matches!(self, Self::PowerCut { .. })
    }

    /// Returns what the operation that meets the fault answers.
    pub(super) fn error(&self) -> DiskError {
        match self {
            Self::PowerCut { .. } => DiskError::PoweredOff,
            Self::NoSpace { .. } | Self::Full { .. } => DiskError::NoSpace,
            Self::TooManyFiles { .. } => DiskError::TooManyFiles,
            Self::Failed { .. } | Self::FailedSync { .. } => DiskError::Failed {
                operation: "a simulated operation",
                errno: IO_ERRNO,
            },
        }
    }
}
