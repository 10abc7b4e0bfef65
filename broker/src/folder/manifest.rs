//! What a data folder is and which partitions it hosts, in two copies of which one is always sound.
//!
//! ```text
//! body: sequence u64 · folder id 16 · cluster id 16 · broker id i32 · incarnations i32 · is clean u8
//!       · topic count u32 · per topic: id 16 · name text · state u8 (0 hosted, 1 deleting) · partition count i32
//! ```
//! The copy with the higher sequence counts; each change is written over the other one and synced.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use keylane_protocol::identifiers::{BrokerId, ClusterId, FolderId, TopicId, TopicName};

use super::checked::{self, Kind, Unsound, put_text, take_id, take_text};

pub(super) const KIND: Kind = Kind {
    magic: b"KEYLANEM",
    version: 1,
};

/// What happens to a hosted topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostedState {
    /// Its partitions are here.
    Hosted,
    /// Its deletion has begun; it is decided once the topic is gone from the topics file.
    Deleting,
}

/// A topic whose partitions lie in the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostedTopic {
    /// Its id, which names its folder.
    pub id: TopicId,
    /// Its name, so that a person can tell what the folder holds.
    pub name: TopicName,
    /// What happens to it.
    pub state: HostedState,
    /// How many partitions it has; all of them are here.
    pub partition_count: i32,
}

/// A manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Rises with every change.
    pub sequence: u64,
    /// Made at random with the folder.
    pub folder_id: FolderId,
    /// The cluster that the folder belongs to.
    pub cluster_id: ClusterId,
    /// The broker that the folder belongs to.
    pub broker_id: BrokerId,
    /// How often a process has opened the folder.
    pub incarnations: i32,
    /// Whether the last process stopped cleanly.
    pub is_clean: bool,
    /// What the folder hosts.
    pub topics: Vec<HostedTopic>,
}

impl Manifest {
    pub(super) fn encode(&self) -> Bytes {
        let mut body = BytesMut::new();
        body.put_u64(self.sequence);
        body.put_slice(&self.folder_id.0);
        body.put_slice(&self.cluster_id.0);
        body.put_i32(self.broker_id.0);
        body.put_i32(self.incarnations);
        body.put_u8(u8::from(self.is_clean));
        body.put_u32(u32::try_from(self.topics.len()).expect("topics are bounded"));
        for topic in &self.topics {
            body.put_slice(&topic.id.0);
            put_text(&mut body, topic.name.as_str());
            body.put_u8(u8::from(topic.state == HostedState::Deleting));
            body.put_i32(topic.partition_count);
        }
        checked::encode(KIND, &body)
    }

    pub(super) fn decode(contents: &Bytes) -> Result<Self, Unsound> {
        let body = checked::decode(KIND, contents)?;
        Self::decode_body(body).ok_or(Unsound::Damaged)
    }

    fn decode_body(mut body: Bytes) -> Option<Self> {
        let sequence = body.try_get_u64().ok()?;
        let folder_id = FolderId(take_id(&mut body)?);
        let cluster_id = ClusterId(take_id(&mut body)?);
        let broker_id = BrokerId(body.try_get_i32().ok()?);
        let incarnations = body.try_get_i32().ok()?;
        let is_clean = body.try_get_u8().ok()? != 0;
        let count = body.try_get_u32().ok()?;
        let mut topics = Vec::new();
        for _ in 0..count {
            let id = TopicId(take_id(&mut body)?);
            let name = TopicName::new(&take_text(&mut body)?).ok()?;
            let state = match body.try_get_u8().ok()? {
                0 => HostedState::Hosted,
                1 => HostedState::Deleting,
                _ => return None,
            };
            let partition_count = body.try_get_i32().ok().filter(|&count| count > 0)?;
            topics.push(HostedTopic {
                id,
                name,
                state,
                partition_count,
            });
        }
        Some(Self {
            sequence,
            folder_id,
            cluster_id,
            broker_id,
            incarnations,
            is_clean,
            topics,
        })
    }
}
