//! What is refused as a whole, with which words, and what a part says of itself.

use keylane_protocol::compression::Compression;
use keylane_protocol::identifiers::{ProducerId, TopicId};
use keylane_protocol::offset::{ProducerEpoch, Sequence};
use keylane_protocol::record_batch::{BatchProducer, NewRecord, RecordBatchBuilder, renumber};
use keylane_protocol::routed::PRODUCER_ID_MIN;

use super::*;
use crate::testing::{Cluster, routed_batch, start};

const TOPIC: TopicId = TopicId([1; 16]);
const PARTITIONS: i32 = 4;

fn request(number: i32, floor: i32, records: Bytes) -> RoutedProduceRequest {
    RoutedProduceRequest {
        topic_id: TOPIC,
        partition_count: PARTITIONS,
        floor: Sequence(floor),
        is_first: number == floor,
        timeout_ms: 30_000,
        records: Some(records),
    }
}

fn numbered(number: i32, partitions: &[i32]) -> Bytes {
    routed_batch(1, number, partitions, PARTITIONS)
}

fn cluster() -> Cluster {
    Cluster::of_brokers(2).with_topic("a", &[1, 2, 1, -1])
}

/// Returns partition and previous number of each part.
fn parts(plan: &RoutedProducePlan) -> Vec<(i32, i32)> {
    let parts = plan.held.iter();
    parts
        .map(|part| {
            let order = part.order.expect("it is routed");
            (part.partition.0, order.previous.0)
        })
        .collect()
}

#[test]
fn each_part_says_what_touched_its_partition_before() {
    let mut sessions = Sessions::default();
    let first = plan(request(0, 0, numbered(0, &[3, 1])), &mut sessions).expect("taken");
    assert_eq!(parts(&first), [(1, -1), (3, -1)]);
    let second = plan(request(1, 0, numbered(1, &[1, 2])), &mut sessions).expect("taken");
    assert_eq!(parts(&second), [(1, 0), (2, -1)]);
    let order = second.held[0].order.expect("it is routed");
    assert_eq!(order.producer_id, ProducerId(PRODUCER_ID_MIN.0 + 1));
    assert_eq!(order.floor, Sequence(0));
    assert!(second.held.iter().all(|part| part.acks == -1));
    let on_lane = second.held.into_iter().map(|part| {
        let sent = part
            .released(&cluster().routing(start()))
            .expect("it has a leader");
        let sent = sent.on_lane(keylane_protocol::link::Lane(7));
        (sent.partition.0, sent.floor.0, sent.previous.0)
    });
    assert_eq!(on_lane.collect::<Vec<_>>(), [(1, 0, 0), (2, 0, -1)]);
}

#[test]
fn the_requests_partition_count_decides_and_not_the_topics() {
    let mut sessions = Sessions::default();
    let mut asked = request(0, 0, routed_batch(1, 0, &[0, 1], 2));
    asked.partition_count = 2;
    let plan = plan(asked, &mut sessions).expect("taken");
    assert_eq!(parts(&plan), [(0, -1), (1, -1)]);
    let passed = Checked::Passed { partition_count: 4 };
    let routing = cluster().routing(start());
    assert_eq!(plan.unchecked.check(&plan.held, &routing), passed);
}

/// Returns a batch whose bytes were changed before it was sealed, or after.
fn changed(number: i32, at: usize, to: u8, is_sealed: bool) -> Bytes {
    let mut batch = numbered(number, &[0]).to_vec();
    batch[at] = to;
    if is_sealed {
        let producer = BatchProducer {
            id: ProducerId(PRODUCER_ID_MIN.0 + 1),
            epoch: ProducerEpoch(0),
            base_sequence: Sequence(number),
        };
        return renumber(batch.into(), producer);
    }
    batch.into()
}

fn compressed() -> Bytes {
    let mut builder = RecordBatchBuilder::with_capacity(256);
    builder.append(&NewRecord {
        value: Some(&[b'x'; 100]),
        ..NewRecord::default()
    });
    let producer = BatchProducer {
        id: ProducerId(PRODUCER_ID_MIN.0 + 1),
        epoch: ProducerEpoch(0),
        base_sequence: Sequence(1),
    };
    let batch = builder.finish(Compression::Lz4, producer);
    batch.expect("there is memory")
}

#[test]
fn what_cannot_be_split_is_refused_with_its_own_error_and_ends_the_session() {
    let plain = renumber(
        numbered(1, &[0]),
        BatchProducer {
            id: ProducerId(1),
            epoch: ProducerEpoch(0),
            base_sequence: Sequence(1),
        },
    );
    let transactional = changed(1, 22, 1 << 4, true);
    let broken_record = changed(1, 61, 0xff, true);
    let corrupt = changed(1, 70, 0xff, false);
    let old_format = changed(1, 16, 1, false);
    let log_append_time = changed(1, 22, 1 << 3, true);
    let cases = [
        (plain, ErrorCode::InvalidProducerIdMapping, false),
        (compressed(), ErrorCode::UnsupportedCompressionType, true),
        (transactional, ErrorCode::InvalidRecord, true),
        (broken_record, ErrorCode::InvalidRecord, true),
        (corrupt, ErrorCode::CorruptMessage, true),
        (log_append_time, ErrorCode::InvalidTimestamp, true),
        (old_format, ErrorCode::UnsupportedForMessageFormat, false),
        (
            Bytes::from_static(b"no batch"),
            ErrorCode::InvalidRecord,
            false,
        ),
        (Bytes::new(), ErrorCode::InvalidRecord, false),
    ];
    for (records, code, ends) in cases {
        let mut sessions = Sessions::default();
        plan(request(0, 0, numbered(0, &[0])), &mut sessions).expect("the first");
        let refused = plan(request(1, 0, records), &mut sessions).expect_err("refused");
        assert_eq!(refused.code, code, "{}", refused.text);
        assert!(!refused.text.is_empty());
        assert_eq!(sessions.is_empty(), ends, "{}", refused.text);
        // Whose it was may not be known; then what follows is a hole.
        let next = plan(request(2, 0, numbered(2, &[0])), &mut sessions);
        let refused = next.expect_err("the one before was not taken");
        assert_eq!(refused.code, ErrorCode::OutOfOrderSequenceNumber);
        plan(request(0, 0, numbered(0, &[0])), &mut sessions).expect("a new session");
    }
}

