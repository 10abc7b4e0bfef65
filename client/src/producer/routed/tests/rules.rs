//! The rules of a routed client, one by one, against answers made by hand.

use std::sync::Arc;
use std::time::{Duration, Instant};

use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::{PartitionIndex, TopicId};
use keylane_protocol::message::routed_produce::{
    RoutedProducePartition, RoutedProduceRequest, RoutedProduceResponse,
};
use keylane_protocol::offset::{Offset, ProducerEpoch, Sequence};
use keylane_protocol::record_batch::{NewRecord, RecordBatchHeader};
use keylane_protocol::routed::{NUMBERS_MAX, PRODUCER_ID_MIN};

use super::super::{RoutedAppended, RoutedCore, RoutedEffects, RoutedSettings, Ticket};
use crate::connection::ConnectionError;
use crate::producer::error::DeliveryFailure;
use crate::producer::receipt::Receipt;

const TOPIC: &str = "orders";
const ID: TopicId = TopicId([1; 16]);
const TIMEOUT: Duration = Duration::from_secs(120);

/// A core with one topic whose batches are sent as soon as they can be.
struct Stage {
    core: RoutedCore,
    now: Instant,
    reserved: usize,
    effects: RoutedEffects,
}

/// A request as a test sees it.
#[derive(Debug)]
struct Seen {
    ticket: Ticket,
    request: RoutedProduceRequest,
}

impl Seen {
    fn header(&self) -> RecordBatchHeader {
        RecordBatchHeader::read(self.request.records.as_ref().expect("set")).expect("a batch")
    }

    fn number(&self) -> i32 {
        self.header().base_sequence.0
    }

    /// Floor, number, and whether it begins a session.
    fn shape(&self) -> (i32, i32, bool) {
        (self.request.floor.0, self.number(), self.request.is_first)
    }
}

fn settings() -> RoutedSettings {
    RoutedSettings {
        batch_size_bytes: None,
        batch_bytes_max: 1 << 20,
        max_record_bytes: 64 << 20,
        linger: Duration::ZERO,
        delivery_timeout: TIMEOUT,
        in_flight_max: 3,
        number_end: i32::MAX,
    }
}

impl Stage {
    fn new(settings: RoutedSettings, partition_count: i32) -> Self {
        let mut core = RoutedCore::new(settings, (PRODUCER_ID_MIN, ProducerEpoch(0)), 1);
        let mut effects = RoutedEffects::default();
        core.set_topic(&Arc::from(TOPIC), ID, partition_count, &mut effects);
        Self {
            core,
            now: crate::ambient::now(),
            reserved: 0,
            effects,
        }
    }

    fn append(&mut self, key: &str, value: &[u8]) -> Receipt {
        let record = NewRecord {
            key: Some(key.as_bytes()),
            value: Some(value),
            ..NewRecord::default()
        };
        let (now, reserved) = (self.now, &mut self.reserved);
        let reserve = |bytes| {
            *reserved += bytes;
            true
        };
        match self.core.append(TOPIC, &record, || now, reserve) {
            Ok(RoutedAppended::Placed { receipt, .. }) => receipt,
            other => panic!("not placed: {other:?}"),
        }
    }

    /// Appends one record and sends it, if it may be sent.
    fn send(&mut self, key: &str) -> (Receipt, Option<Seen>) {
        let receipt = self.append(key, b"v");
        self.core.seal_all();
        (receipt, self.next(1))
    }

    fn next(&mut self, connection: u64) -> Option<Seen> {
        let next = self.core.next_request(connection, self.now, false);
        next.map(|(ticket, request)| Seen { ticket, request })
    }

    fn all(&mut self, connection: u64) -> Vec<Seen> {
        std::iter::from_fn(|| self.next(connection)).collect()
    }

    fn answer(&mut self, seen: &Seen, answer: &Result<RoutedProduceResponse, ConnectionError>) {
        let effects = &mut self.effects;
        self.core.on_answer(seen.ticket, answer, self.now, effects);
        effects.settle_receipts();
        self.reserved -= std::mem::take(&mut effects.released_bytes);
    }

    fn refuse(&mut self, seen: &Seen, error_code: ErrorCode) {
        let response = RoutedProduceResponse {
            error_code,
            ..Default::default()
        };
        self.answer(seen, &Ok(response));
    }

