//! The controller's decisions, without quorum, clock or disk: what is asked in order, what is proposed, what is answered.

mod succession;

use std::sync::Arc;

use keylane_protocol::cluster::call::{
    AdoptedConfig, AdoptedTopic, RegisterBrokerRequest, TopicPartitions,
};
use keylane_protocol::cluster::{ClusterImage, MetadataRecord, PartitionImage, RouterRegistered};
use keylane_protocol::identifiers::{
    BrokerId, ClusterId, FolderId, PartitionIndex, StartId, TopicId,
};
use keylane_protocol::offset::{BrokerEpoch, LeaderEpoch};
use proptest::prelude::*;

use super::configs::{ConfigChange, ConfigChanges, ConfigChangesError};
use super::core::{Answer, Ask, AskError, ControllerCore, Decided, Effect, TopicToDelete};
use super::new_topic::{NewTopic, TopicRules};
use super::partitions::{MorePartitions, MorePartitionsError};
use super::registration::RegisterError;
use crate::topic_settings::TopicSettings;

const ID: TopicId = TopicId([5; 16]);
const CLUSTER: ClusterId = ClusterId([9; 16]);

fn core() -> ControllerCore<u32> {
    let rules = TopicRules {
        default_partitions: 3,
        defaults: TopicSettings::default(),
        partitions_max: 100,
    };
    ControllerCore::new(rules, 8)
}

/// A controller that leads, and a quorum that agrees to everything at once.
struct World {
    core: ControllerCore<u32>,
    image: Arc<ClusterImage>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            core: core(),
            image: Arc::default(),
        };
        let mut effects = Vec::new();
        world
            .core
            .on_leading(Arc::clone(&world.image), &mut effects);
        assert_eq!(world.ask(Ask::Found(CLUSTER)), Ok(Answer::Done));
        world
    }

    fn ask(&mut self, ask: Ask) -> Decided {
        let mut effects = Vec::new();
        self.core.on_ask(0, ask, &mut effects);
        let mut decided = None;
        while let Some(effect) = effects.pop() {
            match effect {
                Effect::Answer(_, answer) => decided = Some(answer),
                Effect::Propose(records) => {
                    self.image = Arc::new(self.image.with(&records).expect("it can follow"));
                    self.core.on_applied(Arc::clone(&self.image), &mut effects);
                }
            }
        }
        decided.expect("an answer")
    }

    fn register(&mut self, request: RegisterBrokerRequest) -> Result<BrokerEpoch, AskError> {
        self.register_as(request, false)
    }

    fn register_as(
        &mut self,
        request: RegisterBrokerRequest,
        votes: bool,
    ) -> Result<BrokerEpoch, AskError> {
        let request = Box::new(request);
        match self.ask(Ask::RegisterBroker { request, votes })? {
            Answer::Registered(epoch) => Ok(epoch),
            other => panic!("{other:?}"),
        }
    }

    /// Registers a broker that then takes part.
    fn join(&mut self, id: i32, incarnation: i32) -> BrokerEpoch {
        let epoch = self
            .register(registration(id, incarnation))
            .expect("lawful");
        let unfenced = self.ask(Ask::Unfence(BrokerId(id), epoch));
        assert_eq!(unfenced, Ok(Answer::Done));
        epoch
    }

    fn create(&mut self, name: &str, partitions: i32) -> Decided {
        let new = NewTopic {
            name: name.to_owned(),
            partition_count: partitions,
            replication_factor: -1,
            assignments: Vec::new(),
            settings: Vec::new(),
        };
        let id = TopicId(std::array::from_fn(|at| {
            name.as_bytes().get(at).copied().unwrap_or(5)
        }));
        self.ask(Ask::CreateTopic {
            new,
            id: if name == "t" { ID } else { id },
            validate_only: false,
        })
    }

    fn add_partitions(
        &mut self,
        name: &str,
        count: i32,
        assignments: Option<&[&[i32]]>,
        validate_only: bool,
    ) -> Decided {
        let brokers = |ids: &&[i32]| ids.iter().copied().map(BrokerId).collect();
        self.ask(Ask::CreatePartitions {
            more: MorePartitions {
                topic: name.to_owned(),
                count,
                assignments: assignments.map(|given| given.iter().map(brokers).collect()),
            },
            validate_only,
        })
    }

    fn configure(&mut self, topic: &str, changes: &[(&str, ConfigChange)]) -> Decided {
        let changes = changes.iter();
        let changes = changes.map(|(key, change)| ((*key).to_owned(), change.clone()));
        self.ask(Ask::ChangeConfigs {
            changes: ConfigChanges {
                topic: topic.to_owned(),
                changes: changes.collect(),
            },
            validate_only: false,
        })
    }

    /// Returns what is configured for a topic.
    fn configs(&self, topic: &str) -> Vec<(String, String)> {
        let topic = self.image.topic_named(topic).expect("it exists");
        let configs = topic.configs.iter();
        configs
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .collect()
    }

    fn partition(&self, index: i32) -> &PartitionImage {
        let partition = self.image.partition(ID, PartitionIndex(index));
        partition.expect("it exists")
    }

    fn led(&self, index: i32) -> (Option<BrokerId>, LeaderEpoch) {
        let partition = self.partition(index);
        (partition.leader, partition.leader_epoch)
    }
}

