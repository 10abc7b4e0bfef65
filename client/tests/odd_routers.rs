//! The routed producer against a router that misbehaves over real sockets: every fault costs time at most, never a record,
//! nothing is doubled, and no answer makes the client panic.

mod peer;

use std::time::Duration;

use keylane_client::{
    BuildProducerError, Client, DeliveryError, DeliveryFailure, ErrorCode, Path, Producer,
    ProducerRecord,
};
use keylane_protocol::message::init_routed_producer::InitRoutedProducerResponse;

use self::peer::routed::{Bend, routed_identity};
use self::peer::{Action, Peer};

const TOPIC: &str = "orders";
const PARTITIONS: usize = 3;

async fn client(peer: &Peer) -> Client {
    let client = Client::builder()
        .seed(1)
        .request_timeout(Duration::from_secs(1));
    client.connect(peer.address).await.expect("a peer")
}

/// A producer whose batches hold a few of the records below.
async fn producer(client: &Client) -> Producer {
    let producer = client
        .producer()
        .path(Path::Routed)
        .linger(Duration::ZERO)
        .batch_size_bytes(1024);
    producer.build().await.expect("a producer")
}

async fn send(producer: &Producer, number: usize) -> keylane_client::Receipt {
    let key = format!("key-{}", number % 5);
    let value = format!("{number:0>200}");
    let record = ProducerRecord::to(TOPIC).key(&key).value(&value);
    producer.send(record).await.expect("taken")
}

/// Sends a hundred records while every request from the third to the sixth meets the same fault.
async fn check_fault_costs_only_time(fault: fn() -> Action) {
    let peer = Peer::start(TOPIC, PARTITIONS).await;
    peer.on_routed(move |number| match number {
        2..=5 => fault(),
        _ => Action::Serve,
    });
    let producer = producer(&client(&peer).await).await;
    let mut receipts = Vec::new();
    for number in 0..100 {
        receipts.push(send(&producer, number).await);
    }
    producer.close().await.expect("all written");
    let values = peer.routed_values();
    let total: usize = values.values().map(Vec::len).sum();
    assert_eq!(total, 100);
    for values in values.values() {
        let is_sorted = values.is_sorted_by(|one, other| one < other);
        assert!(is_sorted, "records are out of order");
    }
    for (number, receipt) in receipts.into_iter().enumerate() {
        let place = receipt.await.expect("written");
        let offset = place.offset.expect("told").0;
        let value = &values[&place.partition][usize::try_from(offset).expect("positive")];
        assert_eq!(value.parse::<usize>(), Ok(number));
    }
}

#[tokio::test]
async fn connections_that_break_are_followed_by_a_session_from_the_floor() {
    check_fault_costs_only_time(|| Action::WriteAndClose).await;
    check_fault_costs_only_time(|| Action::Close).await;
    check_fault_costs_only_time(|| Action::WriteAndCutAnswer(9)).await;
}

#[tokio::test]
async fn a_router_that_never_answers_is_given_up_after_the_request_timeout() {
    check_fault_costs_only_time(|| Action::Ignore).await;
}

#[tokio::test]
async fn errors_that_pass_are_waited_out() {
    check_fault_costs_only_time(|| Action::Refuse(ErrorCode::OutOfOrderSequenceNumber)).await;
    check_fault_costs_only_time(|| Action::Refuse(ErrorCode::InvalidRequest)).await;
    check_fault_costs_only_time(|| Action::Refuse(ErrorCode::UnknownTopicId)).await;
    check_fault_costs_only_time(|| Action::WriteAndRefuse(ErrorCode::RequestTimedOut)).await;
    check_fault_costs_only_time(|| Action::WriteAndRefuse(ErrorCode::NotLeaderOrFollower)).await;
}

#[tokio::test]
async fn answers_about_other_partitions_than_those_asked_about_are_no_answers() {
    check_fault_costs_only_time(|| Action::BendRouted(Bend::FirstMissing)).await;
    check_fault_costs_only_time(|| Action::BendRouted(Bend::AllMissing)).await;
    check_fault_costs_only_time(|| Action::BendRouted(Bend::OtherPartitions)).await;
    check_fault_costs_only_time(|| Action::BendRouted(Bend::More)).await;
    check_fault_costs_only_time(|| Action::BendRouted(Bend::Count(-1))).await;
    check_fault_costs_only_time(|| Action::BendRouted(Bend::Count(0))).await;
    check_fault_costs_only_time(|| Action::BendRouted(Bend::Count(i32::MAX))).await;
    check_fault_costs_only_time(|| Action::BendRouted(Bend::Count(i32::MIN))).await;
}

