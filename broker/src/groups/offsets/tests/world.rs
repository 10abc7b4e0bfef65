//! A log and a shell around the real core, with power cuts, failures, expiry and compaction; and what must hold.
//!
//! The history is what the log would be without compaction. Everything is held against a fold over it that knows nothing
//! of the core.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::super::*;
use super::bugs::Bug;
use crate::groups::compaction::{KeyedRecord, kept};

pub(super) const RETENTION_MS: i64 = 100;
const OFFSETS_MAX: usize = 6;
const GROUPS: [&str; 3] = ["g", "h", "i"];
const TOPICS: [&str; 2] = ["t", "u"];
const PARTITIONS: i32 = 2;

/// Something that happens.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A group commits offsets for these topics and partitions, with a retention time of its own or without.
    Commit(usize, Vec<(usize, i32, i64)>, Option<i64>),
    /// A group deletes an offset.
    Delete(usize, usize, i32),
    /// A group is deleted.
    DeleteGroup(usize),
    /// A topic is deleted.
    DeleteTopic(usize),
    /// Expired offsets of a group are deleted; it is empty for so long, or has members that read some topics, or else.
    Expire(usize, Use),
    /// So many more records are durable.
    Durable(usize),
    /// So many of the last records fail, of those that are not durable.
    Fail(usize),
    /// The power is cut, and so many of the last records are lost, of those that are not durable.
    Crash(usize),
    /// The log is compacted; tombstones older than this are dropped.
    Compact(i64),
    /// Time goes by.
    Wait(i64),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Use {
    Simple,
    EmptyFor(i64),
    Reads(usize),
    Occupied,
}

type Key = (String, String, i32);

#[derive(Clone, Debug)]
struct Entry {
    offset: Offset,
    time_ms: i64,
    key: Bytes,
    value: Option<Bytes>,
}

impl Entry {
    fn record(&self) -> GroupRecord {
        let record = GroupRecord::decode(&self.key, self.value.as_ref());
        record.expect("sound").expect("known")
    }
}

/// What must not be so.
pub(super) type Violation = String;

pub(super) struct World {
    bug: Option<Bug>,
    core: Offsets,
    log: Vec<Entry>,
    history: Vec<Entry>,
    end: Offset,
    durable_end: Offset,
    now_ms: i64,
    /// Numbers commits; they carry it as their metadata and leader epoch.
    serial: i32,
    /// The latest commit seen for each key.
    seen: BTreeMap<Key, i32>,
}

fn new_core() -> Offsets {
    Offsets::new(OffsetLimits {
        groups_max: 2,
        offsets_max: OFFSETS_MAX,
        tombstones_at_once: 2,
        ..OffsetLimits::default()
    })
}

fn name(key: &OffsetCommitKey) -> Key {
    (
        key.group.to_string(),
        key.topic.to_string(),
        key.partition.0,
    )
}

fn fold<'a>(entries: impl Iterator<Item = &'a Entry>) -> BTreeMap<Key, CommittedOffset> {
    let mut state = BTreeMap::new();
    for entry in entries {
        match entry.record() {
            GroupRecord::OffsetCommit(key, Some(value)) => {
                state.insert(name(&key), committed(&value));
            }
            GroupRecord::OffsetCommit(key, None) => {
                state.remove(&name(&key));
            }
            other => panic!("{other:?}"),
        }
    }
    state
}

impl World {
    pub(super) fn new(bug: Option<Bug>) -> Self {
        Self {
            bug,
            core: new_core(),
            log: Vec::new(),
            history: Vec::new(),
            end: Offset(0),
            durable_end: Offset(0),
            now_ms: 1000,
            serial: 0,
            seen: BTreeMap::new(),
        }
    }

    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    pub(super) fn step(&mut self, step: &Step) -> Result<(), Violation> {
        match step {
            Step::Commit(group, partitions, retention) => {
                self.commit(GROUPS[*group], partitions, *retention)?;
            }
            Step::Delete(group, topic, partition) => {
                let key = (
                    GROUPS[*group].to_owned(),
                    TOPICS[*topic].to_owned(),
                    *partition,
                );
                self.delete(&key)?;
            }
            Step::DeleteGroup(group) => {
                while self.core.has_offsets(GROUPS[*group]) {
                    let tombstones = self.core.delete_group(GROUPS[*group]);
                    self.append(tombstones);
                }
                self.nothing_is_left(|key| key.0 == GROUPS[*group])?;
            }
            Step::DeleteTopic(topic) => {
                loop {
                    let tombstones = self.core.delete_topic(TOPICS[*topic]);
                    if tombstones.is_empty() {
                        break;
                    }
                    self.append(tombstones);
                }
                self.nothing_is_left(|key| key.1 == TOPICS[*topic])?;
            }
            Step::Expire(group, usage) => self.expire(GROUPS[*group], *usage)?,
            Step::Durable(count) => self.become_durable(*count),
            Step::Fail(count) => self.fail(*count),
            Step::Crash(count) => self.crash(*count),
            Step::Compact(age_ms) => self.compact(*age_ms),
            Step::Wait(time_ms) => self.now_ms += time_ms,
        }
        self.check()
    }

