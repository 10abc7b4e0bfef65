//! One Fetch after another on a connection, with brokers that are quick, slow, empty, and gone.

use std::time::Duration;

use bytes::Bytes;
use keylane_protocol::identifiers::{BrokerId, PartitionIndex, TopicId};
use keylane_protocol::message::fetch::{FetchPartition, FetchTopic, FetchableTopicResponse};
use keylane_protocol::offset::Offset;
use proptest::prelude::*;

use super::*;
use crate::limits::HOLD;
use crate::routing::TopicKey;
use crate::testing::{Cluster, start};

const MILLISECOND: Duration = Duration::from_millis(1);
const MANY: usize = 1 << 20;

/// A connection and what it has been told to do.
struct World {
    fetching: Fetching,
    cluster: Cluster,
    routing: Routing,
    now: Instant,
    effects: Vec<FetchEffect>,
}

impl World {
    /// A topic `a` whose partitions have these leaders.
    fn new(leaders: &[i32]) -> Self {
        let cluster = Cluster::of_brokers(3).with_topic("a", leaders);
        let now = start();
        Self {
            fetching: Fetching::new(Holding::new(HOLD)),
            routing: cluster.routing(now),
            cluster,
            now,
            effects: Vec::new(),
        }
    }

    fn moment<'a>(routing: &'a Routing, now: Instant) -> Moment<'a> {
        Moment { routing, now }
    }

    fn request(&mut self, request: &FetchRequest) {
        let moment = Self::moment(&self.routing, self.now);
        self.fetching
            .on_request((request, 12), MANY, moment, &mut self.effects);
    }

    fn answer(&mut self, id: PartId, response: FetchResponse) {
        let moment = Self::moment(&self.routing, self.now);
        self.fetching
            .on_answer(id, response, moment, &mut self.effects);
    }

    fn lead(&mut self, partition: i32, leader: i32) {
        self.cluster.lead("a", partition, leader);
        self.routing.on_image(self.cluster.image(), self.now);
        let moment = Self::moment(&self.routing, self.now);
        self.fetching.on_routing(moment, &mut self.effects);
    }

    fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(at) = self.fetching.next_deadline().filter(|at| *at <= end) {
            self.now = at;
            self.fetching.on_deadline(at, &mut self.effects);
        }
        self.now = end;
    }

    /// Returns the parts asked since the last call.
    fn asked(&mut self) -> Vec<(PartId, FetchPart)> {
        let (asked, rest) = std::mem::take(&mut self.effects)
            .into_iter()
            .partition(|effect| matches!(effect, FetchEffect::Ask(..)));
        self.effects = rest;
        let ask = |effect| match effect {
            FetchEffect::Ask(id, part) => (id, part),
            other => unreachable!("{other:?}"),
        };
        Vec::into_iter(asked).map(ask).collect()
    }

    fn is_finished(&self, id: PartId) -> bool {
        let is_it =
            |effect: &FetchEffect| matches!(effect, FetchEffect::Finish(part) if *part == id);
        self.effects.iter().any(is_it)
    }

    /// Returns error code and record bytes of each partition, in the order of their indexes, if there is an answer.
    fn told(&mut self) -> Option<Vec<(ErrorCode, usize)>> {
        let place = self
            .effects
            .iter()
            .position(|effect| matches!(effect, FetchEffect::Answer(_)))?;
        let FetchEffect::Answer(response) = self.effects.remove(place) else {
            unreachable!("it is one");
        };
        let mut partitions: Vec<_> = response
            .responses
            .iter()
            .flat_map(|topic| &topic.partitions)
            .collect();
        partitions.sort_by_key(|told| told.partition_index);
        let told = partitions.iter();
        Some(
            told.map(|told| (told.error_code, record_bytes(told)))
                .collect(),
        )
    }
}

