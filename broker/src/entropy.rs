//! Randomness from the operating system: the only place that draws it.

use keylane_protocol::identifiers::{ClusterId, FolderId, StartId, TopicId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::folder::FreshIds;

/// Draws ids that nobody else has.
#[derive(Debug)]
pub(crate) struct IdSource {
    generator: StdRng,
}

impl IdSource {
    /// Returns a source seeded by the operating system.
    pub(crate) fn from_system() -> Self {
        Self::from_seed(rand::make_rng::<StdRng>().random())
    }

    /// Returns a source that repeats its ids for a seed.
    pub(crate) fn from_seed(seed: [u8; 32]) -> Self {
        Self {
            generator: StdRng::from_seed(seed),
        }
    }

    /// Returns ids for a folder that has none yet, and for the start of a process on it.
    pub(crate) fn folder_ids(&mut self) -> FreshIds {
        FreshIds {
            folder_id: FolderId(self.generator.random()),
            node_id: self.generator.random::<u64>().max(1),
            start: StartId(self.generator.random::<u128>().max(1).to_be_bytes()),
        }
    }

    /// Returns an id for a cluster.
    pub(crate) fn cluster_id(&mut self) -> ClusterId {
        ClusterId(self.generator.random())
    }

    /// Returns an id for a topic; never the one that stands for none, nor one whose text begins with a dash, which
    /// commands would take for an option (as in Kafka).
    pub(crate) fn topic_id(&mut self) -> TopicId {
        loop {
            let id = TopicId(self.generator.random());
            if id != TopicId::ZERO && !id.to_string().starts_with('-') {
                return id;
            }
        }
    }
}
