//! Routed batches beside Produces: the same holds and answers, and nothing before the whole has passed.

use keylane_protocol::identifiers::TopicId;
use keylane_protocol::message::routed_produce::RoutedProduceResponse;
use keylane_protocol::offset::Sequence;

use super::*;
use crate::testing::routed_batch;

const TOO_LARGE: ErrorCode = ErrorCode::MessageTooLarge;
const HOLE: ErrorCode = ErrorCode::OutOfOrderSequenceNumber;

/// A batch: producer, number, floor, and partitions of how many.
#[derive(Clone, Copy)]
struct Batch<'a> {
    topic_id: TopicId,
    producer: i64,
    number: i32,
    floor: i32,
    partitions: &'a [i32],
    partition_count: i32,
}

impl World {
    fn batch<'a>(&self, number: i32, partitions: &'a [i32]) -> Batch<'a> {
        let topic = self.routing.image().topic_named("a").expect("it is there");
        Batch {
            topic_id: topic.id,
            producer: 1,
            number,
            floor: 0,
            partitions,
            partition_count: topic.partition_count(),
        }
    }

    fn route(&mut self, id: u64, batch: Batch<'_>) {
        let Batch {
            producer,
            number,
            partitions,
            partition_count,
            ..
        } = batch;
        let request = RoutedProduceRequest {
            topic_id: batch.topic_id,
            partition_count,
            floor: Sequence(batch.floor),
            is_first: false,
            timeout_ms: 30_000,
            records: Some(routed_batch(producer, number, partitions, partition_count)),
        };
        self.with(|producing, moment, effects| {
            producing.on_routed_request(RequestId(id), request, moment, effects);
        });
    }

    /// Returns the answer to a routed request, if there is one.
    fn routed(&mut self, id: u64) -> Option<RoutedProduceResponse> {
        let is_it = |effect: &ProduceEffect| matches!(effect, ProduceEffect::Answer(answered, _) if answered.0 == id);
        let place = self.effects.iter().position(is_it)?;
        match self.effects.remove(place) {
            ProduceEffect::Answer(_, ProduceAnswer::Routed(response)) => Some(response),
            other => panic!("another answer: {other:?}"),
        }
    }

    /// Returns the error of each partition of a routed request that was not refused as a whole.
    fn routed_codes(&mut self, id: u64) -> Option<Vec<ErrorCode>> {
        let response = self.routed(id)?;
        assert_eq!(response.error_code, OK, "{:?}", response.error_message);
        let partitions = response.partitions.iter();
        Some(partitions.map(|told| told.error_code).collect())
    }

    fn whole(&mut self, id: u64) -> Option<ErrorCode> {
        let response = self.routed(id)?;
        assert!(response.partitions.is_empty() && !response.error_code.is_none());
        assert!(response.error_message.is_some());
        Some(response.error_code)
    }

    fn looked_up(&self) -> Vec<Missing> {
        let effects = self.effects.iter();
        let looked_up = effects.filter_map(|effect| match effect {
            ProduceEffect::LookUp(missing) => Some(missing.clone()),
            _ => None,
        });
        looked_up.collect()
    }
}

#[test]
fn a_batch_goes_to_all_its_leaders_and_is_answered_once_when_all_have_spoken() {
    let mut world = World::new(&[1, 2, 3]);
    world.route(1, world.batch(0, &[2, 0]));
    assert_eq!(world.sent(), [(1, 1, 0), (1, 3, 2)]);
    world.written(1, 1);
    assert_eq!(world.routed_codes(1), None);
    world.written(1, 0);
    let answer = world.routed(1).expect("all have spoken");
    let told = answer
        .partitions
        .iter()
        .map(|told| (told.partition.0, told.error_code));
    assert_eq!(told.collect::<Vec<_>>(), [(0, OK), (2, OK)]);
    assert_eq!(answer.partition_count, 3);
    assert!(world.producing.is_idle());
    assert_eq!(world.producing.next_deadline(), None);
}

