//! A small life of a voter's files, ended at every operation: nothing acknowledged is lost, and no start is refused
//! without damage. With syncs left out the same life must lose something.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use keylane_protocol::identifiers::BrokerId;
use openraft::{CommittedLeaderId, EntryPayload};

use super::{Store, StoreError, StoreSettings};
use crate::controller::raft::types::{
    Entry, LogId, Membership, SnapshotMeta, StoredMembership, Vote, Voter, end_of,
};
use crate::disk::Disk;
use crate::disk::simulated::{Fault, SimulatedDisk};

const ROOT: &str = "/";
/// So few that the life has several files.
const SETTINGS: StoreSettings = StoreSettings { segment_bytes: 700 };
const NODE: u64 = 77;
const SEEDS: u64 = 6;

/// What the voter promised the others.
#[derive(Clone, Debug, Default)]
struct Promises {
    vote: Option<Vote>,
    /// A vote that was being saved.
    vote_under_way: Option<Vote>,
    entries: BTreeMap<u64, LogId>,
    /// Entries from here on were being removed or written.
    under_way_from: Option<u64>,
    /// Entries below need not be there.
    purged_end: u64,
    snapshot_end: u64,
}

struct Life<'a> {
    store: &'a mut Store,
    promises: &'a mut Promises,
}

fn entry(term: u64, index: u64) -> Entry {
    let payload = match index % 5 {
        0 => EntryPayload::Blank,
        4 => EntryPayload::Membership(membership()),
        // Some are larger than a sector.
        _ => EntryPayload::Normal(Bytes::from(vec![
            u8::try_from(index % 251).expect("small");
            (usize::try_from(index).expect("small")
                % 3)
                * 450
        ])),
    };
    Entry {
        log_id: LogId::new(CommittedLeaderId::new(term, NODE), index),
        payload,
    }
}

fn membership() -> Membership {
    let voter = Voter {
        broker_id: BrokerId(1),
        host: "localhost".to_owned(),
        port: 9093,
    };
    Membership::new(vec![[NODE].into()], BTreeMap::from([(NODE, voter)]))
}

impl Life<'_> {
    fn vote(&mut self, vote: Vote) -> Result<(), StoreError> {
        self.promises.vote_under_way = Some(vote);
        self.store.save_vote(vote)?;
        self.promises.vote = Some(vote);
        self.promises.vote_under_way = None;
        Ok(())
    }

    fn append(&mut self, term: u64, indexes: std::ops::Range<u64>) -> Result<(), StoreError> {
        self.promises.under_way_from = Some(indexes.start);
        let entries: Vec<_> = indexes.map(|index| entry(term, index)).collect();
        self.store.append(&entries)?;
        let ids = entries
            .iter()
            .map(|entry| (entry.log_id.index, entry.log_id));
        self.promises.entries.extend(ids);
        self.promises.under_way_from = None;
        Ok(())
    }

    fn truncate(&mut self, since: u64) -> Result<(), StoreError> {
        self.promises.under_way_from = Some(since);
        self.store.truncate(since)?;
        self.promises.entries.split_off(&since);
        self.promises.under_way_from = None;
        Ok(())
    }

    fn snapshot(&mut self, last: LogId) -> Result<(), StoreError> {
        let meta = SnapshotMeta {
            last_log_id: Some(last),
            last_membership: StoredMembership::new(Some(last), membership()),
            snapshot_id: format!("{last}"),
        };
        self.store.save_snapshot(&meta, &vec![7; 1500])?;
        self.promises.snapshot_end = self.promises.snapshot_end.max(end_of(Some(&last)));
        Ok(())
    }

    fn purge(&mut self, upto: LogId) -> Result<(), StoreError> {
        self.promises.purged_end = end_of(Some(&upto));
        self.store.purge(upto)
    }

    fn live(&mut self) -> Result<(), StoreError> {
        self.vote(Vote::new(1, NODE))?;
        self.append(1, 0..1)?;
        self.vote(Vote::new_committed(1, NODE))?;
        self.append(1, 1..4)?;
        self.append(1, 4..5)?;
        self.append(1, 5..12)?;
        self.store.seal()?;
        // Into the middle of a file, over a file's border, and to exactly one.
        self.truncate(11)?;
        self.truncate(6)?;
        self.vote(Vote::new(2, NODE))?;
        self.append(2, 6..16)?;
        self.snapshot(entry(1, 5).log_id)?;
        self.purge(entry(1, 3).log_id)?;
        self.append(2, 16..18)?;
        self.snapshot(entry(2, 12).log_id)?;
        self.purge(entry(2, 12).log_id)?;
        self.append(2, 18..24)?;
        self.store.note_committed(Some(entry(2, 20).log_id))?;
        self.truncate(20)?;
        self.append(3, 20..22)?;
        self.snapshot(entry(3, 20).log_id)?;
        self.purge(entry(3, 20).log_id)?;
        // A snapshot from the leader, far behind the log's end.
        self.snapshot(entry(3, 40).log_id)?;
        self.purge(entry(3, 40).log_id)?;
        self.append(4, 41..47)?;
        // As openraft does it: the purge does not wait for the snapshot, only what is appended next does.
        self.purge(entry(4, 60).log_id)?;
        self.vote(Vote::new(5, NODE))?;
        self.snapshot(entry(4, 60).log_id)?;
        self.append(5, 61..70)?;
        // One that was being built when another was installed is saved late.
        self.snapshot(entry(4, 44).log_id)?;
        self.snapshot(entry(5, 66).log_id)?;
        self.purge(entry(5, 66).log_id)?;
        self.vote(Vote::new(6, NODE))
    }
}

