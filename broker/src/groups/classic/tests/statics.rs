//! Static members (KIP-345, KIP-814).

use keylane_protocol::error_code::ErrorCode;

use super::fixture::{Fixture, REBALANCE_MS, SESSION_MS, fixed, known, protocol, request, text};
use crate::groups::classic::{
    ClassicGroup, GroupState, JoinRequest, Joined, MemberClaim, RebalanceCause, SyncRequest,
};

fn pair() -> (Fixture, Joined, Joined) {
    let (fixture, joined) = Fixture::stable(vec![fixed("one"), fixed("two")]);
    (fixture, joined[0].clone(), joined[1].clone())
}

fn named<'a>(joined: &'a Joined, instance_id: &'a str) -> MemberClaim<'a> {
    MemberClaim {
        member_id: &joined.member_id,
        instance_id: Some(instance_id),
        generation: joined.generation,
    }
}

#[test]
fn a_static_member_that_comes_back_to_a_stable_group_begins_no_rebalance() {
    let (mut fixture, leader, before) = pair();
    let caller = fixture.join(fixed("two"));
    assert!(fixture.joins.is_empty());
    let record = fixture.persisted();
    let after = fixture.joined(caller);
    assert_ne!(after.member_id, before.member_id);
    assert_eq!(after.generation, 1);
    assert_eq!(after.leader, leader.member_id);
    assert!(fixture.causes.is_empty());
    let sync = fixture.sync(&after, &[]);
    assert_eq!(fixture.assigned(sync), "work 1");
    let mut stored = record.members.iter();
    let stored = stored.find(|member| member.instance_id == Some(text("two")));
    assert_eq!(stored.unwrap().member_id, after.member_id);
    assert_eq!(&stored.unwrap().assignment[..], b"work 1");
}

#[test]
fn the_one_before_is_fenced_at_once() {
    let (mut fixture, _, before) = pair();
    fixture.join(fixed("two"));
    let now_ms = fixture.now_ms;
    let fenced = Err(ErrorCode::FencedInstanceId);
    let claim = named(&before, "two");
    assert_eq!(fixture.group.on_heartbeat(claim, now_ms), fenced);
    assert_eq!(fixture.group.validate_commit(claim, now_ms), fenced);
    let sync = fixture.sync_request(SyncRequest {
        member_id: before.member_id.clone(),
        instance_id: Some(text("two")),
        generation: 1,
        protocol_type: None,
        protocol: None,
        assignments: Vec::new(),
    });
    assert_eq!(fixture.sync_refused(sync), ErrorCode::FencedInstanceId);
    let join = fixture.join(JoinRequest {
        member_id: before.member_id.clone(),
        ..fixed("two")
    });
    assert_eq!(fixture.refused(join), ErrorCode::FencedInstanceId);
    // Without the name it is just unknown.
    assert_eq!(fixture.commit(&before), Err(ErrorCode::UnknownMemberId));
}

#[test]
fn the_parked_request_of_the_one_before_is_answered() {
    let (mut fixture, leader, before) = pair();
    fixture.join(JoinRequest {
        instance_id: Some(text("one")),
        ..known(&leader.member_id)
    });
    let first = fixture.join(JoinRequest {
        instance_id: Some(text("three")),
        ..request()
    });
    assert_eq!(fixture.state(), GroupState::PreparingRebalance);
    fixture.join(fixed("three"));
    assert_eq!(fixture.refused(first), ErrorCode::FencedInstanceId);
    fixture.join(JoinRequest {
        instance_id: Some(text("two")),
        ..known(&before.member_id)
    });
    assert_eq!(fixture.state(), GroupState::CompletingRebalance);
}

#[test]
fn a_leader_that_comes_back_stays_the_leader_and_leaves_assignments_alone() {
    let (mut fixture, before, _) = pair();
    let caller = fixture.join(fixed("one"));
    let record = fixture.persisted();
    let after = fixture.joined(caller);
    assert_eq!(after.leader, after.member_id);
    assert_ne!(after.member_id, before.member_id);
    assert!(after.skip_assignment);
    assert_eq!(after.members.len(), 2);
    assert_eq!(record.leader, Some(after.member_id.clone()));
    let sync = fixture.sync(&after, &[]);
    assert_eq!(fixture.assigned(sync), "work 0");
}

#[test]
fn an_old_leader_that_comes_back_takes_itself_for_a_follower() {
    let (mut fixture, before, _) = pair();
    let caller = fixture.join(JoinRequest {
        takes_skip_assignment: false,
        ..fixed("one")
    });
    fixture.persisted();
    let after = fixture.joined(caller);
    assert_eq!(after.leader, before.member_id);
    assert!(!after.skip_assignment);
    assert!(after.members.is_empty());
    let again = fixture.join(JoinRequest {
        instance_id: Some(text("one")),
        ..known(&after.member_id)
    });
    // It leads, so joining again begins a rebalance.
    assert!(!fixture.joins.contains_key(&again));
    assert_eq!(fixture.causes, [RebalanceCause::MemberRejoined]);
}

