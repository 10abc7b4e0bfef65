//! openraft's log and vote over the store's thread.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{
    AnyError, ErrorSubject, ErrorVerb, LogState, OptionalSend, RaftLogReader, StorageError,
    StorageIOError,
};

use super::store::StoreError;
use super::store::thread::StoreThread;
use super::types::{Entry, LogId, NodeId, Types, Vote};
use crate::limits::RAFT_REPLICATE_BYTES;

/// The log as openraft asks for it; clones read the same one.
#[derive(Clone)]
pub(super) struct LogStorage {
    store: StoreThread,
}

impl LogStorage {
    pub(super) fn new(store: StoreThread) -> Self {
        Self { store }
    }

    async fn entries(&self, indexes: Range<u64>, bytes_max: usize) -> Result<Vec<Entry>, Failure> {
        let read = self
            .store
            .run(move |store| store.entries(indexes, bytes_max));
        read.await
            .map_err(failed(ErrorSubject::Logs, ErrorVerb::Read))
    }
}

/// What openraft is told of a failure; it stops for good then.
pub(super) type Failure = StorageError<NodeId>;

/// Says to openraft what was tried when the store failed.
pub(super) fn failed(
    subject: ErrorSubject<NodeId>,
    verb: ErrorVerb,
) -> impl FnOnce(StoreError) -> Failure {
    move |error| StorageIOError::new(subject, verb, AnyError::new(&error)).into()
}

/// Returns a range of indexes as one that is half-open.
fn half_open(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

impl RaftLogReader<Types> for LogStorage {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, Failure> {
        self.entries(half_open(&range), usize::MAX).await
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, Failure> {
        self.entries(start..end, RAFT_REPLICATE_BYTES).await
    }
}

impl RaftLogStorage<Types> for LogStorage {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, Failure> {
        let bounds = self.store.run(|store| Ok(store.bounds())).await;
        let bounds = bounds.map_err(failed(ErrorSubject::Logs, ErrorVerb::Read))?;
        Ok(LogState {
            last_purged_log_id: bounds.last_purged,
            last_log_id: bounds.last,
        })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), Failure> {
        let vote = *vote;
        let saved = self.store.run(move |store| store.save_vote(vote)).await;
        saved.map_err(failed(ErrorSubject::Vote, ErrorVerb::Write))
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, Failure> {
        let vote = self.store.run(|store| Ok(store.vote())).await;
        vote.map_err(failed(ErrorSubject::Vote, ErrorVerb::Read))
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), Failure> {
        // Nobody waits for it: it is written with the next entry.
        let noted = self.store.send(move |store| {
            // A store that is dead says so to whoever asks next.
            let _ = store.note_committed(committed);
        });
        noted
            .await
            .map_err(failed(ErrorSubject::Logs, ErrorVerb::Write))
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, Failure> {
        let committed = self.store.run(|store| Ok(store.committed())).await;
        committed.map_err(failed(ErrorSubject::Logs, ErrorVerb::Read))
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Result<(), Failure>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<_> = entries.into_iter().collect();
        // Whoever reads asks the same thread, later.
        let handed_over = self.store.send(move |store| {
            let appended = store.append(&entries);
            callback.log_io_completed(appended.map_err(io::Error::other));
        });
        let result = handed_over.await;
        result.map_err(failed(ErrorSubject::Logs, ErrorVerb::Write))
    }

    async fn truncate(&mut self, since: LogId) -> Result<(), Failure> {
        let cut = self
            .store
            .run(move |store| store.truncate(since.index))
            .await;
        cut.map_err(failed(ErrorSubject::Log(since), ErrorVerb::Delete))
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), Failure> {
        // openraft installs a snapshot in another task and does not wait for it here, only before it appends again: the
        // snapshot that holds these entries may be saved later, or never if the process ends.
        let purged = self.store.run(move |store| store.purge(upto)).await;
        purged.map_err(failed(ErrorSubject::Log(upto), ErrorVerb::Delete))
    }
}