/// Asks for partitions of `a` from these offsets on.
fn fetch(offsets: &[(i32, i64)]) -> FetchRequest {
    let partitions = offsets.iter().map(|&(partition, offset)| FetchPartition {
        partition: PartitionIndex(partition),
        fetch_offset: Offset(offset),
        partition_max_bytes: 100_000,
        ..FetchPartition::default()
    });
    FetchRequest {
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: 100_000,
        topics: vec![FetchTopic {
            topic: "a".into(),
            partitions: partitions.collect(),
            ..FetchTopic::default()
        }],
        ..FetchRequest::default()
    }
}

/// Returns an answer to a part with so many record bytes for each partition.
fn found(part: &FetchPart, bytes: usize) -> FetchResponse {
    let topics = part.request.topics.iter();
    let responses = topics.map(|topic| FetchableTopicResponse {
        topic_id: topic.topic_id,
        partitions: topic
            .partitions
            .iter()
            .map(|asked| FetchablePartitionResponse {
                partition_index: asked.partition,
                high_watermark: Offset(100),
                records: Some(Bytes::from(vec![0; bytes]).into()),
                ..FetchablePartitionResponse::default()
            })
            .collect(),
        ..FetchableTopicResponse::default()
    });
    FetchResponse {
        responses: responses.collect(),
        ..FetchResponse::default()
    }
}

const OK: ErrorCode = ErrorCode::None;

#[test]
fn the_first_records_finish_the_others_which_have_ten_milliseconds() {
    let mut world = World::new(&[1, 2, 3]);
    world.request(&fetch(&[(0, 0), (1, 0), (2, 0)]));
    let parts = world.asked();
    assert_eq!(parts.len(), 3);
    world.wait(100 * MILLISECOND);
    world.answer(parts[0].0, found(&parts[0].1, 50));
    assert!(world.is_finished(parts[1].0) && world.is_finished(parts[2].0));
    world.wait(4 * MILLISECOND);
    world.answer(parts[1].0, found(&parts[1].1, 30));
    assert_eq!(world.told(), None);
    world.wait(6 * MILLISECOND);
    assert_eq!(world.told(), Some(vec![(OK, 50), (OK, 30), (OK, 0)]));
}

#[test]
fn when_all_have_answered_nothing_is_waited_for() {
    let mut world = World::new(&[1, 2]);
    world.request(&fetch(&[(0, 0), (1, 0)]));
    let parts = world.asked();
    world.answer(parts[0].0, found(&parts[0].1, 0));
    assert_eq!(world.told(), None);
    world.answer(parts[1].0, found(&parts[1].1, 0));
    assert_eq!(world.told(), Some(vec![(OK, 0), (OK, 0)]));
}

#[test]
fn a_late_part_serves_the_next_request_for_the_same() {
    let mut world = World::new(&[1, 2]);
    world.request(&fetch(&[(0, 0), (1, 7)]));
    let parts = world.asked();
    world.answer(parts[0].0, found(&parts[0].1, 50));
    world.wait(10 * MILLISECOND);
    assert_eq!(world.told(), Some(vec![(OK, 50), (OK, 0)]));
    assert!(world.fetching.held_bytes() > 0);
    world.answer(parts[1].0, found(&parts[1].1, 60));
    assert_eq!(world.fetching.held_bytes(), 60);
    world.request(&fetch(&[(0, 1), (1, 7)]));
    let again = world.asked();
    assert_eq!(again.len(), 1, "what is kept is not asked for");
    assert_eq!(again[0].1.request.max_wait_ms, 0);
    world.wait(10 * MILLISECOND);
    assert_eq!(world.told(), Some(vec![(OK, 0), (OK, 60)]));
}

#[test]
fn a_part_still_under_way_is_taken_over_and_asked_again_if_it_was_cut_short() {
    let mut world = World::new(&[1, 2]);
    world.request(&fetch(&[(0, 0), (1, 7)]));
    let parts = world.asked();
    world.answer(parts[0].0, found(&parts[0].1, 50));
    world.wait(10 * MILLISECOND);
    world.told();
    world.request(&fetch(&[(0, 1), (1, 7)]));
    assert_eq!(world.asked().len(), 1);
    world.answer(parts[1].0, found(&parts[1].1, 0));
    let again = world.asked();
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].1.broker, BrokerId(2));
    assert_eq!(again[0].1.request.max_wait_ms, 500);
    world.answer(again[0].0, found(&again[0].1, 9));
    world.wait(10 * MILLISECOND);
    assert_eq!(world.told(), Some(vec![(OK, 0), (OK, 9)]));
}