fn start(number: i32) -> StartId {
    StartId(u128::try_from(number + 1).unwrap_or(0).to_be_bytes())
}

/// Returns the registration of a folder's start of a number, of which the one before was acknowledged.
fn registration(id: i32, incarnation: i32) -> RegisterBrokerRequest {
    RegisterBrokerRequest {
        broker_id: BrokerId(id),
        folder_id: FolderId([u8::try_from(id).unwrap_or(0); 16]),
        incarnation,
        incarnation_acknowledged: if incarnation < 2 { 0 } else { incarnation - 1 },
        host: "h".into(),
        port: 1,
        internal_host: "h".into(),
        internal_port: 2,
        start: start(incarnation),
        starts_known: vec![start(incarnation - 1), start(incarnation)],
        ..RegisterBrokerRequest::default()
    }
}

#[test]
fn registration_ends_the_past_and_raises_the_epochs_it_led() {
    let mut world = World::new();
    let first = world.join(1, 1);
    world.create("t", 1).expect("created");
    assert_eq!(world.led(0), (Some(BrokerId(1)), LeaderEpoch(0)));
    let second = world.register(registration(1, 2)).expect("lawful");
    assert!(second > first);
    assert_eq!(world.led(0), (None, LeaderEpoch(1)), "it has not caught up");
    let stale = world.ask(Ask::Unfence(BrokerId(1), first));
    assert!(matches!(stale, Err(AskError::Stale { .. })), "{stale:?}");
    world.ask(Ask::Unfence(BrokerId(1), second)).expect("done");
    assert_eq!(world.led(0), (Some(BrokerId(1)), LeaderEpoch(2)));
}

#[test]
fn added_partitions_follow_those_that_exist_and_go_to_whom_leads_fewest() {
    let mut world = World::new();
    let epoch = world.join(1, 1);
    world.create("t", 3).expect("created");
    let raised = world.register(registration(1, 2)).expect("lawful");
    assert!(raised > epoch);
    world.ask(Ask::Unfence(BrokerId(1), raised)).expect("done");
    let before: Vec<_> = (0..3).map(|index| world.led(index)).collect();
    world.join(2, 1);
    let added = world.add_partitions("t", 5, None, false);
    assert_eq!(added, Ok(Answer::Done));
    let after: Vec<_> = (0..3).map(|index| world.led(index)).collect();
    assert_eq!(after, before, "what exists stays as it is");
    for index in 3..5 {
        assert_eq!(world.led(index), (Some(BrokerId(2)), LeaderEpoch(0)));
        assert_eq!(world.partition(index).in_sync, [BrokerId(2)]);
    }
    assert_eq!(world.image.partition_count(), 5);
}

#[test]
fn partitions_are_added_above_every_epoch_of_a_topic_that_had_the_name_before() {
    let mut world = World::new();
    world.join(1, 1);
    world.create("t", 1).expect("created");
    let epoch = world.register(registration(1, 2)).expect("lawful");
    world.ask(Ask::Unfence(BrokerId(1), epoch)).expect("done");
    let (_, highest) = world.led(0);
    let deleted = world.ask(Ask::DeleteTopic(TopicToDelete::Named("t".to_owned())));
    assert!(deleted.is_ok());
    world.create("t", 1).expect("created");
    world.add_partitions("t", 2, None, false).expect("possible");
    assert!(world.led(1).1 > highest);
}