#[test]
fn other_metadata_of_the_same_protocol_begins_no_rebalance() {
    let (mut fixture, ..) = pair();
    fixture.join(JoinRequest {
        protocols: vec![protocol("range", "owns nothing yet")],
        ..fixed("two")
    });
    assert!(fixture.causes.is_empty());
    let record = fixture.persisted();
    let mut stored = record.members.iter();
    let stored = stored.find(|member| member.instance_id == Some(text("two")));
    assert_eq!(&stored.unwrap().subscription[..], b"owns nothing yet");
}

#[test]
fn a_static_member_that_changes_the_vote_begins_a_rebalance() {
    let both = |first: &str, second: &str| vec![protocol(first, ""), protocol(second, "")];
    let (mut fixture, _) = Fixture::stable(vec![
        JoinRequest {
            protocols: both("range", "sticky"),
            ..fixed("one")
        },
        JoinRequest {
            protocols: both("range", "sticky"),
            ..fixed("two")
        },
        JoinRequest {
            protocols: both("sticky", "range"),
            ..fixed("three")
        },
    ]);
    fixture.join(JoinRequest {
        protocols: both("sticky", "range"),
        ..fixed("two")
    });
    assert_eq!(fixture.causes, [RebalanceCause::StaticMemberReturned]);
    assert!(fixture.persists.is_empty());
}

#[test]
fn a_static_member_that_comes_back_while_others_sync_begins_a_rebalance() {
    let mut fixture = Fixture::new();
    let joined = fixture.gather(vec![fixed("one"), fixed("two")]);
    let sync = fixture.sync(&joined[1], &[]);
    fixture.causes.clear();
    fixture.join(fixed("one"));
    assert_eq!(fixture.causes, [RebalanceCause::StaticMemberReturned]);
    assert_eq!(fixture.sync_refused(sync), ErrorCode::RebalanceInProgress);
}

#[test]
fn a_static_member_that_comes_back_during_a_rebalance_takes_part() {
    let (mut fixture, leader, _) = pair();
    let first = fixture.join(JoinRequest {
        instance_id: Some(text("one")),
        ..known(&leader.member_id)
    });
    let second = fixture.join(fixed("two"));
    assert_eq!(fixture.joined(first).members.len(), 2);
    assert_eq!(fixture.joined(second).generation, 2);
}

#[test]
fn a_replacement_that_is_not_stored_fails_and_the_one_before_stays_fenced() {
    let (mut fixture, _, before) = pair();
    let caller = fixture.join(fixed("two"));
    fixture.persist_failed(ErrorCode::NotCoordinator);
    assert_eq!(fixture.refused(caller), ErrorCode::NotCoordinator);
    assert_eq!(fixture.commit(&before), Err(ErrorCode::UnknownMemberId));
    let caller = fixture.join(fixed("two"));
    fixture.persisted();
    let after = fixture.joined(caller);
    let sync = fixture.sync(&after, &[]);
    assert_eq!(fixture.assigned(sync), "work 1");
}

#[test]
fn a_rebalance_answers_a_replacement_that_waits_for_its_record() {
    let (mut fixture, leader, _) = pair();
    let second = fixture.join(fixed("two"));
    let first = fixture.join(JoinRequest {
        instance_id: Some(text("one")),
        ..known(&leader.member_id)
    });
    assert_eq!(fixture.joined(second).generation, 2);
    assert!(!fixture.joined(first).skip_assignment);
    fixture.persisted();
    assert!(fixture.joins.is_empty());
}

#[test]
fn who_comes_back_twice_is_fenced_once() {
    let (mut fixture, ..) = pair();
    let first = fixture.join(fixed("two"));
    let second = fixture.join(fixed("two"));
    assert_eq!(fixture.refused(first), ErrorCode::FencedInstanceId);
    fixture.persisted();
    assert!(fixture.joins.is_empty());
    fixture.persisted();
    fixture.joined(second);
}

#[test]
fn who_came_back_while_a_record_failed_has_a_record_of_its_own() {
    let (mut fixture, ..) = pair();
    let first = fixture.join(fixed("one"));
    let second = fixture.join(fixed("two"));
    assert_eq!(fixture.persists.len(), 1);
    fixture.persist_failed(ErrorCode::CoordinatorNotAvailable);
    assert_eq!(fixture.refused(first), ErrorCode::CoordinatorNotAvailable);
    assert!(fixture.joins.is_empty());
    fixture.persisted();
    fixture.joined(second);
}

#[test]
fn a_static_member_that_came_back_has_to_sync_in_the_time_of_the_one_before() {
    let mut fixture = Fixture::new();
    let joined = fixture.gather(vec![fixed("one"), fixed("two")]);
    fixture.sync(&joined[0], &[]);
    fixture.persisted();
    let caller = fixture.join(fixed("two"));
    fixture.persisted();
    let after = fixture.joined(caller);
    fixture.causes.clear();
    fixture.live(&[&joined[0], &after], REBALANCE_MS - 1);
    assert!(fixture.causes.is_empty());
    fixture.pass(1);
    assert_eq!(fixture.causes, [RebalanceCause::SyncOverdue]);
    assert_eq!(fixture.heartbeat(&after), Err(ErrorCode::UnknownMemberId));
}