#[test]
fn a_part_that_is_held_and_then_refused_has_touched_its_partition() {
    let mut world = World::new(&[-1, 2]);
    world.route(1, world.batch(0, &[0, 1]));
    world.route(2, world.batch(1, &[1]));
    assert_eq!(world.sent(), [(1, 2, 1), (2, 2, 1)]);
    world.written(1, 1);
    world.wait(HOLD);
    assert_eq!(world.routed_codes(1), Some(vec![UNSENT, OK]));
    world.lead(0, 3);
    world.route(3, world.batch(2, &[0]));
    let previous = world.effects.iter().find_map(|effect| match effect {
        ProduceEffect::Send(RequestId(3), sent) => Some(sent.order.expect("routed").previous),
        _ => None,
    });
    assert_eq!(previous, Some(Sequence(0)), "though it never left");
}

#[test]
fn what_came_after_a_refused_part_is_refused_with_it_and_other_producers_are_not() {
    let mut world = World::new(&[-1, 2]);
    world.route(1, world.batch(0, &[0]));
    world.route(2, world.batch(1, &[0, 1]));
    let other = Batch {
        producer: 2,
        ..world.batch(0, &[0])
    };
    world.route(3, other);
    world.wait(HOLD);
    assert_eq!(world.routed_codes(1), Some(vec![UNSENT]));
    world.written(2, 1);
    assert_eq!(world.routed_codes(2), Some(vec![UNSENT, OK]));
    // Nobody waits behind it, and its order is its own.
    assert_eq!(world.routed_codes(3), None);
    world.lead(0, 1);
    assert_eq!(world.sent(), [(2, 2, 1), (3, 1, 0)]);
}

#[test]
fn what_is_held_leaves_before_what_came_later_whoever_hears_first_of_the_leader() {
    let mut world = World::new(&[-1, 2]);
    world.route(1, world.batch(0, &[0]));
    world.route(2, world.batch(1, &[0]));
    world.cluster.lead("a", 0, 3);
    world.routing.on_image(world.cluster.image(), world.now);
    world.route(3, world.batch(2, &[0]));
    assert_eq!(world.sent(), [(1, 3, 0), (2, 3, 0), (3, 3, 0)]);
}

#[test]
fn a_whole_refusal_sends_nothing_and_only_an_undecidable_one_ends_the_session() {
    let mut world = World::new(&[1, 2]);
    world.cluster.configure("a", "max.message.bytes", "100");
    world.routing.on_image(world.cluster.image(), world.now);
    world.route(1, world.batch(0, &[0, 0, 0, 0, 0, 1]));
    assert_eq!(world.whole(1), Some(TOO_LARGE));
    world.route(2, world.batch(1, &[1]));
    assert_eq!(world.sent(), [(2, 2, 1)]);
    world.route(3, world.batch(3, &[1]));
    assert_eq!(world.whole(3), Some(HOLE));
    world.route(4, world.batch(2, &[1]));
    assert_eq!(world.whole(4), Some(HOLE), "its session has ended");
    world.route(5, world.batch(0, &[1]));
    assert_eq!(world.sent(), [(5, 2, 1)]);
}

#[test]
fn an_unknown_topic_is_looked_up_once_and_then_refused_as_a_whole_or_sent() {
    let mut world = World::new(&[1]);
    let grown = world.cluster.clone().with_topic("new", &[2]);
    let topic_id = grown.id_of("new");
    let unknown = |world: &World, number| Batch {
        topic_id,
        ..world.batch(number, &[0])
    };
    for (id, number) in [(1, 0), (2, 1)] {
        let batch = unknown(&world, number);
        world.route(id, batch);
    }
    let missing = (TopicKey::Id(topic_id), PartitionIndex(0));
    assert_eq!(world.looked_up(), [missing.clone(), missing.clone()]);
    let missing = BTreeSet::from([missing]);
    world.with(|producing, moment, effects| producing.on_unknown(&missing, moment, effects));
    for id in [1, 2] {
        assert_eq!(world.whole(id), Some(ErrorCode::UnknownTopicId));
    }
    // Controllers are cut off.
    let batch = unknown(&world, 0);
    world.route(3, batch);
    world.wait(UNKNOWN_TOPIC_WAIT);
    assert_eq!(world.whole(3), Some(ErrorCode::UnknownTopicId));
    for (id, number) in [(4, 0), (5, 1)] {
        let batch = unknown(&world, number);
        world.route(id, batch);
    }
    world.cluster = grown;
    world.lead(0, 1);
    assert_eq!(world.sent(), [(4, 2, 0), (5, 2, 0)]);
}

