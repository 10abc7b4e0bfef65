//! What was acknowledged is there after the broker ended, however it ended.

mod kit;

use keylane_broker::{Broker, StartError};
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::frame::decode_response;
use keylane_protocol::identifiers::{PartitionIndex, ProducerId};
use keylane_protocol::message::init_producer_id::InitProducerIdRequest;
use keylane_protocol::message::metadata::MetadataRequest;
use keylane_protocol::message::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use keylane_protocol::message::produce::{ProduceRequest, ProduceResponse};
use keylane_protocol::offset::{LeaderEpoch, Offset, ProducerEpoch, Sequence};
use keylane_protocol::record_batch::BatchProducer;
use kit::{TestBroker, batch, batch_of, config, produce_request, values};

fn leader_epoch(broker: &TestBroker) -> i32 {
    let request = MetadataRequest {
        topics: None,
        ..MetadataRequest::default()
    };
    let response = broker.connect().ask(&request, 9);
    response.topics[0].partitions[0].leader_epoch.0
}

#[test]
fn a_clean_stop_keeps_everything_and_a_start_raises_the_leader_epoch() {
    let mut broker = TestBroker::start();
    let id = broker.create_topic("t", 2);
    let before = leader_epoch(&broker);
    broker.connect().produce("t", 1, batch(&["a", "b"]));
    broker.stop();
    broker.start_again();
    assert!(leader_epoch(&broker) > before);
    let mut client = broker.connect();
    assert_eq!(values(&client.fetch("t", 1, 0, 0)).len(), 2);
    assert_eq!(client.produce("t", 1, batch(&["c"])).base_offset, Offset(2));
    let request = MetadataRequest {
        topics: None,
        ..MetadataRequest::default()
    };
    assert_eq!(client.ask(&request, 10).topics[0].topic_id, id);
}

#[test]
fn a_clean_stop_answers_what_it_has_read_and_keeps_what_it_answered() {
    let mut broker = TestBroker::start();
    broker.create_topic("t", 1);
    let mut client = broker.connect();
    let sent: Vec<i32> = (0..200)
        .map(|_| client.send(&produce_request("t", 0, batch(&["a"]), -1), 9))
        .collect();
    let first = client.receive::<ProduceRequest>(9, sent[0]);
    assert_eq!(
        first.responses[0].partition_responses[0].base_offset,
        Offset(0)
    );
    broker.stop();
    let mut answered = 1;
    while let Some(frame) = client.receive_frame() {
        let (header, response) = decode_response::<ProduceResponse>(frame, 9).expect("decodes");
        assert_eq!(header.correlation_id, sent[answered]);
        let part = &response.responses[0].partition_responses[0];
        assert_eq!(part.error_code, ErrorCode::None);
        answered += 1;
    }
    broker.start_again();
    let fetched = broker.connect().fetch("t", 0, 0, 0);
    assert!(values(&fetched).len() >= answered);
}

#[test]
fn a_crash_loses_nothing_that_was_acknowledged() {
    let mut broker = TestBroker::start();
    broker.create_topic("t", 1);
    let mut acknowledged = 0;
    for _ in 0..4 {
        let mut client = broker.connect();
        for _ in 0..10 {
            let answer = client.produce("t", 0, batch(&["a", "b", "c"]));
            assert_eq!(answer.base_offset, Offset(acknowledged));
            acknowledged += 3;
        }
        broker.crash();
        broker.start_again();
    }
    let fetched = broker.connect().fetch("t", 0, 0, 0);
    assert_eq!(fetched.high_watermark, Offset(acknowledged));
    let offsets = values(&fetched).into_iter().map(|(offset, _)| offset);
    assert!(offsets.eq(0..acknowledged));
}

#[test]
fn a_duplicate_is_known_after_a_crash_and_after_a_clean_stop() {
    let mut broker = TestBroker::start();
    broker.create_topic("t", 1);
    let producer = |sequence| BatchProducer {
        id: ProducerId(77),
        epoch: ProducerEpoch(0),
        base_sequence: Sequence(sequence),
    };
    for sequence in 0..3 {
        let batch = batch_of(producer(sequence), 1, &["a"]);
        broker.connect().produce("t", 0, batch);
    }
    for clean in [false, true] {
        if clean {
            broker.stop();
        } else {
            broker.crash();
        }
        broker.start_again();
        let mut client = broker.connect();
        let again = client.produce("t", 0, batch_of(producer(1), 1, &["a"]));
        assert_eq!(
            (again.error_code, again.base_offset),
            (ErrorCode::None, Offset(1))
        );
        let gap = client.produce("t", 0, batch_of(producer(9), 1, &["a"]));
        assert_eq!(gap.error_code, ErrorCode::OutOfOrderSequenceNumber);
    }
    let next = broker
        .connect()
        .produce("t", 0, batch_of(producer(3), 1, &["a"]));
    assert_eq!(next.base_offset, Offset(3));
}

