//! The client against a peer that misbehaves over real sockets: every fault costs time at most, never a record, and what
//! cannot be known is said to be unknown.

mod peer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use keylane_client::{
    Acks, Client, ConnectError, DeliveryError, DeliveryFailure, ErrorCode, MetadataError, Offset,
    OutOfRange, Producer, ProducerRecord, ReadError, Reader, SendError, StartAt,
};

use self::peer::{Action, Peer};

const TOPIC: &str = "orders";

async fn client(peer: &Peer) -> Client {
    let client = Client::builder()
        .seed(1)
        .request_timeout(Duration::from_secs(1));
    client.connect(peer.address).await.expect("a peer")
}

/// A producer whose batches hold one or two of the records below.
async fn producer(client: &Client) -> Producer {
    let producer = client
        .producer()
        .linger(Duration::ZERO)
        .batch_size_bytes(1024);
    producer.build().await.expect("a producer")
}

async fn send_all(producer: &Producer, count: usize) {
    for number in 0..count {
        let value = format!("{number:0>500}");
        let record = ProducerRecord::to(TOPIC).partition(0).value(&value);
        drop(producer.send(record).await.expect("taken"));
    }
}

fn assert_written_once_in_order(peer: &Peer, count: usize) {
    let values = peer.values(0);
    let numbers: Vec<usize> = values
        .iter()
        .map(|value| {
            std::str::from_utf8(value)
                .expect("text")
                .parse()
                .expect("a number")
        })
        .collect();
    assert_eq!(numbers, (0..count).collect::<Vec<usize>>());
}

/// Sends a hundred records while every request from the third to the sixth meets the same fault.
async fn check_fault_costs_only_time(fault: fn() -> Action) {
    let peer = Peer::start(TOPIC, 1).await;
    peer.on_produce(move |number| match number {
        2..=5 => fault(),
        _ => Action::Serve,
    });
    let producer = producer(&client(&peer).await).await;
    send_all(&producer, 100).await;
    producer.close().await.expect("all written");
    assert_written_once_in_order(&peer, 100);
    assert_eq!(peer.epochs(), [0], "no fault that passes needs a new epoch");
}

#[tokio::test]
async fn a_lost_answer_is_answered_by_the_repetition() {
    check_fault_costs_only_time(|| Action::WriteAndClose).await;
}

#[tokio::test]
async fn an_answer_cut_in_its_middle_is_no_answer() {
    check_fault_costs_only_time(|| Action::WriteAndCutAnswer(9)).await;
}

#[tokio::test]
async fn a_lost_request_is_sent_again_before_those_behind_it() {
    check_fault_costs_only_time(|| Action::Close).await;
}

#[tokio::test]
async fn a_peer_that_never_answers_is_given_up_after_the_request_timeout() {
    check_fault_costs_only_time(|| Action::Ignore).await;
}

#[tokio::test]
async fn errors_that_pass_are_waited_out() {
    check_fault_costs_only_time(|| Action::Refuse(ErrorCode::NotLeaderOrFollower)).await;
    check_fault_costs_only_time(|| Action::Refuse(ErrorCode::NotEnoughReplicas)).await;
    check_fault_costs_only_time(|| Action::WriteAndRefuse(ErrorCode::RequestTimedOut)).await;
    check_fault_costs_only_time(|| Action::WriteAndRefuse(ErrorCode::UnknownServerError)).await;
}

#[tokio::test]
async fn a_slow_peer_holds_up_nobody_for_good() {
    check_fault_costs_only_time(|| Action::ServeAfter(Duration::from_millis(100))).await;
}

#[tokio::test]
async fn answers_that_are_not_the_protocol_break_the_connection() {
    check_fault_costs_only_time(|| Action::Say(b"HTTP/1.1 400 Bad Request\r\n\r\n")).await;
    check_fault_costs_only_time(|| Action::Say(&[0, 0, 0, 8, 0, 0, 1, 1, 9, 9, 9, 9])).await;
    check_fault_costs_only_time(|| Action::Say(&[255, 255, 255, 255, 0, 0, 0, 0])).await;
    check_fault_costs_only_time(|| Action::Say(&[127, 255, 255, 255, 0, 0, 0, 0])).await;
    check_fault_costs_only_time(|| Action::Say(&[0, 0, 0, 2, 0, 0])).await;
}