    fn answer_parts(&mut self, seen: &Seen, parts: &[(i32, ErrorCode, i64)]) {
        let part = |&(partition, error_code, offset)| RoutedProducePartition {
            partition: PartitionIndex(partition),
            error_code,
            base_offset: Offset(offset),
            ..Default::default()
        };
        let response = RoutedProduceResponse {
            partitions: parts.iter().map(part).collect(),
            ..Default::default()
        };
        self.answer(seen, &Ok(response));
    }

    /// Answers that the batch, all of partition 0, is written.
    fn accept(&mut self, seen: &Seen) {
        self.answer_parts(seen, &[(0, ErrorCode::None, 100)]);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.core.expire(self.now, &mut self.effects);
        self.effects.settle_receipts();
        self.reserved -= std::mem::take(&mut self.effects.released_bytes);
    }
}

fn shapes(seen: &[Seen]) -> Vec<(i32, i32, bool)> {
    seen.iter().map(Seen::shape).collect()
}

/// Keys of the first two partitions of two.
fn keys() -> [String; 2] {
    [0, 1].map(|partition| {
        let keys = (0..).map(|number: i32| number.to_string());
        let is_there = |key: &String| {
            keylane_protocol::partitioner::partition_for_key(key.as_bytes(), 2).0 == partition
        };
        keys.into_iter().find(is_there).expect("there is one")
    })
}

#[test]
fn numbers_follow_one_another_and_the_first_begins_the_session() {
    let mut stage = Stage::new(settings(), 1);
    let seen: Vec<Seen> = (0..3).map(|_| stage.send("a").1.expect("room")).collect();
    assert_eq!(shapes(&seen), [(0, 0, true), (0, 1, false), (0, 2, false)]);
    assert!(stage.send("a").1.is_none(), "three are in flight");
    stage.accept(&seen[1]);
    assert_eq!(stage.next(1).expect("room").shape(), (0, 3, false));
    stage.accept(&seen[0]);
    let (_, sent) = stage.send("a");
    assert_eq!(sent.expect("room").shape(), (2, 4, false));
}

#[test]
fn after_a_failure_everything_from_the_floor_on_is_sent_again_once() {
    let mut stage = Stage::new(settings(), 1);
    let (receipts, seen): (Vec<_>, Vec<_>) = (0..3)
        .map(|_| stage.send("a"))
        .map(|(receipt, seen)| (receipt, seen.expect("room")))
        .unzip();
    stage.accept(&seen[2]);
    stage.refuse(&seen[0], ErrorCode::OutOfOrderSequenceNumber);
    assert!(stage.next(1).is_none(), "there is a pause first");
    assert!(stage.core.next_deadline(stage.now).is_some());
    stage.pass(Duration::from_secs(1));
    let again = stage.all(1);
    assert_eq!(shapes(&again), [(0, 0, true), (0, 1, false), (0, 2, false)]);
    let bytes = |seen: &Seen| seen.request.records.clone();
    assert_eq!(bytes(&again[0]), bytes(&seen[0]));
    for seen in &again {
        stage.accept(seen);
    }
    let place = receipts[2].now().expect("settled").expect("written");
    assert_eq!(place.offset, Some(Offset(100)));
    assert_eq!(stage.reserved, 0);
}

#[test]
fn answers_to_an_older_session_count_and_its_errors_do_not() {
    let mut stage = Stage::new(settings(), 1);
    let (first, a) = stage.send("a");
    let (_, b) = stage.send("a");
    let (a, b) = (a.expect("room"), b.expect("room"));
    stage.refuse(&a, ErrorCode::NotLeaderOrFollower);
    stage.pass(Duration::from_secs(1));
    let again = stage.all(1);
    assert_eq!(again.len(), 2);
    stage.refuse(&b, ErrorCode::OutOfOrderSequenceNumber);
    assert_eq!(stage.send("a").1.expect("the session goes on").number(), 2);
    stage.accept(&a);
    assert!(first.now().expect("settled").is_ok());
}