#[test]
fn a_hole_is_out_of_order_and_forged_numbers_are_invalid() {
    let mut sessions = Sessions::default();
    plan(request(0, 0, numbered(0, &[0])), &mut sessions).expect("the first");
    let hole = plan(request(2, 0, numbered(2, &[0])), &mut sessions).expect_err("a hole");
    assert_eq!(hole.code, ErrorCode::OutOfOrderSequenceNumber);
    assert_eq!(hole.text, "the session goes on with 1, not with 2");
    for (number, floor) in [(0, 1), (1024, 0)] {
        let mut sessions = Sessions::default();
        let forged = plan(
            request(number, floor, numbered(number, &[0])),
            &mut sessions,
        );
        assert_eq!(
            forged.expect_err("forged").code,
            ErrorCode::InvalidRequest,
            "{number} from {floor}"
        );
    }
    for partition_count in [0, -1, i32::MIN] {
        let asked = RoutedProduceRequest {
            partition_count,
            ..request(0, 0, numbered(0, &[0]))
        };
        let refused = plan(asked, &mut sessions).expect_err("refused");
        assert_eq!(refused.code, ErrorCode::InvalidRequest);
    }
}

#[test]
fn a_record_too_large_refuses_the_whole_and_the_number_has_touched_all_the_same() {
    let mut cluster = cluster();
    let routing = cluster.routing(start());
    let mut sessions = Sessions::default();
    let first = plan(request(0, 0, numbered(0, &[0, 1, 2])), &mut sessions).expect("split");
    let passed = Checked::Passed { partition_count: 4 };
    assert_eq!(first.unchecked.check(&first.held, &routing), passed);
    let largest = first.held.iter().map(|part| part.records.len()).max();
    let largest = largest.expect("three parts");
    for (max, is_refused) in [(largest, false), (largest - 1, true)] {
        cluster.configure("a", MESSAGE_BYTES_MAX, &max.to_string());
        let checked = first
            .unchecked
            .check(&first.held, &cluster.routing(start()));
        let refused = match checked {
            Checked::Refused(refusal) => Some(refusal.code),
            _ => None,
        };
        assert_eq!(refused, is_refused.then_some(ErrorCode::MessageTooLarge));
    }
    let next = plan(request(1, 0, numbered(1, &[1])), &mut sessions).expect("it goes on");
    assert_eq!(parts(&next), [(1, 0)]);
}

#[test]
fn a_topic_or_partitions_that_the_image_does_not_have_are_looked_up() {
    let routing = cluster().routing(start());
    let mut sessions = Sessions::default();
    let mut asked = request(0, 0, routed_batch(1, 0, &[0], 5));
    asked.partition_count = 5;
    let grown = plan(asked, &mut sessions).expect("split");
    assert_eq!(
        grown.unchecked.check(&grown.held, &routing),
        Checked::Missing
    );
    let missing = (TopicKey::Id(TOPIC), PartitionIndex(4));
    assert_eq!(grown.unchecked.missing(), missing);
    let refused = grown.unchecked.refused_as_unknown(&routing);
    assert_eq!(refused.code, ErrorCode::InvalidRequest);
    assert_eq!(refused.text, "a has 4 partitions, not 5");
    let gone = Cluster::of_brokers(1).routing(start());
    assert_eq!(grown.unchecked.check(&grown.held, &gone), Checked::Missing);
    let refused = grown.unchecked.refused_as_unknown(&gone);
    assert_eq!(refused.code, ErrorCode::UnknownTopicId);
}

#[test]
fn only_small_records_for_many_partitions_are_charged_for_what_they_become() {
    let asked = |partition_count, records| RoutedProduceRequest {
        partition_count,
        ..request(0, 0, records)
    };
    let dust: Vec<i32> = (0..500).collect();
    let dust = routed_batch(1, 0, &dust, 500);
    assert!(dust.len() < 500 * 20);
    assert_eq!(
        parts_bytes(&asked(500, dust.clone())),
        500 * ROUTED_PART_BYTES
    );
    assert_eq!(
        parts_bytes(&asked(i32::MAX, dust.clone())),
        500 * ROUTED_PART_BYTES
    );
    for partition_count in [50, 1, 0, -1, i32::MIN] {
        assert_eq!(parts_bytes(&asked(partition_count, dust.clone())), 0);
    }
    assert_eq!(parts_bytes(&request(0, 0, numbered(0, &[1]))), 0);
    assert_eq!(
        parts_bytes(&request(0, 0, Bytes::from_static(b"no batch"))),
        0
    );
    // A header that lies is taken at its word only as far as there are bytes.
    let mut lies = numbered(0, &[1]).to_vec();
    lies[57..61].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff]);
    let most = lies.len() * ROUTED_PART_BYTES;
    assert_eq!(parts_bytes(&asked(i32::MAX, lies.into())), most);
}
