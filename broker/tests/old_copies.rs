//! Old copies of data folders, over real sockets: what they have lost is not relied on, and voters are refused, however
//! often they are tried.

mod kit;

use keylane_broker::Broker;
use keylane_broker::config::BrokerConfig;
use keylane_protocol::cluster::call::DescribeQuorumRequest;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::BrokerId;
use keylane_protocol::message::metadata::MetadataResponse;

use kit::cluster::{Cluster, TRIES_MAX, TRY_PAUSE, copied, leaders, partitions, refusal};
use kit::link::Peer;
use kit::{batch, values};

/// How often a supervisor starts what does not stay.
const TRIES: usize = 10;

fn all_led(metadata: &MetadataResponse) -> bool {
    let partitions = partitions(metadata);
    partitions.len() == 2 && partitions.iter().all(|one| one.leader_id != BrokerId::NONE)
}

/// A voter and broker 2, which has gone on since its folder was copied and has acknowledged a record since.
struct GoneOn {
    cluster: Cluster,
    copy: tempfile::TempDir,
    /// The partition of the topic `t` that has the record.
    partition: i32,
}

fn gone_on() -> GoneOn {
    let mut cluster = Cluster::start(1, 2);
    cluster.until_all_take_part(2);
    assert_eq!(
        cluster.connect(1).create_topic("t", 2).error_code,
        ErrorCode::None
    );
    cluster.until(2, "all are led", all_led);
    stop(&mut cluster, 2);
    let copy = copied(cluster.folders[1].path());
    cluster.start_again(2);
    let leaders = leaders(&cluster.until(1, "all are led", all_led));
    let led = leaders.iter().find(|(_, leader)| leader.0 == 2);
    let partition = *led.expect("one").0;
    let mut client = cluster.connect(2);
    let produced = client.produce("t", partition, batch(&["acknowledged"]));
    assert_eq!(produced.error_code, ErrorCode::None);
    GoneOn {
        cluster,
        copy,
        partition,
    }
}

fn stop(cluster: &mut Cluster, id: i32) {
    let place = usize::try_from(id - 1).expect("ids begin at 1");
    let broker = cluster.brokers[place].take().expect("it runs");
    broker.stop().expect("a clean stop");
}

/// Returns how a broker is configured, with another data folder.
fn over(cluster: &Cluster, id: i32, folder: &tempfile::TempDir) -> BrokerConfig {
    let place = usize::try_from(id - 1).expect("ids begin at 1");
    let mut config = cluster.configs[place].clone();
    config.data_folder = folder.path().to_owned();
    config
}

#[test]
fn a_folder_that_has_gone_back_in_time_leads_nothing_of_what_it_has_lost_at_any_start() {
    let GoneOn {
        mut cluster, copy, ..
    } = gone_on();
    stop(&mut cluster, 2);
    cluster.configs[1] = over(&cluster, 2, &copy);
    for attempt in 1..=3 {
        cluster.start_again(2);
        cluster.until_all_take_part(2);
        let metadata = cluster.until(1, "broker 2 takes part", |metadata| {
            metadata.brokers.len() == 2
        });
        let partitions = partitions(&metadata).into_iter();
        let led = partitions.filter(|one| one.leader_id == BrokerId(2));
        assert_eq!(led.count(), 0, "start {attempt}: the record is not there");
        stop(&mut cluster, 2);
    }
}

#[test]
fn an_old_copy_beside_the_broker_that_lives_is_refused_at_every_try() {
    let GoneOn {
        cluster,
        copy,
        partition,
    } = gone_on();
    for attempt in 1..=TRIES {
        let words = refusal(Broker::start(over(&cluster, 2, &copy)));
        let is_told = words.contains("another copy of this data folder is alive");
        assert!(is_told, "try {attempt}: {words}");
    }
    // It has cost the other nothing.
    let mut client = cluster.connect(2);
    let produced = client.produce("t", partition, batch(&["more"]));
    assert_eq!(produced.error_code, ErrorCode::None);
    let records = values(&client.fetch("t", partition, 0, 0));
    let records = records.iter().map(|(_, value)| value.as_str());
    assert!(records.eq(["acknowledged", "more"]));
    cluster.until(1, "all are led", all_led);
}

#[test]
fn a_voter_whose_folder_has_gone_back_in_time_is_refused_at_every_try() {
    let mut cluster = Cluster::start(3, 3);
    cluster.until_all_take_part(3);
    stop(&mut cluster, 3);
    let copy = copied(cluster.folders[2].path());
    cluster.start_again(3);
    cluster.until_all_take_part(3);
    assert_eq!(
        cluster.connect(1).create_topic("t", 1).error_code,
        ErrorCode::None
    );
    stop(&mut cluster, 3);
    for attempt in 1..=TRIES {
        let words = refusal(Broker::start(over(&cluster, 3, &copy)));
        assert!(
            words.contains("gone back in time")
                && words.contains("Start the voter with the folder"),
            "try {attempt}: {words}"
        );
    }
    // It has cost the others nothing.
    let mut client = cluster.connect(1);
    let mut tries = (0..TRIES_MAX).map(|_| client.create_topic("later", 1).error_code);
    let is_there = |error| matches!(error, ErrorCode::None | ErrorCode::TopicAlreadyExists);
    assert!(tries.any(is_there));
    // The folder itself is welcome, as often as it is started, and after a crash.
    for _ in 0..3 {
        cluster.start_again(3);
        cluster.until_all_take_part(3);
        cluster.crash(3);
    }
}

/// Returns whom a voter takes for the leader.
fn leader(cluster: &Cluster, id: i32) -> i32 {
    let mut peer = Peer::connect(cluster.broker(id).internal_address());
    let quorum = peer.call(&DescribeQuorumRequest::default());
    quorum.controller_id.0
}

/// Waits until a voter takes one of these for the leader, and returns which.
fn until_led_by(cluster: &Cluster, id: i32, expected: &[i32]) -> i32 {
    let mut leaders = (0..TRIES_MAX).map(|_| {
        std::thread::sleep(TRY_PAUSE);
        leader(cluster, id)
    });
    let leader = leaders.find(|leader| expected.contains(leader));
    leader.unwrap_or_else(|| panic!("voter {id} is never led by one of {expected:?}"))
}

#[test]
fn a_voter_over_an_old_copy_votes_for_nobody_before_it_is_refused() {
    let mut cluster = Cluster::start(3, 3);
    cluster.until_all_take_part(3);
    stop(&mut cluster, 3);
    let copy = copied(cluster.folders[2].path());
    cluster.start_again(3);
    cluster.until_all_take_part(3);
    stop(&mut cluster, 3);
    let leading = until_led_by(&cluster, 1, &[1, 2]);
    stop(&mut cluster, leading);
    // With one more vote the voter that is left would lead.
    let left = 3 - leading;
    until_led_by(&cluster, left, &[-1]);
    for attempt in 1..=TRIES {
        let words = refusal(Broker::start(over(&cluster, 3, &copy)));
        assert!(
            words.contains("gone back in time"),
            "try {attempt}: {words}"
        );
        assert_eq!(leader(&cluster, left), -1, "try {attempt}");
    }
    cluster.start_again(3);
    until_led_by(&cluster, left, &[left, 3]);
}