#[test]
fn another_connection_is_another_session() {
    let mut stage = Stage::new(settings(), 1);
    let (_, a) = stage.send("a");
    let _ = stage.send("a");
    stage.accept(&a.expect("room"));
    assert_eq!(shapes(&stage.all(2)), [(1, 1, true)]);
    assert!(stage.next(2).is_none(), "each number once");
}

#[test]
fn memory_counts_until_the_floor_has_passed() {
    let mut stage = Stage::new(settings(), 1);
    let (_, a) = stage.send("a");
    let (_, b) = stage.send("a");
    let reserved = stage.reserved;
    stage.accept(&b.expect("room"));
    assert_eq!(stage.reserved, reserved, "it may have to be sent again");
    stage.accept(&a.expect("room"));
    assert_eq!(stage.reserved, 0);
}

#[test]
fn the_window_is_a_span_of_numbers() {
    let mut stage = Stage::new(settings(), 1);
    let (_, first) = stage.send("a");
    for _ in 1..NUMBERS_MAX {
        stage.pass(TIMEOUT / 1024);
        let (_, seen) = stage.send("a");
        stage.accept(&seen.expect("room"));
    }
    assert!(stage.send("a").1.is_none(), "1,024 from the floor on");
    stage.accept(&first.expect("room"));
    let next = stage.next(1).expect("the floor has moved");
    assert_eq!(next.shape(), (NUMBERS_MAX, NUMBERS_MAX, false));
}

#[test]
fn the_window_is_a_span_of_bytes() {
    let mut stage = Stage::new(settings(), 1);
    let (_, first) = stage.send("a");
    for _ in 0..31 {
        drop(stage.append("a", &vec![0; 1 << 20]));
        let seen = stage.next(1).expect("room");
        stage.accept(&seen);
    }
    drop(stage.append("a", &vec![0; 1 << 20]));
    assert!(stage.next(1).is_none(), "32 MiB from the floor on");
    stage.accept(&first.expect("room"));
    assert!(stage.next(1).is_some());
}

#[test]
fn one_refused_out_of_turn_is_a_barrier_until_the_floor_has_passed_it() {
    let mut stage = Stage::new(settings(), 1);
    let (_, a) = stage.send("a");
    let (refused, b) = stage.send("a");
    let (_, c) = stage.send("a");
    let (a, c) = (a.expect("room"), c.expect("room"));
    stage.refuse(&b.expect("room"), ErrorCode::MessageTooLarge);
    let error = refused.now().expect("settled").expect_err("refused");
    assert!(error.is_fatal(), "{error}");
    assert_eq!(shapes(&stage.all(1)), [(0, 0, true)], "not beyond number 1");
    stage.refuse(&c, ErrorCode::OutOfOrderSequenceNumber);
    stage.accept(&a);
    assert_eq!(shapes(&stage.all(1)), [(2, 2, false)]);
}

#[test]
fn batches_are_given_up_the_oldest_first_and_perhaps_written() {
    let mut stage = Stage::new(settings(), 1);
    let (first, a) = stage.send("a");
    stage.pass(Duration::from_secs(60));
    let (second, _) = stage.send("a");
    let unsent = stage.append("a", b"v");
    stage.refuse(&a.expect("room"), ErrorCode::NotLeaderOrFollower);
    stage.pass(Duration::from_secs(60));
    let error = first.now().expect("given up").expect_err("given up");
    assert!(error.is_outcome_unknown(), "{error}");
    assert!(second.now().is_none());
    let again = stage.all(1);
    assert_eq!(again[0].shape(), (1, 1, true), "the floor has passed it");
    stage.pass(Duration::from_secs(60));
    assert!(second.now().expect("given up").is_err());
    assert!(unsent.now().expect("given up").is_err());
    assert_eq!(stage.reserved, 0);
}

#[test]
fn a_batch_that_waits_takes_records_for_a_quarter_of_its_time() {
    let mut stage = Stage::new(settings(), 1);
    for _ in 0..3 {
        drop(stage.send("a"));
    }
    let early = [stage.append("a", b"v"), {
        stage.pass(TIMEOUT / 5);
        stage.append("a", b"v")
    }];
    let at = stage.core.next_deadline(stage.now).expect("it closes");
    stage.pass(at - stage.now);
    let late = stage.append("a", b"v");
    stage.pass(TIMEOUT * 3 / 4);
    assert!(early.iter().all(|receipt| receipt.now().is_some()));
    assert!(late.now().is_none(), "it has its own time");
}

