//! Parts of routed batches as routers pass them on: what is new is appended once, and everything else has its own answer.

mod kit;

use std::time::Duration;

use bytes::Bytes;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::ProducerId;
use keylane_protocol::link::Lane;
use keylane_protocol::link::append::{Outcome, SubBatch};
use keylane_protocol::message::init_routed_producer::InitRoutedProducerRequest;
use keylane_protocol::message::metadata::{MetadataRequest, MetadataRequestTopic};
use keylane_protocol::offset::{Offset, ProducerEpoch, Sequence};
use keylane_protocol::record_batch::BatchProducer;
use keylane_protocol::routed::{NUMBERS_MAX, PRODUCER_ID_MIN};

use kit::link::{Peer, To, sub_batch};
use kit::{TestBroker, batch, batch_of, values};

const NONE: i32 = -1;

/// A router's lane to a partition, and a producer that sends through it.
struct Sender {
    peer: Peer,
    lane: Lane,
    to: To,
    id: ProducerId,
    asked: u64,
}

/// What a router tells of a part, and its records.
#[derive(Clone, Copy)]
struct Part {
    epoch: i16,
    number: i32,
    previous: i32,
    floor: i32,
    value: &'static str,
}

/// Returns a part of the first epoch.
fn part(number: i32, previous: i32, floor: i32) -> Part {
    Part {
        epoch: 0,
        number,
        previous,
        floor,
        value: "value",
    }
}

impl Sender {
    /// Begins to send to the only partition of the topic `t`.
    fn new(broker: &TestBroker) -> Self {
        let topic = MetadataRequestTopic {
            name: Some("t".into()),
            ..MetadataRequestTopic::default()
        };
        let request = MetadataRequest {
            topics: Some(vec![topic]),
            ..MetadataRequest::default()
        };
        let metadata = broker.connect().ask(&request, 12);
        let topic = &metadata.topics[0];
        let mut peer = Peer::connect(broker.internal_address());
        let lane = peer.open_lane();
        Self {
            to: To {
                topic_id: topic.topic_id,
                partition: 0,
                leader_epoch: topic.partitions[0].leader_epoch,
            },
            peer,
            lane,
            id: PRODUCER_ID_MIN,
            asked: 0,
        }
    }

    fn records(&self, part: Part) -> Bytes {
        let producer = BatchProducer {
            id: self.id,
            epoch: ProducerEpoch(part.epoch),
            base_sequence: Sequence(part.number),
        };
        batch_of(producer, 1_000, &[part.value])
    }

    fn sub_batch(&self, part: Part) -> SubBatch {
        SubBatch {
            floor: Sequence(part.floor),
            previous: Sequence(part.previous),
            ..sub_batch(self.lane, self.to, self.records(part))
        }
    }

    /// Queues a sub-batch; returns who asks for its outcome.
    fn queue(&mut self, sub_batch: SubBatch) -> u64 {
        self.asked += 1;
        let deadline = kit::link::now() + Duration::from_secs(20);
        let queued = self.peer.dialer.append(sub_batch, deadline, self.asked);
        queued.expect("queued");
        self.asked
    }

    fn send_raw(&mut self, sub_batch: SubBatch) -> Outcome {
        let asker = self.queue(sub_batch);
        self.peer.outcome(asker)
    }

    fn send(&mut self, part: Part) -> (ErrorCode, i64) {
        let outcome = self.send_raw(self.sub_batch(part));
        assert_eq!(outcome.error_code.is_none(), outcome.words.is_none());
        (outcome.error_code, outcome.base_offset.0)
    }

    #[track_caller]
    fn append(&mut self, part: Part, offset: i64) {
        assert_eq!(self.send(part), (ErrorCode::None, offset));
    }

    #[track_caller]
    fn assert_refused(&mut self, part: Part, code: ErrorCode) {
        assert_eq!(self.send(part), (code, -1));
    }
}

fn start() -> (TestBroker, Sender) {
    let broker = TestBroker::start();
    broker.create_topic("t", 1);
    let sender = Sender::new(&broker);
    (broker, sender)
}

/// Returns how many records the partition holds.
fn count(broker: &TestBroker) -> usize {
    values(&broker.connect().fetch("t", 0, 0, 0)).len()
}

#[test]
fn a_repeated_part_is_answered_with_its_first_place_and_written_once() {
    let (broker, mut sender) = start();
    sender.append(part(0, NONE, 0), 0);
    sender.append(part(3, 0, 0), 1);
    sender.append(part(0, NONE, 0), 0);
    sender.append(part(3, NONE, 3), 1);
    // Without waiting: the second is judged before the first is durable.
    let (one, other) = (sender.sub_batch(part(4, 3, 3)), part(4, NONE, 4));
    let first = sender.queue(one);
    let second = sender.queue(sender.sub_batch(other));
    for asker in [first, second] {
        let outcome = sender.peer.outcome(asker);
        assert_eq!(outcome.error_code, ErrorCode::None);
        assert_eq!(outcome.base_offset, Offset(2));
    }
    assert_eq!(count(&broker), 3);
}

