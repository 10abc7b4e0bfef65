//! Produces one after another on a connection, with leaders that come and go.

use std::time::Duration;

use bytes::Bytes;
use keylane_protocol::identifiers::{BrokerId, PartitionIndex};
use keylane_protocol::message::produce::{ProducePartition, ProduceTopic};
use keylane_protocol::offset::Offset;
use proptest::prelude::*;

mod routed;

use super::*;
use crate::limits::{HOLD, UNKNOWN_TOPIC_WAIT};
use crate::routing::{Routing, TopicKey};
use crate::testing::{Cluster, start};

const SECOND: Duration = Duration::from_secs(1);
const OK: ErrorCode = ErrorCode::None;
const UNSENT: ErrorCode = ErrorCode::NotLeaderOrFollower;
const UNANSWERED: ErrorCode = ErrorCode::RequestTimedOut;

/// A connection and what it has been told to do.
struct World {
    producing: Producing,
    cluster: Cluster,
    routing: Routing,
    now: Instant,
    effects: Vec<ProduceEffect>,
}

impl World {
    fn new(leaders: &[i32]) -> Self {
        let cluster = Cluster::of_brokers(3).with_topic("a", leaders);
        let now = start();
        Self {
            producing: Producing::new(Holding::new(HOLD)),
            routing: cluster.routing(now),
            cluster,
            now,
            effects: Vec::new(),
        }
    }

    fn with(&mut self, event: impl FnOnce(&mut Producing, Moment<'_>, &mut Vec<ProduceEffect>)) {
        let moment = Moment {
            routing: &self.routing,
            now: self.now,
        };
        event(&mut self.producing, moment, &mut self.effects);
    }

    fn request(&mut self, id: u64, acks: i16, topic: &str, partitions: &[i32]) {
        let data = partitions.iter().map(|&index| ProducePartition {
            index: PartitionIndex(index),
            records: Some(Bytes::from(vec![
                u8::try_from(id % 256).expect("a remainder"),
            ])),
        });
        let request = ProduceRequest {
            acks,
            timeout_ms: 30_000,
            topic_data: vec![ProduceTopic {
                name: topic.into(),
                partition_data: data.collect(),
            }],
            ..ProduceRequest::default()
        };
        self.with(|producing, moment, effects| {
            producing.on_request(RequestId(id), (request, 9), moment, effects);
        });
    }

    fn written(&mut self, id: u64, partition: usize) {
        let outcome = Outcome {
            base_offset: Offset(1),
            ..Outcome::default()
        };
        let at = (RequestId(id), place(partition));
        self.with(|producing, _, effects| producing.on_outcome(at, outcome, effects));
    }

    fn lead(&mut self, partition: i32, leader: i32) {
        self.cluster.lead("a", partition, leader);
        self.routing.on_image(self.cluster.image(), self.now);
        self.with(|producing, moment, effects| producing.on_routing(moment, effects));
    }

    /// Lets time pass; links give nothing back.
    fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            match self.producing.next_deadline() {
                Some(at) if at <= end => self.now = self.now.max(at),
                _ => break,
            }
            self.with(|producing, moment, effects| producing.on_deadline(moment, effects));
            if let Some(ProduceEffect::Withdraw(_)) = self.effects.last() {
                break;
            }
        }
        self.now = end;
    }

    /// Returns what was sent since the last call: request, broker and partition.
    fn sent(&mut self) -> Vec<(u64, i32, i32)> {
        let effects = self.effects.iter();
        let sent = effects.filter_map(|effect| match effect {
            ProduceEffect::Send(id, sent) => Some((id.0, sent.broker.0, sent.partition.0)),
            _ => None,
        });
        let sent = sent.collect();
        let is_sent = |effect: &ProduceEffect| matches!(effect, ProduceEffect::Send(..));
        self.effects.retain(|effect| !is_sent(effect));
        sent
    }

    /// Returns the error of each partition, if the request is answered.
    fn told(&mut self, id: u64) -> Option<Vec<ErrorCode>> {
        let is_it = |effect: &ProduceEffect| matches!(effect, ProduceEffect::Answer(answered, _) if answered.0 == id);
        let place = self.effects.iter().position(is_it)?;
        let effect = self.effects.remove(place);
        let ProduceEffect::Answer(_, ProduceAnswer::Partitioned(response)) = effect else {
            panic!("another answer: {effect:?}");
        };
        let partitions = response.responses[0].partition_responses.iter();
        Some(partitions.map(|told| told.error_code).collect())
    }
}

fn place(partition: usize) -> Place {
    Place {
        topic: 0,
        partition,
    }
}

#[test]
fn a_request_is_answered_when_all_of_its_leaders_have_spoken() {
    let mut world = World::new(&[1, 2]);
    world.request(1, -1, "a", &[0, 1]);
    assert_eq!(world.sent(), [(1, 1, 0), (1, 2, 1)]);
    world.written(1, 1);
    assert_eq!(world.told(1), None);
    world.written(1, 0);
    assert_eq!(world.told(1), Some(vec![OK, OK]));
    assert!(world.producing.is_idle());
}