#[test]
fn what_was_never_sent_is_certainly_not_written() {
    let mut stage = Stage::new(settings(), 1);
    let (receipt, seen) = stage.send("a");
    let ticket = seen.expect("room").ticket;
    let error = ConnectionError::ShutDown;
    let (now, effects) = (stage.now, &mut stage.effects);
    stage.core.on_not_sent(ticket, error, now, effects);
    stage.pass(TIMEOUT);
    let error = receipt.now().expect("given up").expect_err("given up");
    assert!(error.is_retriable(), "{error}");
}

#[test]
fn a_batch_is_acknowledged_when_all_its_parts_are() {
    let mut stage = Stage::new(settings(), 2);
    let [zero, one] = keys();
    let receipts = [&one, &zero, &one, &one].map(|key| stage.append(key, b"v"));
    let seen = stage.next(1).expect("room");
    let none = ErrorCode::None;
    stage.answer_parts(&seen, &[(0, none, 7), (1, ErrorCode::RequestTimedOut, -1)]);
    let known = receipts.each_ref().map(|receipt| receipt.now().is_some());
    assert_eq!(
        known,
        [false, true, false, false],
        "what is written is told"
    );
    assert!(stage.core.has_unsettled());
    stage.pass(Duration::from_secs(1));
    let again = stage.next(1).expect("another session");
    stage.answer_parts(
        &again,
        &[(0, ErrorCode::NotLeaderOrFollower, -1), (1, none, 50)],
    );
    let places = receipts.map(|receipt| {
        let place = receipt.now().expect("settled").expect("written");
        (place.partition.0, place.offset.map(|offset| offset.0))
    });
    assert_eq!(
        places,
        [(1, Some(50)), (0, Some(7)), (1, Some(51)), (1, Some(52))]
    );
}

/// The parts of a batch of both partitions, the second of which is in this way.
fn second_is(error_code: ErrorCode) -> [(i32, ErrorCode, i64); 2] {
    [(0, ErrorCode::None, 7), (1, error_code, -1)]
}

#[test]
fn a_partition_that_is_away_holds_up_no_other() {
    let mut stage = Stage::new(settings(), 2);
    let [zero, one] = keys();
    let away = stage.append(&one, b"v");
    drop(stage.append(&zero, b"v"));
    let seen = stage.next(1).expect("room");
    stage.answer_parts(&seen, &second_is(ErrorCode::NotLeaderOrFollower));
    for number in 1..40 {
        let (receipt, seen) = stage.send(&zero);
        let seen = seen.expect("the session goes on");
        assert_eq!(seen.shape(), (0, number, false));
        stage.accept(&seen);
        assert!(receipt.now().expect("settled").is_ok());
    }
    assert!(away.now().is_none());
    stage.pass(Duration::from_secs(1));
    assert_eq!(stage.all(1)[0].shape(), (0, 0, true), "it is tried again");
}

#[test]
fn a_leader_that_has_missed_a_number_brings_about_a_session_from_the_floor() {
    let mut stage = Stage::new(settings(), 2);
    let [zero, one] = keys();
    for _ in 0..8 {
        let _ = (stage.append(&zero, b"v"), stage.append(&one, b"v"));
        stage.core.seal_all();
        for seen in stage.all(1) {
            stage.answer_parts(&seen, &second_is(ErrorCode::NotLeaderOrFollower));
        }
        stage.pass(Duration::from_secs(5));
    }
    for seen in stage.all(1) {
        stage.answer_parts(&seen, &second_is(ErrorCode::NotLeaderOrFollower));
    }
    let (_, seen) = stage.send(&one);
    let behind = [(1, ErrorCode::OutOfOrderSequenceNumber, -1)];
    stage.answer_parts(&seen.expect("the session goes on"), &behind);
    stage.pass(Duration::from_millis(50));
    assert_eq!(
        stage.all(1)[0].shape(),
        (0, 0, true),
        "without a long pause"
    );
}

