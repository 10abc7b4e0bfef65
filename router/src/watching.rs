//! What all runtimes of a router have seen of keys, put together when somebody asks.
//!
//! Each runtime watches by itself, behind a lock that nobody else holds but who asks, for one topic at a time.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keylane_protocol::identifiers::TopicId;

use crate::skew::Skew;
use crate::skew::topic::TopicWatch;

/// The watches of a router's runtimes.
#[derive(Debug, Default)]
pub(crate) struct Watching {
    runtimes: Mutex<Vec<Arc<Watch>>>,
}

/// What one runtime has seen.
#[derive(Debug)]
pub(crate) struct Watch(Mutex<Skew>);

impl Watch {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Skew> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watching {
    /// Returns what a runtime that begins is to note in.
    pub(crate) fn begin(&self) -> Arc<Watch> {
        let mut runtimes = self.lock();
        let seed = runtimes.len() as u64;
        let watch = Arc::new(Watch(Mutex::new(Skew::new(seed))));
        runtimes.push(Arc::clone(&watch));
        watch
    }

    /// Returns the topics of which anything was seen.
    pub(crate) fn topics(&self) -> BTreeSet<TopicId> {
        let runtimes = self.lock().clone();
        let topics = runtimes
            .iter()
            .map(|watch| watch.lock().topics().collect::<Vec<_>>());
        topics.flatten().collect()
    }

    /// Returns what all have seen of a topic; `None` if nobody has seen anything.
    pub(crate) fn topic(&self, id: TopicId) -> Option<TopicWatch> {
        let runtimes = self.lock().clone();
        let seen = runtimes
            .iter()
            .filter_map(|watch| watch.lock().topic(id).cloned());
        seen.reduce(|mut all, more| {
            all.merge(&more);
            all
        })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Watch>>> {
        self.runtimes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
