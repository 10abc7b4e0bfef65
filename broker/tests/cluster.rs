//! Several brokers that are one cluster, over real sockets: founded, spread, killed, started again, and refused.

mod kit;

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use keylane_broker::config::{BrokerConfig, VoterAddress};
use keylane_broker::{Broker, StartError};
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::{BrokerId, TopicId};
use keylane_protocol::message::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use keylane_protocol::message::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, RESOURCE_TYPE_TOPIC,
};
use keylane_protocol::message::init_producer_id::InitProducerIdRequest;
use keylane_protocol::message::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponsePartition,
};

use kit::{Client, batch, values};

/// What is waited for is tried so often before the test gives up.
const TRIES_MAX: usize = 2_000;
const TRY_PAUSE: Duration = Duration::from_millis(20);

/// Brokers with the ids from 1 on, of which the first vote and the very first founds.
struct Cluster {
    folders: Vec<tempfile::TempDir>,
    configs: Vec<BrokerConfig>,
    brokers: Vec<Option<Broker>>,
}

/// Returns ports that were free just now.
fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<TcpListener> = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"))
        .collect();
    let address = |listener: &TcpListener| listener.local_addr().expect("it is bound").port();
    listeners.iter().map(address).collect()
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
fn start_all(configs: &[BrokerConfig]) -> Vec<Result<Broker, StartError>> {
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
    fn start(voter_count: usize, count: usize) -> Self {
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

    fn configured(voter_count: usize, count: usize) -> Self {
        let folders: Vec<_> = (0..count)
            .map(|_| tempfile::tempdir().expect("a folder for the test"))
            .collect();
        let voters = voters(&free_ports(voter_count));
        let configs = folders.iter().zip(1..).map(|(folder, id)| {
            let mut config = kit::config(folder.path());
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

    fn connect(&self, id: i32) -> Client {
        Client::connect(self.broker(id).address())
    }

    fn broker(&self, id: i32) -> &Broker {
        self.brokers[place(id)].as_ref().expect("it runs")
    }

    /// Ends a broker as a crash would.
    fn crash(&mut self, id: i32) {
        drop(self.brokers[place(id)].take());
    }

    fn start_again(&mut self, id: i32) {
        let config = self.configs[place(id)].clone();
        self.brokers[place(id)] = Some(Broker::start(config).expect("it starts again"));
    }

    /// Asks a broker for a topic until it is as expected.
    fn until(
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
    fn until_all_take_part(&self, count: usize) {
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

fn metadata(client: &mut Client) -> MetadataResponse {
    let all = MetadataRequest {
        topics: None,
        ..MetadataRequest::default()
    };
    client.ask(&all, 12)
}

fn create(client: &mut Client, name: &str, partitions: i32) -> ErrorCode {
    let request = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: name.into(),
            num_partitions: partitions,
            replication_factor: -1,
            ..CreatableTopic::default()
        }],
        timeout_ms: 30_000,
        ..CreateTopicsRequest::default()
    };
    client.ask(&request, 7).topics[0].error_code
}

fn topic_names(metadata: &MetadataResponse) -> BTreeSet<String> {
    let names = metadata
        .topics
        .iter()
        .filter_map(|topic| topic.name.clone());
    names.map(|name| name.to_string()).collect()
}

fn partitions(metadata: &MetadataResponse) -> Vec<&MetadataResponsePartition> {
    let topics = metadata.topics.iter();
    topics.flat_map(|topic| &topic.partitions).collect()
}

/// Returns who leads each partition of the only topic, and in which epoch.
fn leaders(metadata: &MetadataResponse) -> BTreeMap<i32, (i32, i32)> {
    let partitions = partitions(metadata).into_iter();
    partitions
        .map(|partition| {
            let leader = (partition.leader_id.0, partition.leader_epoch.0);
            (partition.partition_index.0, leader)
        })
        .collect()
}

fn refusal(result: Result<Broker, StartError>) -> String {
    result.map(drop).expect_err("refused").to_string()
}

#[test]
fn one_voter_and_two_others_are_one_cluster() {
    let cluster = Cluster::start(1, 3);
    cluster.until_all_take_part(3);
    // A broker that does not vote, let alone lead the controllers.
    assert_eq!(create(&mut cluster.connect(2), "t", 6), ErrorCode::None);
    assert_eq!(
        create(&mut cluster.connect(3), "t", 6),
        ErrorCode::TopicAlreadyExists
    );
    let seen = [1, 2, 3].map(|id| {
        let led = |metadata: &MetadataResponse| {
            let partitions = partitions(metadata);
            partitions.len() == 6 && partitions.iter().all(|one| one.leader_id != BrokerId::NONE)
        };
        let mut metadata = cluster.until(id, "the topic is led", led);
        metadata.controller_id = BrokerId::NONE;
        metadata.brokers.sort_by_key(|broker| broker.node_id);
        metadata
    });
    assert!(seen.iter().all(|metadata| *metadata == seen[0]));
    let addresses = seen[0]
        .brokers
        .iter()
        .map(|broker| (broker.node_id.0, broker.port));
    let expected = (1..=3).map(|id| (id, i32::from(cluster.broker(id).address().port())));
    assert!(addresses.eq(expected));
    let leaders = leaders(&seen[0]);
    for id in 1..=3 {
        assert_eq!(leaders.values().filter(|leader| leader.0 == id).count(), 2);
    }
    for (&partition, &(leader, _)) in &leaders {
        for id in 1..=3 {
            let mut client = cluster.connect(id);
            let value = format!("to {id}");
            let produced = client.produce("t", partition, batch(&[&value])).error_code;
            let fetched = client.fetch("t", partition, 0, 0);
            if id == leader {
                assert_eq!(produced, ErrorCode::None);
                assert_eq!(values(&fetched), [(0, value)]);
            } else {
                assert_eq!(produced, ErrorCode::NotLeaderOrFollower);
                assert_eq!(fetched.error_code, ErrorCode::NotLeaderOrFollower);
            }
        }
    }
    for broker in cluster.brokers.into_iter().flatten().rev() {
        broker.stop().expect("a clean stop");
    }
}

#[test]
fn a_broker_that_dies_is_fenced_and_leads_again_in_higher_epochs() {
    let mut cluster = Cluster::start(1, 2);
    cluster.until_all_take_part(2);
    assert_eq!(create(&mut cluster.connect(1), "t", 2), ErrorCode::None);
    let is_led = |metadata: &MetadataResponse| {
        partitions(metadata).len() == 2
            && partitions(metadata)
                .iter()
                .all(|one| one.leader_id != BrokerId::NONE)
    };
    let before = leaders(&cluster.until(2, "all are led", is_led));
    let (&partition, &(_, epoch)) = before
        .iter()
        .find(|(_, leader)| leader.0 == 2)
        .expect("one");
    let produced = cluster.connect(2).produce("t", partition, batch(&["kept"]));
    assert_eq!(produced.error_code, ErrorCode::None);
    cluster.crash(2);
    let fenced = cluster.until(1, "one takes part", |metadata| metadata.brokers.len() == 1);
    let led = partitions(&fenced)
        .into_iter()
        .filter(|one| one.leader_id == BrokerId(1));
    assert_eq!(
        led.count(),
        1,
        "what only the dead one has is led by nobody"
    );
    cluster.start_again(2);
    let after = leaders(&cluster.until(1, "all are led", is_led));
    let (leader, epoch_after) = after[&partition];
    assert_eq!(leader, 2);
    assert!(epoch_after > epoch, "{epoch_after} is above {epoch}");
    let mut client = cluster.connect(2);
    assert_eq!(
        values(&client.fetch("t", partition, 0, 0)),
        [(0, "kept".to_owned())]
    );
    let produced = client.produce("t", partition, batch(&["new"]));
    assert_eq!(produced.error_code, ErrorCode::None);
}

#[test]
fn when_any_voter_dies_no_topic_is_lost_and_new_ones_are_created() {
    let mut cluster = Cluster::start(3, 3);
    cluster.until_all_take_part(3);
    let mut created = BTreeSet::new();
    for victim in 1..=3 {
        let survivor = victim % 3 + 1;
        let name = format!("before-{victim}");
        assert_eq!(
            create(&mut cluster.connect(victim), &name, 1),
            ErrorCode::None
        );
        created.insert(name);
        cluster.crash(victim);
        let name = format!("without-{victim}");
        let mut client = cluster.connect(survivor);
        let mut tries = (0..TRIES_MAX).map(|_| create(&mut client, &name, 1));
        let is_there = |error| matches!(error, ErrorCode::None | ErrorCode::TopicAlreadyExists);
        assert!(tries.any(is_there), "{name} is never created");
        created.insert(name);
        cluster.start_again(victim);
        cluster.until_all_take_part(3);
        for id in 1..=3 {
            cluster.until(id, "all topics", |metadata| {
                topic_names(metadata) == created
            });
        }
    }
}

#[test]
fn a_whole_cluster_that_was_stopped_comes_back() {
    let mut cluster = Cluster::start(3, 4);
    cluster.until_all_take_part(4);
    assert_eq!(create(&mut cluster.connect(4), "t", 8), ErrorCode::None);
    let before = metadata(&mut cluster.connect(4)).cluster_id;
    for broker in cluster.brokers.drain(..).flatten() {
        broker.stop().expect("a clean stop");
    }
    let started = start_all(&cluster.configs);
    let brokers = started.into_iter();
    cluster.brokers = brokers
        .map(|result| Some(result.expect("it starts again")))
        .collect();
    cluster.until_all_take_part(4);
    let metadata = cluster.until(4, "all are led", |metadata| {
        let partitions = partitions(metadata);
        partitions.len() == 8 && partitions.iter().all(|one| one.leader_id != BrokerId::NONE)
    });
    assert_eq!(metadata.cluster_id, before);
}

#[test]
fn voters_with_different_lists_found_nothing() {
    let mut cluster = Cluster::configured(3, 3);
    let other = free_ports(1)[0];
    cluster.configs[1].voters[2].port = other;
    let (tell, refused) = mpsc::sync_channel(2);
    for config in &cluster.configs[..2] {
        let (config, tell) = (config.clone(), tell.clone());
        // Whichever asks first refuses; the other then waits for it, and the test for neither.
        thread::spawn(move || drop(tell.send(refusal(Broker::start(config)))));
    }
    let words = refused
        .recv_timeout(Duration::from_secs(60))
        .expect("one refuses");
    let same = "give all brokers of the cluster the same list";
    assert!(words.contains(same), "{words}");
}

#[test]
fn a_voter_without_what_it_promised_is_refused() {
    let mut cluster = Cluster::start(3, 3);
    cluster.crash(3);
    let folder = cluster.folders[2].path();
    std::fs::remove_dir_all(folder.join("controller")).expect("removed");
    let words = refusal(Broker::start(cluster.configs[2].clone()));
    assert!(words.contains("'controller') is gone"), "{words}");
    // Not even with a folder in which nothing is.
    let empty = tempfile::tempdir().expect("a folder for the test");
    let mut config = cluster.configs[2].clone();
    config.data_folder = empty.path().to_owned();
    let words = refusal(Broker::start(config));
    assert!(
        words.contains("as a voter with another data folder"),
        "{words}"
    );
}

#[test]
fn a_broker_of_another_cluster_is_refused() {
    let one = Cluster::start(1, 2);
    let mut other = Cluster::start(1, 2);
    other.crash(2);
    let mut config = other.configs[1].clone();
    config.voters.clone_from(&one.configs[0].voters);
    let words = refusal(Broker::start(config));
    assert!(
        words.contains("point the broker to its own cluster"),
        "{words}"
    );
}

/// What a cluster must not forget.
#[derive(Debug, PartialEq)]
struct Known {
    cluster_id: Option<String>,
    topic_ids: BTreeMap<String, TopicId>,
    segment_bytes: Option<String>,
}

fn known(client: &mut Client) -> Known {
    let metadata = metadata(client);
    let topics = metadata.topics.iter();
    let request = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: RESOURCE_TYPE_TOPIC,
            resource_name: "t".into(),
            configuration_keys: Some(vec!["segment.bytes".into()]),
        }],
        ..DescribeConfigsRequest::default()
    };
    let value = client.ask(&request, 4).results[0].configs[0].value.clone();
    Known {
        cluster_id: metadata.cluster_id.as_ref().map(ToString::to_string),
        topic_ids: topics
            .map(|topic| {
                (
                    topic.name.clone().unwrap_or_default().into(),
                    topic.topic_id,
                )
            })
            .collect(),
        segment_bytes: value.map(Into::into),
    }
}

fn producer_id(client: &mut Client) -> i64 {
    let request = InitProducerIdRequest {
        transactional_id: None,
        ..InitProducerIdRequest::default()
    };
    client.ask(&request, 4).producer_id.0
}

#[test]
fn a_whole_cluster_that_was_killed_comes_back_with_all_that_it_knew_in_higher_epochs() {
    let mut cluster = Cluster::start(3, 3);
    cluster.until_all_take_part(3);
    let request = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: "t".into(),
            num_partitions: 6,
            replication_factor: -1,
            configs: vec![CreatableTopicConfig {
                name: "segment.bytes".into(),
                value: Some("3000000".into()),
            }],
            ..CreatableTopic::default()
        }],
        timeout_ms: 30_000,
        ..CreateTopicsRequest::default()
    };
    let created = cluster.connect(1).ask(&request, 7).topics.remove(0);
    assert_eq!(created.error_code, ErrorCode::None);
    let is_led = |metadata: &MetadataResponse| {
        let partitions = partitions(metadata);
        partitions.len() == 6 && partitions.iter().all(|one| one.leader_id != BrokerId::NONE)
    };
    let before = leaders(&cluster.until(2, "all are led", is_led));
    for (&partition, &(leader, _)) in &before {
        let produced = cluster
            .connect(leader)
            .produce("t", partition, batch(&["kept"]));
        assert_eq!(produced.error_code, ErrorCode::None);
    }
    let known_before = known(&mut cluster.connect(1));
    assert_eq!(known_before.segment_bytes.as_deref(), Some("3000000"));
    let mut producers: BTreeSet<i64> = BTreeSet::new();
    for id in 1..=3 {
        producers.insert(producer_id(&mut cluster.connect(id)));
    }
    for id in 1..=3 {
        cluster.crash(id);
    }
    let started = start_all(&cluster.configs).into_iter();
    cluster.brokers = started
        .map(|result| Some(result.expect("it starts again")))
        .collect();
    cluster.until_all_take_part(3);
    let after = leaders(&cluster.until(2, "all are led", is_led));
    for (partition, (leader, epoch)) in after {
        let (leader_before, epoch_before) = before[&partition];
        assert_eq!(leader, leader_before);
        assert!(epoch > epoch_before, "partition {partition}: {epoch}");
        let fetched = cluster.connect(leader).fetch("t", partition, 0, 0);
        assert_eq!(values(&fetched), [(0, "kept".to_owned())]);
    }
    for id in 1..=3 {
        assert_eq!(known(&mut cluster.connect(id)), known_before, "broker {id}");
        let is_new = producers.insert(producer_id(&mut cluster.connect(id)));
        assert!(is_new, "a producer id is given twice");
    }
}

