//! Splitting a Produce: everything is sent, held or refused, once.

use keylane_protocol::message::produce::ProduceTopic;
use proptest::prelude::*;

use super::*;
use crate::merge::produce::ProduceAnswer;
use crate::testing::{Cluster, start};

fn topic(name: &str, partitions: &[i32]) -> ProduceTopic {
    ProduceTopic {
        name: name.into(),
        partition_data: partitions
            .iter()
            .map(|&index| ProducePartition {
                index: PartitionIndex(index),
                records: Some(Bytes::from(format!("{name}-{index}"))),
            })
            .collect(),
    }
}

fn request(acks: i16, topics: Vec<ProduceTopic>) -> ProduceRequest {
    ProduceRequest {
        acks,
        topic_data: topics,
        ..ProduceRequest::default()
    }
}

fn cluster() -> Cluster {
    Cluster::of_brokers(3)
        .with_topic("a", &[1, 2, -1])
        .with_topic("b", &[3, 1])
}

fn codes(plan: ProducePlan) -> Vec<ErrorCode> {
    let ProduceAnswer::Partitioned(response) = plan.merge.finish() else {
        panic!("a Produce is answered as one");
    };
    let topics = response.responses.iter();
    topics
        .flat_map(|topic| topic.partition_responses.iter().map(|told| told.error_code))
        .collect()
}

#[test]
fn sub_batches_carry_what_their_route_was_decided_by_and_slices_of_the_frame() {
    let mut cluster = cluster();
    cluster.lead("a", 1, 3);
    let frame = Bytes::from_static(b"records of one frame");
    let mut asked = topic("a", &[1]);
    asked.partition_data[0].records = Some(frame.slice(8..));
    let plan = plan(request(1, vec![asked]), 9, &cluster.routing(start()));
    let [sub_batch] = &plan.sub_batches[..] else {
        panic!("one sub-batch: {plan:?}");
    };
    assert_eq!(sub_batch.broker, BrokerId(3));
    assert_eq!(sub_batch.topic_id, cluster.id_of("a"));
    assert_eq!(sub_batch.partition, PartitionIndex(1));
    assert_eq!(sub_batch.leader_epoch, LeaderEpoch(1));
    assert_eq!(sub_batch.acks, 1);
    assert_eq!(sub_batch.records.as_ptr(), frame[8..].as_ptr());
    let on_lane = sub_batch.clone().on_lane(Lane(7));
    assert_eq!((on_lane.lane, on_lane.records_length), (Lane(7), 12));
    let slice = on_lane.records.slices().next().expect("a slice");
    assert_eq!(slice.as_ptr(), frame[8..].as_ptr());
}

#[test]
fn what_has_no_leader_is_held_until_it_has_one() {
    let mut cluster = cluster();
    let asked = request(-1, vec![topic("a", &[0, 2]), topic("new", &[0])]);
    let mut routing = cluster.routing(start());
    let plan = plan(asked, 9, &routing);
    assert_eq!(plan.sub_batches.len(), 1);
    let [lost, unknown] = <[HeldSubBatch; 2]>::try_from(plan.held).expect("two are held");
    assert_eq!(
        lost.route(&routing),
        Route::Lost {
            since: lost_at(&routing)
        }
    );
    assert_eq!(unknown.route(&routing), Route::Unknown);
    let lost = lost.released(&routing).expect_err("no leader");
    cluster.lead("a", 2, 2);
    let cluster = cluster.with_topic("new", &[1]);
    routing.on_image(cluster.image(), start());
    let released = lost.released(&routing).expect("a leader");
    assert_eq!(
        (released.broker, released.place.partition),
        (BrokerId(2), 1)
    );
    let released = unknown.released(&routing).expect("it exists");
    assert_eq!((released.broker, released.place.topic), (BrokerId(1), 1));
}

fn lost_at(routing: &Routing) -> std::time::Instant {
    let topic = routing.topic(&TopicKey::Name("a".into())).expect("a");
    match routing.route(topic, PartitionIndex(2)) {
        Route::Lost { since } => since,
        other => panic!("{other:?}"),
    }
}

#[test]
fn wrong_acks_and_transactions_are_refused_for_every_partition() {
    let routing = cluster().routing(start());
    let asked = request(2, vec![topic("a", &[0, 2]), topic("b", &[9])]);
    let refused = plan(asked, 9, &routing);
    assert!(refused.sub_batches.is_empty() && refused.held.is_empty());
    assert_eq!(codes(refused), [ErrorCode::InvalidRequiredAcks; 3]);
    let mut asked = request(-1, vec![topic("a", &[0])]);
    asked.transactional_id = Some("t".into());
    let refused = codes(plan(asked, 9, &routing));
    assert_eq!(refused, [ErrorCode::TransactionalIdAuthorizationFailed]);
}