#[test]
fn more_partitions_than_the_image_has_are_looked_up_and_then_refused_or_sent() {
    let mut world = World::new(&[1, 1]);
    let more = |world: &World, number| Batch {
        partition_count: 3,
        ..world.batch(number, &[0, 2])
    };
    let batch = more(&world, 0);
    world.route(1, batch);
    assert_eq!(world.sent(), []);
    let topic_id = world.batch(0, &[]).topic_id;
    let missing = BTreeSet::from([(TopicKey::Id(topic_id), PartitionIndex(2))]);
    world.with(|producing, moment, effects| producing.on_unknown(&missing, moment, effects));
    assert_eq!(world.whole(1), Some(ErrorCode::InvalidRequest));
    world.route(2, world.batch(1, &[0]));
    assert_eq!(world.whole(2), Some(HOLE), "the session has ended");
    // Controllers are cut off: the client may know better, and tries again.
    let batch = more(&world, 0);
    world.route(3, batch);
    world.wait(UNKNOWN_TOPIC_WAIT);
    assert_eq!(world.routed_codes(3), Some(vec![UNSENT, UNSENT]));
    let batch = more(&world, 1);
    world.route(4, batch);
    world.cluster.add_partition("a", 3);
    world.lead(0, 2);
    assert_eq!(world.sent(), [(4, 2, 0), (4, 3, 2)]);
}

#[test]
fn a_late_refusal_does_not_end_the_session_that_came_after() {
    let mut world = World::new(&[1, 1]);
    let more = Batch {
        partition_count: 3,
        ..world.batch(0, &[0])
    };
    world.route(1, more);
    // The producer has begun anew.
    let begun = Batch {
        floor: 1,
        ..world.batch(1, &[0])
    };
    world
        .producing
        .sessions
        .end(crate::routed::sessions::SessionKey {
            producer_id: ProducerId(keylane_protocol::routed::PRODUCER_ID_MIN.0 + 1),
            topic_id: more.topic_id,
        });
    world.route(2, begun);
    world.wait(UNKNOWN_TOPIC_WAIT);
    let missing = BTreeSet::from([(TopicKey::Id(more.topic_id), PartitionIndex(2))]);
    world.with(|producing, moment, effects| producing.on_unknown(&missing, moment, effects));
    let next = Batch {
        floor: 1,
        ..world.batch(2, &[0])
    };
    world.route(3, next);
    assert_eq!(world.sent(), [(2, 1, 0), (3, 1, 0)]);
}

#[test]
fn a_routed_request_whose_time_is_up_is_withdrawn_like_any() {
    let mut world = World::new(&[1, 2]);
    world.route(1, world.batch(0, &[0, 1]));
    world.wait(30 * SECOND);
    let fates = [(place(0), Fate::Unknown), (place(1), Fate::NeverSent)];
    world.with(|producing, _, effects| producing.on_withdrawn(RequestId(1), &fates, effects));
    assert_eq!(world.routed_codes(1), Some(vec![UNANSWERED, UNSENT]));
    assert!(world.producing.is_idle());
}