    fn append(&mut self, records: Vec<GroupRecord>) {
        let mut offsets: Vec<Offset> = (0..)
            .map(|at| self.end.plus(at))
            .take(records.len())
            .collect();
        for (record, offset) in records.iter().zip(&offsets) {
            let entry = Entry {
                offset: *offset,
                time_ms: self.now_ms,
                key: record.key_bytes().expect("short"),
                value: record.value_bytes().expect("short"),
            };
            self.log.push(entry.clone());
            self.history.push(entry);
        }
        self.end = self.end.plus(records.len() as i64);
        let mut records = records;
        if self.has(Bug::RequestsRememberedBackwards) {
            records.reverse();
        }
        if self.has(Bug::LowerOffsetsIgnored) {
            let core = &self.core;
            let is_lower = |record: &GroupRecord| match record {
                GroupRecord::OffsetCommit(key, Some(value)) => {
                    value.offset < core.fetch(&key.group, &key.topic, key.partition).offset
                }
                _ => false,
            };
            let lower: Vec<bool> = records.iter().map(is_lower).collect();
            let mut keep = lower.iter();
            records.retain(|_| keep.next() == Some(&false));
            let mut keep = lower.iter();
            offsets.retain(|_| keep.next() == Some(&false));
        }
        for (record, offset) in records.iter().zip(offsets) {
            self.core.remember(record, offset);
        }
        if self.has(Bug::FetchesSeeWhatIsNotDurable) {
            self.core.on_durable(self.end);
        }
    }

    fn commit(
        &mut self,
        group: &str,
        partitions: &[(usize, i32, i64)],
        retention_ms: Option<i64>,
    ) -> Result<(), Violation> {
        let expire = retention_ms.unwrap_or(retention::RETENTION_TIME_OF_BROKER);
        let mut commits = Vec::new();
        for &(topic, partition, offset) in partitions {
            self.serial += 1;
            commits.push(Commit {
                topic: TOPICS[topic].into(),
                partition: PartitionIndex(partition),
                committed: CommittedOffset {
                    offset: Offset(offset),
                    leader_epoch: LeaderEpoch(self.serial),
                    metadata: self.serial.to_string().into(),
                    commit_time_ms: self.now_ms,
                    expire_time_ms: retention::expire_time_ms(self.now_ms, expire),
                },
            });
        }
        let decided = self.core.commit(&group.into(), &commits);
        let known = self.core.offset_count();
        let mut records = Vec::new();
        for outcome in decided {
            match outcome {
                Ok(record) => records.push(record),
                Err(Refusal::TooManyOffsets { .. }) if known + partitions.len() <= OFFSETS_MAX => {
                    return Err(format!("refused with {known} offsets"));
                }
                Err(Refusal::TooManyOffsets { .. }) => {}
                Err(Refusal::TooManyGroups { .. }) if self.core.group_count() >= 2 => {}
                Err(other) => return Err(format!("refused: {other}")),
            }
        }
        self.append(records);
        Ok(())
    }

    fn delete(&mut self, key: &Key) -> Result<(), Violation> {
        let (group, topic) = (ByteString::from(&*key.0), ByteString::from(&*key.1));
        let mut asked = vec![(topic, PartitionIndex(key.2))];
        if self.has(Bug::DeletionSeesOnlyWhatIsDurable) {
            asked.retain(|(topic, at)| self.core.fetch(&group, topic, *at).offset.0 >= 0);
        }
        let tombstones = self.core.delete(&group, &asked);
        self.append(tombstones);
        self.nothing_is_left(|found| found == key)
    }