#[test]
fn a_partition_named_twice_gets_none_of_its_batches_written() {
    let asked = request(-1, vec![topic("a", &[0, 1]), topic("a", &[0])]);
    let plan = plan(asked, 9, &cluster().routing(start()));
    let sent: Vec<i32> = plan
        .sub_batches
        .iter()
        .map(|sent| sent.partition.0)
        .collect();
    assert_eq!(sent, [1]);
    assert_eq!(
        codes(plan),
        [
            ErrorCode::InvalidRequest,
            ErrorCode::NotLeaderOrFollower,
            ErrorCode::InvalidRequest
        ]
    );
}

#[test]
fn no_records_and_zstd_before_version_7_are_refused() {
    let routing = cluster().routing(start());
    let mut asked = topic("a", &[0, 1]);
    asked.partition_data[0].records = None;
    asked.partition_data[1].records = Some(Bytes::new());
    let refused = codes(plan(request(1, vec![asked]), 9, &routing));
    assert_eq!(refused, [ErrorCode::InvalidRecord; 2]);
    // A header of magic 2 whose attributes name codec 4.
    let mut batch = vec![0; 61];
    batch[11] = 49;
    (batch[16], batch[22]) = (2, 4);
    for (version, code) in [
        (6, ErrorCode::UnsupportedCompressionType),
        (7, ErrorCode::NotLeaderOrFollower),
    ] {
        let mut asked = topic("a", &[0]);
        asked.partition_data[0].records = Some(batch.clone().into());
        let plan = plan(request(1, vec![asked]), version, &routing);
        assert_eq!(codes(plan), [code], "version {version}");
    }
}

proptest! {
    #[test]
    fn every_partition_is_sent_held_or_refused_and_answered_once(
        leaders in prop::collection::vec(-1..=3i32, 1..12),
        asked in prop::collection::vec((0..3usize, -1..14i32), 0..20),
        answered in prop::collection::vec(any::<bool>(), 20),
    ) {
        let names = ["a", "b", "c"];
        let leaders: Vec<i32> = leaders.into_iter().map(|leader| if leader == 0 { -1 } else { leader }).collect();
        let cluster = Cluster::of_brokers(3).with_topic("a", &leaders).with_topic("b", &[1]);
        let topics: Vec<ProduceTopic> = asked.iter().map(|(name, index)| topic(names[*name], &[*index])).collect();
        let mut plan = plan(request(-1, topics), 9, &cluster.routing(start()));
        let mut touched: Vec<Place> = plan.sub_batches.iter().map(|sent| sent.place).collect();
        touched.extend(plan.held.iter().map(|held| held.place));
        let count = touched.len();
        touched.sort_unstable();
        touched.dedup();
        prop_assert_eq!(touched.len(), count);
        for sent in &plan.sub_batches {
            let (name, index) = asked[sent.place.topic];
            prop_assert_eq!(&sent.records, &Bytes::from(format!("{}-{index}", names[name])));
        }
        let mut expected = vec![None; asked.len()];
        for (number, sent) in plan.sub_batches.iter().enumerate() {
            plan.merge.on_sent(sent.place);
            expected[sent.place.topic] = Some(ErrorCode::RequestTimedOut);
            if answered[number] {
                plan.merge.on_outcome(sent.place, link::append::Outcome::default());
                expected[sent.place.topic] = Some(ErrorCode::None);
            }
        }
        for held in &plan.held {
            expected[held.place.topic] = Some(ErrorCode::NotLeaderOrFollower);
        }
        let ProduceAnswer::Partitioned(response) = plan.merge.finish() else {
        panic!("a Produce is answered as one");
    };
        prop_assert_eq!(response.responses.len(), asked.len());
        for ((told, (name, index)), code) in response.responses.iter().zip(&asked).zip(expected) {
            prop_assert_eq!(&*told.name, names[*name]);
            prop_assert_eq!(told.partition_responses.len(), 1);
            prop_assert_eq!(told.partition_responses[0].index, PartitionIndex(*index));
            prop_assert_eq!(told.partition_responses[0].error_code, code.unwrap_or(ErrorCode::InvalidRequest));
        }
    }
}
