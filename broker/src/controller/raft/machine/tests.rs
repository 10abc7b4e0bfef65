//! openraft's own tests of a storage, over the simulated disk and the real one.

use std::fmt::Debug;
use std::ops::RangeBounds;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::testing::{StoreBuilder, Suite};
use openraft::{EntryPayload, LogState, OptionalSend, RaftLogReader};

use super::super::log_storage::{Failure, LogStorage};
use super::super::store::thread::StoreThread;
use super::super::store::{Store, StoreSettings};
use super::super::types::{Entry, LogId, Types, Vote, end_of};
use super::{Machine, Replica, RestoreError};
use crate::disk::Disk;
use crate::disk::real::RealDisk;
use crate::disk::simulated::SimulatedDisk;

/// Keeps what was applied.
#[derive(Default)]
struct Kept {
    applied: Vec<(u64, Bytes)>,
}

impl Replica for Kept {
    fn apply(&mut self, index: u64, payload: &Bytes) {
        self.applied.push((index, payload.clone()));
    }

    fn snapshot(&self) -> Bytes {
        let mut image = BytesMut::new();
        for (index, payload) in &self.applied {
            image.put_u64(*index);
            image.put_slice(payload);
        }
        image.freeze()
    }

    fn restore(&mut self, index: u64, image: &Bytes) -> Result<(), RestoreError> {
        self.applied = vec![(index, image.clone())];
        Ok(())
    }
}

/// The log, except that holes are filled and what was purged is left out: openraft's tests append entries that do not
/// follow one another, which openraft itself never does and the log refuses.
struct Filled(LogStorage);

impl RaftLogReader<Types> for Filled {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, Failure> {
        self.0.try_get_log_entries(range).await
    }
}

impl RaftLogStorage<Types> for Filled {
    type LogReader = LogStorage;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, Failure> {
        self.0.get_log_state().await
    }

    async fn get_log_reader(&mut self) -> LogStorage {
        self.0.get_log_reader().await
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), Failure> {
        self.0.save_vote(vote).await
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, Failure> {
        self.0.read_vote().await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), Failure> {
        self.0.save_committed(committed).await
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, Failure> {
        self.0.read_committed().await
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Result<(), Failure>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<_> = entries.into_iter().collect();
        let first = entries.first().expect("something is appended").log_id;
        let end = end_of(self.get_log_state().await?.last_log_id.as_ref());
        let fill = (end..first.index).map(|index| Entry {
            log_id: LogId::new(first.leader_id, index),
            payload: EntryPayload::Blank,
        });
        let entries = entries
            .into_iter()
            .filter(|entry| entry.log_id.index >= end);
        let all: Vec<_> = fill.chain(entries).collect();
        self.0.append(all, callback).await
    }

    async fn truncate(&mut self, since: LogId) -> Result<(), Failure> {
        self.0.truncate(since).await
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), Failure> {
        self.0.purge(upto).await
    }
}

struct OnSimulatedDisk;

struct OnRealDisk;

async fn build(disk: Arc<dyn Disk>, folder: PathBuf) -> Result<(Filled, Machine<Kept>), Failure> {
    let settings = StoreSettings { segment_bytes: 800 };
    let store = Store::open(&disk, &folder, 1, settings).expect("a new voter");
    let store = StoreThread::start(store).expect("a thread");
    let machine = Machine::load(store.clone(), Kept::default()).await?;
    Ok((Filled(LogStorage::new(store)), machine))
}

impl StoreBuilder<Types, Filled, Machine<Kept>, ()> for OnSimulatedDisk {
    async fn build(&self) -> Result<((), Filled, Machine<Kept>), Failure> {
        let disk = Arc::new(SimulatedDisk::new(1));
        let (log, machine) = build(disk, PathBuf::from("/")).await?;
        Ok(((), log, machine))
    }
}

impl StoreBuilder<Types, Filled, Machine<Kept>, tempfile::TempDir> for OnRealDisk {
    async fn build(&self) -> Result<(tempfile::TempDir, Filled, Machine<Kept>), Failure> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().to_owned();
        let (log, machine) = build(Arc::new(RealDisk), path).await?;
        Ok((folder, log, machine))
    }
}

#[test]
fn openraft_finds_no_fault_with_the_storage_on_a_simulated_disk() {
    Suite::test_all(OnSimulatedDisk).expect("no fault");
}

#[test]
fn openraft_finds_no_fault_with_the_storage_on_the_real_disk() {
    Suite::test_all(OnRealDisk).expect("no fault");
}
