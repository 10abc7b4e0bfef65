//! The requests of a connection that wait for their answers, in the order in which they were handed over.
//!
//! Answers mostly come in that order, those of private APIs may overtake. A place that is free again stays until all
//! before it are, so that a request is found by how far its correlation id is from the first.

use std::collections::VecDeque;

use super::Waiting;

/// Requests by correlation id.
#[derive(Default)]
pub(super) struct WaitingRequests {
    /// The first is not empty.
    places: VecDeque<Option<Waiting>>,
    first_id: i32,
    count: usize,
}

impl WaitingRequests {
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Adds a request; ids rise by one, but neighbours may have changed places.
    pub(super) fn push(&mut self, waiting: Waiting) {
        if self.places.is_empty() {
            self.first_id = waiting.correlation_id;
        }
        self.places.push_back(Some(waiting));
        self.count += 1;
    }

    /// Returns the request that was handed over first.
    pub(super) fn first(&self) -> Option<&Waiting> {
        self.places.front()?.as_ref()
    }

    /// Takes out the request with this id.
    pub(super) fn take(&mut self, correlation_id: i32) -> Option<Waiting> {
        let is_asked = |place: &Option<Waiting>| {
            place
                .as_ref()
                .is_some_and(|one| one.correlation_id == correlation_id)
        };
        let distance = correlation_id.wrapping_sub(self.first_id);
        let expected = usize::try_from(distance).ok();
        let expected = expected.filter(|&index| self.places.get(index).is_some_and(is_asked));
        let index = expected.or_else(|| self.places.iter().position(is_asked))?;
        let taken = self.places.get_mut(index)?.take();
        self.count -= 1;
        while self.places.front().is_some_and(Option::is_none) {
            self.places.pop_front();
            self.first_id = self.first_id.wrapping_add(1);
        }
        taken
    }
}

impl IntoIterator for WaitingRequests {
    type Item = Waiting;
    type IntoIter = std::iter::Flatten<std::collections::vec_deque::IntoIter<Option<Waiting>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.places.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;

    fn waiting(correlation_id: i32) -> Waiting {
        Waiting {
            correlation_id,
            api: "Produce",
            timeout: Duration::ZERO,
            deadline: Instant::now(),
            on_answer: Box::new(|_| {}),
        }
    }

    #[test]
    fn answers_find_their_requests_in_any_order_and_once() {
        let mut requests = WaitingRequests::default();
        for id in [7, 9, 8, 10, 12, 11] {
            requests.push(waiting(id));
        }
        for id in [10, 8, 12, 7, 9, 11] {
            let taken = requests.take(id).expect("it waits");
            assert_eq!(taken.correlation_id, id);
            assert!(requests.take(id).is_none(), "{id} twice");
            assert!(requests.take(99).is_none());
        }
        assert_eq!(requests.len(), 0);
        assert!(requests.first().is_none());
        requests.push(waiting(i32::MAX));
        requests.push(waiting(i32::MIN));
        assert!(requests.take(i32::MIN).is_some());
        assert_eq!(
            requests.first().expect("one is left").correlation_id,
            i32::MAX
        );
    }
}
