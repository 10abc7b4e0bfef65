//! Several brokers in this process that are one cluster over real sockets.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::thread;
use std::time::Duration;

use keylane_broker::config::{BrokerConfig, VoterAddress};
use keylane_broker::{Broker, StartError};
use keylane_protocol::identifiers::BrokerId;
use keylane_protocol::message::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponsePartition,
};
pub(crate) use keylane_protocol::transport::free_ports;

use super::{Client, config};

/// What is waited for is tried so often before the test gives up.
pub(crate) const TRIES_MAX: usize = 2_000;
pub(crate) const TRY_PAUSE: Duration = Duration::from_millis(20);

/// Brokers with the ids from 1 on, of which the first vote and the very first founds.
pub(crate) struct Cluster {
    pub(crate) folders: Vec<tempfile::TempDir>,
    pub(crate) configs: Vec<BrokerConfig>,
    pub(crate) brokers: Vec<Option<Broker>>,
}

fn voters(ports: &[u16]) -> Vec<VoterAddress> {
    let voter = |(port, id): (&u16, i32)| VoterAddress {
        id: BrokerId(id),
        host: "127.0.0.1".to_owned(),
        port: *port,
    };
    ports.iter().zip(1..).map(voter).collect()
}

/// Starts brokers at the same time, for they wait for one another; nobody waits longer than a minute.
pub(crate) fn start_all(configs: &[BrokerConfig]) -> Vec<Result<Broker, StartError>> {
    let started: Vec<_> = configs
        .iter()
        .map(|config| {
            let config = config.clone();
            thread::spawn(move || Broker::start(config))
        })
        .collect();
    let results = started.into_iter().map(|thread| thread.join());
    results.map(|result| result.expect("no panic")).collect()
}

impl Cluster {
    /// Returns a cluster of `voters` voters and as many further brokers as make `count`.
    pub(crate) fn start(voter_count: usize, count: usize) -> Self {
        let mut tries = 0;
        loop {
            let mut cluster = Self::configured(voter_count, count);
            let started = start_all(&cluster.configs);
            tries += 1;
            // Somebody else may have taken a port meanwhile.
            let is_taken =
                |result: &Result<_, _>| matches!(result, Err(StartError::PortInUse { .. }));
            if tries < 5 && started.iter().any(is_taken) {
                continue;
            }
            let brokers = started.into_iter();
            cluster.brokers = brokers
                .map(|result| Some(result.expect("it starts")))
                .collect();
            return cluster;
        }
    }

    pub(crate) fn configured(voter_count: usize, count: usize) -> Self {
        let folders: Vec<_> = (0..count)
            .map(|_| tempfile::tempdir().expect("a folder for the test"))
            .collect();
        let voters = voters(&free_ports(voter_count));
        let configs = folders.iter().zip(1..).map(|(folder, id)| {
            let mut config = config(folder.path());
            config.id = BrokerId(id);
            config.voters.clone_from(&voters);
            config.bootstrap = id == 1;
            config.session = Duration::from_secs(1);
            if let Some(voter) = voters.iter().find(|voter| voter.id == config.id) {
                config.internal_listen.set_port(voter.port);
            }
            config
        });
        Self {
            configs: configs.collect(),
            folders,
            brokers: Vec::new(),
        }
    }

    pub(crate) fn connect(&self, id: i32) -> Client {
        Client::connect(self.broker(id).address())
    }

    pub(crate) fn broker(&self, id: i32) -> &Broker {
        self.brokers[place(id)].as_ref().expect("it runs")
    }

    /// Ends a broker as a crash would.
    pub(crate) fn crash(&mut self, id: i32) {
        drop(self.brokers[place(id)].take());
    }

    pub(crate) fn start_again(&mut self, id: i32) {
        let config = self.configs[place(id)].clone();
        self.brokers[place(id)] = Some(Broker::start(config).expect("it starts again"));
    }

    /// Asks a broker for a topic until it is as expected.
    pub(crate) fn until(
        &self,
        id: i32,
        what: &str,
        is_so: impl Fn(&MetadataResponse) -> bool,
    ) -> MetadataResponse {
        for _ in 0..TRIES_MAX {
            let metadata = metadata(&mut self.connect(id));
            if is_so(&metadata) {
                return metadata;
            }
            thread::sleep(TRY_PAUSE);
        }
        let metadata = metadata(&mut self.connect(id));
        panic!("broker {id} never says: {what}; it says {metadata:#?}");
    }

    /// Waits until all brokers that run know of `count` brokers that take part.
    pub(crate) fn until_all_take_part(&self, count: usize) {
        for (broker, id) in self.brokers.iter().zip(1..) {
            if broker.is_some() {
                self.until(id, "all take part", |metadata| {
                    metadata.brokers.len() == count
                });
            }
        }
    }
}

fn place(id: i32) -> usize {
    usize::try_from(id - 1).expect("ids begin at 1")
}

pub(crate) fn metadata(client: &mut Client) -> MetadataResponse {
    let all = MetadataRequest {
        topics: None,
        ..MetadataRequest::default()
    };
    client.ask(&all, 12)
}

pub(crate) fn topic_names(metadata: &MetadataResponse) -> BTreeSet<String> {
    let names = metadata
        .topics
        .iter()
        .filter_map(|topic| topic.name.clone());
    names.map(|name| name.to_string()).collect()
}

pub(crate) fn partitions(metadata: &MetadataResponse) -> Vec<&MetadataResponsePartition> {
    let topics = metadata.topics.iter();
    topics.flat_map(|topic| &topic.partitions).collect()
}

/// Returns who leads each partition of the only topic, and in which epoch.
pub(crate) fn leaders(metadata: &MetadataResponse) -> BTreeMap<i32, (i32, i32)> {
    let partitions = partitions(metadata).into_iter();
    partitions
        .map(|partition| {
            let leader = (partition.leader_id.0, partition.leader_epoch.0);
            (partition.partition_index.0, leader)
        })
        .collect()
}

pub(crate) fn refusal(result: Result<Broker, StartError>) -> String {
    result.map(drop).expect_err("refused").to_string()
}

/// Copies a data folder.
pub(crate) fn copied(from: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a folder for the test");
    let mut folders = vec![(from.to_owned(), copy.path().to_owned())];
    while let Some((from, to)) = folders.pop() {
        std::fs::create_dir_all(&to).expect("created");
        for entry in from.read_dir().expect("a folder") {
            let path = entry.expect("an entry").path();
            let target = to.join(path.file_name().expect("a name"));
            if path.is_dir() {
                folders.push((path, target));
            } else {
                std::fs::copy(&path, &target).expect("copied");
            }
        }
    }
    copy
}
