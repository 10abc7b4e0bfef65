//! What a link hands to the shards, which are played here, and when.

use std::time::{Duration, Instant};

use keylane_protocol::api::ApiKey;
use keylane_protocol::link::append::{Append, SubBatch};
use keylane_protocol::link::{Body, Correlation, Lane};
use keylane_protocol::message::Message;
use keylane_protocol::message::fetch::{FetchPartition, FetchRequest, FetchTopic};
use keylane_protocol::offset::LeaderEpoch;
use keylane_protocol::primitive::Encoder;
use tokio::sync::{mpsc, watch};

use super::appends::{Appends, Settlement};
use super::lanes::{Waiting, Whose};
use super::{BrokerState, now, requests};
use crate::handler::fetch::tests::{MAILBOX, broker, find_nothing, image};
use crate::handler::topic_changes::Asker;
use crate::limits::LINK_IMAGE_WAIT;
use crate::partition::tests::{ID, batch};
use crate::partition::waiting::ConnectionId;
use crate::shard::request::ShardRequest;

const LANE: Lane = Lane(1);

fn sub_batch(correlation: u64, leader_epoch: i32, acks: i16) -> SubBatch {
    let records = Body::from(batch(None, 1).bytes().clone());
    SubBatch {
        lane: LANE,
        correlation: Correlation(correlation),
        time_left_ms: 10_000,
        acks,
        topic_id: ID.topic_id,
        partition: ID.partition,
        leader_epoch: LeaderEpoch(leader_epoch),
        records_length: u32::try_from(records.len()).expect("short"),
        records,
        ..SubBatch::default()
    }
}

fn take(
    appends: &mut Appends,
    broker: &BrokerState,
    sub_batches: Vec<SubBatch>,
) -> Vec<Settlement> {
    let mut settled = Vec::new();
    appends.arrived(Append { sub_batches }, now());
    appends.take(broker, now(), &mut settled);
    settled
}

fn on_image(appends: &mut Appends, broker: &BrokerState, now: Instant) -> Vec<Settlement> {
    let mut settled = Vec::new();
    appends.on_image(broker, now, &mut settled);
    settled
}

/// Returns the epochs of the batches in the next messages.
fn handed(mailbox: &mut mpsc::Receiver<ShardRequest>) -> Vec<Vec<i32>> {
    let mut messages = Vec::new();
    while let Ok(message) = mailbox.try_recv() {
        if let ShardRequest::AppendEach(each) = message {
            let epochs = each.parts.iter().map(|part| part.leader_epoch.0);
            messages.push(epochs.collect());
        }
    }
    messages
}

#[tokio::test]
async fn what_refers_to_a_newer_image_goes_in_order_when_it_is_there() {
    let (broker, mut mailbox) = broker();
    let mut appends = Appends::new();
    // The last is for the image that there is, and comes behind the others of its partition.
    let sub_batches = vec![
        sub_batch(1, 5, -1),
        sub_batch(2, 5, 0),
        sub_batch(3, -1, -1),
    ];
    assert!(take(&mut appends, &broker, sub_batches).is_empty());
    assert!(handed(&mut mailbox).is_empty() && appends.waits_for_image());
    broker.topics.store(image(4).into());
    assert!(on_image(&mut appends, &broker, now()).is_empty());
    assert!(handed(&mut mailbox).is_empty() && appends.waits_for_image());
    broker.topics.store(image(5).into());
    assert!(on_image(&mut appends, &broker, now()).is_empty());
    assert_eq!(handed(&mut mailbox), [[5, 5, -1]]);
    assert!(!appends.waits_for_image());
}

#[tokio::test]
async fn what_waits_for_an_image_too_long_is_refused_with_all_behind_it() {
    let (broker, mut mailbox) = broker();
    let mut appends = Appends::new();
    take(
        &mut appends,
        &broker,
        vec![sub_batch(1, 5, -1), sub_batch(2, -1, -1)],
    );
    let due = appends.next_deadline().expect("it waits");
    let mut settled = Vec::new();
    appends.on_time(&broker, due - Duration::from_millis(1), &mut settled);
    assert!(settled.is_empty());
    appends.on_time(&broker, due, &mut settled);
    let refused = settled.iter().filter_map(|one| one.outcome.as_ref());
    let refused: Vec<u64> = refused.map(|outcome| outcome.correlation.0).collect();
    assert_eq!(refused, [1, 2]);
    assert!(handed(&mut mailbox).is_empty() && appends.is_empty());
}

