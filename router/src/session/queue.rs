//! The requests of a connection that are not answered, in order.

use std::collections::VecDeque;

use bytes::Bytes;
use keylane_protocol::api::ApiKey;
use keylane_protocol::primitive::Decoder;

use crate::budget::Charge;
use crate::producing::RequestId;

/// How a request is to be answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    pub(super) api: ApiKey,
    pub(super) version: i16,
    pub(super) correlation_id: i32,
}

/// How a request stands.
#[derive(Debug)]
pub(super) enum State {
    /// It is begun when it is the first.
    Waiting(Decoder),
    /// It is begun.
    Underway,
    /// This is its answer.
    Answered(Vec<Bytes>),
    /// It is done, and gets no answer.
    Silent,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) form: Form,
    pub(super) read_at: std::time::Instant,
    pub(super) state: State,
    /// Given back when the request is answered.
    pub(super) _charge: Charge,
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// The id of the first entry.
    first: u64,
    entries: VecDeque<Entry>,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn push(&mut self, entry: Entry) -> RequestId {
        let count = u64::try_from(self.entries.len()).expect("counts have at most 64 bits");
        self.entries.push_back(entry);
        RequestId(self.first + count)
    }

    pub(super) fn get(&self, id: RequestId) -> Option<&Entry> {
        self.entries.get(self.place(id)?)
    }

    /// Returns the first, with its id.
    pub(super) fn first(&mut self) -> Option<(RequestId, &mut Entry)> {
        let id = RequestId(self.first);
        self.entries.front_mut().map(|entry| (id, entry))
    }

    pub(super) fn pop(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        self.first += 1;
        Some(entry)
    }

    /// Drops all but so many.
    pub(super) fn truncate(&mut self, count: usize) {
        self.entries.truncate(count);
    }

    pub(super) fn set(&mut self, id: RequestId, state: State) {
        if let Some(place) = self.place(id) {
            self.entries[place].state = state;
        }
    }

    /// Tells whether anything but a Fetch waits behind the first.
    pub(super) fn has_others_behind(&self) -> bool {
        let mut behind = self.entries.iter().skip(1);
        behind.any(|entry| entry.form.api != ApiKey::Fetch)
    }

    fn place(&self, id: RequestId) -> Option<usize> {
        let place = usize::try_from(id.0.checked_sub(self.first)?).ok()?;
        (place < self.entries.len()).then_some(place)
    }
}
