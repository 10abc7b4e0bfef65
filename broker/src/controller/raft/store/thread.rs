//! The store's thread: does one thing after the other, each whole, while those who asked wait without blocking.
//!
//! It ends when it is told to or nobody can ask any more; the files are closed then. A store that failed stays failed;
//! [`StoreThread::condition`] says so to those who do not ask.

use std::io;

use tokio::sync::{mpsc, oneshot, watch};

use super::{Store, StoreError};
use crate::limits::RAFT_STORE_JOBS_MAX;
use crate::threads;

type Job = Box<dyn FnOnce(&mut Store) + Send>;

enum Request {
    Do(Job),
    End,
}

/// How the store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It works.
    Sound,
    /// It failed, for good.
    Failed(StoreError),
    /// Its files are closed.
    Closed,
}

/// Reaches the thread; clones reach the same one.
#[derive(Clone)]
pub struct StoreThread {
    requests: mpsc::Sender<Request>,
    condition: watch::Receiver<Condition>,
}

impl StoreThread {
    /// Gives a store to a thread of its own.
    ///
    /// # Errors
    /// When the operating system makes no thread.
    pub fn start(store: Store) -> io::Result<Self> {
        let (requests, waiting) = mpsc::channel(RAFT_STORE_JOBS_MAX);
        let (shown, condition) = watch::channel(Condition::Sound);
        threads::spawn("raft-store", move || run(store, waiting, &shown))?;
        Ok(Self {
            requests,
            condition,
        })
    }

    /// Returns a watch on how the store is.
    #[must_use]
    pub fn condition(&self) -> watch::Receiver<Condition> {
        self.condition.clone()
    }

    /// Does something with the store, after all that was asked before, and returns what came of it. It is done even if
    /// the answer is not waited for.
    ///
    /// # Errors
    /// When it fails, the store has failed before or is closed.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, done) = oneshot::channel();
        self.send(move |store| {
            // Whoever asked may have gone.
            let _ = answer.send(work(store));
        })
        .await?;
        done.await.map_err(|_| StoreError::Closed)?
    }

    /// Hands over something to do after all that was asked before.
    ///
    /// # Errors
    /// When the store is closed; it is not done then.
    pub async fn send(
        &self,
        work: impl FnOnce(&mut Store) + Send + 'static,
    ) -> Result<(), StoreError> {
        let request = Request::Do(Box::new(work));
        let sent = self.requests.send(request).await;
        sent.map_err(|_| StoreError::Closed)
    }

    /// Lets the thread do what it was asked so far, and waits until the files are closed.
    pub async fn close(&self) {
        // It may have ended already.
        let _ = self.requests.send(Request::End).await;
        let mut condition = self.condition.clone();
        let _ = condition
            .wait_for(|condition| *condition == Condition::Closed)
            .await;
    }
}

fn run(mut store: Store, mut waiting: mpsc::Receiver<Request>, shown: &watch::Sender<Condition>) {
    while let Some(Request::Do(job)) = waiting.blocking_recv() {
        job(&mut store);
        if let Some(error) = store.failure()
            && *shown.borrow() == Condition::Sound
        {
            tracing::error!(%error, "the quorum's store has failed");
            shown.send_replace(Condition::Failed(error.clone()));
        }
    }
    drop(store);
    shown.send_replace(Condition::Closed);
}
