//! Why a data folder is refused, in words that say what to do.

use std::path::PathBuf;

use keylane_protocol::identifiers::BrokerId;

use crate::disk::DiskError;

/// Why a data folder cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Another process uses the folder.
    #[error(
        "the data folder {folder:?} is in use by another process: stop it, or give this broker a folder of its own"
    )]
    Locked {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder holds other files.
    #[error(
        "{folder:?} is neither empty nor a Keylane data folder (it holds {entry:?}): give an empty or a new folder"
    )]
    NotADataFolder {
        /// The folder.
        folder: PathBuf,
        /// The first file that does not belong.
        entry: String,
    },
    /// The folder belongs to another broker.
    #[error(
        "the data folder {folder:?} belongs to broker {found}, not to broker {expected}: start with --id {found}, or give another folder"
    )]
    OtherBroker {
        /// The folder.
        folder: PathBuf,
        /// Whose it is.
        found: BrokerId,
        /// Who asked.
        expected: BrokerId,
    },
    /// A later version of Keylane wrote the folder.
    #[error(
        "{file:?} has format version {version}, which this version of Keylane does not know: use the newer Keylane that wrote it"
    )]
    Newer {
        /// The file.
        file: PathBuf,
        /// Its version.
        version: u32,
    },
    /// A file without which the folder cannot be understood is damaged or missing.
    #[error(
        "{file:?} is damaged or missing, and the folder holds records: restore the file from a backup; nothing was changed"
    )]
    Damaged {
        /// The file.
        file: PathBuf,
    },
    /// The folder, or something in it, may not be read or written.
    #[error(
        "the data folder {folder:?} cannot be used ({source}): let the user that runs the broker read and write it, or give another folder"
    )]
    NotPermitted {
        /// The folder.
        folder: PathBuf,
        /// What the disk reports.
        #[source]
        source: DiskError,
    },
    /// Something else has the folder's name.
    #[error(
        "the data folder {folder:?} cannot be used, it is not a folder: give an empty or a new one"
    )]
    NotAFolder {
        /// The path.
        folder: PathBuf,
    },
    /// The disk failed.
    #[error("the data folder {folder:?} cannot be used: {source}")]
    Disk {
        /// The folder.
        folder: PathBuf,
        /// What the disk reports.
        #[source]
        source: DiskError,
    },
}
