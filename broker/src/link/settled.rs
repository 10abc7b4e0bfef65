//! How tasks tell a link what came of what they were given: a list that is never waited for, and one wake-up.
//!
//! It is bounded by what the link has under way: its calls and its lanes' requests.

use std::sync::{Mutex, PoisonError};

use keylane_protocol::link::call::Reply;
use keylane_protocol::link::lane::Answer;
use keylane_protocol::transport::HeldBytes;
use tokio::sync::Notify;

/// What came of something.
#[derive(Debug)]
pub(super) enum Event {
    /// A call was answered.
    Reply(Reply),
    /// A request was answered.
    Answer(Answered),
}

/// An answer, and the record bytes it counts.
#[derive(Debug)]
pub(super) struct Answered {
    pub answer: Answer,
    pub held: HeldBytes,
    pub is_fetch: bool,
}

/// What a link has not heard yet.
#[derive(Debug, Default)]
pub(super) struct Settled {
    events: Mutex<Vec<Event>>,
    ready: Notify,
}

impl Settled {
    /// Tells the link.
    pub(super) fn tell(&self, event: Event) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.push(event);
        drop(events);
        self.ready.notify_one();
    }

    /// Waits until there is something to hear.
    pub(super) async fn ready(&self) {
        self.ready.notified().await;
    }

    /// Takes what there is to hear.
    pub(super) fn take(&self) -> Vec<Event> {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *events)
    }
}
