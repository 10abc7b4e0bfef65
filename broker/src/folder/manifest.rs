//! What a data folder is and which partitions it hosts, in two copies of which one is always sound.
//!
//! ```text
//! body: sequence u64 · folder id 16 · cluster id 16 (zero: none yet) · broker id i32 · node id u64
//!       · incarnations i32 · incarnation acknowledged i32 · is clean u8
//!       · start acknowledged 16 (zero: none) · its registration i64 · told count u32 · per start told since: id 16
//!       · topic count u32 · per topic: id 16 · name text · state u8 (0 hosted, 1 deleting, 2 unclaimed)
//!         · partition count u32 · per partition i32
//! ```
//! The copy with the higher sequence counts; each change is written over the other one and synced.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use keylane_protocol::identifiers::{
    BrokerId, ClusterId, FolderId, PartitionIndex, TopicId, TopicName,
};

use super::checked::{self, Kind, Unsound, put_text, take_id, take_text};
use super::starts::Starts;

pub(super) const KIND: Kind = Kind {
    magic: b"KEYLANEM",
    version: 3,
};

/// What happens to a hosted topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostedState {
    /// Its partitions are here.
    Hosted,
    /// Its deletion has begun, and must be finished.
    Deleting,
    /// No cluster knows it, and it has records: they are kept and not served.
    Unclaimed,
}

/// A topic of which partitions lie in the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostedTopic {
    /// Its id, which names its folder.
    pub id: TopicId,
    /// Its name, so that a person can tell what the folder holds.
    pub name: TopicName,
    /// What happens to it.
    pub state: HostedState,
    /// Which of its partitions lie here, in order.
    pub partitions: Vec<PartitionIndex>,
}

/// A manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Rises with every change.
    pub sequence: u64,
    /// Made at random with the folder.
    pub folder_id: FolderId,
    /// The cluster that the folder belongs to; zero before it belongs to any.
    pub cluster_id: ClusterId,
    /// The broker that the folder belongs to.
    pub broker_id: BrokerId,
    /// The broker's id among the controllers, made at random with the folder; zero in a manifest of version 1.
    pub node_id: u64,
    /// How often a process has opened the folder.
    pub incarnations: i32,
    /// The last incarnation that the controllers have registered; zero for none.
    pub acknowledged: i32,
    /// Whether the last process stopped cleanly.
    pub is_clean: bool,
    /// The starts that the controllers may know; none in a manifest of version 1 or 2.
    pub starts: Starts,
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
        body.put_u64(self.node_id);
        body.put_i32(self.incarnations);
        body.put_i32(self.acknowledged);
        body.put_u8(u8::from(self.is_clean));
        self.starts.put(&mut body);
        put_count(&mut body, self.topics.len());
        for topic in &self.topics {
            body.put_slice(&topic.id.0);
            put_text(&mut body, topic.name.as_str());
            body.put_u8(match topic.state {
                HostedState::Hosted => 0,
                HostedState::Deleting => 1,
                HostedState::Unclaimed => 2,
            });
            put_count(&mut body, topic.partitions.len());
            for partition in &topic.partitions {
                body.put_i32(partition.0);
            }
        }
        checked::encode(KIND, &body)
    }

    pub(super) fn decode(contents: &Bytes) -> Result<Self, Unsound> {
        let (version, body) = checked::decode_version(KIND, contents)?;
        Self::decode_body(body, version).ok_or(Unsound::Damaged)
    }

    /// Reads a body; version 1 had no controllers, and every partition of a topic in one folder; version 2 counted its
    /// starts and drew no ids for them.
    fn decode_body(mut body: Bytes, version: u32) -> Option<Self> {
        let has_controllers = version >= 2;
        let sequence = body.try_get_u64().ok()?;
        let folder_id = FolderId(take_id(&mut body)?);
        let cluster_id = ClusterId(take_id(&mut body)?);
        let broker_id = BrokerId(body.try_get_i32().ok()?);
        let mut node_id = 0;
        if has_controllers {
            node_id = body.try_get_u64().ok()?;
        }
        let incarnations = body.try_get_i32().ok()?;
        // The next start counts one more.
        if !(0..i32::MAX).contains(&incarnations) {
            return None;
        }
        let mut acknowledged = 0;
        if has_controllers {
            acknowledged = body.try_get_i32().ok()?;
        }
        let is_clean = body.try_get_u8().ok()? != 0;
        let starts = match version {
            0..3 => Starts::NONE,
            _ => Starts::take(&mut body)?,
        };
        let count = body.try_get_u32().ok()?;
        let mut topics = Vec::new();
        for _ in 0..count {
            topics.push(take_topic(&mut body, has_controllers)?);
        }
        Some(Self {
            sequence,
            folder_id,
            cluster_id,
            broker_id,
            node_id,
            incarnations,
            acknowledged,
            is_clean,
            starts,
            topics,
        })
    }
}

fn put_count(body: &mut BytesMut, count: usize) {
    body.put_u32(u32::try_from(count).expect("topics and partitions are bounded"));
}

fn take_topic(body: &mut Bytes, lists_partitions: bool) -> Option<HostedTopic> {
    let id = TopicId(take_id(body)?);
    let name = TopicName::new(&take_text(body)?).ok()?;
    let state = match body.try_get_u8().ok()? {
        0 => HostedState::Hosted,
        1 => HostedState::Deleting,
        2 => HostedState::Unclaimed,
        _ => return None,
    };
    let count = body.try_get_i32().ok().filter(|&count| count > 0)?;
    let mut partitions = Vec::new();
    for index in 0..count {
        partitions.push(PartitionIndex(match lists_partitions {
            true => body.try_get_i32().ok().filter(|&index| index >= 0)?,
            false => index,
        }));
    }
    Some(HostedTopic {
        id,
        name,
        state,
        partitions,
    })
}