fn open(disk: &SimulatedDisk) -> Result<Store, StoreError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Store::open(&disk, Path::new(ROOT), NODE, SETTINGS)
}

/// Lives until the disk fails; returns what was promised.
fn live(disk: &SimulatedDisk) -> Promises {
    let mut promises = Promises::default();
    if let Ok(mut store) = open(disk) {
        let mut life = Life {
            store: &mut store,
            promises: &mut promises,
        };
        let _ = life.live();
    }
    promises
}

/// Returns what was lost.
fn lost(store: &mut Store, promises: &Promises) -> Option<String> {
    let vote = store.vote();
    if vote != promises.vote && (vote.is_none() || vote != promises.vote_under_way) {
        return Some(format!("the vote is {vote:?}"));
    }
    let snapshot = store.newest_snapshot().expect("it can be read");
    let snapshot_end = snapshot.map_or(0, |(meta, _)| end_of(meta.last_log_id.as_ref()));
    if snapshot_end < promises.snapshot_end {
        return Some(format!("the snapshot ends at {snapshot_end}"));
    }
    let read = store
        .entries(0..1000, usize::MAX)
        .expect("they can be read");
    let read: BTreeMap<_, _> = read
        .into_iter()
        .map(|entry| (entry.log_id.index, entry))
        .collect();
    let certain_end = promises.under_way_from.unwrap_or(u64::MAX);
    let promised_end = promises
        .entries
        .keys()
        .next_back()
        .map_or(0, |last| last + 1);
    // A snapshot that the log does not reach takes its place.
    let needed_from = if snapshot_end > promised_end {
        snapshot_end
    } else {
        promises.purged_end
    };
    for (index, id) in promises.entries.range(needed_from..) {
        match read.get(index) {
            Some(found) if found.log_id == *id => {
                assert_eq!(found.payload, entry(id.leader_id.term, *index).payload);
            }
            _ if *index >= certain_end => {}
            found => return Some(format!("entry {index} is {found:?}")),
        }
    }
    let first = read.keys().next().copied().unwrap_or(0);
    assert!(read.keys().copied().eq(first..first + read.len() as u64));
    assert!(
        first <= snapshot_end,
        "a hole from {snapshot_end} to {first}"
    );
    None
}