#[test]
fn what_is_held_leaves_in_order_and_before_what_came_later() {
    let mut world = World::new(&[-1, 2]);
    world.request(1, -1, "a", &[0]);
    world.request(2, -1, "a", &[0, 1]);
    assert_eq!(
        world.sent(),
        [(2, 2, 1)],
        "a healthy partition waits for nobody"
    );
    world.cluster.lead("a", 0, 3);
    world.routing.on_image(world.cluster.image(), world.now);
    // The connection has not heard of it yet when the next request comes.
    world.request(3, -1, "a", &[0]);
    assert_eq!(world.sent(), [(1, 3, 0), (2, 3, 0), (3, 3, 0)]);
}

#[test]
fn one_lost_leader_costs_one_hold_and_not_one_per_request() {
    let mut world = World::new(&[-1, 2]);
    world.request(1, -1, "a", &[0, 1]);
    world.request(2, -1, "a", &[0, 1]);
    for id in [1, 2] {
        world.written(id, 1);
    }
    world.wait(HOLD - Duration::from_millis(1));
    assert_eq!(world.told(1), None);
    world.wait(Duration::from_millis(1));
    assert_eq!(world.told(1), Some(vec![UNSENT, OK]));
    // Nothing waits behind it, but its records must not come before those that the client tries again.
    assert_eq!(world.told(2), Some(vec![UNSENT, OK]));
    world.request(3, -1, "a", &[0, 1]);
    world.written(3, 1);
    world.request(4, -1, "a", &[1]);
    assert_eq!(world.told(3), Some(vec![UNSENT, OK]), "at once");
}

#[test]
fn what_nobody_waits_behind_is_held_for_half_of_its_time_out() {
    let mut world = World::new(&[-1]);
    world.request(1, -1, "a", &[0]);
    world.wait(14 * SECOND);
    assert_eq!(world.told(1), None);
    world.with(|producing, moment, effects| producing.on_waited_for(moment, effects));
    assert_eq!(world.told(1), Some(vec![UNSENT]));
    world.request(2, -1, "a", &[0]);
    world.wait(14 * SECOND);
    world.lead(0, 2);
    assert_eq!(world.sent(), [(2, 2, 0)]);
}

#[test]
fn only_what_never_left_a_link_is_told_as_not_written() {
    let mut world = World::new(&[1, 2, 3]);
    world.request(1, -1, "a", &[0, 1, 2]);
    world.written(1, 2);
    world.wait(30 * SECOND);
    assert_eq!(world.told(1), None);
    let is_withdrawn = |effect: &ProduceEffect| matches!(effect, ProduceEffect::Withdraw(_));
    let count = world.effects.iter().filter(|effect| is_withdrawn(effect));
    assert_eq!(count.count(), 1);
    let fates = [
        (place(0), Fate::Unknown),
        (place(1), Fate::NeverSent),
        (place(2), Fate::NeverSent),
    ];
    world.with(|producing, _, effects| producing.on_withdrawn(RequestId(1), &fates, effects));
    assert_eq!(world.told(1), Some(vec![UNANSWERED, UNSENT, OK]));
}

#[test]
fn a_link_that_has_gone_settles_what_it_had() {
    let mut world = World::new(&[1, 2]);
    world.request(1, -1, "a", &[0, 1]);
    world.with(|producing, _, effects| {
        producing.on_lost((RequestId(1), place(0)), Fate::NeverSent, effects);
        producing.on_lost((RequestId(1), place(1)), Fate::Unknown, effects);
    });
    assert_eq!(world.told(1), Some(vec![UNSENT, UNANSWERED]));
    world.written(1, 0);
    assert!(world.producing.is_idle());
}

#[test]
fn an_unknown_topic_is_looked_up_and_then_refused_or_sent() {
    let mut world = World::new(&[1]);
    world.request(1, -1, "new", &[0]);
    let key = (TopicKey::Name("new".into()), PartitionIndex(0));
    let is_look_up = |effect: &ProduceEffect| matches!(effect, ProduceEffect::LookUp(missing) if *missing == key);
    assert!(world.effects.iter().any(is_look_up));
    let unknown = BTreeSet::from([key]);
    world.with(|producing, moment, effects| producing.on_unknown(&unknown, moment, effects));
    let code = ErrorCode::UnknownTopicOrPartition;
    assert_eq!(world.told(1), Some(vec![code]));
    world.request(2, -1, "new", &[0]);
    world.wait(UNKNOWN_TOPIC_WAIT);
    assert_eq!(world.told(2), Some(vec![code]), "controllers are cut off");
    world.request(3, -1, "new", &[0]);
    world.cluster = world.cluster.clone().with_topic("new", &[2]);
    world.lead(0, 1);
    assert_eq!(world.sent(), [(3, 2, 0)]);
}