    fn nothing_is_left(&self, is_deleted: impl Fn(&Key) -> bool) -> Result<(), Violation> {
        let all = fold(self.history.iter());
        match all.keys().find(|key| is_deleted(key)) {
            Some(key) => Err(format!("{key:?} was deleted and is still there")),
            None => Ok(()),
        }
    }

    fn expire(&mut self, group: &str, usage: Use) -> Result<(), Violation> {
        let read = match usage {
            Use::Reads(topic) => BTreeSet::from([ByteString::from(TOPICS[topic])]),
            _ => BTreeSet::new(),
        };
        let standing = match usage {
            Use::Simple => Standing::Simple,
            Use::EmptyFor(_) if self.has(Bug::EmptyGroupsExpireByCommitTime) => Standing::Simple,
            Use::EmptyFor(time_ms) => Standing::Empty {
                since_ms: Some(self.now_ms - time_ms),
            },
            Use::Reads(_) if self.has(Bug::WhatMembersReadExpires) => Standing::Simple,
            Use::Reads(_) => Standing::Subscribed { topics: &read },
            Use::Occupied => Standing::Occupied,
        };
        let expired = match self.has(Bug::ExpirySeesOnlyWhatIsDurable) {
            false => self.core.expire(group, standing, self.now_ms, RETENTION_MS),
            true => {
                let all = self.core.fetch_all(group).filter(|(topic, _, committed)| {
                    is_expired(committed, topic, standing, self.now_ms, RETENTION_MS)
                });
                let tombstones = all.map(|(topic, at, _)| tombstone(&group.into(), topic, at));
                Expired {
                    tombstones: tombstones.take(2).collect(),
                    is_all: false,
                }
            }
        };
        self.expiry_is_right(group, usage, &expired)?;
        self.append(expired.tombstones);
        Ok(())
    }

    /// Holds what has expired against the rules, written down anew.
    fn expiry_is_right(&self, group: &str, usage: Use, expired: &Expired) -> Result<(), Violation> {
        let durable = fold(self.durable());
        let underway = fold_keys(
            self.history
                .iter()
                .filter(|entry| entry.offset >= self.durable_end),
        );
        let latest = fold(self.history.iter());
        let must_go = |key: &Key, committed: &CommittedOffset| {
            let age = self.now_ms - committed.commit_time_ms;
            let is_used = match usage {
                Use::Simple => false,
                Use::EmptyFor(time_ms) => {
                    committed.expire_time_ms.is_none() && time_ms < RETENTION_MS
                }
                Use::Reads(topic) => key.1 == TOPICS[topic],
                Use::Occupied => true,
            };
            let is_old = match committed.expire_time_ms {
                Some(time_ms) => self.now_ms >= time_ms,
                None => age >= RETENTION_MS,
            };
            key.0 == group && is_old && !is_used && !underway.contains(key)
        };
        let must_go: BTreeSet<&Key> = durable
            .iter()
            .filter(|(key, committed)| must_go(key, committed))
            .map(|(key, _)| key)
            .collect();
        let gone: BTreeSet<Key> = fold_names(&expired.tombstones);
        if let Some(key) = gone.iter().find(|key| !must_go.contains(key)) {
            return Err(format!("{key:?} expired too early"));
        }
        if gone.len() != must_go.len().min(2) {
            return Err(format!("{gone:?} expired, not {must_go:?}"));
        }
        let is_left = latest
            .keys()
            .any(|key| key.0 == group && !gone.contains(key));
        if expired.is_all == is_left && !self.has(Bug::ExpirySeesOnlyWhatIsDurable) {
            return Err(format!("expiry says {} of {latest:?}", expired.is_all));
        }
        Ok(())
    }

    fn become_durable(&mut self, count: usize) {
        self.durable_end = self.durable_end.plus(count as i64).min(self.end);
        let too_far = i64::from(self.has(Bug::DurableTooFar));
        self.core.on_durable(self.durable_end.plus(too_far));
    }

    /// Cuts the log behind what is durable.
    fn cut(&mut self, count: usize) -> Offset {
        let from = Offset(self.end.0 - count as i64).max(self.durable_end);
        self.log.retain(|entry| entry.offset < from);
        self.history.retain(|entry| entry.offset < from);
        from
    }

    fn fail(&mut self, count: usize) {
        let from = self.cut(count);
        if self.has(Bug::FailuresAreRolledIn) {
            self.core.on_durable(self.end);
            self.durable_end = self.end;
            return;
        }
        self.core.on_failed(from);
        self.end = from;
    }