/// A record of all members for each of them would be a million entries.
#[test]
fn a_thousand_static_members_that_restart_together_share_two_records() {
    let names: Vec<String> = (0..1_000).map(|i| format!("member {i}")).collect();
    let (mut fixture, _) = Fixture::stable(names.iter().map(|name| fixed(name)).collect());
    let callers: Vec<u32> = names.iter().map(|name| fixture.join(fixed(name))).collect();
    assert_eq!(fixture.persists.len(), 1);
    fixture.persisted();
    fixture.persisted();
    assert!(fixture.persists.is_empty());
    for caller in callers {
        fixture.joined(caller);
    }
    assert!(fixture.causes.is_empty());
}

#[test]
fn a_static_member_that_is_away_keeps_its_place_until_its_session_ends() {
    let patient = JoinRequest {
        session_timeout_ms: 120_000,
        ..fixed("two")
    };
    let (mut fixture, joined) = Fixture::stable(vec![fixed("one"), patient]);
    let caller = fixture.join(JoinRequest {
        instance_id: Some(text("one")),
        ..known(&joined[0].member_id)
    });
    fixture.pass(REBALANCE_MS);
    let leader = fixture.joined(caller);
    assert_eq!(leader.members.len(), 2);
    fixture.sync(&leader, &[(&joined[1].member_id, "kept")]);
    fixture.persisted();
    // It has not heard of the generation, so it may not commit in it.
    assert_eq!(
        fixture.commit(&joined[1]),
        Err(ErrorCode::IllegalGeneration)
    );
    let guessed = Joined {
        generation: 2,
        ..joined[1].clone()
    };
    assert_eq!(fixture.commit(&guessed), Err(ErrorCode::IllegalGeneration));
    fixture.causes.clear();
    fixture.live(&[&leader], 120_000 - REBALANCE_MS - 1);
    assert!(fixture.causes.is_empty());
    fixture.pass(1);
    assert_eq!(fixture.causes, [RebalanceCause::SessionExpired]);
}

#[test]
fn a_static_member_that_was_away_finds_its_work() {
    let patient = JoinRequest {
        session_timeout_ms: 120_000,
        ..fixed("two")
    };
    let (mut fixture, joined) = Fixture::stable(vec![fixed("one"), patient.clone()]);
    let caller = fixture.join(JoinRequest {
        instance_id: Some(text("one")),
        ..known(&joined[0].member_id)
    });
    fixture.pass(REBALANCE_MS);
    let leader = fixture.joined(caller);
    fixture.sync(&leader, &[(&joined[1].member_id, "kept")]);
    fixture.persisted();
    let caller = fixture.join(JoinRequest {
        member_id: joined[1].member_id.clone(),
        ..patient
    });
    let back = fixture.joined(caller);
    assert_eq!(back.generation, 2);
    let sync = fixture.sync(&back, &[]);
    assert_eq!(fixture.assigned(sync), "kept");
}

#[test]
fn without_any_that_joined_the_rebalance_goes_on_until_sessions_end() {
    let patient = |name| JoinRequest {
        session_timeout_ms: 300_000,
        ..fixed(name)
    };
    let (mut fixture, joined) = Fixture::stable(vec![request(), patient("one"), patient("two")]);
    fixture
        .leave(&[crate::groups::classic::Leaving {
            member_id: joined[0].member_id.clone(),
            instance_id: None,
            reason: None,
        }])
        .unwrap();
    fixture.pass(2 * REBALANCE_MS);
    assert_eq!(fixture.state(), GroupState::PreparingRebalance);
    let back = fixture.join(patient("two"));
    fixture.pass(REBALANCE_MS);
    assert_eq!(fixture.joined(back).members.len(), 2);
    fixture.pass(300_000 + SESSION_MS);
    assert_eq!(fixture.state(), GroupState::Empty);
}

#[test]
fn a_name_belongs_to_one_member() {
    let (mut fixture, leader, follower) = pair();
    let now_ms = fixture.now_ms;
    assert_eq!(
        fixture.group.on_heartbeat(named(&leader, "two"), now_ms),
        Err(ErrorCode::FencedInstanceId)
    );
    assert_eq!(
        fixture
            .group
            .on_heartbeat(named(&follower, "three"), now_ms),
        Err(ErrorCode::UnknownMemberId)
    );
    assert_eq!(
        fixture.group.on_heartbeat(named(&follower, "two"), now_ms),
        Ok(())
    );
}

#[test]
fn after_a_recovery_the_one_in_the_record_speaks_for_the_name() {
    let (mut fixture, _, before) = pair();
    let caller = fixture.join(fixed("two"));
    let record = fixture.persisted();
    let after = fixture.joined(caller);
    let mut fixture = Fixture::of(ClassicGroup::recovered(
        record,
        Default::default(),
        1_000_000,
    ));
    let now_ms = fixture.now_ms;
    assert_eq!(
        fixture.group.validate_commit(named(&before, "two"), now_ms),
        Err(ErrorCode::FencedInstanceId)
    );
    assert_eq!(fixture.commit(&after), Ok(()));
}
