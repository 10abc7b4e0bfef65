//! Where each committed offset is kept, by group, topic and partition, and what that costs.
//!
//! A slot holds what is durable and, in the order of the log, what is on its way. Texts are copied: those of a record are
//! slices of the batch they came in, which would stay in memory with them.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use bytestring::ByteString;
use keylane_protocol::group_record::OffsetCommitKey;
use keylane_protocol::identifiers::PartitionIndex;

use super::{CommittedOffset, Underway};

type Partitions = BTreeMap<PartitionIndex, Slot>;
type Topics = BTreeMap<ByteString, Partitions>;

const SLOT_BYTES: usize = size_of::<(PartitionIndex, Slot)>();
const TOPIC_BYTES: usize = size_of::<(ByteString, Partitions)>();
const GROUP_BYTES: usize = size_of::<(ByteString, Topics)>();
/// A queue has room for four at first.
const PENDING_BYTES: usize = 4 * size_of::<Pending>() + size_of::<Underway>();

/// What a record will make of a slot: an offset, or nothing if it is a tombstone.
type Pending = Option<CommittedOffset>;

/// What a group has committed for one partition. Never without both.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// What is durable.
    pub(super) committed: Option<CommittedOffset>,
    /// What is on its way, the earliest first.
    pending: VecDeque<Pending>,
}

impl Slot {
    /// Returns what the next decision sees: what is committed when everything on its way is durable.
    pub(super) fn latest(&self) -> Option<&CommittedOffset> {
        match self.pending.back() {
            Some(last) => last.as_ref(),
            None => self.committed.as_ref(),
        }
    }

    /// Returns what is committed, if nothing is on its way.
    pub(super) fn settled(&self) -> Option<&CommittedOffset> {
        self.committed.as_ref().filter(|_| self.pending.is_empty())
    }
}

/// A slot and whose it is.
pub(super) struct Found<'a> {
    pub(super) group: &'a ByteString,
    pub(super) topic: &'a ByteString,
    pub(super) partition: PartitionIndex,
    pub(super) slot: &'a Slot,
}

/// All slots; never a group without topics, or a topic without slots.
#[derive(Debug, Default)]
pub(super) struct Slots {
    groups: BTreeMap<ByteString, Topics>,
    count: usize,
    bytes: usize,
}

/// Returns a text that shares no memory with what it was cut from.
pub(super) fn copied(text: &ByteString) -> ByteString {
    match text.is_empty() {
        true => ByteString::new(),
        false => ByteString::from(text.to_string()),
    }
}

/// Returns what a commit on its way costs at most.
pub(super) fn cost_underway(group: &str, topic: &str, metadata: usize) -> usize {
    let slot = SLOT_BYTES + PENDING_BYTES + metadata;
    slot + TOPIC_BYTES + topic.len() + GROUP_BYTES + group.len()
}

fn metadata_bytes(value: Option<&CommittedOffset>) -> usize {
    value.map_or(0, |committed| committed.metadata.len())
}

impl Slots {
    /// Returns how many slots there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Returns how many groups there are.
    pub(super) fn group_count(&self) -> usize {
        self.groups.len()
    }