    fn crash(&mut self, count: usize) {
        let from = self.cut(count);
        if self.has(Bug::CrashKeepsWhatWasLost) {
            self.core.on_durable(self.end);
            self.durable_end = self.end;
            return;
        }
        (self.end, self.durable_end) = (from, from);
        self.core = new_core();
        let lost = usize::from(self.has(Bug::RecoveryStopsEarly));
        for entry in &self.log[..self.log.len().saturating_sub(lost)] {
            if self.has(Bug::RecoverySkipsTombstones) && entry.value.is_none() {
                continue;
            }
            self.core.replay(&entry.record(), entry.offset);
        }
        self.core.on_durable(self.end);
    }

    fn compact(&mut self, age_ms: i64) {
        let records = self.log.iter().map(|entry| KeyedRecord {
            offset: entry.offset,
            key: Some(&entry.key),
            is_tombstone: entry.value.is_none(),
            timestamp_ms: entry.time_ms,
        });
        let records: Vec<KeyedRecord<'_>> = records.collect();
        let durable_end = match self.has(Bug::CompactionOfWhatIsNotDurable) {
            true => self.end,
            false => self.durable_end,
        };
        let kept = kept(&records, durable_end, self.now_ms - age_ms);
        let drops_tombstones = self.has(Bug::CompactionDropsOnlyTombstones);
        self.log.retain(|entry| match drops_tombstones {
            true => entry.value.is_some(),
            false => kept.contains(&entry.offset),
        });
    }

    fn durable(&self) -> impl Iterator<Item = &Entry> {
        let end = self.durable_end;
        self.history.iter().filter(move |entry| entry.offset < end)
    }

    fn check(&mut self) -> Result<(), Violation> {
        let expected = fold(self.durable());
        for group in GROUPS {
            for topic in TOPICS {
                for partition in 0..PARTITIONS {
                    let key = (group.to_owned(), topic.to_owned(), partition);
                    let found = self.core.fetch(group, topic, PartitionIndex(partition));
                    let wanted = expected.get(&key).cloned().unwrap_or_default();
                    if found != wanted {
                        return Err(format!("{key:?}: {found:?} instead of {wanted:?}"));
                    }
                    let serial = found.metadata.parse().unwrap_or(-1);
                    let seen = self.seen.entry(key).or_insert(serial);
                    if serial >= 0 && serial < *seen {
                        return Err(format!("went back from {seen} to {serial}"));
                    }
                    *seen = serial.max(*seen);
                }
            }
            let all = self.core.fetch_all(group);
            let all: Vec<Key> = all
                .map(|(topic, partition, _)| (group.to_owned(), topic.to_string(), partition.0))
                .collect();
            if !expected.keys().filter(|key| key.0 == group).eq(&all) {
                return Err(format!("{all:?} are fetched together"));
            }
        }
        self.counts_are_right(&expected)
    }

    fn counts_are_right(&self, expected: &BTreeMap<Key, CommittedOffset>) -> Result<(), Violation> {
        let underway = self
            .history
            .iter()
            .filter(|entry| entry.offset >= self.durable_end);
        let mut keys = fold_keys(underway);
        keys.extend(expected.keys().cloned());
        let (count, bytes) = (self.core.offset_count(), self.core.bytes());
        if count != keys.len() {
            return Err(format!("{count} offsets are counted of {keys:?}"));
        }
        if (bytes == 0) != keys.is_empty() {
            return Err(format!("{keys:?} take {bytes} bytes"));
        }
        let groups: BTreeSet<&String> = keys.iter().map(|key| &key.0).collect();
        if self.core.group_count() != groups.len() || groups.len() > 2 || count > OFFSETS_MAX {
            return Err(format!(
                "{groups:?} with {count} offsets are beyond the bounds"
            ));
        }
        Ok(())
    }
}

fn fold_keys<'a>(entries: impl Iterator<Item = &'a Entry>) -> BTreeSet<Key> {
    let records: Vec<GroupRecord> = entries.map(Entry::record).collect();
    fold_names(&records)
}

fn fold_names(records: &[GroupRecord]) -> BTreeSet<Key> {
    let key = |record: &GroupRecord| match record {
        GroupRecord::OffsetCommit(key, _) => name(key),
        other => panic!("{other:?}"),
    };
    records.iter().map(key).collect()
}