/// Recovers, lives on a little, recovers again.
fn check(disk: &SimulatedDisk, promises: &Promises) -> Result<(), String> {
    let mut store = open(disk).map_err(|error| format!("does not start: {error}"))?;
    if let Some(lost) = lost(&mut store, promises) {
        return Err(lost);
    }
    let mut promises = Promises {
        vote: store.vote(),
        snapshot_end: promises.snapshot_end,
        ..Promises::default()
    };
    let last = store.bounds().last;
    let snapshot = store.newest_snapshot().expect("it can be read");
    let snapshot = snapshot.and_then(|(meta, _)| meta.last_log_id);
    if last < snapshot {
        return Err(format!(
            "{last:?} is last, before the snapshot's {snapshot:?}"
        ));
    }
    let mut life = Life {
        store: &mut store,
        promises: &mut promises,
    };
    let on = (|| {
        life.vote(Vote::new(9, NODE))?;
        let end = end_of(life.store.bounds().last.as_ref());
        life.append(9, end..end + 5)
    })();
    on.map_err(|error| format!("does not live on: {error}"))?;
    drop(store);
    disk.restart();
    let mut store = open(disk).map_err(|error| format!("does not start again: {error}"))?;
    lost(&mut store, &promises).map_or(Ok(()), Err)
}

fn operations() -> u64 {
    let disk = SimulatedDisk::new(0);
    let promises = live(&disk);
    assert_eq!(promises.vote, Some(Vote::new(6, NODE)), "the life is whole");
    disk.operations()
}

#[test]
fn no_power_cut_loses_what_was_acknowledged() {
    let operations = operations();
    assert!(operations > 100, "{operations} operations are too few");
    for operation in 1..=operations + 1 {
        for seed in 0..SEEDS {
            let disk = SimulatedDisk::new(seed);
            disk.plan(Fault::PowerCut { operation });
            let promises = live(&disk);
            disk.restart();
            if let Err(fault) = check(&disk, &promises) {
                panic!("power cut at {operation}, seed {seed}: {fault}; {promises:?}");
            }
        }
    }
}

#[test]
fn no_power_cut_during_recovery_loses_what_was_acknowledged() {
    for operation in 1..=operations() {
        for recovery in 1.. {
            let disk = SimulatedDisk::new(operation);
            disk.plan(Fault::PowerCut { operation });
            let promises = live(&disk);
            disk.restart();
            let at = disk.operations() + recovery;
            disk.plan(Fault::PowerCut { operation: at });
            let is_whole = open(&disk).is_ok();
            disk.restart();
            if let Err(fault) = check(&disk, &promises) {
                panic!("power cuts at {operation} and {recovery} later: {fault}; {promises:?}");
            }
            if is_whole {
                break;
            }
        }
    }
}

#[test]
fn no_failed_operation_loses_what_was_acknowledged() {
    for operation in 1..=operations() {
        for fault in [Fault::Failed { operation }, Fault::NoSpace { operation }] {
            let disk = SimulatedDisk::new(operation);
            disk.plan(fault);
            let promises = live(&disk);
            // The process ended, the machine did not.
            if let Err(lost) = check(&disk, &promises) {
                panic!("{fault:?}: {lost}; {promises:?}");
            }
        }
    }
}

#[test]
fn without_syncs_something_is_lost() {
    let operations = operations();
    let losses = (1..=operations).filter(|operation| {
        let disk = SimulatedDisk::new(*operation);
        disk.ignore_syncs();
        disk.plan(Fault::PowerCut {
            operation: *operation,
        });
        let promises = live(&disk);
        disk.restart();
        check(&disk, &promises).is_err()
    });
    let losses = losses.count();
    assert!(
        losses > 20,
        "only {losses} of {operations} cuts lost something"
    );
}

#[test]
fn a_store_that_failed_once_answers_nothing_any_more() {
    let disk = SimulatedDisk::new(1);
    let mut store = open(&disk).expect("it opens");
    store.append(&[entry(1, 0)]).expect("it is appended");
    disk.plan(Fault::FailedSync {
        operation: disk.operations() + 2,
    });
    let error = store.append(&[entry(1, 1)]).expect_err("the sync fails");
    assert_eq!(store.failure(), Some(&error));
    assert_eq!(store.save_vote(Vote::new(3, NODE)), Err(error.clone()));
    assert_eq!(store.append(&[entry(1, 1)]), Err(error.clone()));
    assert_eq!(store.entries(0..1, 1), Err(error));
}
