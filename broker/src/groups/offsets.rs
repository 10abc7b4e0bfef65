//! How far the groups of one partition of `__consumer_offsets` have read: committed offsets, and those on their way.
//!
//! A core: no clock, no I/O. Decisions ([`Offsets::commit`], `delete…`, `expire`) change nothing: they return records,
//! which see everything on its way. The shell appends them at once, tells [`Offsets::remember`] where each lies, and
//! answers when they are durable. Only then do fetches see them. Recovery tells the same records with
//! [`Offsets::replay`]. What counts is the order of the log: the latest record of a key holds, be its offset lower or not.

pub mod retention;
mod slots;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use bytestring::ByteString;
use keylane_protocol::group_record::{GroupRecord, OffsetCommitKey, OffsetCommitValue};
use keylane_protocol::identifiers::{PartitionIndex, TopicName};
use keylane_protocol::offset::{LeaderEpoch, Offset};

use self::retention::{Standing, is_expired};
use self::slots::Slots;
use crate::limits::{
    GROUP_ID_BYTES_MAX, OFFSET_GROUPS_MAX, OFFSET_METADATA_BYTES_MAX, OFFSET_TOMBSTONES_AT_ONCE,
    OFFSETS_BYTES_MAX, OFFSETS_MAX,
};

/// How far a group has read a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The offset of the next record to read; -1 if nothing was committed.
    pub offset: Offset,
    /// The leader epoch of the last record read; -1 means unknown. Not kept together with an expiry of its own.
    pub leader_epoch: LeaderEpoch,
    /// What the client keeps with it.
    pub metadata: ByteString,
    /// When it was committed, in milliseconds since 1970.
    pub commit_time_ms: i64,
    /// When it expires, in milliseconds since 1970; `None` leaves it to the broker ([`retention::expire_time_ms`]).
    pub expire_time_ms: Option<i64>,
}

/// What is fetched where nothing was committed.
impl Default for CommittedOffset {
    fn default() -> Self {
        Self {
            offset: Offset(-1),
            leader_epoch: LeaderEpoch::NONE,
            metadata: ByteString::new(),
            commit_time_ms: -1,
            expire_time_ms: None,
        }
    }
}

/// An offset that a client commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The topic's name.
    pub topic: ByteString,
    /// The partition.
    pub partition: PartitionIndex,
    /// The offset.
    pub committed: CommittedOffset,
}

/// Why an offset is not committed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// What the client keeps with it is too long: OFFSET_METADATA_TOO_LARGE.
    #[error("the metadata of a committed offset has {found} bytes, at most {limit} are kept")]
    MetadataTooLarge {
        /// Its bytes.
        found: usize,
        /// The bound.
        limit: usize,
    },
    /// The group's id is too long: INVALID_GROUP_ID.
    #[error("a group's id has {found} bytes, at most {limit} are taken")]
    GroupIdTooLong {
        /// Its bytes.
        found: usize,
        /// The bound.
        limit: usize,
    },
    /// The topic's name is longer than any topic's: UNKNOWN_TOPIC_OR_PARTITION.
    #[error("a topic's name of {found} bytes is that of no topic")]
    TopicTooLong {
        /// Its bytes.
        found: usize,
    },
    /// Too many groups have offsets: INVALID_COMMIT_OFFSET_SIZE.
    #[error("{limit} groups have committed offsets here")]
    TooManyGroups {
        /// The bound.
        limit: usize,
    },
    /// Too many offsets are committed: INVALID_COMMIT_OFFSET_SIZE.
    #[error("{limit} offsets are committed here")]
    TooManyOffsets {
        /// The bound.
        limit: usize,
    },
    /// The offsets take too much memory: INVALID_COMMIT_OFFSET_SIZE.
    #[error("the offsets committed here take {limit} bytes")]
    TooManyBytes {
        /// The bound.
        limit: usize,
    },
}

