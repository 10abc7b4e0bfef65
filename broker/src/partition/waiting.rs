//! Who waits for what, as data without callbacks (what Kafka's purgatory does with them).
//!
//! [`PendingAcks`]: appends of one partition that wait for their durable end. [`Watches`]: connections that wait until
//! enough bytes became visible in the partitions they read; at most one watch per connection, woken once and gone.
//! Both are cores: the owner stores a token and gets it back.

use std::collections::{BTreeMap, VecDeque};

use keylane_protocol::offset::Offset;

/// Appends of one partition in the order of their ends.
#[derive(Debug)]
pub struct PendingAcks<T> {
    /// Ascending by end; equal ends keep the order in which they came.
    waiting: VecDeque<(Offset, T)>,
}

impl<T> Default for PendingAcks<T> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
        }
    }
}

impl<T> PendingAcks<T> {
    /// Lets `token` wait until everything below `end` is durable.
    pub fn wait(&mut self, end: Offset, token: T) {
        // Only the duplicate of an append still under way comes out of order, and never far.
        let behind = self
            .waiting
            .iter()
            .rev()
            .take_while(|(other, _)| *other > end)
            .count();
        self.waiting
            .insert(self.waiting.len() - behind, (end, token));
    }

    /// Returns, in order, those whose end is at most `durable_end`.
    pub fn reach(&mut self, durable_end: Offset) -> impl Iterator<Item = T> + '_ {
        let reached = self.waiting.partition_point(|(end, _)| *end <= durable_end);
        self.waiting.drain(..reached).map(|(_, token)| token)
    }

    /// Returns everybody: the end they wait for will not come.
    pub fn give_up(&mut self) -> impl Iterator<Item = T> + '_ {
        self.waiting.drain(..).map(|(_, token)| token)
    }

    /// Tells whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// Names a connection within the process; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

#[derive(Debug)]
struct Watch<P, T> {
    partitions: Vec<P>,
    bytes_missing: u64,
    token: T,
}

/// Connections that wait for bytes in partitions `P`.
#[derive(Debug)]
pub struct Watches<P, T> {
    by_connection: BTreeMap<ConnectionId, Watch<P, T>>,
    by_partition: BTreeMap<P, Vec<ConnectionId>>,
}

impl<P, T> Default for Watches<P, T> {
    fn default() -> Self {
        Self {
            by_connection: BTreeMap::new(),
            by_partition: BTreeMap::new(),
        }
    }
}

impl<P: Copy + Ord, T> Watches<P, T> {
    /// Lets a connection wait for `bytes_missing` bytes in any of `partitions`; an earlier watch of it is forgotten.
    pub fn watch(
        &mut self,
        connection: ConnectionId,
        partitions: Vec<P>,
        bytes_missing: u64,
        token: T,
    ) {
        self.forget(connection);
        for partition in &partitions {
            let watchers = self.by_partition.entry(*partition).or_default();
            if !watchers.contains(&connection) {
                watchers.push(connection);
            }
        }
        let watch = Watch {
            partitions,
            bytes_missing,
            token,
        };
        self.by_connection.insert(connection, watch);
    }

    /// Forgets what a connection waits for: it was answered otherwise, or has gone.
    pub fn forget(&mut self, connection: ConnectionId) -> Option<T> {
        let watch = self.by_connection.remove(&connection)?;
        for partition in &watch.partitions {
            if let Some(watchers) = self.by_partition.get_mut(partition) {
                watchers.retain(|other| *other != connection);
                if watchers.is_empty() {
                    self.by_partition.remove(partition);
                }
            }
        }
        Some(watch.token)
    }

    /// Counts bytes that became visible in a partition; adds to `woken` the tokens of those who now have enough.
    pub fn on_visible(&mut self, partition: P, bytes: u64, woken: &mut Vec<T>) {
        let Some(watchers) = self.by_partition.get(&partition) else {
            return;
        };
        let mut satisfied = Vec::new();
        for connection in watchers {
            let watch = self
                .by_connection
                .get_mut(connection)
                .expect("a watcher of a partition has a watch");
            watch.bytes_missing = watch.bytes_missing.saturating_sub(bytes);
            if watch.bytes_missing == 0 {
                satisfied.push(*connection);
            }
        }
        for connection in satisfied {
            woken.extend(self.forget(connection));
        }
    }

    /// Wakes everybody who watches a partition, whatever they miss: it is about to go away.
    pub fn on_gone(&mut self, partition: P, woken: &mut Vec<T>) {
        for connection in self
            .by_partition
            .get(&partition)
            .cloned()
            .unwrap_or_default()
        {
            woken.extend(self.forget(connection));
        }
    }

    /// Returns how many connections wait.
    #[must_use]
    pub fn count(&self) -> usize {
        self.by_connection.len()
    }

    /// Returns how many partitions somebody waits for.
    #[must_use]
    pub fn partitions_watched(&self) -> usize {
        self.by_partition.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ConnectionId = ConnectionId(1);
    const B: ConnectionId = ConnectionId(2);

    #[test]
    fn acks_are_reached_in_order_of_their_ends() {
        let mut acks = PendingAcks::default();
        acks.wait(Offset(10), "first");
        acks.wait(Offset(20), "second");
        acks.wait(Offset(10), "duplicate of the first");
        assert_eq!(acks.reach(Offset(9)).count(), 0);
        let reached: Vec<_> = acks.reach(Offset(19)).collect();
        assert_eq!(reached, ["first", "duplicate of the first"]);
        assert_eq!(acks.give_up().collect::<Vec<_>>(), ["second"]);
        assert!(acks.is_empty());
    }

    #[test]
    fn a_watch_fires_once_when_its_bytes_came_from_any_of_its_partitions() {
        let mut watches = Watches::default();
        watches.watch(A, vec![1, 2], 100, "a");
        let mut woken = Vec::new();
        watches.on_visible(1, 60, &mut woken);
        watches.on_visible(3, 60, &mut woken);
        assert!(woken.is_empty());
        watches.on_visible(2, 40, &mut woken);
        watches.on_visible(2, 40, &mut woken);
        assert_eq!(woken, ["a"]);
        assert_eq!((watches.count(), watches.partitions_watched()), (0, 0));
    }

    #[test]
    fn watches_do_not_accumulate_on_idle_partitions() {
        let mut watches = Watches::default();
        for round in 0..1_000 {
            watches.watch(A, vec![1, 2, round % 7], 1, "a");
            watches.watch(B, vec![2, 2], 1, "b");
        }
        assert_eq!(watches.count(), 2);
        assert_eq!(watches.forget(A), Some("a"));
        assert_eq!(watches.partitions_watched(), 1);
        watches.forget(B);
        assert_eq!((watches.count(), watches.partitions_watched()), (0, 0));
    }

    #[test]
    fn who_watches_a_deleted_partition_is_woken() {
        let mut watches = Watches::default();
        watches.watch(A, vec![1], 1_000, "a");
        watches.watch(B, vec![2], 1_000, "b");
        let mut woken = Vec::new();
        watches.on_gone(1, &mut woken);
        assert_eq!(woken, ["a"]);
        assert_eq!(watches.count(), 1);
    }
}