#[test]
fn what_the_next_request_does_not_ask_for_is_cancelled_and_dropped() {
    for (offset, changes_leader) in [(8, false), (7, true)] {
        let mut world = World::new(&[1, 2]);
        world.request(&fetch(&[(0, 0), (1, 7)]));
        let parts = world.asked();
        world.answer(parts[0].0, found(&parts[0].1, 50));
        world.wait(10 * MILLISECOND);
        world.told();
        if changes_leader {
            world.lead(1, 3);
        }
        world.request(&fetch(&[(0, 1), (1, offset)]));
        let is_cancelled = world
            .effects
            .iter()
            .any(|effect| matches!(effect, FetchEffect::Cancel(id) if *id == parts[1].0));
        assert!(is_cancelled);
        assert_eq!(world.asked().len(), 2);
        world.answer(parts[1].0, found(&parts[1].1, 60));
        world.wait(510 * MILLISECOND);
        assert_eq!(world.told(), Some(vec![(OK, 0), (OK, 0)]));
    }
}

#[test]
fn what_did_not_fit_comes_with_the_next_answer() {
    let mut world = World::new(&[1, 2]);
    let mut request = fetch(&[(0, 0), (1, 0)]);
    request.max_bytes = 100;
    world.request(&request);
    let parts = world.asked();
    world.answer(parts[0].0, found(&parts[0].1, 80));
    world.answer(parts[1].0, found(&parts[1].1, 70));
    assert_eq!(world.told(), Some(vec![(OK, 80), (OK, 0)]));
    assert_eq!(world.fetching.held_bytes(), 70);
    let mut request = fetch(&[(0, 5), (1, 0)]);
    request.max_bytes = 100;
    world.request(&request);
    let parts = world.asked();
    assert_eq!(parts[0].1.request.max_bytes, 30);
    world.answer(parts[0].0, found(&parts[0].1, 0));
    assert_eq!(world.told(), Some(vec![(OK, 0), (OK, 70)]));
    assert_eq!(world.fetching.held_bytes(), 0);
}

#[test]
fn errors_and_empty_answers_are_never_kept() {
    let mut world = World::new(&[1, 2, 3]);
    world.request(&fetch(&[(0, 0), (1, 0), (2, 0)]));
    let parts = world.asked();
    world.answer(parts[0].0, found(&parts[0].1, 50));
    world.wait(10 * MILLISECOND);
    world.told();
    let mut failed = found(&parts[1].1, 10);
    failed.responses[0].partitions[0].error_code = ErrorCode::OffsetOutOfRange;
    world.answer(parts[1].0, failed);
    world.answer(parts[2].0, found(&parts[2].1, 0));
    assert_eq!(world.fetching.held_bytes(), 0);
    world.request(&fetch(&[(0, 1), (1, 0), (2, 0)]));
    assert_eq!(world.asked().len(), 3);
}

#[test]
fn a_lost_partition_costs_the_others_nothing_and_becomes_an_error_after_the_hold() {
    let mut world = World::new(&[1, -1]);
    world.request(&fetch(&[(0, 0), (1, 0)]));
    let parts = world.asked();
    assert_eq!(parts.len(), 1);
    world.answer(parts[0].0, found(&parts[0].1, 5));
    assert_eq!(world.told(), Some(vec![(OK, 5), (OK, 0)]));
    world.wait(HOLD);
    world.request(&fetch(&[(0, 1), (1, 0)]));
    world.wait(499 * MILLISECOND);
    assert_eq!(
        world.told(),
        None,
        "an error of the router's own does not make clients ask at once"
    );
    world.wait(11 * MILLISECOND);
    let told = world.told();
    assert_eq!(
        told,
        Some(vec![(OK, 0), (ErrorCode::NotLeaderOrFollower, 0)])
    );
}

