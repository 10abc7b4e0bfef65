//! Where things lie in a data folder. Names of topics never become paths: folders are named by topic id.
//!
//! ```text
//! lock                                held by the process that uses the folder
//! manifest.0, manifest.1              two copies, the newer sound one counts
//! topics                              topics, partition counts, configs
//! logs/<topic id, 32 hex digits>/<partition>/<base offset, 20 digits>.log and .index
//! ```

use std::fmt::Write;
use std::path::{Path, PathBuf};

use keylane_protocol::identifiers::TopicId;
use keylane_protocol::offset::Offset;

use crate::log::TopicPartition;

/// The paths of one data folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Returns the paths of the data folder at `root`.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// Returns the data folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the folder of all logs.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// Returns the folder of a topic's partitions.
    #[must_use]
    pub fn topic(&self, topic_id: TopicId) -> PathBuf {
        self.logs().join(topic_folder_name(topic_id))
    }

    /// Returns the folder of a partition's segments.
    #[must_use]
    pub fn partition(&self, partition: TopicPartition) -> PathBuf {
        self.topic(partition.topic_id)
            .join(partition.partition.to_string())
    }

    /// Returns the file of a segment.
    #[must_use]
    pub fn segment(&self, partition: TopicPartition, base_offset: Offset) -> PathBuf {
        self.partition(partition).join(segment_name(base_offset))
    }
}

fn topic_folder_name(topic_id: TopicId) -> String {
    topic_id
        .0
        .iter()
        .fold(String::with_capacity(32), |mut name, byte| {
            write!(name, "{byte:02x}").expect("a string takes everything");
            name
        })
}

/// Returns the name of a segment's file.
#[must_use]
pub fn segment_name(base_offset: Offset) -> String {
    format!("{:020}.log", base_offset.0)
}

/// Returns the name of a segment's index file.
#[must_use]
pub fn index_name(base_offset: Offset) -> String {
    format!("{:020}.index", base_offset.0)
}

/// Returns the base offset that a segment's file is named by; `None` for other files.
#[must_use]
pub fn parse_segment_name(name: &str) -> Option<Offset> {
    parse_offset(name.strip_suffix(".log")?)
}

/// Returns the base offset of the segment whose index file has the name; `None` for other files.
#[must_use]
pub fn parse_index_name(name: &str) -> Option<Offset> {
    parse_offset(name.strip_suffix(".index")?)
}

fn parse_offset(digits: &str) -> Option<Offset> {
    let is_name = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_name.then(|| digits.parse().ok().map(Offset))?
}
