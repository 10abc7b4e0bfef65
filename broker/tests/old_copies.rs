//! Old copies of data folders, over real sockets: what they have lost is not relied on, and voters are refused.

mod kit;

use keylane_broker::Broker;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::BrokerId;
use keylane_protocol::message::metadata::MetadataResponse;

use kit::batch;
use kit::cluster::{Cluster, TRIES_MAX, copied, create, leaders, partitions, refusal};

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
