//! Questions about partitions, with leaders that come and go.

use std::time::Duration;

use keylane_protocol::identifiers::{BrokerId, PartitionIndex};
use keylane_protocol::offset::{LeaderEpoch, Offset};

use super::*;
use crate::limits::HOLD;
use crate::merge::inquiry::Found;
use crate::plan::inquiry::{Asked, Wanted};
use crate::routing::Routing;
use crate::testing::{Cluster, start};

const SECOND: Duration = Duration::from_secs(1);

struct World {
    asking: Asking,
    cluster: Cluster,
    routing: Routing,
    now: Instant,
    effects: Vec<AskEffect>,
}

impl World {
    /// Asks for the ends of these partitions of a topic with these leaders.
    fn asking(leaders: &[i32], partitions: &[i32]) -> Self {
        let cluster = Cluster::of_brokers(3).with_topic("a", leaders);
        let now = start();
        let routing = cluster.routing(now);
        let asked = partitions.iter().map(|&index| Asked {
            partition: PartitionIndex(index),
            known_epoch: LeaderEpoch::NONE,
            wanted: Ok(Wanted::EpochEnd {
                epoch: LeaderEpoch(0),
            }),
        });
        let inquiry = vec![("a".into(), asked.collect())];
        let mut effects = Vec::new();
        let moment = Moment {
            routing: &routing,
            now,
        };
        let asking = Asking::begin(&inquiry, Holding::new(HOLD), moment, &mut effects);
        Self {
            asking,
            cluster,
            routing,
            now,
            effects,
        }
    }

    fn with(&mut self, event: impl FnOnce(&mut Asking, Moment<'_>, &mut Vec<AskEffect>)) {
        let moment = Moment {
            routing: &self.routing,
            now: self.now,
        };
        event(&mut self.asking, moment, &mut self.effects);
    }

    fn lead(&mut self, partition: i32, leader: i32) {
        self.cluster.lead("a", partition, leader);
        self.routing.on_image(self.cluster.image(), self.now);
        self.with(|asking, moment, effects| asking.on_routing(moment, effects));
    }

    fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let moment = Moment {
                routing: &self.routing,
                now: self.now,
            };
            match self.asking.next_deadline(moment) {
                Some(at) if at <= end => self.now = at,
                _ => break,
            }
            self.with(|asking, moment, effects| asking.on_deadline(moment, effects));
        }
        self.now = end;
    }

    fn asked(&mut self) -> Vec<(u64, InquiryPart)> {
        let effects = std::mem::take(&mut self.effects);
        let mut asked = Vec::new();
        for effect in effects {
            match effect {
                AskEffect::Ask(number, part) => asked.push((number, part)),
                other => self.effects.push(other),
            }
        }
        asked
    }

    fn answer(&mut self, (number, part): &(u64, InquiryPart)) {
        let found = part.posed.iter().map(|posed| {
            let found = Found {
                error_code: OK,
                offset: Offset(i64::from(part.broker.0)),
                timestamp: -1,
                leader_epoch: posed.leader_epoch,
            };
            (posed.question.partition, found)
        });
        let findings = vec![("a".into(), found.collect())];
        self.with(|asking, moment, effects| asking.on_answer(*number, findings, moment, effects));
    }

    fn told(&self) -> Option<Vec<(ErrorCode, i64)>> {
        self.effects.iter().find_map(|effect| match effect {
            AskEffect::Answer(findings) => {
                let told = findings[0].1.iter();
                Some(
                    told.map(|(_, found)| (found.error_code, found.offset.0))
                        .collect(),
                )
            }
            _ => None,
        })
    }
}

const OK: ErrorCode = ErrorCode::None;
const UNSENT: (ErrorCode, i64) = (ErrorCode::NotLeaderOrFollower, -1);
const UNANSWERED: (ErrorCode, i64) = (ErrorCode::RequestTimedOut, -1);

#[test]
fn an_answer_waits_for_all_leaders() {
    let mut world = World::asking(&[1, 2], &[1, 0]);
    let parts = world.asked();
    world.answer(&parts[0]);
    assert_eq!(world.told(), None);
    world.answer(&parts[1]);
    assert_eq!(world.told(), Some(vec![(OK, 2), (OK, 1)]));
    let moment = Moment {
        routing: &world.routing,
        now: world.now,
    };
    assert_eq!(world.asking.next_deadline(moment), None);
}

#[test]
fn a_question_whose_link_has_gone_is_asked_where_the_leader_is_then() {
    let mut world = World::asking(&[1], &[0]);
    let parts = world.asked();
    world.routing.on_unlinked(BrokerId(1), world.now);
    world.with(|asking, moment, effects| asking.on_lost(parts[0].0, moment, effects));
    assert_eq!(world.told(), None);
    world.lead(0, 2);
    let again = world.asked();
    world.answer(&parts[0]);
    assert_eq!(world.told(), None, "the old part does not count");
    world.answer(&again[0]);
    assert_eq!(world.told(), Some(vec![(OK, 2)]));
}

#[test]
fn a_lost_leader_is_waited_for_briefly_once_something_waits_behind() {
    let mut world = World::asking(&[-1, 1], &[0, 1]);
    let parts = world.asked();
    world.answer(&parts[0]);
    world.wait(HOLD);
    assert_eq!(world.told(), None);
    world.with(|asking, moment, effects| asking.on_waited_for(moment, effects));
    assert_eq!(world.told(), Some(vec![UNSENT, (OK, 1)]));
}

#[test]
fn alone_it_waits_for_half_of_its_time() {
    let mut world = World::asking(&[-1], &[0]);
    world.wait(15 * SECOND - Duration::from_millis(1));
    assert_eq!(world.told(), None);
    world.wait(Duration::from_millis(1));
    assert_eq!(world.told(), Some(vec![UNSENT]));
}

#[test]
fn a_leader_that_is_silent_is_not_waited_for_for_ever() {
    let mut world = World::asking(&[1, 2], &[0, 1]);
    let parts = world.asked();
    world.answer(&parts[1]);
    world.wait(30 * SECOND);
    assert_eq!(world.told(), Some(vec![UNANSWERED, (OK, 2)]));
}

#[test]
fn what_is_unknown_is_looked_up_first() {
    let mut world = World::asking(&[1], &[7]);
    let effects = world.effects.iter();
    let missing = effects.filter_map(|effect| match effect {
        AskEffect::LookUp(missing) => Some(missing.clone()),
        _ => None,
    });
    let missing: BTreeSet<Missing> = missing.collect();
    assert_eq!(missing.len(), 1);
    assert_eq!(world.told(), None);
    world.with(|asking, moment, effects| asking.on_unknown(&missing, moment, effects));
    let unknown = (ErrorCode::UnknownTopicOrPartition, -1);
    assert_eq!(world.told(), Some(vec![unknown]));
}

#[test]
fn a_request_for_nothing_is_answered_at_once() {
    assert_eq!(World::asking(&[1], &[]).told(), Some(vec![]));
}