#[tokio::test]
async fn answers_that_are_not_the_protocol_break_the_connection() {
    check_fault_costs_only_time(|| Action::Say(b"HTTP/1.1 400 Bad Request\r\n\r\n")).await;
    check_fault_costs_only_time(|| Action::Say(&[0, 0, 0, 8, 0, 0, 1, 1, 9, 9, 9, 9])).await;
    check_fault_costs_only_time(|| Action::Say(&[127, 255, 255, 255, 0, 0, 0, 0])).await;
}

#[tokio::test]
async fn a_batch_refused_for_good_fails_alone() {
    let peer = Peer::start(TOPIC, PARTITIONS).await;
    peer.on_routed(|number| match number {
        0 => Action::Refuse(ErrorCode::InvalidRecord),
        _ => Action::Serve,
    });
    let producer = producer(&client(&peer).await).await;
    let error = send(&producer, 0).await.await.expect_err("refused");
    assert!(error.is_fatal() && !error.is_outcome_unknown(), "{error}");
    let place = send(&producer, 1).await.await.expect("written");
    assert_eq!(place.offset.map(|offset| offset.0), Some(0));
    let flushed = producer.flush().await.expect_err("one record failed");
    assert_eq!(flushed.records, 1);
    producer.flush().await.expect("a failure is told once");
}

#[tokio::test]
async fn a_batch_that_may_be_written_is_never_said_not_to_be() {
    let peer = Peer::start(TOPIC, PARTITIONS).await;
    peer.on_routed(|_| Action::WriteAndRefuse(ErrorCode::RequestTimedOut));
    let client = client(&peer).await;
    let producer = client.producer().path(Path::Routed).linger(Duration::ZERO);
    let producer = producer.delivery_timeout(Duration::from_millis(700));
    let producer = producer.build().await.expect("a producer");
    let error = send(&producer, 0).await.await.expect_err("given up");
    let DeliveryError::OutcomeUnknown { cause, .. } = &error else {
        panic!("{error}");
    };
    assert!(
        matches!(cause, DeliveryFailure::TimedOut { last: Some(_), .. }),
        "{error}"
    );
    assert!(peer.routed_requests() > 1);
}

#[tokio::test]
async fn a_topic_that_is_gone_fails_what_was_sent_to_it() {
    let peer = Peer::start(TOPIC, PARTITIONS).await;
    peer.on_routed(|number| match number {
        0 => Action::Serve,
        _ => Action::Refuse(ErrorCode::UnknownTopicId),
    });
    let client = client(&peer).await;
    let producer = client.producer().path(Path::Routed).create_topics(false);
    let producer = producer.linger(Duration::ZERO).build().await;
    let producer = producer.expect("a producer");
    send(&producer, 0).await.await.expect("written");
    peer.hide_topic(true);
    let error = send(&producer, 1).await.await.expect_err("gone");
    assert!(
        matches!(error.cause(), DeliveryFailure::TopicGone { .. }),
        "{error}"
    );
    let record = ProducerRecord::to(TOPIC).value("v");
    assert!(
        producer.send(record).await.is_err(),
        "there is no such topic"
    );
}

type Answer = fn() -> InitRoutedProducerResponse;

#[tokio::test]
async fn ids_that_no_routed_producer_can_use_are_refused_in_words() {
    let answers: [(Answer, &str); 4] = [
        (
            || InitRoutedProducerResponse {
                expiry_ms: 479_999,
                ..routed_identity()
            },
            "forgotten",
        ),
        (
            || InitRoutedProducerResponse {
                expiry_ms: -1,
                ..routed_identity()
            },
            "forgotten",
        ),
        (
            || InitRoutedProducerResponse {
                producer_id: keylane_protocol::identifiers::ProducerId(7),
                ..routed_identity()
            },
            "not one of a routed producer",
        ),
        (
            || InitRoutedProducerResponse {
                error_code: ErrorCode::ClusterAuthorizationFailed,
                error_message: Some("ask somebody else".into()),
                ..Default::default()
            },
            "ask somebody else",
        ),
    ];
    for (answer, words) in answers {
        let peer = Peer::start(TOPIC, PARTITIONS).await;
        peer.on_routed(|_| Action::Serve);
        peer.on_routed_identity(move |_| answer());
        let built = client(&peer).await.producer().build().await;
        let error = built.expect_err("it cannot be used");
        assert!(error.to_string().contains(words), "{error}");
        assert!(!error.is_retriable());
        let is_known = matches!(
            error,
            BuildProducerError::Settings { .. } | BuildProducerError::Refused { .. }
        );
        assert!(is_known, "{error}");
    }
}