#[test]
fn partitions_are_put_where_the_client_wants_them() {
    let mut world = World::new();
    world.join(1, 1);
    world.join(2, 1);
    world.create("t", 1).expect("created");
    let epoch = world.join(3, 1);
    world.ask(Ask::Fence(BrokerId(3), epoch)).expect("done");
    for impossible in [
        &[&[1][..]][..],
        &[&[1], &[1], &[1]],
        &[&[1], &[3]],
        &[&[1], &[9]],
        &[&[1], &[1, 2]],
        &[&[1], &[]],
        &[],
    ] {
        let refused = world.add_partitions("t", 3, Some(impossible), false);
        assert!(refused.is_err(), "{impossible:?}");
    }
    let added = world.add_partitions("t", 3, Some(&[&[2], &[1]]), false);
    assert_eq!(added, Ok(Answer::Done));
    assert_eq!(world.led(1).0, Some(BrokerId(2)));
    assert_eq!(world.led(2).0, Some(BrokerId(1)));
}

#[test]
fn a_topic_gets_only_more_partitions_and_not_too_many() {
    use MorePartitionsError as E;
    let mut world = World::new();
    let epoch = world.join(1, 1);
    world.create("t", 3).expect("created");
    world.create("u", 90).expect("created");
    let image = Arc::clone(&world.image);
    let mut refused = |name: &str, count| match world.add_partitions(name, count, None, false) {
        Err(AskError::CreatePartitions(error)) => error,
        other => panic!("{other:?}"),
    };
    for count in [i32::MIN, -1, 0, 2, 3] {
        assert!(matches!(refused("t", count), E::NotMore { .. }), "{count}");
    }
    assert!(matches!(refused("../x", 5), E::UnknownTopic { .. }));
    for count in [11, 101, i32::MAX] {
        assert!(matches!(refused("t", count), E::Rules(_)), "{count}");
    }
    assert_eq!(world.image, image);
    let possible = world.add_partitions("t", 10, None, true);
    assert_eq!(possible, Ok(Answer::Done));
    assert_eq!(world.image, image, "it was only checked");
    world.ask(Ask::Fence(BrokerId(1), epoch)).expect("done");
    let refused = world.add_partitions("t", 4, None, true);
    assert!(refused.is_err(), "nobody takes part");
    world.ask(Ask::Unfence(BrokerId(1), epoch)).expect("done");
    world
        .add_partitions("t", 10, None, false)
        .expect("100 in all");
}

fn set(value: &str) -> ConfigChange {
    ConfigChange::Set(value.to_owned())
}

#[test]
fn settings_are_changed_together_or_not_at_all() {
    use ConfigChangesError as E;
    let mut world = World::new();
    world.join(1, 1);
    world.create("t", 1).expect("created");
    let small = ("segment.bytes", set("65536"));
    let refused = world.configure("t", std::slice::from_ref(&small));
    let too_small = matches!(refused, Err(AskError::ChangeConfigs(E::Setting(_))));
    assert!(too_small, "a message may be larger: {refused:?}");
    let fitting = ("max.message.bytes", set("60000"));
    let wrong = ("segment.ms", set("never"));
    let refused = world.configure("t", &[small.clone(), fitting.clone(), wrong]);
    assert!(refused.is_err());
    assert_eq!(world.configs("t"), []);
    assert_eq!(world.configure("t", &[small, fitting]), Ok(Answer::Done));
    let expected = [("max.message.bytes", "60000"), ("segment.bytes", "65536")];
    let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(world.configs("t"), expected);
    let alone = world.configure("t", &[("max.message.bytes", ConfigChange::Delete)]);
    assert!(alone.is_err(), "its default is above segment.bytes");
    let both = [
        ("max.message.bytes", ConfigChange::Delete),
        ("segment.bytes", ConfigChange::Delete),
        ("segment.ms", ConfigChange::Delete),
    ];
    assert_eq!(world.configure("t", &both), Ok(Answer::Done));
    assert_eq!(world.configs("t"), []);
}