/// Copies a data folder.
fn copied(from: &Path) -> tempfile::TempDir {
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

#[test]
fn a_folder_that_has_gone_back_in_time_leads_nothing_of_what_it_has_lost() {
    let mut cluster = Cluster::start(1, 2);
    cluster.until_all_take_part(2);
    assert_eq!(create(&mut cluster.connect(1), "t", 2), ErrorCode::None);
    let is_led = |metadata: &MetadataResponse| {
        let partitions = partitions(metadata);
        partitions.len() == 2 && partitions.iter().all(|one| one.leader_id != BrokerId::NONE)
    };
    cluster.until(2, "all are led", is_led);
    let broker = cluster.brokers[1].take().expect("it runs");
    broker.stop().expect("a clean stop");
    let copy = copied(cluster.folders[1].path());
    cluster.start_again(2);
    let leaders = leaders(&cluster.until(1, "all are led", is_led));
    let (&partition, _) = leaders
        .iter()
        .find(|(_, leader)| leader.0 == 2)
        .expect("one");
    let produced = cluster
        .connect(2)
        .produce("t", partition, batch(&["acknowledged"]));
    assert_eq!(produced.error_code, ErrorCode::None);
    let broker = cluster.brokers[1].take().expect("it runs");
    broker.stop().expect("a clean stop");
    cluster.configs[1].data_folder = copy.path().to_owned();
    cluster.start_again(2);
    cluster.until_all_take_part(2);
    let metadata = cluster.until(1, "broker 2 takes part", |metadata| {
        metadata.brokers.len() == 2
    });
    let partitions = partitions(&metadata).into_iter();
    let led = partitions.filter(|one| one.leader_id == BrokerId(2));
    assert_eq!(led.count(), 0, "the acknowledged record is not there");
}

#[test]
fn a_voter_whose_folder_has_gone_back_in_time_is_refused() {
    let mut cluster = Cluster::start(3, 3);
    cluster.until_all_take_part(3);
    let broker = cluster.brokers[2].take().expect("it runs");
    broker.stop().expect("a clean stop");
    let copy = copied(cluster.folders[2].path());
    cluster.start_again(3);
    cluster.until_all_take_part(3);
    assert_eq!(create(&mut cluster.connect(1), "t", 1), ErrorCode::None);
    let broker = cluster.brokers[2].take().expect("it runs");
    broker.stop().expect("a clean stop");
    let mut config = cluster.configs[2].clone();
    config.data_folder = copy.path().to_owned();
    let words = refusal(Broker::start(config));
    assert!(words.contains("gone back in time"), "{words}");
    // It has cost the others nothing.
    let mut client = cluster.connect(1);
    let mut tries = (0..TRIES_MAX).map(|_| create(&mut client, "later", 1));
    let is_there = |error| matches!(error, ErrorCode::None | ErrorCode::TopicAlreadyExists);
    assert!(tries.any(is_there));
    // The folder itself is welcome.
    cluster.start_again(3);
    cluster.until_all_take_part(3);
}
