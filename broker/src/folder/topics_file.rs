//! The topics of a folder from before there were controllers, which take them over and then remove the file.
//!
//! ```text
//! body: unused u64 (0) · topic count u32
//!       · per topic: id 16 · name text · partition count i32 · config count u32 · (key text · value text) …
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};
use keylane_protocol::identifiers::{TopicId, TopicName};

use super::checked::{self, Kind, Unsound, put_text, take_id, take_text};

pub(super) const KIND: Kind = Kind {
    magic: b"KEYLANET",
    version: 1,
};

/// What stands before the topics; whatever is found there means nothing.
const UNUSED: u64 = 0;

/// A topic as it was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTopic {
    /// Its id.
    pub id: TopicId,
    /// Its name.
    pub name: TopicName,
    /// How many partitions it has, at least 1.
    pub partition_count: i32,
    /// What was configured for it, by Kafka's keys, in order of the keys.
    pub configs: Vec<(String, String)>,
}

/// The contents of the topics file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicsFile {
    /// The topics in order of their names.
    pub topics: Vec<StoredTopic>,
}

impl TopicsFile {
    /// Returns the file as earlier versions wrote it.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut body = BytesMut::new();
        body.put_u64(UNUSED);
        body.put_u32(u32::try_from(self.topics.len()).expect("topics are bounded"));
        for topic in &self.topics {
            body.put_slice(&topic.id.0);
            put_text(&mut body, topic.name.as_str());
            body.put_i32(topic.partition_count);
            body.put_u32(u32::try_from(topic.configs.len()).expect("configs are few"));
            for (key, value) in &topic.configs {
                put_text(&mut body, key);
                put_text(&mut body, value);
            }
        }
        checked::encode(KIND, &body)
    }

    pub(super) fn decode(contents: &Bytes) -> Result<Self, Unsound> {
        let body = checked::decode(KIND, contents)?;
        Self::decode_body(body).ok_or(Unsound::Damaged)
    }

    fn decode_body(mut body: Bytes) -> Option<Self> {
        let _unused = body.try_get_u64().ok()?;
        let count = body.try_get_u32().ok()?;
        let mut topics = Vec::new();
        for _ in 0..count {
            let id = TopicId(take_id(&mut body)?);
            let name = TopicName::new(&take_text(&mut body)?).ok()?;
            let partition_count = body.try_get_i32().ok().filter(|&count| count > 0)?;
            let config_count = body.try_get_u32().ok()?;
            let mut configs = Vec::new();
            for _ in 0..config_count {
                configs.push((take_text(&mut body)?, take_text(&mut body)?));
            }
            topics.push(StoredTopic {
                id,
                name,
                partition_count,
                configs,
            });
        }
        Some(Self { topics })
    }
}