#[test]
fn a_leader_that_appears_is_asked() {
    let mut world = World::new(&[-1]);
    world.request(&fetch(&[(0, 0)]));
    assert!(world.asked().is_empty());
    world.wait(100 * MILLISECOND);
    world.lead(0, 2);
    let parts = world.asked();
    assert_eq!(parts[0].1.request.max_wait_ms, 400);
    world.answer(parts[0].0, found(&parts[0].1, 5));
    assert_eq!(world.told(), Some(vec![(OK, 5)]));
}

#[test]
fn a_part_whose_link_is_gone_is_asked_elsewhere_or_not_answered() {
    let mut world = World::new(&[1]);
    world.request(&fetch(&[(0, 0)]));
    let parts = world.asked();
    world
        .fetching
        .on_lost(parts[0].0, world.now, &mut world.effects);
    world.lead(0, 2);
    let parts = world.asked();
    assert_eq!(parts[0].1.broker, BrokerId(2));
    world
        .fetching
        .on_lost(parts[0].0, world.now, &mut world.effects);
    world.wait(510 * MILLISECOND);
    assert_eq!(world.told(), Some(vec![(OK, 0)]));
}

#[test]
fn an_unknown_partition_is_looked_up_before_the_client_is_told() {
    let mut world = World::new(&[1]);
    world.request(&fetch(&[(0, 0), (5, 0)]));
    let effects = world.effects.iter();
    let looked_up = effects.filter_map(|effect| match effect {
        FetchEffect::LookUp(missing) => Some(missing.clone()),
        _ => None,
    });
    let looked_up: BTreeSet<Missing> = looked_up.collect();
    let missing = (TopicKey::Name("a".into()), PartitionIndex(5));
    assert_eq!(looked_up, BTreeSet::from([missing]));
    assert_eq!(world.told(), None);
    let moment = World::moment(&world.routing, world.now);
    world
        .fetching
        .on_unknown(&looked_up, moment, &mut world.effects);
    world.wait(10 * MILLISECOND);
    let told = world.told();
    assert_eq!(
        told,
        Some(vec![(OK, 0), (ErrorCode::UnknownTopicOrPartition, 0)])
    );
}

#[test]
fn a_request_that_others_wait_behind_is_answered_early() {
    let mut world = World::new(&[1]);
    world.request(&fetch(&[(0, 0)]));
    let parts = world.asked();
    world.fetching.on_waited_for(world.now, &mut world.effects);
    assert!(world.is_finished(parts[0].0));
    world.answer(parts[0].0, found(&parts[0].1, 0));
    assert_eq!(world.told(), Some(vec![(OK, 0)]));
}

#[test]
fn a_request_that_does_not_wait_is_answered_within_the_grace() {
    let mut world = World::new(&[1]);
    let mut request = fetch(&[(0, 0)]);
    request.max_wait_ms = 0;
    world.request(&request);
    assert_eq!(world.asked().len(), 1);
    world.wait(9 * MILLISECOND);
    assert_eq!(world.told(), None);
    world.wait(MILLISECOND);
    assert_eq!(world.told(), Some(vec![(OK, 0)]));
}

#[test]
fn a_request_for_nothing_or_of_a_session_is_answered_at_once() {
    let mut world = World::new(&[1]);
    world.request(&fetch(&[]));
    assert_eq!(world.told(), Some(vec![]));
    let mut request = fetch(&[(0, 0)]);
    request.session_id = 1;
    world.request(&request);
    assert_eq!(world.told(), Some(vec![]));
    assert!(world.asked().is_empty());
}

#[test]
fn what_a_broker_answers_besides_what_was_asked_is_ignored() {
    let mut world = World::new(&[1]);
    world.request(&fetch(&[(0, 0)]));
    let parts = world.asked();
    let mut response = found(&parts[0].1, 7);
    response.responses[0].topic_id = TopicId([9; 16]);
    world.answer(PartId(77), found(&parts[0].1, 9));
    world.answer(parts[0].0, response);
    assert_eq!(world.told(), None, "the client is not to ask again at once");
    world.wait(510 * MILLISECOND);
    assert_eq!(world.told(), Some(vec![(OK, 0)]));
}