#[tokio::test]
async fn a_batch_refused_for_good_fails_alone() {
    let peer = Peer::start(TOPIC, 1).await;
    peer.on_produce(|number| match number {
        0 => Action::Refuse(ErrorCode::InvalidRecord),
        _ => Action::Serve,
    });
    let producer = producer(&client(&peer).await).await;
    let first = producer.send(ProducerRecord::to(TOPIC).value("bad")).await;
    let error = first.expect("taken").await.expect_err("refused");
    assert!(error.is_fatal() && !error.is_outcome_unknown(), "{error}");
    assert!(error.to_string().contains("INVALID_RECORD"), "{error}");
    let next = producer.send(ProducerRecord::to(TOPIC).value("good")).await;
    let place = next.expect("taken").await.expect("written");
    assert_eq!(place.offset, Some(Offset(0)));
    assert_eq!(
        peer.epochs(),
        [1],
        "the sequence of the refused batch is never filled"
    );
    let flushed = producer.flush().await.expect_err("one record failed");
    assert_eq!(flushed.records, 1);
    producer.flush().await.expect("a failure is told once");
}

#[tokio::test]
async fn a_batch_that_may_be_written_is_never_said_not_to_be() {
    let peer = Peer::start(TOPIC, 1).await;
    peer.on_produce(|_| Action::WriteAndClose);
    let client = client(&peer).await;
    let producer = client.producer().linger(Duration::ZERO);
    let producer = producer.delivery_timeout(Duration::from_millis(300));
    let producer = producer.build().await.expect("a producer");
    let receipt = producer.send(ProducerRecord::to(TOPIC).value("v")).await;
    let error = receipt.expect("taken").await.expect_err("never answered");
    assert!(
        matches!(error, DeliveryError::OutcomeUnknown { .. }),
        "{error}"
    );
    assert!(
        matches!(error.cause(), DeliveryFailure::TimedOut { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_record_that_was_never_sent_is_said_not_to_be_written() {
    let peer = Peer::start(TOPIC, 1).await;
    peer.on_produce(|_| Action::Refuse(ErrorCode::NotEnoughReplicas));
    let client = client(&peer).await;
    let producer = client.producer().linger(Duration::ZERO);
    let producer = producer.delivery_timeout(Duration::from_millis(300));
    let producer = producer.build().await.expect("a producer");
    let receipt = producer.send(ProducerRecord::to(TOPIC).value("v")).await;
    let error = receipt.expect("taken").await.expect_err("never written");
    assert!(matches!(error, DeliveryError::NotWritten { .. }), "{error}");
    assert!(error.is_retriable(), "{error}");
}

#[tokio::test]
async fn memory_bounds_what_is_held_and_a_dropped_send_leaves_nothing() {
    let peer = Peer::start(TOPIC, 1).await;
    peer.on_produce(|_| Action::ServeAfter(Duration::from_millis(50)));
    let client = client(&peer).await;
    let producer = client
        .producer()
        .batch_size_bytes(4096)
        .max_record_bytes(2048);
    let producer = producer.memory_bytes(8192).linger(Duration::from_secs(60));
    let producer = producer.build().await.expect("a producer");
    let mut taken: usize = 0;
    let value = vec![0; 1000];
    for _ in 0..200 {
        let send = producer.send(ProducerRecord::to(TOPIC).partition(0).value(&value));
        if let Ok(receipt) = tokio::time::timeout(Duration::from_millis(1), send).await {
            drop(receipt.expect("taken"));
            taken += 1;
        }
    }
    assert!(taken < 200, "nothing ever waited");
    producer.close().await.expect("all written");
    assert_eq!(peer.values(0).len(), taken);
}

#[tokio::test]
async fn what_would_have_to_wait_is_not_taken_by_try_send() {
    let peer = Peer::start(TOPIC, 1).await;
    let client = client(&peer).await;
    let producer = client.producer().memory_bytes(2048).batch_size_bytes(1024);
    let producer = producer
        .max_record_bytes(1024)
        .linger(Duration::from_secs(60));
    let producer = producer.build().await.expect("a producer");
    let record = ProducerRecord::to(TOPIC).partition(0).value(&[0; 500]);
    assert!(
        producer.try_send(&record).expect("right").is_none(),
        "the topic is not known yet"
    );
    drop(producer.send(record.clone()).await.expect("taken"));
    let mut taken = 1;
    while let Some(receipt) = producer.try_send(&record).expect("right") {
        drop(receipt);
        taken += 1;
        assert!(taken < 10, "memory has no bound");
    }
    producer.close().await.expect("all written");
    assert_eq!(peer.values(0).len(), taken);
}

#[tokio::test]
async fn names_that_no_topic_can_have_are_refused_at_once() {
    let peer = Peer::start(TOPIC, 1).await;
    let producer = producer(&client(&peer).await).await;
    for name in ["", "../x", "a b"] {
        let refused = producer.send(ProducerRecord::to(name).value("v")).await;
        let is_named = matches!(
            refused,
            Err(SendError::Metadata(MetadataError::InvalidName(_)))
        );
        assert!(is_named, "{refused:?}");
    }
    let unknown = producer.send(ProducerRecord::to("absent").value("v")).await;
    let error = unknown.expect_err("no such topic").to_string();
    assert!(error.contains("absent"), "{error}");
}

#[tokio::test]
async fn without_acknowledgement_a_record_counts_once_it_is_handed_over() {
    let peer = Peer::start(TOPIC, 1).await;
    let client = client(&peer).await;
    let producer = client.producer().acks(Acks::None).linger(Duration::ZERO);
    let producer = producer.build().await.expect("a producer");
    let receipt = producer.send(ProducerRecord::to(TOPIC).value("v")).await;
    let place = receipt.expect("taken").await.expect("handed over");
    assert_eq!(place.offset, None);
    producer.close().await.expect("handed over");
}

#[tokio::test]
async fn without_acknowledgement_a_peer_that_reads_no_more_is_given_up() {
    let peer = Peer::start(TOPIC, 1).await;
    peer.keep_nothing();
    peer.on_produce(|number| match number {
        0 => Action::Hang,
        _ => Action::Serve,
    });
    let client = client(&peer).await;
    let producer = client.producer().acks(Acks::None);
    let producer = producer.build().await.expect("a producer");
    let value = "v".repeat(100_000);
    for _ in 0..400 {
        // More than the sockets hold.
        let record = ProducerRecord::to(TOPIC).value(&value);
        let sent = tokio::time::timeout(Duration::from_secs(20), producer.send(record)).await;
        drop(sent.expect("the memory becomes free again").expect("taken"));
    }
    let flushed = tokio::time::timeout(Duration::from_secs(20), producer.flush()).await;
    let lost = flushed.expect("in time").expect_err("some were under way");
    assert!(lost.records < 400, "{lost}");
    assert!(peer.produce_requests() > 1, "a new connection goes on");
}

#[tokio::test]
async fn a_closed_producer_takes_no_record_and_a_dropped_one_settles_its_receipts() {
    let peer = Peer::start(TOPIC, 1).await;
    let client = client(&peer).await;
    let first = producer(&client).await;
    let other = first.clone();
    first.close().await.expect("nothing to write");
    let refused = other.send(ProducerRecord::to(TOPIC).value("v")).await;
    assert!(matches!(refused, Err(SendError::Closed)), "{refused:?}");
    let lingering = client.producer().linger(Duration::from_secs(60));
    let lingering = lingering.build().await.expect("a producer");
    let receipt = lingering.send(ProducerRecord::to(TOPIC).value("v")).await;
    let receipt = receipt.expect("taken");
    drop(lingering);
    let error = receipt.await.expect_err("dropped");
    assert!(matches!(error.cause(), DeliveryFailure::Dropped), "{error}");
}

#[tokio::test]
async fn an_old_broker_is_asked_again_in_a_version_it_speaks() {
    let peer = Peer::start(TOPIC, 1).await;
    peer.speak_api_versions_up_to(2);
    let producer = producer(&client(&peer).await).await;
    send_all(&producer, 3).await;
    producer.close().await.expect("all written");
    assert_written_once_in_order(&peer, 3);
}

#[tokio::test]
async fn addresses_are_tried_until_one_answers() {
    let peer = Peer::start(TOPIC, 1).await;
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent_address = silent.local_addr().expect("bound");
    let dead = {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        closed.local_addr().expect("bound")
    };
    let quick = || Client::builder().request_timeout(Duration::from_millis(200));
    let list = format!("{dead},{silent_address},{}", peer.address);
    quick().connect(list).await.expect("the last one answers");
    let none = quick()
        .connect([dead, silent_address])
        .await
        .expect_err("nobody answers");
    assert!(
        matches!(none, ConnectError::Cluster(_)) && none.is_retriable(),
        "{none}"
    );
    assert!(
        none.to_string().contains(&silent_address.to_string()),
        "{none}"
    );
}

async fn reader(client: &Client) -> Reader {
    let reader = client.reader().partition(TOPIC, 0, StartAt::Earliest);
    reader
        .max_wait(Duration::from_millis(50))
        .build()
        .await
        .expect("a reader")
}

/// Reads fifty records while every fetch from the second to the fourth meets the same fault.
async fn check_reader_goes_on(fault: fn() -> Action) {
    let peer = Peer::start(TOPIC, 1).await;
    let client = client(&peer).await;
    let producer = producer(&client).await;
    send_all(&producer, 20).await;
    producer.flush().await.expect("written");
    peer.on_fetch(move |number| match number {
        1..=3 => fault(),
        _ => Action::Serve,
    });
    let mut reader = reader(&client).await;
    for number in 0..20 {
        assert_eq!(
            reader.next().await.expect("readable").offset,
            Offset(number)
        );
    }
    send_all(&producer, 30).await;
    for number in 20..50 {
        assert_eq!(
            reader.next().await.expect("readable").offset,
            Offset(number)
        );
    }
}

#[tokio::test]
async fn faults_that_pass_do_not_end_reading() {
    check_reader_goes_on(|| Action::Close).await;
    check_reader_goes_on(|| Action::WriteAndCutAnswer(30)).await;
    check_reader_goes_on(|| Action::Ignore).await;
    check_reader_goes_on(|| Action::Refuse(ErrorCode::NotLeaderOrFollower)).await;
    check_reader_goes_on(|| Action::Refuse(ErrorCode::UnknownTopicOrPartition)).await;
    check_reader_goes_on(|| Action::Refuse(ErrorCode::UnknownLeaderEpoch)).await;
    check_reader_goes_on(|| Action::Say(&[255, 255, 255, 255])).await;
}

#[tokio::test]
async fn a_bent_byte_is_an_error_that_names_the_place() {
    let peer = Peer::start(TOPIC, 1).await;
    let client = client(&peer).await;
    let producer = producer(&client).await;
    send_all(&producer, 1).await;
    producer.flush().await.expect("written");
    peer.on_fetch(|number| {
        if number == 0 {
            Action::Bend
        } else {
            Action::Serve
        }
    });
    let mut reader = reader(&client).await;
    let error = reader.next().await.expect_err("damaged");
    assert!(
        matches!(
            error,
            ReadError::Corrupt {
                offset: Offset(0),
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("orders-0"), "{error}");
    reader
        .seek(TOPIC, 0, StartAt::Offset(Offset(0)))
        .await
        .expect("known");
    assert_eq!(reader.next().await.expect("readable").offset, Offset(0));
}

#[tokio::test]
async fn a_topic_created_anew_is_not_read_at_old_offsets() {
    let peer = Peer::start(TOPIC, 1).await;
    let client = client(&peer).await;
    let producer = producer(&client).await;
    send_all(&producer, 2).await;
    producer.flush().await.expect("written");
    let mut reader = reader(&client).await;
    reader.next().await.expect("readable");
    reader.next().await.expect("readable");
    peer.recreate_topic();
    let error = reader.next().await.expect_err("another topic");
    assert!(matches!(error, ReadError::TopicRecreated { .. }), "{error}");
}

#[tokio::test]
async fn what_is_still_handed_out_does_not_undo_a_reset() {
    let peer = Peer::start(TOPIC, 1).await;
    let client = client(&peer).await;
    let producer = client.producer().acks(Acks::Leader).linger(Duration::ZERO);
    let producer = producer.build().await.expect("a producer");
    let send = async |value: &str| {
        let record = ProducerRecord::to(TOPIC).value(value);
        let receipt = producer.send(record).await.expect("taken");
        receipt.await.expect("written");
    };
    for _ in 0..10 {
        send("before").await;
    }
    let is_lost = Arc::new(AtomicBool::new(false));
    let says_so = Arc::clone(&is_lost);
    peer.on_fetch(move |_| match says_so.swap(false, Ordering::Relaxed) {
        true => Action::Refuse(ErrorCode::OffsetOutOfRange),
        false => Action::Serve,
    });
    let reader = client.reader().partition(TOPIC, 0, StartAt::Earliest);
    let reader = reader.out_of_range(OutOfRange::Latest);
    let mut reader = reader.build().await.expect("a reader");
    let first = reader.next().await.expect("readable");
    assert_eq!(first.offset, Offset(0));
    // The other nine have arrived, when the peer loses some and the fetch at 10 finds nothing there.
    peer.lose_batches_after(0, 5);
    is_lost.store(true, Ordering::Relaxed);
    while is_lost.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    send("after").await;
    for _ in 1..10 {
        let record = reader.next().await.expect("readable");
        assert_eq!(record.value.as_deref(), Some(&b"before"[..]));
    }
    let next = tokio::time::timeout(Duration::from_secs(5), reader.next()).await;
    let next = next.expect("it is not skipped").expect("readable");
    assert_eq!(
        (next.offset, next.value.as_deref()),
        (Offset(5), Some(&b"after"[..]))
    );
}

#[tokio::test]
async fn a_topic_that_comes_back_is_found_by_who_used_it_although_others_missed_it() {
    let peer = Peer::start(TOPIC, 1).await;
    let client = client(&peer).await;
    let producer = producer(&client).await;
    send_all(&producer, 1).await;
    producer.flush().await.expect("written");
    peer.hide_topic(true);
    peer.on_produce(|_| Action::Refuse(ErrorCode::UnknownTopicOrPartition));
    let record = ProducerRecord::to(TOPIC).partition(0).value("v");
    let receipt = producer.send(record).await.expect("taken");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let reader = client.reader().topic(TOPIC, StartAt::Earliest);
    assert!(reader.build().await.is_err(), "asked for in vain");
    peer.hide_topic(false);
    peer.on_produce(|_| Action::Serve);
    let written = tokio::time::timeout(Duration::from_secs(10), receipt).await;
    written.expect("in time").expect("written");
}

#[tokio::test]
async fn a_producer_id_that_is_refused_is_not_asked_for_in_a_loop() {
    let peer = Peer::start(TOPIC, 1).await;
    // The first id has no epoch left, and there is no second.
    peer.on_identity(|number| match number {
        0 => (ErrorCode::None, i16::MAX),
        _ => (ErrorCode::ClusterAuthorizationFailed, -1),
    });
    peer.on_produce(|_| Action::Refuse(ErrorCode::MessageTooLarge));
    let producer = producer(&client(&peer).await).await;
    send_all(&producer, 1).await;
    producer.flush().await.expect_err("refused for good");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let asked = peer.identity_requests();
    assert!((2..6).contains(&asked), "asked {asked} times");
}

#[tokio::test]
async fn many_who_miss_the_same_topic_ask_for_metadata_together() {
    let peer = Peer::start(TOPIC, 1).await;
    let client = client(&peer).await;
    let before = peer.metadata_requests();
    let producer = producer(&client).await;
    let sends = (0..50).map(|_| {
        let producer = producer.clone();
        tokio::spawn(async move {
            let record = ProducerRecord::to(TOPIC).value("v");
            producer
                .send(record)
                .await
                .expect("taken")
                .await
                .expect("written");
        })
    });
    for send in sends.collect::<Vec<_>>() {
        send.await.expect("finished");
    }
    let asked = peer.metadata_requests() - before;
    assert!(asked <= 2, "metadata was asked for {asked} times");
}
