//! `keylane cluster status`: asks the controllers for the metadata, and shows who is there and who leads what.
//!
//! It speaks the internal link, as routers do: what makes up a cluster cannot be said in Kafka's protocol.

mod ask;

use std::collections::BTreeMap;
use std::sync::Arc;

use keylane_protocol::cluster::call::DescribeQuorumAnswer;
use keylane_protocol::cluster::{BrokerImage, ClusterImage};
use keylane_protocol::identifiers::BrokerId;
use serde_json::{Value, json};

use crate::arguments::{ClusterArguments, ClusterCommand};
use crate::cluster::block_on;
use crate::failure::Failure;
use crate::output::{counted, print, table};

/// Runs `keylane cluster`.
///
/// # Errors
/// When no controller answers.
pub(crate) fn run(arguments: &ClusterArguments) -> Result<(), Failure> {
    let ClusterCommand::Status(arguments) = &arguments.command;
    let status = block_on(ask::ask(&arguments.brokers))?;
    print(match arguments.json {
        true => status.json().to_string(),
        false => status.tables(),
    })
}

/// What the leading controller knows.
struct Status {
    quorum: DescribeQuorumAnswer,
    /// The index of the metadata.
    index: i64,
    image: ClusterImage,
}

/// How many partitions a broker leads and hosts.
#[derive(Clone, Copy, Default)]
struct Load {
    leads: u64,
    hosts: u64,
}

impl Status {
    fn loads(&self) -> BTreeMap<BrokerId, Load> {
        let mut loads: BTreeMap<BrokerId, Load> = BTreeMap::new();
        let topics = self.image.topics();
        for (_, partition) in topics.flat_map(|topic| topic.partitions()) {
            if let Some(leader) = partition.leader {
                loads.entry(leader).or_default().leads += 1;
            }
            for replica in &partition.replicas {
                loads.entry(*replica).or_default().hosts += 1;
            }
        }
        loads
    }

    fn leaderless(&self) -> usize {
        let topics = self.image.topics();
        let partitions = topics.flat_map(|topic| topic.partitions());
        partitions
            .filter(|(_, partition)| partition.leader.is_none())
            .count()
    }

    /// Returns what a broker is to the metadata.
    fn part(&self, id: BrokerId) -> &'static str {
        let mut voters = self.quorum.voters.iter();
        match voters.any(|voter| voter.broker_id == id) {
            true if id == self.quorum.controller_id => "leads",
            true => "votes",
            false => "follows",
        }
    }

    fn tables(&self) -> String {
        let loads = self.loads();
        let brokers: Vec<Vec<String>> = self
            .image
            .brokers()
            .map(|broker| {
                let load = loads.get(&broker.id).copied().unwrap_or_default();
                vec![
                    broker.id.to_string(),
                    state(broker).to_owned(),
                    self.part(broker.id).to_owned(),
                    broker.epoch.0.to_string(),
                    load.leads.to_string(),
                    load.hosts.to_string(),
                    broker.endpoint.to_string(),
                    broker.internal.to_string(),
                ]
            })
            .collect();
        let heads = [
            "BROKER",
            "STATE",
            "METADATA",
            "EPOCH",
            "LEADS",
            "HOSTS",
            "ADDRESS",
            "INTERNAL ADDRESS",
        ];
        let routers: Vec<Vec<String>> = self
            .image
            .routers()
            .map(|router| {
                vec![
                    router.id.to_string(),
                    router.epoch.0.to_string(),
                    router.endpoint.to_string(),
                ]
            })
            .collect();
        let routers = match routers.is_empty() {
            true => {
                "no router has registered, which only those with an advertised address do".into()
            }
            false => table(&["ROUTER", "EPOCH", "ADDRESS"], &routers),
        };
        let topics = counted(self.image.topics().count() as u64, "topic");
        let partitions = counted(self.image.partition_count() as u64, "partition");
        format!(
            "cluster {}, metadata {}: broker {} leads the controllers in term {}\n{topics}, {partitions}, {} without a \
             leader\n\n{}\n\n{routers}",
            self.image.cluster_id().unwrap_or_default(),
            self.index,
            self.quorum.controller_id,
            self.quorum.term,
            self.leaderless(),
            table(&heads, &brokers),
        )
    }

    fn json(&self) -> Value {
        let loads = self.loads();
        let brokers = self.image.brokers().map(|broker| {
            let load = loads.get(&broker.id).copied().unwrap_or_default();
            json!({
                "id": broker.id.0,
                "state": state(broker),
                "metadata": self.part(broker.id),
                "epoch": broker.epoch.0,
                "incarnation": broker.incarnation,
                "partitions_led": load.leads,
                "partitions_hosted": load.hosts,
                "address": broker.endpoint.to_string(),
                "internal_address": broker.internal.to_string(),
            })
        });
        let routers = self.image.routers().map(|router| {
            json!({
                "id": router.id.0,
                "epoch": router.epoch.0,
                "address": router.endpoint.to_string(),
            })
        });
        json!({
            "cluster_id": self.image.cluster_id().unwrap_or_default().to_string(),
            "metadata_index": self.index,
            "controller": { "id": self.quorum.controller_id.0, "term": self.quorum.term },
            "brokers": brokers.collect::<Vec<_>>(),
            "routers": routers.collect::<Vec<_>>(),
            "topics": self.image.topics().count(),
            "partitions": self.image.partition_count(),
            "partitions_without_leader": self.leaderless(),
        })
    }
}

fn state(broker: &Arc<BrokerImage>) -> &'static str {
    match broker.is_fenced {
        true => "fenced",
        false => "alive",
    }
}
