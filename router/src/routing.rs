//! Who serves a partition, as this router sees it, and since when nobody does.
//!
//! A partition is lost while the cluster has elected no leader for it, or while this router has no link to the one
//! elected: the controllers need a while to see that a broker has gone. Times count from when the leader was lost, not
//! from when a request came, so that one dead broker costs a connection one wait and not one per request.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bytestring::ByteString;
use keylane_protocol::cluster::{ClusterImage, TopicImage};
use keylane_protocol::identifiers::{BrokerId, PartitionIndex, TopicId};
use keylane_protocol::offset::LeaderEpoch;

/// The setting of a topic that bounds its batches.
pub const MESSAGE_BYTES_MAX: &str = "max.message.bytes";

/// A topic as a request names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TopicKey {
    /// By its name.
    Name(ByteString),
    /// By its id.
    Id(TopicId),
}

/// Where the requests for a partition go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// To the broker that leads it, in this epoch.
    Leader {
        /// The broker.
        broker: BrokerId,
        /// The epoch of its leadership.
        epoch: LeaderEpoch,
    },
    /// Nowhere: it has no leader that can be reached.
    Lost {
        /// Since when.
        since: Instant,
    },
    /// Nowhere: the image has no such topic or partition.
    Unknown,
}

/// The cluster's image and what this router knows besides. Cheap to clone, so that a whole runtime can share one.
#[derive(Clone, Debug)]
pub struct Routing {
    image: Arc<ClusterImage>,
    leaderless: Arc<BTreeMap<(TopicId, PartitionIndex), Instant>>,
    unlinked: Arc<BTreeMap<BrokerId, Instant>>,
    /// What brokers have said of topics that have no bound of their own.
    message_bytes_max: Arc<BTreeMap<BrokerId, usize>>,
}

/// What is so when something happens.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// Who serves what.
    pub routing: &'a Routing,
    /// The time.
    pub now: Instant,
}

impl Routing {
    /// Returns the routing by a first image. What has no leader in it counts as lost just now.
    #[must_use]
    pub fn new(image: Arc<ClusterImage>, now: Instant) -> Self {
        let mut routing = Self {
            image: Arc::default(),
            leaderless: Arc::default(),
            unlinked: Arc::default(),
            message_bytes_max: Arc::default(),
        };
        routing.on_image(image, now);
        routing
    }

    /// Takes the next image.
    pub fn on_image(&mut self, image: Arc<ClusterImage>, now: Instant) {
        let mut leaderless = BTreeMap::new();
        for topic in image.topics() {
            let was = self.image.topic(topic.id);
            if was.is_some_and(|was| Arc::ptr_eq(was, topic)) {
                // Nothing about it has changed.
                let first = (topic.id, PartitionIndex(0));
                let last = (topic.id, PartitionIndex(i32::MAX));
                let known = self.leaderless.range(first..=last);
                leaderless.extend(known.map(|(key, since)| (*key, *since)));
                continue;
            }
            let lost = topic
                .partitions()
                .filter(|(_, partition)| partition.leader.is_none());
            for (index, _) in lost {
                let since = match was.map(|was| self.route(was, index)) {
                    Some(Route::Lost { since }) => since,
                    _ => now,
                };
                leaderless.insert((topic.id, index), since);
            }
        }
        self.leaderless = Arc::new(leaderless);
        self.image = image;
    }

    /// Notes that there is no link to a broker.
    pub fn on_unlinked(&mut self, broker: BrokerId, now: Instant) {
        Arc::make_mut(&mut self.unlinked)
            .entry(broker)
            .or_insert(now);
    }

    /// Notes that there is a link to a broker, and the largest batch that it takes of a topic without a bound of its own.
    pub fn on_linked(&mut self, broker: BrokerId, message_bytes_max: Option<usize>) {
        if self.message_bytes_max.get(&broker).copied() != message_bytes_max {
            let known = Arc::make_mut(&mut self.message_bytes_max);
            known.remove(&broker);
            known.extend(message_bytes_max.map(|max| (broker, max)));
        }
        if self.unlinked.contains_key(&broker) {
            Arc::make_mut(&mut self.unlinked).remove(&broker);
        }
    }