#[test]
fn a_hole_an_old_epoch_and_other_records_are_refused_and_the_producer_goes_on() {
    let (broker, mut sender) = start();
    let in_epoch = |epoch, part| Part { epoch, ..part };
    sender.append(in_epoch(1, part(5, NONE, 5)), 0);
    let out_of_order = ErrorCode::OutOfOrderSequenceNumber;
    sender.assert_refused(in_epoch(1, part(7, 6, 5)), out_of_order);
    sender.assert_refused(in_epoch(1, part(6, NONE, 5)), out_of_order);
    sender.assert_refused(in_epoch(1, part(4, NONE, 4)), out_of_order);
    sender.assert_refused(in_epoch(2, part(3, 2, 0)), out_of_order);
    sender.assert_refused(part(6, 5, 5), ErrorCode::InvalidProducerEpoch);
    let other_records = Part {
        value: "other",
        ..in_epoch(1, part(5, NONE, 5))
    };
    sender.assert_refused(other_records, ErrorCode::DuplicateSequenceNumber);
    sender.append(in_epoch(1, part(6, 5, 5)), 1);
    sender.append(in_epoch(2, part(0, NONE, 0)), 2);
    assert_eq!(count(&broker), 3);
}

#[test]
fn what_no_router_can_mean_is_refused_in_words() {
    let (broker, mut sender) = start();
    sender.append(part(0, NONE, 0), 0);
    let invalid = [
        part(NUMBERS_MAX, NONE, 0),
        part(4, NONE, 5),
        part(4, 4, 2),
        part(4, 1, 2),
        part(4, -2, 2),
        part(4, 0, -2),
        part(4, 0, NONE),
        part(i32::MAX, NONE, 0),
    ];
    for part in invalid {
        sender.assert_refused(part, ErrorCode::InvalidRequest);
    }
    for part in [part(-1, NONE, 0), part(i32::MIN, NONE, 0)] {
        sender.assert_refused(part, ErrorCode::InvalidRecord);
    }
    let negative_epoch = Part {
        epoch: -1,
        ..part(1, 0, 0)
    };
    sender.assert_refused(negative_epoch, ErrorCode::InvalidRecord);
    for acks in [0, 1, 2] {
        let mut asked = sender.sub_batch(part(1, 0, 0));
        asked.acks = acks;
        if acks == 0 {
            let deadline = kit::link::now() + Duration::from_secs(20);
            let queued = sender.peer.dialer.append_unanswered(asked, deadline);
            queued.expect("queued");
            continue;
        }
        let outcome = sender.send_raw(asked);
        assert_eq!(outcome.error_code, ErrorCode::InvalidRequiredAcks);
    }
    sender.append(part(NUMBERS_MAX, NONE, 1), 1);
    assert_eq!(count(&broker), 2);
}

#[test]
fn a_routed_id_belongs_to_a_routed_part_and_no_other_does() {
    let (broker, mut sender) = start();
    let mut plain = sender.sub_batch(part(0, NONE, 0));
    (plain.floor, plain.previous) = (Sequence::NONE, Sequence::NONE);
    let outcome = sender.send_raw(plain);
    assert_eq!(outcome.error_code, ErrorCode::InvalidProducerIdMapping);
    for id in [ProducerId(PRODUCER_ID_MIN.0 - 1), ProducerId(7)] {
        sender.id = id;
        let code = ErrorCode::InvalidProducerIdMapping;
        sender.assert_refused(part(0, NONE, 0), code);
    }
    let nobody = SubBatch {
        floor: Sequence(0),
        ..sub_batch(sender.lane, sender.to, batch(&["x"]))
    };
    let outcome = sender.send_raw(nobody);
    assert_eq!(outcome.error_code, ErrorCode::InvalidProducerIdMapping);
    sender.id = PRODUCER_ID_MIN;
    let records = sender.records(part(0, NONE, 0));
    let answer = broker.connect().produce("t", 0, records);
    assert_eq!(answer.error_code, ErrorCode::InvalidProducerIdMapping);
    assert_eq!(count(&broker), 0);
}

#[test]
fn numbers_are_known_after_a_crash_and_after_a_clean_stop() {
    let (mut broker, mut sender) = start();
    sender.append(part(0, NONE, 0), 0);
    sender.append(part(1, 0, 0), 1);
    for (clean, next) in [(false, 2), (true, 3), (false, 4), (true, 5)] {
        if clean {
            broker.stop();
        } else {
            broker.crash();
        }
        broker.start_again();
        sender = Sender::new(&broker);
        sender.append(part(0, NONE, 0), 0);
        sender.append(part(next - 1, NONE, 0), i64::from(next) - 1);
        let hole = part(next + 1, next, 0);
        sender.assert_refused(hole, ErrorCode::OutOfOrderSequenceNumber);
        let other_records = Part {
            value: "other",
            ..part(0, NONE, 0)
        };
        sender.assert_refused(other_records, ErrorCode::DuplicateSequenceNumber);
        sender.append(part(next, next - 1, 0), i64::from(next));
    }
}

#[test]
fn routed_ids_are_given_only_where_producers_are_remembered_for_a_day() {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let request = InitRoutedProducerRequest {
        delivery_timeout_ms: 1_000,
    };
    for (expiry, code) in [
        (DAY, ErrorCode::None),
        (DAY / 2, ErrorCode::PolicyViolation),
    ] {
        let broker = TestBroker::start_with(|config| config.limits.producer_expiry = expiry);
        let mut peer = Peer::connect(broker.internal_address());
        let lane = peer.open_lane();
        let answer = peer.ask(lane, &request, 0);
        assert_eq!(answer.error_code, code);
        assert_eq!(answer.error_message.is_some(), !code.is_none());
    }
}