#[test]
fn whatever_others_came_behind_is_refused_when_the_hold_is_over() {
    let mut world = World::new(&[-1, 2]);
    for number in 0..1000 {
        let held = Batch {
            producer: i64::from(number),
            ..world.batch(0, &[0])
        };
        world.route(u64::try_from(number).expect("a count"), held);
    }
    let ends = world.producing.next_deadline();
    assert_eq!(ends, Some(world.now + HOLD));
    world.wait(HOLD);
    let answered = world.effects.iter();
    let answered = answered.filter(|effect| matches!(effect, ProduceEffect::Answer(..)));
    assert_eq!(answered.count(), 999, "all that others came behind of");
}

/// Plays one producer against leaders that come and go, as one that sends on whatever it is told; checks what each part
/// says of the number before, and order.
fn run_routed(steps: &[(u8, u8)]) -> Result<(), TestCaseError> {
    const PARTITIONS: usize = 4;
    let mut world = World::new(&[1; PARTITIONS]);
    let (mut id, mut number, mut floor) = (0, 0, 0);
    // What has touched each partition in this session, what was sent to it last, and what was said of each number.
    let mut touched = [None; PARTITIONS];
    let mut last_sent = [-1; PARTITIONS];
    let mut promised: BTreeMap<(u64, i32), i32> = BTreeMap::new();
    let mut unanswered = BTreeMap::new();
    for (step, detail) in steps.iter().copied() {
        match step % 5 {
            0 | 1 => {
                let wanted = (0..4).filter(|bit| detail >> bit & 1 == 1);
                let wanted: Vec<i32> = wanted.collect();
                if wanted.is_empty() {
                    continue;
                }
                floor = number - i32::from(detail >> 4).min(number - floor);
                for partition in &wanted {
                    let place = usize::try_from(*partition).expect("an index");
                    let before = touched[place].replace(number);
                    let before = before.filter(|before| *before >= floor);
                    promised.insert((id, *partition), before.unwrap_or(-1));
                }
                let batch = Batch {
                    floor,
                    ..world.batch(number, &wanted)
                };
                world.route(id, batch);
                unanswered.insert(id, number);
                (id, number) = (id + 1, number + 1);
            }
            2 => {
                let leader = match detail > 128 {
                    true => -1,
                    false => i32::from(detail % 3) + 1,
                };
                world.lead(i32::from(detail % 4), leader);
            }
            3 => {
                let all: Vec<u64> = unanswered.keys().copied().collect();
                if let Some(id) = all.get(usize::from(detail) % all.len().max(1)) {
                    world.written(*id, usize::from(detail % 4));
                }
            }
            _ => world.wait(u32::from(detail) * SECOND / 20),
        }
        let mut effects: std::collections::VecDeque<ProduceEffect> =
            std::mem::take(&mut world.effects).into();
        while let Some(effect) = effects.pop_front() {
            match effect {
                ProduceEffect::Send(id, sent) => {
                    let sent_number = *unanswered.get(&id.0).expect("sent before its answer");
                    let place = usize::try_from(sent.partition.0).expect("an index");
                    prop_assert!(last_sent[place] < sent_number, "overtaken");
                    last_sent[place] = sent_number;
                    let order = sent.order.expect("it is routed");
                    let promised = promised[&(id.0, sent.partition.0)];
                    prop_assert_eq!(order.previous.0, promised);
                }
                ProduceEffect::Withdraw(id) => {
                    world.with(|producing, _, effects| producing.on_withdrawn(id, &[], effects));
                    effects.extend(std::mem::take(&mut world.effects));
                }
                ProduceEffect::Answer(id, ProduceAnswer::Routed(answer)) => {
                    prop_assert_eq!(answer.error_code, OK);
                    prop_assert!(unanswered.remove(&id.0).is_some());
                }
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }
    prop_assert_eq!(unanswered.is_empty(), world.producing.is_idle());
    Ok(())
}

proptest! {
    #[test]
    fn each_part_names_what_touched_its_partition_before_whatever_became_of_that(
        steps in prop::collection::vec(any::<(u8, u8)>(), 0..150),
    ) {
        run_routed(&steps)?;
    }
}