    /// Tells whether nothing has changed between two: both are clones of one. Looks at nothing but that.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.image, &other.image)
            && Arc::ptr_eq(&self.leaderless, &other.leaderless)
            && Arc::ptr_eq(&self.unlinked, &other.unlinked)
            && Arc::ptr_eq(&self.message_bytes_max, &other.message_bytes_max)
    }

    /// Returns the image.
    #[must_use]
    pub fn image(&self) -> &Arc<ClusterImage> {
        &self.image
    }

    /// Tells whether a broker takes part and can be reached.
    #[must_use]
    pub fn is_reachable(&self, broker: BrokerId) -> bool {
        let is_there = self
            .image
            .broker(broker)
            .is_some_and(|broker| !broker.is_fenced);
        is_there && !self.unlinked.contains_key(&broker)
    }

    /// Returns the topic that a request names.
    #[must_use]
    pub fn topic(&self, key: &TopicKey) -> Option<&Arc<TopicImage>> {
        match key {
            TopicKey::Name(name) => self.image.topic_named(name),
            TopicKey::Id(id) => self.image.topic(*id),
        }
    }

    /// Returns the largest batch that a partition takes, if that is known: the topic's own bound, else its leader's.
    #[must_use]
    pub fn message_bytes_max(&self, topic: &TopicImage, index: PartitionIndex) -> Option<usize> {
        if let Some(own) = topic.configs.get(MESSAGE_BYTES_MAX) {
            return own.parse().ok();
        }
        let leader = topic.partition(index)?.leader?;
        self.message_bytes_max.get(&leader).copied()
    }

    /// Returns where the requests for a topic's partition go.
    #[must_use]
    pub fn route(&self, topic: &TopicImage, index: PartitionIndex) -> Route {
        let Some(partition) = topic.partition(index) else {
            return Route::Unknown;
        };
        let epoch = partition.leader_epoch;
        match partition.leader {
            Some(broker) => match self.unlinked.get(&broker) {
                Some(&since) => Route::Lost { since },
                None => Route::Leader { broker, epoch },
            },
            None => match self.leaderless.get(&(topic.id, index)) {
                Some(&since) => Route::Lost { since },
                None => Route::Unknown,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::{Cluster, start};

    fn route(routing: &Routing, partition: i32) -> Route {
        let topic = routing.topic(&TopicKey::Name("t".into())).expect("t");
        routing.route(topic, PartitionIndex(partition))
    }

    fn leader(broker: i32, epoch: i32) -> Route {
        Route::Leader {
            broker: BrokerId(broker),
            epoch: LeaderEpoch(epoch),
        }
    }

    #[test]
    fn a_partition_goes_to_its_leader_in_its_epoch() {
        let cluster = Cluster::of_brokers(2).with_topic("t", &[1, 2]);
        let routing = cluster.routing(start());
        assert_eq!(route(&routing, 0), leader(1, 0));
        assert_eq!(route(&routing, 1), leader(2, 0));
        assert_eq!(route(&routing, 2), Route::Unknown);
        assert_eq!(route(&routing, -1), Route::Unknown);
    }

    #[test]
    fn a_lost_leader_is_counted_from_the_first_image_without_it() {
        let (now, second) = (start(), Duration::from_secs(1));
        let mut cluster = Cluster::of_brokers(2).with_topic("t", &[1, 2]);
        let mut routing = cluster.routing(now);
        cluster.lead("t", 0, -1);
        routing.on_image(cluster.image(), now + second);
        assert_eq!(
            route(&routing, 0),
            Route::Lost {
                since: now + second
            }
        );
        // Another partition of the topic changes, and another topic.
        cluster.lead("t", 1, -1);
        routing.on_image(cluster.image(), now + 2 * second);
        let cluster = &mut cluster.with_topic("u", &[1]);
        routing.on_image(cluster.image(), now + 3 * second);
        assert_eq!(
            route(&routing, 0),
            Route::Lost {
                since: now + second
            }
        );
        assert_eq!(
            route(&routing, 1),
            Route::Lost {
                since: now + 2 * second
            }
        );
        cluster.lead("t", 0, 2);
        routing.on_image(cluster.image(), now + 4 * second);
        assert_eq!(route(&routing, 0), leader(2, 1));
        cluster.lead("t", 0, -1);
        routing.on_image(cluster.image(), now + 5 * second);
        assert_eq!(
            route(&routing, 0),
            Route::Lost {
                since: now + 5 * second
            }
        );
    }

    #[test]
    fn a_leader_without_link_is_lost_from_when_the_link_was() {
        let (now, second) = (start(), Duration::from_secs(1));
        let mut cluster = Cluster::of_brokers(2).with_topic("t", &[1]);
        let mut routing = cluster.routing(now);
        routing.on_unlinked(BrokerId(1), now + second);
        routing.on_unlinked(BrokerId(1), now + 2 * second);
        let lost = Route::Lost {
            since: now + second,
        };
        assert_eq!(route(&routing, 0), lost);
        // The controllers see it later; that does not begin the wait anew.
        cluster.lead("t", 0, -1);
        routing.on_image(cluster.image(), now + 3 * second);
        assert_eq!(route(&routing, 0), lost);
        routing.on_linked(BrokerId(1), None);
        assert_eq!(route(&routing, 0), lost);
        cluster.lead("t", 0, 1);
        routing.on_image(cluster.image(), now + 4 * second);
        assert_eq!(route(&routing, 0), leader(1, 1));
    }

    #[test]
    fn a_topics_own_bound_goes_before_its_leaders() {
        let mut cluster = Cluster::of_brokers(2).with_topic("t", &[1, 2, -1]);
        let mut routing = cluster.routing(start());
        let bounds = |routing: &Routing| {
            let topic = routing.topic(&TopicKey::Name("t".into())).expect("t");
            [0, 1, 2, 3].map(|index| routing.message_bytes_max(topic, PartitionIndex(index)))
        };
        assert_eq!(bounds(&routing), [None; 4]);
        let before = routing.clone();
        routing.on_linked(BrokerId(1), Some(1000));
        assert!(!routing.is_same(&before));
        assert_eq!(bounds(&routing), [Some(1000), None, None, None]);
        let before = routing.clone();
        routing.on_linked(BrokerId(1), Some(1000));
        assert!(routing.is_same(&before));
        cluster.configure("t", MESSAGE_BYTES_MAX, "500");
        routing.on_image(cluster.image(), start());
        assert_eq!(bounds(&routing), [Some(500); 4]);
    }

    #[test]
    fn a_fenced_or_unlinked_broker_is_not_reachable() {
        let mut routing = Cluster::of_brokers(1).routing(start());
        assert!(routing.is_reachable(BrokerId(1)));
        assert!(!routing.is_reachable(BrokerId(2)));
        routing.on_unlinked(BrokerId(1), start());
        assert!(!routing.is_reachable(BrokerId(1)));
    }
}