/// A reader that goes on where the last records ended, and brokers whose logs are endless: record bytes count offsets.
fn run(leaders: &[i32], steps: &[(u8, u8)]) -> Result<(), TestCaseError> {
    let mut world = World::new(leaders);
    let count = leaders.len();
    let mut offsets = vec![0i64; count];
    let mut parts: Vec<(PartId, FetchPart)> = Vec::new();
    let mut is_asking = false;
    for (step, detail) in steps.iter().copied() {
        match step % 6 {
            _ if !is_asking => {
                let wanted: Vec<(i32, i64)> = (0..).zip(offsets.iter().copied()).collect();
                let mut request = fetch(&wanted);
                request.max_bytes = i32::from(detail);
                world.request(&request);
                is_asking = true;
            }
            0..=2 if !parts.is_empty() => {
                let (id, part) = parts.swap_remove(usize::from(detail) % parts.len());
                world.answer(id, stamped(&part, usize::from(detail % 4) * 16));
            }
            3 if !parts.is_empty() => {
                let (id, _) = parts.swap_remove(usize::from(detail) % parts.len());
                world.fetching.on_lost(id, world.now, &mut world.effects);
            }
            4 => {
                let partition = i32::from(detail) % i32::try_from(count).expect("few");
                world.lead(
                    partition,
                    if detail > 200 {
                        -1
                    } else {
                        i32::from(detail % 3) + 1
                    },
                );
            }
            _ => world.wait(u32::from(detail) * 3 * MILLISECOND),
        }
        parts.extend(world.asked());
        let effects = std::mem::take(&mut world.effects);
        for effect in effects {
            match effect {
                FetchEffect::Cancel(id) => parts.retain(|(part, _)| *part != id),
                FetchEffect::Answer(response) => {
                    is_asking = false;
                    check(&response, &mut offsets)?;
                }
                _ => {}
            }
        }
        prop_assert_eq!(is_asking, world.fetching.next_deadline().is_some());
    }
    Ok(())
}

/// Record bytes that say at which offset each of them stands.
fn stamped(part: &FetchPart, bytes: usize) -> FetchResponse {
    let mut response = found(part, 0);
    let asked = part
        .request
        .topics
        .iter()
        .flat_map(|topic| &topic.partitions);
    let answers = response
        .responses
        .iter_mut()
        .flat_map(|topic| &mut topic.partitions);
    for (asked, answer) in asked.zip(answers) {
        let first = u8::try_from(asked.fetch_offset.0 % 256).expect("a remainder");
        let records: Vec<u8> = (0..bytes)
            .map(|at| first.wrapping_add((at % 256) as u8))
            .collect();
        answer.records = Some(Bytes::from(records).into());
    }
    response
}

/// Every partition is told once, and its records go on where the last ones ended.
fn check(response: &FetchResponse, offsets: &mut [i64]) -> Result<(), TestCaseError> {
    let told: Vec<_> = response
        .responses
        .iter()
        .flat_map(|topic| &topic.partitions)
        .collect();
    prop_assert_eq!(response.responses.len(), 1);
    prop_assert_eq!(told.len(), offsets.len());
    let mut seen = vec![false; offsets.len()];
    for told in told {
        let index = usize::try_from(told.partition_index.0).expect("an index");
        prop_assert!(!std::mem::replace(&mut seen[index], true));
        for byte in told.records.clone().unwrap_or_default().into_bytes() {
            prop_assert_eq!(i64::from(byte), offsets[index] % 256);
            offsets[index] += 1;
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn a_reader_gets_every_record_once_and_in_order_whatever_happens(
        leaders in prop::collection::vec(1..=3i32, 1..6),
        steps in prop::collection::vec(any::<(u8, u8)>(), 0..120),
    ) {
        run(&leaders, &steps)?;
    }
}