#[test]
fn numbers_last_for_as_long_as_the_floor_may_stand() {
    let mut stage = Stage::new(settings(), 2);
    let [zero, one] = keys();
    let (_, seen) = stage.send(&one);
    stage.answer_parts(
        &seen.expect("room"),
        &[second_is(ErrorCode::NotLeaderOrFollower)[1]],
    );
    let step = TIMEOUT / 10_000;
    let mut numbers = Vec::new();
    for _ in 1..10_000 {
        let receipt = stage.append(&zero, b"v");
        while let Some(seen) = stage.next(1) {
            let is_away = seen.number() == 0;
            let away = [(1, ErrorCode::NotLeaderOrFollower, -1)];
            let there = [(0, ErrorCode::None, 7)];
            stage.answer_parts(&seen, if is_away { &away } else { &there });
            numbers.push(seen.number());
        }
        let waits = receipt.now().is_none();
        let deadline = stage.core.next_deadline(stage.now);
        assert!(!waits || deadline.is_some_and(|at| at - stage.now <= TIMEOUT / 500));
        stage.pass(step);
    }
    let last = numbers.iter().max().copied();
    assert!(last > Some(1000) && last < Some(NUMBERS_MAX), "{last:?}");
}

#[test]
fn a_part_refused_for_good_fails_alone() {
    let mut stage = Stage::new(settings(), 2);
    let [zero, one] = keys();
    let receipts = [&zero, &one].map(|key| stage.append(key, b"v"));
    let seen = stage.next(1).expect("room");
    stage.answer_parts(
        &seen,
        &[(0, ErrorCode::None, 7), (1, ErrorCode::InvalidRecord, -1)],
    );
    assert!(receipts[0].now().expect("settled").is_ok());
    let error = receipts[1].now().expect("settled").expect_err("refused");
    assert!(error.is_fatal(), "{error}");
    let (records, _) = stage.core.take_failed().expect("one failed");
    assert_eq!(records, 1);
}

#[test]
fn bent_answers_end_the_session_and_nothing_else() {
    let none = ErrorCode::None;
    let bent: [&[(i32, ErrorCode, i64)]; 4] = [
        &[],
        &[(1, none, 3)],
        &[(-7, none, 3), (i32::MAX, none, i64::MAX)],
        &[(5, none, 3), (5, none, 3), (5, none, 3)],
    ];
    for parts in bent {
        let mut stage = Stage::new(settings(), 1);
        let (receipt, seen) = stage.send("a");
        stage.answer_parts(&seen.expect("room"), parts);
        assert!(receipt.now().is_none(), "{parts:?}");
        stage.pass(Duration::from_secs(1));
        let again = stage.next(1).expect("another session");
        stage.accept(&again);
        stage.accept(&again);
        assert!(receipt.now().expect("settled").is_ok());
        assert_eq!(stage.reserved, 0);
    }
}

#[test]
fn an_offset_that_no_partition_can_have_is_survived() {
    let mut stage = Stage::new(settings(), 1);
    let receipts = [(); 2].map(|()| stage.append("a", b"v"));
    let seen = stage.next(1).expect("room");
    stage.answer_parts(&seen, &[(0, ErrorCode::None, i64::MAX)]);
    let offsets = receipts.map(|receipt| receipt.now().expect("settled").expect("written").offset);
    assert_eq!(offsets, [Some(Offset(i64::MAX)), None]);
}

#[test]
fn partitions_added_count_for_numbers_not_given_yet() {
    let mut stage = Stage::new(settings(), 2);
    let (_, first) = stage.send("a");
    let first = first.expect("room");
    let response = |partition_count| RoutedProduceResponse {
        error_code: ErrorCode::RequestTimedOut,
        partition_count,
        ..Default::default()
    };
    for bent in [-1, 0, i32::MIN, i32::MAX, 1, 5] {
        stage.answer(&first, &Ok(response(bent)));
    }
    stage.pass(Duration::from_secs(1));
    let (_, again) = stage.send("a");
    assert_eq!(again.expect("room").request.partition_count, 2);
    assert_eq!(stage.next(1).expect("room").request.partition_count, 5);
}