#[test]
fn what_cannot_be_changed_of_a_topic_is_refused() {
    use ConfigChangesError as E;
    let mut world = World::new();
    world.join(1, 1);
    world.create("t", 1).expect("created");
    let image = Arc::clone(&world.image);
    let mut refused =
        |topic: &str, changes: &[(&str, ConfigChange)]| match world.configure(topic, changes) {
            Err(AskError::ChangeConfigs(error)) => error,
            other => panic!("{other:?}"),
        };
    let list = || ConfigChange::Append("1".to_owned());
    assert!(matches!(refused("u", &[]), E::UnknownTopic { .. }));
    for unknown in [set("1"), ConfigChange::Delete, list()] {
        let error = refused("t", &[("flush.ms", unknown)]);
        assert!(matches!(error, E::Setting(_)), "{error}");
    }
    let error = refused("t", &[("segment.ms", set("5")), ("segment.ms", set("5"))]);
    assert!(matches!(error, E::Twice { .. }), "{error}");
    assert!(matches!(
        refused("t", &[("segment.ms", list())]),
        E::NoList { .. }
    ));
    let error = refused("t", &[("durability", set("page-cache"))]);
    assert!(matches!(error, E::Durability { .. }), "{error}");
    let compact = ConfigChange::Append("compact".to_owned());
    let error = refused("t", &[("cleanup.policy", compact)]);
    assert!(error.to_string().contains("delete,compact"), "{error}");
    let nothing = ConfigChange::Subtract("delete".to_owned());
    assert!(matches!(
        refused("t", &[("cleanup.policy", nothing)]),
        E::Setting(_)
    ));
    assert_eq!(world.image, image);
    for as_before in [
        ConfigChange::Append("delete".to_owned()),
        ConfigChange::Subtract("compact".to_owned()),
    ] {
        let changed = world.configure("t", &[("cleanup.policy", as_before)]);
        assert_eq!(changed, Ok(Answer::Done));
        assert_eq!(world.configs("t")[0].1, "delete");
    }
}

#[test]
fn a_fenced_broker_leads_nothing_until_it_takes_part_again() {
    let mut world = World::new();
    let epoch = world.join(1, 1);
    world.join(2, 1);
    world.create("t", 4).expect("created");
    world.ask(Ask::Fence(BrokerId(1), epoch)).expect("done");
    let leaders: Vec<_> = (0..4).map(|index| world.led(index).0).collect();
    assert_eq!(leaders, [None, Some(BrokerId(2)), None, Some(BrokerId(2))]);
    world.ask(Ask::Unfence(BrokerId(1), epoch)).expect("done");
    assert_eq!(world.led(0), (Some(BrokerId(1)), LeaderEpoch(2)));
    assert_eq!(world.led(1), (Some(BrokerId(2)), LeaderEpoch(0)));
}

#[test]
fn another_folder_is_refused_while_the_broker_lives_and_trusted_with_nothing_after() {
    let mut world = World::new();
    let epoch = world.join(1, 1);
    world.create("t", 1).expect("created");
    let other = RegisterBrokerRequest {
        folder_id: FolderId([77; 16]),
        ..registration(1, 1)
    };
    let refused = world.register(other.clone());
    let alive = matches!(
        refused,
        Err(AskError::Register(RegisterError::Alive { .. }))
    );
    assert!(alive, "{refused:?}");
    world.ask(Ask::Fence(BrokerId(1), epoch)).expect("done");
    let epoch = world.register(other).expect("the first is gone");
    world.ask(Ask::Unfence(BrokerId(1), epoch)).expect("done");
    assert_eq!(world.led(0).0, None, "its records are not there");
    assert_eq!(world.partition(0).last_known, [BrokerId(1)]);
}

#[test]
fn what_a_broker_says_is_damaged_is_led_no_longer() {
    let mut world = World::new();
    world.join(1, 1);
    world.create("t", 2).expect("created");
    let epoch = world.register(RegisterBrokerRequest {
        suspects: vec![TopicPartitions {
            topic_id: ID,
            partitions: vec![PartitionIndex(1)],
        }],
        ..registration(1, 2)
    });
    world
        .ask(Ask::Unfence(BrokerId(1), epoch.expect("registered")))
        .expect("done");
    assert_eq!(world.led(0).0, Some(BrokerId(1)));
    assert_eq!(world.led(1).0, None);
}

#[test]
fn folders_of_other_clusters_and_of_forgotten_ones_are_refused() {
    let mut world = World::new();
    let refused = world.register(RegisterBrokerRequest {
        cluster_id: ClusterId([1; 16]),
        ..registration(1, 1)
    });
    let other = matches!(
        refused,
        Err(AskError::Register(RegisterError::OtherCluster { .. }))
    );
    assert!(other, "{refused:?}");
    let refused = world.register(registration(1, 5));
    let forgotten = matches!(refused, Err(AskError::Register(RegisterError::Forgotten)));
    assert!(forgotten, "{refused:?}");
}