#[tokio::test]
async fn what_has_expired_while_it_waited_is_not_appended() {
    let (broker, mut mailbox) = broker();
    let mut appends = Appends::new();
    let mut hasty = sub_batch(1, 5, -1);
    hasty.time_left_ms = 100;
    take(&mut appends, &broker, vec![hasty]);
    broker.topics.store(image(5).into());
    let settled = on_image(&mut appends, &broker, now() + LINK_IMAGE_WAIT);
    assert_eq!(settled.len(), 1);
    assert!(handed(&mut mailbox).is_empty());
}

#[tokio::test]
async fn a_lane_that_closes_drops_what_has_no_place_except_what_wants_no_answer() {
    let (broker, mut mailbox) = broker();
    let mut appends = Appends::new();
    let other = SubBatch {
        lane: Lane(2),
        ..sub_batch(3, 5, -1)
    };
    let sub_batches = vec![sub_batch(1, 5, -1), sub_batch(2, 5, 0), other];
    take(&mut appends, &broker, sub_batches);
    let mut settled = Vec::new();
    appends.drop_waiting(LANE, None, &mut settled);
    assert_eq!(settled.len(), 1, "its credit comes back");
    assert!(settled[0].outcome.is_none() && settled[0].records_length > 0);
    broker.topics.store(image(5).into());
    on_image(&mut appends, &broker, now());
    assert_eq!(handed(&mut mailbox), [[5, 5]]);
}

#[tokio::test]
async fn a_full_mailbox_is_waited_for_and_order_is_kept() {
    let (broker, mut mailbox) = broker();
    for _ in 0..MAILBOX {
        let message = ShardRequest::Forget(ConnectionId(1));
        broker.shards[0].try_send(message).expect("room");
    }
    let mut appends = Appends::new();
    take(&mut appends, &broker, vec![sub_batch(1, 0, -1)]);
    assert_eq!(appends.waits_for_shard(), Some(0));
    take(&mut appends, &broker, vec![sub_batch(2, -1, -1)]);
    assert!(handed(&mut mailbox).is_empty());
    appends.hand_on(&broker);
    assert_eq!(appends.waits_for_shard(), None);
    assert_eq!(handed(&mut mailbox), [[0], [-1]]);
}

#[tokio::test]
async fn what_a_shard_drops_is_told_of_all_the_same() {
    let (broker, mailbox) = broker();
    let mut appends = Appends::new();
    take(&mut appends, &broker, vec![sub_batch(1, 0, -1)]);
    drop(mailbox);
    let mut settled = Vec::new();
    appends.take_outcomes(&broker, now(), &mut settled);
    assert_eq!(settled.len(), 1);
    take(&mut appends, &broker, vec![sub_batch(2, 0, -1)]);
    appends.take_outcomes(&broker, now(), &mut settled);
    assert_eq!(settled.len(), 2);
    assert!(appends.is_empty() && appends.waits_for_shard().is_none());
}

#[tokio::test]
async fn a_fetch_that_is_given_up_is_watched_for_no_longer() {
    let (broker, mut mailbox) = broker();
    let request = FetchRequest {
        max_wait_ms: 10_000,
        min_bytes: 1,
        topics: vec![FetchTopic {
            topic_id: ID.topic_id,
            partitions: vec![FetchPartition::default()],
            ..FetchTopic::default()
        }],
        ..FetchRequest::default()
    };
    let mut encoder = Encoder::new();
    request.encode(17, &mut encoder).expect("encodes");
    let waiting = Waiting {
        correlation: Correlation(1),
        api: ApiKey::Fetch,
        version: 17,
        body: encoder.into_segments().concat().into(),
        taken_at: now(),
        deadline: now() + Duration::from_secs(10),
        metadata_index: 0,
    };
    let whose = Whose {
        lane: LANE,
        asker: Asker {
            client_id: None,
            client_host: "10.0.0.1".into(),
        },
        broker,
        settled: std::sync::Arc::default(),
    };
    let settled = std::sync::Arc::clone(&whose.settled);
    let (finish, finished) = watch::channel(0);
    let fetching = tokio::spawn(requests::fetch(whose, waiting, now(), finished));
    assert!(find_nothing(mailbox.recv().await), "it is parked");
    drop(finish);
    let Some(ShardRequest::Forget(watcher)) = mailbox.recv().await else {
        panic!("it is forgotten")
    };
    assert!(watcher.0 >= 1 << 63, "no connection has that name");
    fetching.await.expect("it ends");
    assert!(settled.take().is_empty(), "nobody is told");
}