/// Bounds on what is committed in one partition of `__consumer_offsets`.
#[derive(Clone, Copy, Debug)]
pub struct OffsetLimits {
    /// The most bytes of what a client keeps with an offset.
    pub metadata_bytes_max: usize,
    /// The most groups.
    pub groups_max: usize,
    /// The most offsets.
    pub offsets_max: usize,
    /// About the most bytes of memory.
    pub bytes_max: usize,
    /// The most tombstones that are made at once.
    pub tombstones_at_once: usize,
}

impl Default for OffsetLimits {
    fn default() -> Self {
        Self {
            metadata_bytes_max: OFFSET_METADATA_BYTES_MAX,
            groups_max: OFFSET_GROUPS_MAX,
            offsets_max: OFFSETS_MAX,
            bytes_max: OFFSETS_BYTES_MAX,
            tombstones_at_once: OFFSET_TOMBSTONES_AT_ONCE,
        }
    }
}

/// A record that is not known to be durable.
#[derive(Debug)]
struct Underway {
    offset: Offset,
    key: OffsetCommitKey,
}

/// What of a group's offsets has expired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expired {
    /// Tombstones, at most as many as are made at once.
    pub tombstones: Vec<GroupRecord>,
    /// Whether the group has no other offsets: then an empty group may be deleted with them.
    pub is_all: bool,
}

/// The committed offsets of the groups of one partition of `__consumer_offsets`.
#[derive(Debug)]
pub struct Offsets {
    limits: OffsetLimits,
    slots: Slots,
    /// In the order of the log.
    underway: VecDeque<Underway>,
    /// Behind the last record remembered.
    end: Offset,
    /// What lies below is durable.
    durable_end: Offset,
}

impl Offsets {
    /// Returns the state before the first record.
    #[must_use]
    pub fn new(limits: OffsetLimits) -> Self {
        assert!(limits.tombstones_at_once > 0);
        Self {
            limits,
            slots: Slots::default(),
            underway: VecDeque::new(),
            end: Offset(0),
            durable_end: Offset(0),
        }
    }

    /// Decides on the commits of one request, each for itself; those that are not refused must be remembered before
    /// anything else is decided.
    #[must_use]
    pub fn commit(
        &self,
        group: &ByteString,
        commits: &[Commit],
    ) -> Vec<Result<GroupRecord, Refusal>> {
        let mut room = Room::of(self);
        let decide = |commit: &Commit| {
            self.judge(group, commit, &mut room)?;
            Ok(record(group, commit))
        };
        commits.iter().map(decide).collect()
    }

    fn judge(&self, group: &str, commit: &Commit, room: &mut Room) -> Result<(), Refusal> {
        let limits = &self.limits;
        let metadata = commit.committed.metadata.len();
        if metadata > limits.metadata_bytes_max {
            return Err(Refusal::MetadataTooLarge {
                found: metadata,
                limit: limits.metadata_bytes_max,
            });
        }
        if group.len() > GROUP_ID_BYTES_MAX {
            return Err(Refusal::GroupIdTooLong {
                found: group.len(),
                limit: GROUP_ID_BYTES_MAX,
            });
        }
        let found = commit.topic.len();
        if found > TopicName::LENGTH_MAX {
            return Err(Refusal::TopicTooLong { found });
        }
        if !self.slots.has_group(group) && self.slots.group_count() >= limits.groups_max {
            return Err(Refusal::TooManyGroups {
                limit: limits.groups_max,
            });
        }
        let is_new = self
            .slots
            .latest(group, &commit.topic, commit.partition)
            .is_none();
        if is_new && room.offsets == 0 {
            return Err(Refusal::TooManyOffsets {
                limit: limits.offsets_max,
            });
        }
        // It takes the place of another once it is durable; until then both are there.
        let bytes = slots::cost_underway(group, &commit.topic, metadata);
        let Some(left) = room.bytes.checked_sub(bytes) else {
            return Err(Refusal::TooManyBytes {
                limit: limits.bytes_max,
            });
        };
        room.bytes = left;
        room.offsets -= usize::from(is_new);
        Ok(())
    }