#[test]
fn a_folder_from_before_there_were_controllers_brings_its_topics_and_no_used_producer_ids() {
    let mut world = World::new();
    let adopted = AdoptedTopic {
        topic_id: ID,
        name: "old".into(),
        partition_count: 2,
        leader_epoch: LeaderEpoch(40),
        configs: vec![AdoptedConfig {
            key: "durability".into(),
            value: "page-cache".into(),
        }],
    };
    let request = RegisterBrokerRequest {
        incarnation_acknowledged: 0,
        adopted: vec![adopted],
        ..registration(1, 40)
    };
    let epoch = world.register(request.clone()).expect("lawful");
    assert!(
        epoch.0 >= 40,
        "ids made of earlier starts are not given again"
    );
    world.ask(Ask::Unfence(BrokerId(1), epoch)).expect("done");
    assert_eq!(world.led(1), (Some(BrokerId(1)), LeaderEpoch(41)));
    // The answer was lost: the same again, after the topic was deleted.
    let deleted = world.ask(Ask::DeleteTopic(TopicToDelete::Named("old".to_owned())));
    assert!(deleted.is_ok());
    let RegisterBrokerRequest {
        incarnation,
        start,
        starts_known,
        ..
    } = registration(1, 41);
    let again = RegisterBrokerRequest {
        incarnation,
        start,
        starts_known,
        ..request
    };
    world.register(again).expect("lawful");
    assert!(world.image.topic_named("old").is_none(), "it stays deleted");
}

#[test]
fn a_proposal_carries_all_that_waited_and_later_requests_see_earlier_ones() {
    let mut world = World::new();
    world.join(1, 1);
    let mut effects = Vec::new();
    let new = |name: &str| NewTopic {
        name: name.to_owned(),
        partition_count: 1,
        replication_factor: 1,
        assignments: Vec::new(),
        settings: Vec::new(),
    };
    let mut ask = |core: &mut ControllerCore<u32>, whom: u32, name: &str| {
        let id = TopicId([u8::try_from(whom).expect("small"); 16]);
        let ask = Ask::CreateTopic {
            new: new(name),
            id,
            validate_only: false,
        };
        core.on_ask(whom, ask, &mut effects);
        std::mem::take(&mut effects)
    };
    let first = ask(&mut world.core, 1, "a");
    let [Effect::Propose(records)] = &first[..] else {
        panic!("{first:?}")
    };
    assert!(ask(&mut world.core, 2, "b").is_empty(), "one at a time");
    assert!(ask(&mut world.core, 3, "b").is_empty());
    let image = Arc::new(world.image.with(records).expect("lawful"));
    let mut effects = Vec::new();
    world.core.on_applied(image, &mut effects);
    assert!(matches!(effects[0], Effect::Answer(1, Ok(_))));
    let Effect::Propose(records) = &effects[1] else {
        panic!("{effects:?}")
    };
    let image = Arc::new(world.core_image().with(records).expect("lawful"));
    let mut answers = Vec::new();
    world.core.on_applied(image, &mut answers);
    assert!(matches!(answers[0], Effect::Answer(2, Ok(_))));
    let exists = matches!(answers[1], Effect::Answer(3, Err(AskError::CreateTopic(_))));
    assert!(exists, "{answers:?}");
}

impl World {
    /// Returns the image with topic `a`, as the test above has made it.
    fn core_image(&self) -> ClusterImage {
        let records = {
            let mut core = core();
            let mut effects = Vec::new();
            core.on_leading(Arc::clone(&self.image), &mut effects);
            let new = NewTopic {
                name: "a".to_owned(),
                partition_count: 1,
                replication_factor: 1,
                assignments: Vec::new(),
                settings: Vec::new(),
            };
            let ask = Ask::CreateTopic {
                new,
                id: TopicId([1; 16]),
                validate_only: false,
            };
            core.on_ask(1, ask, &mut effects);
            match effects.pop() {
                Some(Effect::Propose(records)) => records,
                other => panic!("{other:?}"),
            }
        };
        self.image.with(&records).expect("lawful")
    }
}

fn registering() -> Ask {
    Ask::RegisterBroker {
        request: Box::new(registration(1, 1)),
        votes: false,
    }
}

