//! What a session is told by links and by its runtime.
//!
//! Not bounded by itself: whatever lies here was asked by the session, which has bounds, and is there once.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use keylane_protocol::identifiers::BrokerId;
use keylane_protocol::link::Fate;
use keylane_protocol::link::append::Outcome;
use keylane_protocol::link::lane::Answer;
use tokio::sync::Notify;

use crate::control::Forwarded;
use crate::fetching::PartId;
use crate::lookups::Missing;
use crate::plan::Place;
use crate::plan::for_controller::Unanswered;
use crate::producing::RequestId;

/// What a session asks of a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Asked {
    /// The records at a place of a Produce.
    Append(RequestId, Place),
    /// A part of a Fetch.
    Fetch(PartId),
    /// A numbered part of another request.
    Part(RequestId, u64),
}

/// What a session is told.
#[derive(Debug)]
pub(crate) enum Event {
    /// It is known what became of records.
    Outcome(Asked, Outcome),
    /// A broker has answered.
    Answer(Asked, Answer),
    /// There is no answer, and none will come.
    Lost(Asked, Fate),
    /// There is room again in the link to a broker.
    Room(BrokerId),
    /// Partitions do not exist.
    Unknown(Rc<BTreeSet<Missing>>),
    /// A controller has answered what was passed on to it, or has not.
    Forwarded(RequestId, Result<Forwarded, Unanswered>),
}

/// The events of one session.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    events: RefCell<VecDeque<Event>>,
    is_routing_new: Cell<bool>,
    notify: Notify,
}

impl Mailbox {
    pub(crate) fn put(&self, event: Event) {
        self.events.borrow_mut().push_back(event);
        self.notify.notify_one();
    }

    /// Says that partitions are led by others, or links have come or gone.
    pub(crate) fn on_routing(&self) {
        self.is_routing_new.set(true);
        self.notify.notify_one();
    }

    pub(crate) fn take(&self) -> Option<Event> {
        self.events.borrow_mut().pop_front()
    }

    /// Tells whether the routing has changed since the last call.
    pub(crate) fn take_routing(&self) -> bool {
        self.is_routing_new.replace(false)
    }

    /// Waits until there is something.
    pub(crate) async fn filled(&self) {
        self.notify.notified().await;
    }
}
