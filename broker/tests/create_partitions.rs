//! More partitions for a topic that serves: what it holds stays, what is new takes records, also after starts.

mod kit;

use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::BrokerId;
use keylane_protocol::message::create_partitions::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsTopic,
    CreatePartitionsTopicResult,
};
use keylane_protocol::offset::Offset;
use kit::{Client, TestBroker, batch, in_every_version, values};

fn topic(name: &str, count: i32) -> CreatePartitionsTopic {
    CreatePartitionsTopic {
        name: name.into(),
        count,
        assignments: None,
    }
}

fn request(topics: Vec<CreatePartitionsTopic>) -> CreatePartitionsRequest {
    CreatePartitionsRequest {
        topics,
        ..CreatePartitionsRequest::default()
    }
}

/// Asks for one topic and returns what became of it.
fn grow(client: &mut Client, topic: CreatePartitionsTopic) -> CreatePartitionsTopicResult {
    client.ask(&request(vec![topic]), 3).results.remove(0)
}

#[test]
fn new_partitions_take_records_at_once_and_old_ones_keep_theirs_over_every_kind_of_end() {
    let mut broker = TestBroker::start();
    broker.create_topic("t", 1);
    broker.connect().produce("t", 0, batch(&["old"]));
    for (round, is_clean) in (0..).zip([true, false, true]) {
        let mut client = broker.connect();
        let grown = grow(&mut client, topic("t", round + 2));
        assert_eq!(
            (grown.error_code, grown.error_message),
            (ErrorCode::None, None)
        );
        for partition in 0..round + 2 {
            let answer = client.produce("t", partition, batch(&["new"]));
            assert_eq!(answer.error_code, ErrorCode::None, "{partition}");
        }
        if is_clean {
            broker.stop();
        } else {
            broker.crash();
        }
        broker.start_again();
    }
    let mut client = broker.connect();
    for (partition, count) in (0..4).zip([4, 3, 2, 1]) {
        let fetched = client.fetch("t", partition, 0, 0);
        assert_eq!(fetched.high_watermark, Offset(count), "{partition}");
        let old = values(&fetched)[0].1 == "old";
        assert_eq!(old, partition == 0);
    }
    let absent = client.produce("t", 4, batch(&["x"]));
    assert_eq!(absent.error_code, ErrorCode::UnknownTopicOrPartition);
}

#[test]
fn every_version_adds_partitions() {
    let broker = TestBroker::start();
    broker.create_topic("t", 1);
    let mut client = broker.connect();
    let request = |version: i16| request(vec![topic("t", i32::from(version) + 2)]);
    in_every_version(&mut client, request, |response, version| {
        assert_eq!(response.results[0].name, "t");
        assert_eq!(
            response.results[0].error_code,
            ErrorCode::None,
            "version {version}"
        );
    });
    let added = client.produce("t", 4, batch(&["x"]));
    assert_eq!(added.base_offset, Offset(0));
}

#[test]
fn what_is_only_checked_changes_nothing() {
    let broker = TestBroker::start();
    broker.create_topic("t", 1);
    let mut client = broker.connect();
    let check = CreatePartitionsRequest {
        validate_only: true,
        ..request(vec![topic("t", 3), topic("u", 3)])
    };
    let results = client.ask(&check, 3).results;
    assert_eq!(results[0].error_code, ErrorCode::None);
    assert_eq!(results[1].error_code, ErrorCode::UnknownTopicOrPartition);
    let absent = client.produce("t", 2, batch(&["x"]));
    assert_eq!(absent.error_code, ErrorCode::UnknownTopicOrPartition);
}

#[test]
fn what_is_not_possible_is_refused_in_words() {
    let broker = TestBroker::start();
    broker.create_topic("t", 3);
    let mut client = broker.connect();
    let mut refused = |topic| {
        let result = grow(&mut client, topic);
        (result.error_code, result.error_message.expect("words"))
    };
    for count in [3, 2, 0, -1] {
        let (code, words) = refused(topic("t", count));
        assert_eq!(code, ErrorCode::InvalidPartitions);
        assert!(words.contains("has 3 partitions already"), "{words}");
    }
    let (code, _) = refused(topic("t", i32::MAX));
    assert_eq!(code, ErrorCode::InvalidPartitions);
    let on = |brokers: &[&[i32]]| {
        let assignment = |ids: &&[i32]| CreatePartitionsAssignment {
            broker_ids: ids.iter().copied().map(BrokerId).collect(),
        };
        CreatePartitionsTopic {
            assignments: Some(brokers.iter().map(assignment).collect()),
            ..topic("t", 5)
        }
    };
    for impossible in [&[][..], &[&[1][..]], &[&[1], &[9]], &[&[1], &[1, 1]]] {
        let (code, words) = refused(on(impossible));
        assert_eq!(code, ErrorCode::InvalidReplicaAssignment, "{words}");
    }
    let twice = client.ask(&request(vec![topic("t", 4), topic("t", 5)]), 3);
    assert_eq!(twice.results.len(), 1);
    assert_eq!(twice.results[0].error_code, ErrorCode::InvalidRequest);
    let possible = grow(&mut client, on(&[&[1], &[1]]));
    assert_eq!(possible.error_code, ErrorCode::None);
}
