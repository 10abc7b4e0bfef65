//! What happened beside a task: events that wake it, from connections and from work it has started.
//!
//! There is no bound here: a task starts only so much at once, and says so where it defines its events.

use std::future::Future;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

/// Events in order of arrival.
#[derive(Debug)]
pub(crate) struct Inbox<E> {
    events: Mutex<Vec<E>>,
    wake: Arc<Notify>,
}

impl<E: Send + 'static> Inbox<E> {
    /// Returns an empty inbox that wakes a task through `wake`.
    pub(crate) fn new(wake: &Arc<Notify>) -> Arc<Self> {
        Arc::new(Self {
            events: Mutex::default(),
            wake: Arc::clone(wake),
        })
    }

    pub(crate) fn push(&self, event: E) {
        self.lock().push(event);
        self.wake.notify_one();
    }

    pub(crate) fn take(&self) -> Vec<E> {
        mem::take(&mut *self.lock())
    }

    /// Runs work beside the task; what it results in is an event.
    pub(crate) fn start(self: &Arc<Self>, work: impl Future<Output = E> + Send + 'static) {
        let inbox = Arc::clone(self);
        tokio::spawn(async move {
            let event = work.await;
            inbox.push(event);
        });
    }

    fn lock(&self) -> MutexGuard<'_, Vec<E>> {
        self.events
            .lock()
            .expect("no code panics while it holds this lock")
    }
}