    /// Returns tombstones for those of the partitions whose offset is committed, or about to be (OffsetDelete).
    #[must_use]
    pub fn delete(
        &self,
        group: &ByteString,
        partitions: &[(ByteString, PartitionIndex)],
    ) -> Vec<GroupRecord> {
        let exists = |(topic, partition): &&(ByteString, PartitionIndex)| {
            self.slots.latest(group, topic, *partition).is_some()
        };
        let existing = partitions.iter().filter(exists);
        existing
            .map(|(topic, partition)| tombstone(group, topic, *partition))
            .collect()
    }

    /// Returns tombstones for the offsets of a group (DeleteGroups), at most as many as are made at once: once they are
    /// remembered, ask again until there are none.
    #[must_use]
    pub fn delete_group(&self, group: &str) -> Vec<GroupRecord> {
        let all = self.slots.of_group(group);
        let existing = all.filter(|found| found.slot.latest().is_some());
        existing
            .map(|found| tombstone(found.group, found.topic, found.partition))
            .take(self.limits.tombstones_at_once)
            .collect()
    }

    /// Returns tombstones for the offsets that any group has in a topic that is deleted, at most as many as are made at
    /// once: once they are remembered, ask again until there are none.
    #[must_use]
    pub fn delete_topic(&self, topic: &str) -> Vec<GroupRecord> {
        let all = self.slots.of_topic(topic);
        let existing = all.filter(|found| found.slot.latest().is_some());
        existing
            .map(|found| tombstone(found.group, found.topic, found.partition))
            .take(self.limits.tombstones_at_once)
            .collect()
    }

    /// Returns tombstones for the offsets of a group that have expired; one for which a commit is on its way has not.
    #[must_use]
    pub fn expire(
        &self,
        group: &str,
        standing: Standing<'_>,
        now_ms: i64,
        retention_ms: i64,
    ) -> Expired {
        let mut expired = Expired {
            tombstones: Vec::new(),
            is_all: true,
        };
        for found in self.slots.of_group(group) {
            let is_over = |committed: &CommittedOffset| {
                is_expired(committed, found.topic, standing, now_ms, retention_ms)
            };
            if found.slot.settled().is_some_and(is_over) {
                if expired.tombstones.len() == self.limits.tombstones_at_once {
                    expired.is_all = false;
                    break;
                }
                let tombstone = tombstone(found.group, found.topic, found.partition);
                expired.tombstones.push(tombstone);
            } else if found.slot.latest().is_some() {
                expired.is_all = false;
            }
        }
        expired
    }

    /// Notes that a record lies in the log at `offset`, behind all others, and may yet be lost. Records about other things
    /// than offsets are passed over.
    ///
    /// # Panics
    /// When the offset is not behind all others.
    pub fn remember(&mut self, record: &GroupRecord, offset: Offset) {
        assert!(offset >= self.end, "records are remembered in order");
        self.end = offset.plus(1);
        let GroupRecord::OffsetCommit(key, value) = record else {
            return;
        };
        let key = self.slots.begin(key, value.as_ref().map(committed));
        self.underway.push_back(Underway { offset, key });
    }

    /// Notes that everything below `end` is durable: fetches see it from now on.
    pub fn on_durable(&mut self, end: Offset) {
        self.durable_end = self.durable_end.max(end);
        while let Some(first) = self.underway.front() {
            if first.offset >= end {
                return;
            }
            self.slots.settle(&first.key);
            self.underway.pop_front();
        }
    }

    /// Notes that the records from `from` on will never be in the log: they are dropped, and nobody has seen them. Not for
    /// records of which that is not certain: those stay on their way, whatever their client was told.
    ///
    /// # Panics
    /// When some of them are durable.
    pub fn on_failed(&mut self, from: Offset) {
        assert!(from >= self.durable_end, "what is durable does not fail");
        while let Some(last) = self.underway.back() {
            if last.offset < from {
                break;
            }
            self.slots.drop_last(&last.key);
            self.underway.pop_back();
        }
        self.end = self.end.min(from).max(self.durable_end);
    }

