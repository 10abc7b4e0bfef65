//! Whether a folder comes after the start that the controllers know: it does whatever crash or loss came between, and an
//! old copy does not, however often it is tried.

use keylane_protocol::cluster::ClusterImage;
use keylane_protocol::cluster::call::{RegisterBrokerRequest, SeenRegistration};
use keylane_protocol::identifiers::{BrokerId, FolderId, StartId};
use keylane_protocol::offset::BrokerEpoch;
use proptest::prelude::*;

use super::{Ask, AskError, RegisterError, World, registration};
use crate::controller::registration::check_seen;
use crate::folder::Starts;

const ID: BrokerId = BrokerId(1);

/// What of broker 1's data folder tells one start from another.
#[derive(Clone)]
struct Folder {
    starts: Starts,
    count: i32,
    acknowledged: i32,
}

impl Folder {
    fn new() -> Self {
        Self {
            starts: Starts::NONE,
            count: 0,
            acknowledged: 0,
        }
    }

    /// Starts a process, whose start nobody has drawn before, and returns what it says to the controllers.
    fn start(&mut self, drawn: &mut u128) -> RegisterBrokerRequest {
        *drawn += 1;
        let start = StartId(drawn.to_be_bytes());
        self.count += 1;
        self.starts.tell(start);
        RegisterBrokerRequest {
            start,
            starts_known: self.starts.known(),
            epoch_acknowledged: self.starts.epoch,
            incarnation_acknowledged: self.acknowledged,
            ..registration(ID.0, self.count)
        }
    }

    fn acknowledge(&mut self, request: &RegisterBrokerRequest, epoch: BrokerEpoch) {
        self.starts.acknowledge(request.start, epoch);
        self.acknowledged = request.incarnation;
    }

    /// Starts a process that registers, hears of it and takes part.
    fn join(&mut self, world: &mut World, drawn: &mut u128) -> BrokerEpoch {
        let request = self.start(drawn);
        let epoch = world.register(request.clone()).expect("registered");
        self.acknowledge(&request, epoch);
        world.ask(Ask::Unfence(ID, epoch)).expect("done");
        epoch
    }
}

/// A world with one partition, which broker 1 leads, the folder of that broker, and an old copy of it.
struct Copied {
    world: World,
    folder: Folder,
    copy: Folder,
    drawn: u128,
    epoch: BrokerEpoch,
}

fn copied() -> Copied {
    let (mut world, mut folder, mut drawn) = (World::new(), Folder::new(), 0);
    folder.join(&mut world, &mut drawn);
    world.create("t", 1).expect("created");
    let copy = folder.clone();
    let epoch = folder.join(&mut world, &mut drawn);
    assert_eq!(world.led(0).0, Some(ID));
    Copied {
        world,
        folder,
        copy,
        drawn,
        epoch,
    }
}

