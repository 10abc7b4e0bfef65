//! The requests of a connection that are not answered: most in order, and beside them those whose answers may overtake.

use std::collections::VecDeque;

use bytes::Bytes;
use keylane_protocol::api::ApiKey;
use keylane_protocol::primitive::Decoder;
use keylane_protocol::rising::RisingMap;
use keylane_protocol::transport::HeldBytes;

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
    /// Of what it was split into, where that is much more than itself.
    pub(super) parts: Option<HeldBytes>,
}

/// The queue, and what is beside it.
#[derive(Debug, Default)]
pub(super) struct Queue {
    next: u64,
    /// Answered in this order.
    entries: VecDeque<(RequestId, Entry)>,
    /// Answered when the answer is known.
    overtaking: RisingMap<RequestId, Entry>,
    /// Those whose answer is known.
    known: VecDeque<Entry>,
}

impl Queue {
    /// Returns how many are not answered.
    pub(super) fn len(&self) -> usize {
        self.entries.len() + self.overtaking.len() + self.known.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tells whether something is to be answered before what is pushed next.
    pub(super) fn has_ordered(&self) -> bool {
        !self.entries.is_empty()
    }

    /// Adds a request that is answered after those before it.
    pub(super) fn push(&mut self, entry: Entry) -> RequestId {
        let id = self.next_id();
        self.entries.push_back((id, entry));
        id
    }

    /// Adds a request that is answered when its answer is known.
    pub(super) fn push_overtaking(&mut self, entry: Entry) -> RequestId {
        let id = self.next_id();
        self.overtaking.insert(id, entry);
        id
    }

    fn next_id(&mut self) -> RequestId {
        let id = RequestId(self.next);
        self.next += 1;
        id
    }

    /// Returns how a request that is not answered is to be.
    pub(super) fn form(&self, id: RequestId) -> Option<Form> {
        let ordered = self.place(id).map(|place| &self.entries[place].1);
        let entry = ordered.or_else(|| self.overtaking.get(id));
        entry.map(|entry| entry.form)
    }

    /// Returns the first that is not beside the queue, with its id.
    pub(super) fn first(&mut self) -> Option<(RequestId, &mut Entry)> {
        self.entries.front_mut().map(|(id, entry)| (*id, entry))
    }

    pub(super) fn pop(&mut self) -> Option<Entry> {
        self.entries.pop_front().map(|(_, entry)| entry)
    }

    /// Takes one out that has overtaken others, or would have.
    pub(super) fn pop_known(&mut self) -> Option<Entry> {
        self.known.pop_front()
    }

    /// Drops all but the first of those in order.
    pub(super) fn keep_first(&mut self) {
        self.entries.truncate(1);
    }

    /// Drops everything.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.overtaking.clear();
        self.known.clear();
    }

    pub(super) fn set(&mut self, id: RequestId, state: State) {
        if let Some(place) = self.place(id) {
            self.entries[place].1.state = state;
        } else if let Some(mut entry) = self.overtaking.remove(id) {
            entry.state = state;
            self.known.push_back(entry);
        }
    }

    /// Tells whether anything but a Fetch waits behind the first.
    pub(super) fn has_others_behind(&self) -> bool {
        let mut behind = self.entries.iter().skip(1);
        behind.any(|(_, entry)| entry.form.api != ApiKey::Fetch)
    }

    /// Tells whether anything waits behind the first.
    pub(super) fn has_any_behind(&self) -> bool {
        self.entries.len() > 1
    }

    fn place(&self, id: RequestId) -> Option<usize> {
        self.entries.binary_search_by_key(&id, |(id, _)| *id).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::RequestBudget;
    use crate::testing::start;

    fn entry(api: ApiKey) -> Entry {
        let budget = RequestBudget::new(1000, 1000).for_connection();
        Entry {
            form: Form {
                api,
                version: 0,
                correlation_id: 0,
            },
            read_at: start(),
            state: State::Underway,
            _charge: budget.try_charge(10).expect("there is room"),
            parts: None,
        }
    }

    #[test]
    fn what_overtakes_leaves_when_it_is_known_and_holds_nothing_up() {
        let mut queue = Queue::default();
        let metadata = queue.push(entry(ApiKey::Metadata));
        let held = queue.push_overtaking(entry(ApiKey::RoutedProduce));
        let fetch = queue.push(entry(ApiKey::Fetch));
        let quick = queue.push_overtaking(entry(ApiKey::RoutedProduce));
        assert_eq!(queue.len(), 4);
        queue.set(quick, State::Silent);
        assert!(queue.pop_known().is_some() && queue.pop_known().is_none());
        assert_eq!(queue.form(quick).map(|form| form.api), None);
        assert_eq!(queue.first().map(|(id, _)| id), Some(metadata));
        assert!(!queue.has_others_behind() && queue.has_any_behind());
        queue.pop();
        queue.set(held, State::Silent);
        assert_eq!(queue.first().map(|(id, _)| id), Some(fetch));
        assert_eq!(queue.form(fetch).map(|form| form.api), Some(ApiKey::Fetch));
        queue.pop();
        assert!(!queue.is_empty() && !queue.has_ordered());
        queue.pop_known();
        assert!(queue.is_empty());
    }
}