    /// Applies a durable record, as at recovery.
    ///
    /// # Panics
    /// When the offset is not behind all others.
    pub fn replay(&mut self, record: &GroupRecord, offset: Offset) {
        self.remember(record, offset);
        self.on_durable(offset.plus(1));
    }

    /// Returns what is committed durably for a partition (OffsetFetch); the default, whose offset is -1, if that is nothing
    /// or the group is not known. There are no transactions that a stable offset would have to wait for.
    #[must_use]
    pub fn fetch(&self, group: &str, topic: &str, partition: PartitionIndex) -> CommittedOffset {
        let slot = self.slots.get(group, topic, partition);
        let committed = slot.and_then(|slot| slot.committed.clone());
        committed.unwrap_or_default()
    }

    /// Returns everything that is committed durably for a group, by topic and partition.
    pub fn fetch_all(
        &self,
        group: &str,
    ) -> impl Iterator<Item = (&ByteString, PartitionIndex, &CommittedOffset)> {
        let all = self.slots.of_group(group);
        all.filter_map(|found| {
            let committed = found.slot.committed.as_ref()?;
            Some((found.topic, found.partition, committed))
        })
    }

    /// Returns whether the group has offsets, committed or about to be.
    #[must_use]
    pub fn has_offsets(&self, group: &str) -> bool {
        let mut all = self.slots.of_group(group);
        all.any(|found| found.slot.latest().is_some())
    }

    /// Returns the next group behind one, in the order of their ids; the first one for `None`.
    #[must_use]
    pub fn group_behind(&self, group: Option<&str>) -> Option<&ByteString> {
        self.slots.group_behind(group)
    }

    /// Returns how many groups have offsets.
    #[must_use]
    pub fn group_count(&self) -> usize {
        self.slots.group_count()
    }

    /// Returns how many partitions of groups have an offset.
    #[must_use]
    pub fn offset_count(&self) -> usize {
        self.slots.count()
    }

    /// Returns about how many bytes of memory the offsets take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.slots.bytes()
    }
}

/// What is left for the commits of a request.
struct Room {
    offsets: usize,
    bytes: usize,
}

impl Room {
    fn of(offsets: &Offsets) -> Self {
        let limits = &offsets.limits;
        Self {
            offsets: limits.offsets_max.saturating_sub(offsets.slots.count()),
            bytes: limits.bytes_max.saturating_sub(offsets.slots.bytes()),
        }
    }
}

fn key(group: &ByteString, topic: &ByteString, partition: PartitionIndex) -> OffsetCommitKey {
    OffsetCommitKey {
        group: group.clone(),
        topic: topic.clone(),
        partition,
    }
}

fn tombstone(group: &ByteString, topic: &ByteString, partition: PartitionIndex) -> GroupRecord {
    GroupRecord::OffsetCommit(key(group, topic, partition), None)
}

fn record(group: &ByteString, commit: &Commit) -> GroupRecord {
    let committed = &commit.committed;
    // The version with an expiry has no leader epoch, nor has a request with a retention time one: what is remembered must
    // be what is read back.
    let leader_epoch = match committed.expire_time_ms {
        Some(_) => LeaderEpoch::NONE,
        None => committed.leader_epoch,
    };
    let value = OffsetCommitValue {
        offset: committed.offset,
        leader_epoch,
        metadata: committed.metadata.clone(),
        commit_timestamp: committed.commit_time_ms,
        expire_timestamp: committed.expire_time_ms.map_or(-1, |time| time.max(0)),
        ..OffsetCommitValue::default()
    };
    GroupRecord::OffsetCommit(key(group, &commit.topic, commit.partition), Some(value))
}

fn committed(value: &OffsetCommitValue) -> CommittedOffset {
    CommittedOffset {
        offset: value.offset,
        leader_epoch: value.leader_epoch,
        metadata: slots::copied(&value.metadata),
        commit_time_ms: value.commit_timestamp,
        expire_time_ms: (value.expire_timestamp != -1).then_some(value.expire_timestamp),
    }
}