#[test]
fn who_leads_no_longer_says_that_it_does_not_know() {
    let mut world = World::new();
    let mut effects = Vec::new();
    for whom in 1..=2 {
        world.core.on_ask(whom, registering(), &mut effects);
    }
    effects.clear();
    world.core.on_following(&mut effects);
    let expected = [
        Effect::Answer(1, Err(AskError::Unknown)),
        Effect::Answer(2, Err(AskError::NotController)),
    ];
    assert_eq!(effects, expected);
    effects.clear();
    world.core.on_applied(Arc::default(), &mut effects);
    world.core.on_ask(3, Ask::Found(CLUSTER), &mut effects);
    let refused = Effect::Answer(3, Err(AskError::NotController));
    assert_eq!(effects, [refused]);
}

#[test]
fn what_waits_is_bounded() {
    let mut world = World::new();
    let mut effects = Vec::new();
    for whom in 0..10 {
        world.core.on_ask(whom, registering(), &mut effects);
    }
    assert_eq!(effects.len(), 2, "one proposal, eight wait, one is refused");
    assert_eq!(effects[1], Effect::Answer(9, Err(AskError::Busy)));
}

#[test]
fn one_address_has_one_router_id() {
    let mut world = World::new();
    let router = |id, port| {
        Ask::RegisterRouter(RouterRegistered {
            router_id: BrokerId(id),
            host: "r".into(),
            port,
            ..RouterRegistered::default()
        })
    };
    for ask in [
        router(1_000_001, 1),
        router(1_000_002, 2),
        router(1_000_003, 1),
    ] {
        world.ask(ask).expect("lawful");
    }
    let ids: Vec<i32> = world.image.routers().map(|router| router.id.0).collect();
    assert_eq!(ids, [1_000_002, 1_000_003]);
    assert!(world.ask(router(5, 3)).is_err(), "a broker's id");
}

proptest! {
    /// Whatever comes in whatever order: what is decided can follow (the core asserts it), leaders take part and are in
    /// sync, and epochs never fall (the image refuses that).
    #[test]
    fn every_life_of_a_cluster_is_lawful(steps in prop::collection::vec(any::<[u8; 3]>(), 0..60)) {
        let mut world = World::new();
        for [choice, detail, id] in steps {
            let node = BrokerId(i32::from(id % 4) + 1);
            let epoch = world.image.broker(node).map_or(BrokerEpoch(0), |broker| broker.epoch);
            let known = world.image.broker(node).map_or(0, |broker| broker.incarnation);
            match choice % 9 {
                0 => drop(world.register(RegisterBrokerRequest {
                    incarnation_acknowledged: known,
                    folder_id: FolderId([detail % 2; 16]),
                    ..registration(node.0, known + i32::from(detail % 3))
                })),
                1 | 2 => drop(world.ask(Ask::Unfence(node, epoch))),
                3 => drop(world.ask(Ask::Fence(node, epoch))),
                4 => drop(world.create(&format!("t{}", detail % 3), i32::from(detail % 5))),
                5 => {
                    let count = i32::from(id % 7);
                    drop(world.add_partitions(&format!("t{}", detail % 3), count, None, detail % 5 == 0));
                }
                6 => {
                    let value = (u64::from(detail) * 1000).to_string();
                    let change = match id % 3 {
                        0 => ConfigChange::Delete,
                        1 => ConfigChange::Append(value),
                        _ => ConfigChange::Set(value),
                    };
                    let key = ["segment.bytes", "segment.ms", "max.message.bytes"][usize::from(id % 3)];
                    drop(world.configure(&format!("t{}", detail % 3), &[(key, change)]));
                }
                7 => drop(world.ask(Ask::DeleteTopic(TopicToDelete::Named(format!("t{}", detail % 3))))),
                _ => drop(world.ask(Ask::RemoveRouter(node, epoch))),
            }
            for topic in world.image.topics() {
                for partition in &topic.partitions {
                    if let Some(leader) = partition.leader {
                        let takes_part = world.image.broker(leader).is_some_and(|broker| !broker.is_fenced);
                        prop_assert!(takes_part && partition.in_sync.contains(&leader));
                    }
                }
            }
        }
        let records: Vec<MetadataRecord> = world.image.to_records();
        prop_assert_eq!(ClusterImage::default().with(&records), Ok((*world.image).clone()));
    }
}
