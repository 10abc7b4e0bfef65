//! Why a run could not be made.

use std::io;
use std::path::PathBuf;

use keylane_client::{CreateTopicError, DeleteTopicError};

use crate::load::LoadError;
use crate::process::ProcessError;
use crate::workload::InputError;

/// Why a run could not be made. What the verification finds is no error but a verdict.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The options make no sense.
    #[error("{}", faults.join("\n"))]
    Options {
        /// All of their faults.
        faults: Vec<String>,
    },
    /// The input cannot be read.
    #[error(transparent)]
    Input(#[from] InputError),
    /// A server could not be started or stopped.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A load could not be run.
    #[error("{scenario}: the load could not be run")]
    Load {
        /// The scenario.
        scenario: String,
        /// Why.
        source: Box<LoadError>,
    },
    /// A topic could not be created.
    #[error("cannot create the topic of a measurement")]
    CreateTopic(#[from] CreateTopicError),
    /// A topic could not be deleted.
    #[error("cannot delete the topic of a measurement")]
    DeleteTopic(#[from] DeleteTopicError),
    /// There is too little room on the disk.
    #[error(
        "{folder} has {free_mib} MiB free, a measurement needs {needed_mib} MiB: free some, or name another folder"
    )]
    NoSpace {
        /// The folder.
        folder: PathBuf,
        /// What is free.
        free_mib: u64,
        /// What is needed.
        needed_mib: u64,
    },
    /// A process may not open so many files.
    #[error(
        "so many connections need {needed} open files a process, and {permitted} are permitted: lower --producers, or \
         raise the limit (ulimit -n)"
    )]
    OpenFiles {
        /// How many are needed.
        needed: u64,
        /// How many are permitted.
        permitted: u64,
    },
    /// Something on this machine failed.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
}

pub(crate) fn load_error(scenario: &str, source: LoadError) -> BenchError {
    BenchError::Load {
        scenario: scenario.to_owned(),
        source: Box::new(source),
    }
}

/// Returns the error of something that failed on this machine; `what` continues "cannot".
pub(crate) fn machine(what: &str, source: io::Error) -> BenchError {
    let what = format!("cannot {what}");
    BenchError::Io { what, source }
}