fn refusal(refused: Result<BrokerEpoch, AskError>) -> RegisterError {
    match refused {
        Err(AskError::Register(refused)) => refused,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_old_copy_of_a_voter_is_refused_at_every_try_and_the_folder_itself_is_welcome() {
    let mut now = copied();
    now.world.ask(Ask::Fence(ID, now.epoch)).expect("done");
    for attempt in 1..=100 {
        let request = now.copy.start(&mut now.drawn);
        let refused = refusal(now.world.register_as(request, true));
        let went_back = matches!(refused, RegisterError::WentBack { known: 2 });
        assert!(went_back, "try {attempt}: {refused}");
    }
    assert!(now.copy.count > now.folder.count, "its count has risen");
    let request = now.folder.start(&mut now.drawn);
    now.world.register_as(request, true).expect("welcome");
}

#[test]
fn an_old_copy_beside_the_process_that_lives_is_refused_and_costs_it_nothing() {
    let mut now = copied();
    for _ in 0..20 {
        let request = now.copy.start(&mut now.drawn);
        let refused = refusal(now.world.register(request));
        let is_alive = matches!(refused, RegisterError::CopyAlive { .. });
        assert!(is_alive, "{refused}");
    }
    let broker = now.world.image.broker(ID).expect("known");
    assert!(broker.epoch == now.epoch && !broker.is_fenced);
    assert_eq!(now.world.led(0).0, Some(ID));
}

#[test]
fn an_old_copy_is_trusted_with_nothing_also_when_it_was_refused_often_before() {
    let mut now = copied();
    for _ in 0..20 {
        let request = now.copy.start(&mut now.drawn);
        now.world.register(request).expect_err("the folder lives");
    }
    now.world.ask(Ask::Fence(ID, now.epoch)).expect("done");
    now.copy.join(&mut now.world, &mut now.drawn);
    assert_eq!(now.world.led(0).0, None);
    assert!(now.world.partition(0).in_sync.is_empty());
    assert_eq!(now.world.partition(0).last_known, [ID]);
}

#[test]
fn an_old_copy_that_was_accepted_is_the_folder_from_then_on_and_leads_nothing_that_it_lacks() {
    let mut now = copied();
    now.world.ask(Ask::Fence(ID, now.epoch)).expect("done");
    // The process dies before it hears that it is registered, and once after.
    let request = now.copy.start(&mut now.drawn);
    now.world.register(request).expect("as a suspect");
    for _ in 0..2 {
        let epoch = now.copy.join(&mut now.world, &mut now.drawn);
        assert_eq!(now.world.led(0).0, None);
        assert!(now.world.partition(0).in_sync.is_empty());
        now.world.ask(Ask::Fence(ID, epoch)).expect("done");
    }
    // What is new since is its own, and stays so.
    let epoch = now.copy.join(&mut now.world, &mut now.drawn);
    now.world.add_partitions("t", 2, None, false).expect("more");
    assert_eq!(now.world.led(1).0, Some(ID));
    now.world.ask(Ask::Fence(ID, epoch)).expect("done");
    now.copy.join(&mut now.world, &mut now.drawn);
    assert_eq!(now.world.led(1).0, Some(ID));
}

#[test]
fn the_folder_whose_copy_has_taken_its_place_is_no_reason_to_doubt_the_controllers() {
    let mut now = copied();
    now.world.ask(Ask::Fence(ID, now.epoch)).expect("done");
    let epoch = now.copy.join(&mut now.world, &mut now.drawn);
    now.world.add_partitions("t", 2, None, false).expect("more");
    now.world.ask(Ask::Fence(ID, epoch)).expect("done");
    assert!(now.folder.count > now.copy.count - 1);
    now.folder.join(&mut now.world, &mut now.drawn);
    assert_eq!(now.world.led(1).0, None, "only the copy has its records");
}

#[test]
fn a_crash_after_the_controllers_have_decided_is_not_taken_for_going_back() {
    let mut now = copied();
    for _ in 0..5 {
        // Registered, and not noted in the folder; then one that ends before it is registered.
        let request = now.folder.start(&mut now.drawn);
        let epoch = now.world.register_as(request, true).expect("welcome");
        now.world.ask(Ask::Unfence(ID, epoch)).expect("done");
        assert_eq!(now.world.led(0).0, Some(ID));
        now.folder.start(&mut now.drawn);
    }
}

#[test]
fn a_registration_whose_answer_was_lost_is_repeated() {
    let mut now = copied();
    let request = now.folder.start(&mut now.drawn);
    let first = now.world.register_as(request.clone(), true);
    let second = now.world.register_as(request.clone(), true);
    assert!(second.expect("registered") > first.expect("registered"));
    let last = now.world.register(request).expect("registered");
    now.world.ask(Ask::Unfence(ID, last)).expect("done");
    assert_eq!(now.world.led(0).0, Some(ID));
}

#[test]
fn controllers_that_have_forgotten_a_registration_say_so() {
    let mut now = copied();
    let image = now.world.image.clone();
    now.folder.join(&mut now.world, &mut now.drawn);
    now.world.image = image;
    let mut effects = Vec::new();
    now.world.core.on_following(&mut effects);
    let restored = now.world.image.clone();
    now.world.core.on_leading(restored, &mut effects);
    for votes in [false, true] {
        let request = now.folder.start(&mut now.drawn);
        let refused = refusal(now.world.register_as(request, votes));
        assert_eq!(refused, RegisterError::Forgotten);
    }
}

#[test]
fn a_start_that_an_earlier_version_registered_is_told_by_its_number() {
    let mut world = World::new();
    let without = |incarnation| RegisterBrokerRequest {
        start: StartId::ZERO,
        starts_known: Vec::new(),
        ..registration(1, incarnation)
    };
    let first = RegisterBrokerRequest {
        incarnation_acknowledged: 0,
        ..without(7)
    };
    world.register(first).expect("registered");
    for old in [without(7), registration(1, 7)] {
        let refused = refusal(world.register_as(old, true));
        assert_eq!(refused, RegisterError::WentBack { known: 7 });
    }
    // Its folder has no ids but that of this start.
    let upgraded = RegisterBrokerRequest {
        starts_known: vec![super::start(8)],
        ..registration(1, 8)
    };
    world.register_as(upgraded, true).expect("welcome");
    let known = world.image.broker(ID).expect("known").start;
    assert_eq!(known, super::start(8));
    // From here on a number proves nothing.
    for old in [without(30), without(9)] {
        let old = RegisterBrokerRequest {
            incarnation_acknowledged: 7,
            ..old
        };
        let refused = refusal(world.register_as(old, true));
        assert_eq!(refused, RegisterError::WentBack { known: 8 });
    }
    let next = registration(1, 9);
    world.register_as(next, true).expect("welcome");
}

/// What a voter with this image has seen of broker 1.
fn seen(image: &ClusterImage) -> SeenRegistration {
    let broker = image.broker(ID).expect("known");
    SeenRegistration {
        folder_id: broker.folder_id,
        incarnation: broker.incarnation,
        start: broker.start,
        broker_epoch: broker.epoch,
    }
}

#[test]
fn what_any_voter_has_seen_gives_an_old_copy_away_and_never_the_folder_itself() {
    let mut now = copied();
    let old = seen(&now.world.image);
    let request = now.copy.start(&mut now.drawn);
    let refused = check_seen(&old, &request);
    assert_eq!(refused, Err(RegisterError::WentBack { known: 2 }));
    // A voter that is behind has seen a start that the folder has put behind itself.
    now.folder.join(&mut now.world, &mut now.drawn);
    // One that is not may have seen one of which the folder has heard nothing.
    let unheard = now.folder.start(&mut now.drawn);
    now.world.register(unheard).expect("registered");
    let request = now.folder.start(&mut now.drawn);
    for seen in [&old, &seen(&now.world.image), &SeenRegistration::default()] {
        assert_eq!(check_seen(seen, &request), Ok(()));
    }
    // Another folder of the same broker is not this one's past.
    let other = SeenRegistration {
        folder_id: FolderId([9; 16]),
        ..seen(&now.world.image)
    };
    let request = now.copy.start(&mut now.drawn);
    assert_eq!(check_seen(&other, &request), Ok(()));
}

proptest! {
    /// The folder itself is never taken for a copy, wherever its processes ended; a copy is refused as soon as a start is
    /// registered that it does not know, and at every try after.
    #[test]
    fn a_folder_always_comes_after_itself_and_a_copy_never_does(
        steps in prop::collection::vec(0u8..7, 0..80),
    ) {
        let (mut world, mut folder, mut drawn) = (World::new(), Folder::new(), 0);
        let mut copy = folder.clone();
        let mut has_gone_on = false;
        for step in steps {
            match step {
                // A process ends before it is registered, after it is, and after it has heard so.
                0 => drop(folder.start(&mut drawn)),
                1 | 2 => {
                    let request = folder.start(&mut drawn);
                    if world.image.broker(ID).is_some() {
                        prop_assert_eq!(check_seen(&seen(&world.image), &request), Ok(()));
                    }
                    let epoch = world.register_as(request.clone(), true);
                    prop_assert!(epoch.is_ok(), "{epoch:?}");
                    has_gone_on = true;
                    if step == 2 {
                        folder.acknowledge(&request, epoch.expect("checked"));
                    }
                }
                3 => (copy, has_gone_on) = (folder.clone(), false),
                _ => {
                    let request = copy.start(&mut drawn);
                    if has_gone_on {
                        prop_assert!(check_seen(&seen(&world.image), &request).is_err());
                        let refused = world.register_as(request, true);
                        prop_assert!(refused.is_err());
                    }
                }
            }
        }
    }
}