#[test]
fn without_acknowledgement_only_a_refusal_is_heard_of() {
    let mut world = World::new(&[1, -1]);
    world.request(1, 0, "a", &[0]);
    world.with(|producing, _, effects| {
        producing.on_taken(RequestId(1), place(0), effects);
    });
    let is_done = |effect: &ProduceEffect| matches!(effect, ProduceEffect::Done(RequestId(1)));
    assert!(world.effects.iter().any(is_done));
    world.request(2, 0, "a", &[1]);
    world.wait(15 * SECOND);
    let is_close = |effect: &ProduceEffect| matches!(effect, ProduceEffect::Close { .. });
    assert!(world.effects.iter().any(is_close));
}

#[test]
fn a_time_out_of_zero_does_not_keep_records_from_leaving() {
    let mut world = World::new(&[-1]);
    let request = ProduceRequest {
        acks: 1,
        timeout_ms: 0,
        topic_data: vec![ProduceTopic {
            name: "a".into(),
            partition_data: vec![ProducePartition {
                index: PartitionIndex(0),
                records: Some(Bytes::from_static(b"r")),
            }],
        }],
        ..ProduceRequest::default()
    };
    world.with(|producing, moment, effects| {
        producing.on_request(RequestId(1), (request, 9), moment, effects);
    });
    world.wait(Duration::from_millis(400));
    world.lead(0, 2);
    assert_eq!(world.sent(), [(1, 2, 0)]);
}

#[test]
fn a_client_that_has_gone_gets_nothing_sent_but_what_it_wanted_no_word_of() {
    let mut world = World::new(&[-1, -1]);
    world.request(1, -1, "a", &[0]);
    world.request(2, 0, "a", &[1]);
    world.producing.on_closed();
    world.lead(0, 1);
    world.lead(1, 2);
    assert_eq!(world.sent(), [(2, 2, 1)]);
    world.with(|producing, _, effects| producing.on_taken(RequestId(2), place(0), effects));
    assert!(world.producing.is_idle());
}

/// Plays requests against leaders that come and go; checks order, and that everything is answered once.
fn run(partitions: usize, steps: &[(u8, u8)]) -> Result<(), TestCaseError> {
    let mut world = World::new(&vec![1; partitions]);
    let count = i32::try_from(partitions).expect("few");
    let (mut next, mut unanswered) = (1, BTreeSet::new());
    let mut last_sent = vec![0; partitions];
    let mut flying: Vec<(u64, Place)> = Vec::new();
    for (step, detail) in steps.iter().copied() {
        match step % 5 {
            0 | 1 => {
                let wanted: Vec<i32> = (0..count).filter(|bit| detail >> bit & 1 == 1).collect();
                world.request(next, -1, "a", &wanted);
                unanswered.insert(next);
                next += 1;
            }
            2 => {
                let leader = if detail > 128 {
                    -1
                } else {
                    i32::from(detail % 3) + 1
                };
                world.lead(i32::from(detail) % count, leader);
            }
            3 if !flying.is_empty() => {
                let (id, place) = flying.swap_remove(usize::from(detail) % flying.len());
                world.written(id, place.partition);
            }
            _ => world.wait(u32::from(detail) * SECOND / 20),
        }
        let mut effects: std::collections::VecDeque<ProduceEffect> =
            std::mem::take(&mut world.effects).into();
        while let Some(effect) = effects.pop_front() {
            match effect {
                ProduceEffect::Send(id, sent) => {
                    let partition = usize::try_from(sent.partition.0).expect("an index");
                    prop_assert!(unanswered.contains(&id.0), "sent after its answer");
                    prop_assert!(last_sent[partition] < id.0, "overtaken");
                    prop_assert_eq!(u64::from(sent.records[0]), id.0 % 256);
                    let leader = world
                        .routing
                        .image()
                        .partition(sent.topic_id, sent.partition);
                    let leader = leader.and_then(|partition| partition.leader);
                    prop_assert!(step % 5 == 2 || leader == Some(BrokerId(sent.broker.0)));
                    last_sent[partition] = id.0;
                    flying.push((id.0, sent.place));
                }
                ProduceEffect::Withdraw(id) => {
                    world.with(|producing, _, effects| producing.on_withdrawn(id, &[], effects));
                    effects.extend(std::mem::take(&mut world.effects));
                }
                ProduceEffect::Answer(id, _) => prop_assert!(unanswered.remove(&id.0)),
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }
    prop_assert_eq!(unanswered.is_empty(), world.producing.is_idle());
    Ok(())
}

proptest! {
    #[test]
    fn order_is_kept_and_every_request_is_answered_once_whatever_leaders_do(
        partitions in 1..5usize,
        steps in prop::collection::vec(any::<(u8, u8)>(), 0..150),
    ) {
        run(partitions, &steps)?;
    }
}