    /// Returns what all slots cost.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn has_group(&self, group: &str) -> bool {
        self.groups.contains_key(group)
    }

    pub(super) fn group_behind(&self, group: Option<&str>) -> Option<&ByteString> {
        let start = group.map_or(Bound::Unbounded, Bound::Excluded);
        let mut behind = self.groups.range::<str, _>((start, Bound::Unbounded));
        behind.next().map(|(group, _)| group)
    }

    pub(super) fn get(&self, group: &str, topic: &str, partition: PartitionIndex) -> Option<&Slot> {
        self.groups.get(group)?.get(topic)?.get(&partition)
    }

    /// Returns what the next decision sees.
    pub(super) fn latest(
        &self,
        group: &str,
        topic: &str,
        partition: PartitionIndex,
    ) -> Option<&CommittedOffset> {
        self.get(group, topic, partition)?.latest()
    }

    /// Returns the slots of a group in the order of topics and partitions.
    pub(super) fn of_group<'a>(&'a self, group: &str) -> impl Iterator<Item = Found<'a>> {
        let group = self.groups.get_key_value(group).into_iter();
        let topics = group.flat_map(|(group, topics)| {
            topics
                .iter()
                .map(move |(topic, slots)| (group, topic, slots))
        });
        topics.flat_map(found)
    }

    /// Returns the slots of a topic in the order of groups and partitions.
    pub(super) fn of_topic<'a>(&'a self, topic: &str) -> impl Iterator<Item = Found<'a>> {
        let topics = self.groups.iter().filter_map(move |(group, topics)| {
            let (topic, slots) = topics.get_key_value(topic)?;
            Some((group, topic, slots))
        });
        topics.flat_map(found)
    }

    /// Puts a record on its way, and returns its key, which shares the memory of the slot's place.
    pub(super) fn begin(&mut self, key: &OffsetCommitKey, value: Pending) -> OffsetCommitKey {
        self.bytes += PENDING_BYTES + metadata_bytes(value.as_ref());
        let key = self.place(key);
        let slot = self.slot(&key);
        slot.pending.push_back(value);
        key
    }

    /// Makes room for a slot if there is none.
    fn place(&mut self, key: &OffsetCommitKey) -> OffsetCommitKey {
        if !self.groups.contains_key(&key.group) {
            self.bytes += GROUP_BYTES + key.group.len();
            self.groups.insert(copied(&key.group), Topics::new());
        }
        let (group, topics) = entry(&self.groups, &key.group);
        let group = group.clone();
        let has_topic = topics.contains_key(&key.topic);
        let topics = self.groups.get_mut(&group).expect("it was made above");
        if !has_topic {
            self.bytes += TOPIC_BYTES + key.topic.len();
            topics.insert(copied(&key.topic), Partitions::new());
        }
        let topic = entry(topics, &key.topic).0.clone();
        let slots = topics.get_mut(&topic).expect("it was made above");
        slots.entry(key.partition).or_insert_with(|| {
            self.count += 1;
            self.bytes += SLOT_BYTES;
            Slot::default()
        });
        OffsetCommitKey {
            group,
            topic,
            partition: key.partition,
        }
    }

    fn slot(&mut self, key: &OffsetCommitKey) -> &mut Slot {
        let topics = self.groups.get_mut(&key.group);
        let slots = topics.and_then(|topics| topics.get_mut(&key.topic));
        let slot = slots.and_then(|slots| slots.get_mut(&key.partition));
        slot.expect("what is on its way has a slot")
    }

    /// Commits what is on its way to a slot for the longest time.
    pub(super) fn settle(&mut self, key: &OffsetCommitKey) {
        let slot = self.slot(key);
        let first = slot.pending.pop_front().expect("it is on its way");
        let before = metadata_bytes(slot.committed.as_ref());
        slot.committed = first;
        self.bytes -= PENDING_BYTES + before;
        self.tidy(key);
    }

    /// Drops what is on its way to a slot for the shortest time.
    pub(super) fn drop_last(&mut self, key: &OffsetCommitKey) {
        let last = self.slot(key).pending.pop_back().expect("it is on its way");
        self.bytes -= PENDING_BYTES + metadata_bytes(last.as_ref());
        self.tidy(key);
    }

    /// Gives back the memory of a queue that is empty, and of a slot that holds nothing.
    fn tidy(&mut self, key: &OffsetCommitKey) {
        let slot = self.slot(key);
        if !slot.pending.is_empty() {
            return;
        }
        slot.pending = VecDeque::new();
        if slot.committed.is_some() {
            return;
        }
        self.count -= 1;
        self.bytes -= SLOT_BYTES;
        let topics = self.groups.get_mut(&key.group).expect("it has a slot");
        let slots = topics.get_mut(&key.topic).expect("it has a slot");
        slots.remove(&key.partition);
        if slots.is_empty() {
            topics.remove(&key.topic);
            self.bytes -= TOPIC_BYTES + key.topic.len();
        }
        if topics.is_empty() {
            self.groups.remove(&key.group);
            self.bytes -= GROUP_BYTES + key.group.len();
        }
    }
}

fn entry<'a, V>(map: &'a BTreeMap<ByteString, V>, text: &str) -> (&'a ByteString, &'a V) {
    map.get_key_value(text).expect("it was made before")
}

fn found<'a>(
    (group, topic, slots): (&'a ByteString, &'a ByteString, &'a Partitions),
) -> impl Iterator<Item = Found<'a>> {
    slots.iter().map(move |(&partition, slot)| Found {
        group,
        topic,
        partition,
        slot,
    })
}
