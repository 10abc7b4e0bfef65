//! openraft's state machine: a replica that lives in memory, rebuilt at start from a snapshot and the log behind it.

use std::io::Cursor;

use bytes::Bytes;
use openraft::storage::RaftStateMachine;
use openraft::{
    AnyError, EntryPayload, ErrorSubject, ErrorVerb, OptionalSend, RaftSnapshotBuilder, Snapshot,
    StorageIOError,
};

use super::log_storage::{Failure, failed};
use super::store::thread::StoreThread;
use super::types::{Entry, LogId, SnapshotMeta, StoredMembership, Types};
use crate::folder::checked::checksum;

/// A snapshot's image is not one that the replica understands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the snapshot cannot be restored: {what}")]
pub struct RestoreError {
    /// What is wrong.
    pub what: String,
}

/// What the log's entries are applied to, on every voter alike. Called in order, on a runtime's thread: it must not
/// block. It is built again at each start, so it keeps nothing itself.
pub trait Replica: Send + Sync + 'static {
    /// Applies an entry. Entries that every voter agreed on are never refused: what they mean is the replica's affair.
    fn apply(&mut self, index: u64, payload: &Bytes);

    /// Returns everything that was applied so far, as bytes of at most
    /// [`RAFT_SNAPSHOT_BYTES_MAX`](crate::limits::RAFT_SNAPSHOT_BYTES_MAX); a voter with a larger image stops.
    fn snapshot(&self) -> Bytes;

    /// Becomes what a snapshot of entries up to an index, that index included, says.
    ///
    /// # Errors
    /// When the bytes are not understood; the replica is as before and the voter stops.
    fn restore(&mut self, index: u64, image: &Bytes) -> Result<(), RestoreError>;
}

/// The replica and how far it is.
pub(super) struct Machine<R> {
    store: StoreThread,
    replica: R,
    applied: Option<LogId>,
    membership: StoredMembership,
}

impl<R: Replica> Machine<R> {
    /// Returns the replica as the newest snapshot left it.
    pub(super) async fn load(store: StoreThread, replica: R) -> Result<Self, Failure> {
        let mut machine = Self {
            store,
            replica,
            applied: None,
            membership: StoredMembership::default(),
        };
        if let Some((meta, image)) = machine.newest().await? {
            machine.become_snapshot(&meta, &image)?;
        }
        Ok(machine)
    }

    async fn newest(&self) -> Result<Option<(SnapshotMeta, Bytes)>, Failure> {
        let newest = self.store.run(|store| store.newest_snapshot()).await;
        newest.map_err(failed(ErrorSubject::Snapshot(None), ErrorVerb::Read))
    }

    // openraft's error is as large as it is.
    #[allow(clippy::result_large_err)]
    fn become_snapshot(&mut self, meta: &SnapshotMeta, image: &Bytes) -> Result<(), Failure> {
        if let Some(last) = meta.last_log_id {
            let restored = self.replica.restore(last.index, image);
            restored.map_err(|error| {
                let subject = ErrorSubject::Snapshot(Some(meta.signature()));
                let error = AnyError::new(&error);
                StorageIOError::new(subject, ErrorVerb::Read, error)
            })?;
        }
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        Ok(())
    }
}

impl<R: Replica> RaftStateMachine<Types> for Machine<R> {
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), Failure> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<()>, Failure>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut answers = Vec::new();
        for entry in entries {
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(payload) => {
                    self.replica.apply(entry.log_id.index, &payload);
                }
                EntryPayload::Membership(members) => {
                    self.membership = StoredMembership::new(Some(entry.log_id), members);
                }
            }
            self.applied = Some(entry.log_id);
            answers.push(());
        }
        Ok(answers)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let last = self.applied;
        let image = self.replica.snapshot();
        // Chunks of one id are put together: the same id must mean the same bytes.
        let place = last.map_or_else(|| "empty".to_owned(), |id| id.to_string());
        let snapshot_id = format!("{place} {} {:08x}", image.len(), checksum(&image));
        Builder {
            store: self.store.clone(),
            meta: SnapshotMeta {
                last_log_id: last,
                last_membership: self.membership.clone(),
                snapshot_id,
            },
            image,
        }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, Failure> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), Failure> {
        let image = Bytes::from(snapshot.into_inner());
        // The replica first: an image that it does not understand must not be found at the next start.
        self.become_snapshot(meta, &image)?;
        let subject = ErrorSubject::Snapshot(Some(meta.signature()));
        let meta = meta.clone();
        let saved = self
            .store
            .run(move |store| store.save_snapshot(&meta, &image))
            .await;
        saved.map_err(failed(subject, ErrorVerb::Write))
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, Failure> {
        Ok(self.newest().await?.map(opened))
    }
}

/// Returns a snapshot as openraft wants it.
fn opened((meta, image): (SnapshotMeta, Bytes)) -> Snapshot<Types> {
    Snapshot {
        meta,
        snapshot: Box::new(Cursor::new(image.into())),
    }
}

/// A snapshot that is to be saved.
pub(super) struct Builder {
    store: StoreThread,
    meta: SnapshotMeta,
    image: Bytes,
}

impl RaftSnapshotBuilder<Types> for Builder {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>, Failure> {
        let (meta, image) = (self.meta.clone(), self.image.clone());
        let subject = ErrorSubject::Snapshot(Some(meta.signature()));
        let (saved_meta, saved_image) = (meta.clone(), image.clone());
        let saved = self
            .store
            .run(move |store| store.save_snapshot(&saved_meta, &saved_image));
        saved.await.map_err(failed(subject, ErrorVerb::Write))?;
        Ok(opened((meta, image)))
    }
}

#[cfg(test)]
mod tests;