#[test]
fn an_epoch_ends_with_all_topics_drained() {
    let mut settings = settings();
    settings.number_end = 2;
    let mut stage = Stage::new(settings, 1);
    let other = Arc::from("other");
    let other_id = TopicId([2; 16]);
    stage
        .core
        .set_topic(&other, other_id, 1, &mut stage.effects);
    let record = NewRecord {
        value: Some(b"v"),
        ..NewRecord::default()
    };
    let now = stage.now;
    let placed = stage.core.append("other", &record, || now, |_| true);
    assert!(matches!(placed, Ok(RoutedAppended::Placed { .. })));
    let slow = stage.next(1).expect("room");
    let (_, a) = stage.send("a");
    let (_, b) = stage.send("a");
    let (_, none) = stage.send("a");
    assert!(none.is_none(), "the epoch's numbers are used up");
    stage.accept(&a.expect("room"));
    stage.accept(&b.expect("room"));
    assert!(stage.next(1).is_none(), "the other topic is not drained");
    stage.reserved += 512;
    stage.accept(&slow);
    assert!(stage.effects.frees_all);
    let next = stage.next(1).expect("the next epoch");
    assert_eq!(next.shape(), (0, 0, true));
    assert_eq!(next.header().producer_epoch, ProducerEpoch(1));
    // What comes late from the epoch before says nothing about this one.
    stage.accept(&slow);
    assert_eq!(stage.send("a").1.expect("room").request.floor, Sequence(0));
}

#[test]
fn a_fenced_id_is_drained_and_replaced() {
    let mut stage = Stage::new(settings(), 1);
    let (receipt, seen) = stage.send("a");
    stage.answer_parts(
        &seen.expect("room"),
        &[(0, ErrorCode::InvalidProducerEpoch, -1)],
    );
    assert!(receipt.now().expect("settled").is_err());
    assert!(stage.effects.needs_identity);
    assert!(stage.send("a").1.is_none());
    let id = keylane_protocol::identifiers::ProducerId(PRODUCER_ID_MIN.0 + 5);
    stage
        .core
        .set_identity((id, ProducerEpoch(0)), &mut stage.effects);
    assert_eq!(stage.next(1).expect("room").header().producer_id, id);
}

#[test]
fn a_topic_created_anew_fails_what_has_a_number_and_keeps_what_has_none() {
    let mut stage = Stage::new(settings(), 1);
    let (sent, seen) = stage.send("a");
    let unsent = stage.append("a", b"v");
    stage.refuse(&seen.expect("room"), ErrorCode::UnknownTopicId);
    assert!(stage.effects.doubts_topic);
    let new = TopicId([9; 16]);
    stage
        .core
        .set_topic(&Arc::from(TOPIC), new, 1, &mut stage.effects);
    stage.effects.settle_receipts();
    let error = sent.now().expect("settled").expect_err("gone");
    assert!(matches!(error.cause(), DeliveryFailure::TopicGone { id } if *id == ID));
    assert!(
        error.is_retriable(),
        "it never reached a partition: {error}"
    );
    let next = stage.next(1).expect("of the new topic");
    assert_eq!((next.shape(), next.request.topic_id), ((0, 0, true), new));
    stage.reserved -= std::mem::take(&mut stage.effects.released_bytes);
    stage.accept(&next);
    assert!(unsent.now().expect("settled").is_ok());
    assert_eq!(stage.reserved, 0);
}

#[test]
fn a_batch_that_waits_for_answers_grows_beyond_its_target() {
    let mut settings = settings();
    settings.linger = Duration::from_secs(1);
    settings.in_flight_max = 1;
    let mut stage = Stage::new(settings, 1);
    let fill = |stage: &mut Stage, bytes: usize| {
        for _ in 0..bytes >> 10 {
            drop(stage.append("a", &[0; 1 << 10]));
        }
    };
    fill(&mut stage, 60 << 10);
    assert!(stage.next(1).is_none(), "it lingers");
    fill(&mut stage, 8 << 10);
    let first = stage.next(1).expect("it is full");
    fill(&mut stage, 3 << 20);
    assert!(stage.next(1).is_none(), "one in flight");
    stage.accept(&first);
    let second = stage.next(1).expect("room");
    let size = second.request.records.as_ref().expect("set").len();
    assert!((1000 << 10..=1 << 20).contains(&size), "{size}");
}
