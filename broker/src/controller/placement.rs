//! Where new partitions go: to the brokers that lead fewest, so that each gets about the same.
//!
//! A core. Counts stand for load until load is measured.

use std::collections::BTreeMap;

use keylane_protocol::cluster::ClusterImage;
use keylane_protocol::identifiers::BrokerId;

/// Chooses brokers for one new partition after the other.
#[derive(Debug)]
pub(super) struct Placement {
    /// Partitions placed first on each broker that takes part, and partitions kept at all.
    loads: BTreeMap<BrokerId, Load>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Load {
    preferred: usize,
    kept: usize,
}

impl Placement {
    /// Returns the placement on the brokers that take part.
    pub(super) fn new(image: &ClusterImage) -> Self {
        let taking_part = image.brokers().filter(|broker| !broker.is_fenced);
        let mut loads: BTreeMap<BrokerId, Load> = taking_part
            .map(|broker| (broker.id, Load::default()))
            .collect();
        for topic in image.topics() {
            for partition in &topic.partitions {
                for (place, replica) in partition.replicas.iter().enumerate() {
                    if let Some(load) = loads.get_mut(replica) {
                        load.kept += 1;
                        load.preferred += usize::from(place == 0);
                    }
                }
            }
        }
        Self { loads }
    }

    /// Returns how many brokers there are to choose from.
    pub(super) fn broker_count(&self) -> usize {
        self.loads.len()
    }

    /// Returns whether a broker is one of them.
    pub(super) fn has(&self, broker: BrokerId) -> bool {
        self.loads.contains_key(&broker)
    }

    /// Returns the replicas of the next partition, the preferred leader first; fewer than `factor` if there are fewer
    /// brokers.
    pub(super) fn next(&mut self, factor: usize) -> Vec<BrokerId> {
        let mut replicas = Vec::with_capacity(factor);
        for place in 0..factor {
            let free = self.loads.iter().filter(|(id, _)| !replicas.contains(*id));
            let chosen = free.min_by_key(|(id, load)| match place {
                0 => (load.preferred, load.kept, **id),
                _ => (load.kept, load.preferred, **id),
            });
            let Some((&id, _)) = chosen else {
                break;
            };
            let load = self.loads.get_mut(&id).expect("just found");
            load.kept += 1;
            load.preferred += usize::from(place == 0);
            replicas.push(id);
        }
        replicas
    }
}