#[test]
fn producer_ids_are_not_given_twice_across_starts() {
    let mut broker = TestBroker::start();
    let request = InitProducerIdRequest {
        transactional_id: None,
        ..InitProducerIdRequest::default()
    };
    let first = broker.connect().ask(&request, 4).producer_id;
    broker.crash();
    broker.start_again();
    let second = broker.connect().ask(&request, 4).producer_id;
    assert_ne!(first, second);
}

#[test]
fn an_occupied_port_is_refused_in_words() {
    let broker = TestBroker::start();
    let folder = tempfile::tempdir().expect("a folder");
    let mut other = config(folder.path());
    other.listen = broker.address();
    let error = Broker::start(other).expect_err("refused");
    assert!(matches!(error, StartError::PortInUse { .. }), "{error:?}");
    assert!(error.to_string().contains("another port"), "{error}");
}

#[test]
fn a_folder_in_use_is_refused_in_words() {
    let broker = TestBroker::start();
    let error = Broker::start(config(broker.folder.path())).expect_err("refused");
    assert!(matches!(error, StartError::Folder(_)), "{error:?}");
}

#[test]
fn an_invalid_configuration_lists_all_faults() {
    let mut invalid = config(std::path::Path::new(""));
    invalid.default_partitions = 0;
    let error = Broker::start(invalid).expect_err("refused");
    let text = error.to_string();
    assert!(
        text.contains("data_folder") && text.contains("default_partitions"),
        "{text}"
    );
}

/// Returns the error, the epoch and the end offset that the broker tells of an epoch of partition 0.
fn end_of_epoch(broker: &TestBroker, epoch: i32, current: i32) -> (ErrorCode, i32, i64) {
    let mut answers = Vec::new();
    let request = |_| OffsetForLeaderEpochRequest {
        topics: vec![OffsetForLeaderTopic {
            topic: "t".into(),
            partitions: vec![OffsetForLeaderPartition {
                partition: PartitionIndex(0),
                current_leader_epoch: LeaderEpoch(current),
                leader_epoch: LeaderEpoch(epoch),
            }],
        }],
        ..OffsetForLeaderEpochRequest::default()
    };
    for version in 2..=4 {
        let mut response = broker.connect().ask(&request(version), version);
        let answer = response.topics[0].partitions.remove(0);
        assert_eq!(answer.partition, PartitionIndex(0));
        answers.push((
            answer.error_code,
            answer.leader_epoch.0,
            answer.end_offset.0,
        ));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    answers[0]
}

#[test]
fn where_leader_epochs_end_is_known_after_clean_stops_and_crashes() {
    let mut broker = TestBroker::start();
    broker.create_topic("t", 1);
    let mut epochs = Vec::new();
    for clean in [true, false, true, false] {
        for _ in 0..3 {
            broker.connect().produce("t", 0, batch(&["a", "b"]));
        }
        epochs.push(leader_epoch(&broker));
        if clean {
            broker.stop();
        } else {
            broker.crash();
        }
        broker.start_again();
    }
    let ok = |epoch, end| (ErrorCode::None, epoch, end);
    for (epoch, end) in epochs.iter().zip([6, 12, 18, 24]) {
        assert_eq!(end_of_epoch(&broker, *epoch, -1), ok(*epoch, end));
    }
    let leading = leader_epoch(&broker);
    // It has no records yet, and none is known of later ones.
    assert_eq!(end_of_epoch(&broker, leading, leading), ok(leading, 24));
    assert_eq!(end_of_epoch(&broker, leading + 1, leading), ok(-1, -1));
    assert_eq!(end_of_epoch(&broker, -1, leading), ok(-1, -1));
    let first = epochs[0];
    if first > 0 {
        assert_eq!(end_of_epoch(&broker, first - 1, -1), ok(first - 1, 0));
    }
    let refused = |code| (code, -1, -1);
    assert_eq!(
        end_of_epoch(&broker, first, leading - 1),
        refused(ErrorCode::FencedLeaderEpoch)
    );
    assert_eq!(
        end_of_epoch(&broker, first, leading + 1),
        refused(ErrorCode::UnknownLeaderEpoch)
    );
}
