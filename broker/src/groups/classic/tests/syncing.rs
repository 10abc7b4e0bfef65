//! SyncGroup: assignments, their record, and what is told when.

use bytes::Bytes;
use keylane_protocol::error_code::ErrorCode;

use super::fixture::{Fixture, REBALANCE_MS, claim, known, protocol, request, text};
use crate::groups::classic::{
    ClassicGroup, ClassicSettings, GroupState, JoinRequest, Joined, RebalanceCause, SyncRequest,
};

fn two() -> (Fixture, Joined, Joined) {
    let mut fixture = Fixture::new();
    let joined = fixture.gather(vec![request(), request()]);
    (fixture, joined[0].clone(), joined[1].clone())
}

fn sync_of(joined: &Joined) -> SyncRequest {
    SyncRequest {
        member_id: joined.member_id.clone(),
        instance_id: None,
        generation: joined.generation,
        protocol_type: None,
        protocol: None,
        assignments: Vec::new(),
    }
}

#[test]
fn assignments_are_told_once_their_record_is_durable() {
    let (mut fixture, leader, follower) = two();
    let second = fixture.sync(&follower, &[]);
    assert!(fixture.persists.is_empty());
    let first = fixture.sync(
        &leader,
        &[(&leader.member_id, "a"), (&follower.member_id, "b")],
    );
    assert!(fixture.syncs.is_empty());
    assert_eq!(fixture.state(), GroupState::CompletingRebalance);
    let record = fixture.persisted();
    assert_eq!(fixture.assigned(first), "a");
    assert_eq!(fixture.assigned(second), "b");
    assert_eq!(fixture.state(), GroupState::Stable);
    assert_eq!(record.generation, 1);
    assert_eq!(record.leader, Some(leader.member_id));
    assert_eq!(record.protocol, Some(text("range")));
    assert_eq!(record.protocol_type, Some(text("consumer")));
    let members: Vec<(&[u8], &[u8])> = record
        .members
        .iter()
        .map(|member| (&member.subscription[..], &member.assignment[..]))
        .collect();
    assert_eq!(members, [(&b"topics"[..], &b"a"[..]), (b"topics", b"b")]);
}

#[test]
fn the_answer_repeats_the_protocol() {
    let (mut fixture, leader, _) = two();
    let caller = fixture.sync(&leader, &[]);
    fixture.persisted();
    let synced = fixture.syncs.remove(&caller).unwrap().unwrap();
    assert_eq!(synced.protocol_type, Some(text("consumer")));
    assert_eq!(synced.protocol, Some(text("range")));
}

#[test]
fn who_syncs_late_is_told_at_once() {
    let (mut fixture, leader, follower) = two();
    fixture.sync(&leader, &[(&follower.member_id, "b")]);
    fixture.persisted();
    let late = fixture.sync(&follower, &[]);
    assert_eq!(fixture.assigned(late), "b");
}

#[test]
fn whom_the_leader_leaves_out_gets_nothing_to_do() {
    let (mut fixture, leader, follower) = two();
    let second = fixture.sync(&follower, &[]);
    fixture.sync(&leader, &[(&leader.member_id, "a"), (&text("nobody"), "c")]);
    assert_eq!(fixture.persisted().members.len(), 2);
    assert_eq!(fixture.assigned(second), "");
}

#[test]
fn assignments_of_a_follower_do_not_count() {
    let (mut fixture, leader, follower) = two();
    fixture.sync(&follower, &[(&follower.member_id, "all")]);
    assert!(fixture.persists.is_empty());
    let first = fixture.sync(&leader, &[(&leader.member_id, "all")]);
    fixture.persisted();
    assert_eq!(fixture.assigned(first), "all");
}

#[test]
fn a_second_sync_of_a_member_replaces_the_first() {
    let (mut fixture, leader, follower) = two();
    let first = fixture.sync(&follower, &[]);
    let second = fixture.sync(&follower, &[]);
    assert_eq!(fixture.sync_refused(first), ErrorCode::RebalanceInProgress);
    fixture.sync(&leader, &[(&follower.member_id, "b")]);
    fixture.persisted();
    assert_eq!(fixture.assigned(second), "b");
}

#[test]
fn the_first_assignments_on_their_way_count() {
    let (mut fixture, leader, follower) = two();
    let first = fixture.sync(&leader, &[(&leader.member_id, "all")]);
    let second = fixture.sync(&leader, &[(&follower.member_id, "all")]);
    assert_eq!(fixture.sync_refused(first), ErrorCode::RebalanceInProgress);
    assert_eq!(fixture.persists.len(), 1);
    fixture.persisted();
    assert_eq!(fixture.assigned(second), "all");
}

#[test]
fn assignments_that_are_not_stored_begin_a_rebalance() {
    let (mut fixture, leader, follower) = two();
    let first = fixture.sync(&leader, &[(&leader.member_id, "a")]);
    let second = fixture.sync(&follower, &[]);
    fixture.causes.clear();
    fixture.persist_failed(ErrorCode::CoordinatorNotAvailable);
    for caller in [first, second] {
        assert_eq!(
            fixture.sync_refused(caller),
            ErrorCode::CoordinatorNotAvailable
        );
    }
    assert_eq!(fixture.causes, [RebalanceCause::NotPersisted]);
    assert_eq!(fixture.state(), GroupState::PreparingRebalance);
    fixture.join(known(&leader.member_id));
    let again = fixture.join(known(&follower.member_id));
    assert_eq!(fixture.joined(again).generation, 2);
}

#[test]
fn assignments_of_a_generation_that_has_ended_are_told_to_nobody() {
    let (mut fixture, leader, follower) = two();
    let sync = fixture.sync(&leader, &[(&leader.member_id, "old")]);
    let newcomer = fixture.join(request());
    assert_eq!(fixture.sync_refused(sync), ErrorCode::RebalanceInProgress);
    let first = fixture.join(known(&leader.member_id));
    fixture.join(known(&follower.member_id));
    let leader = fixture.joined(first);
    let newcomer = fixture.joined(newcomer);
    let second = fixture.sync(&newcomer, &[]);
    let first = fixture.sync(&leader, &[(&leader.member_id, "new")]);
    fixture.persisted();
    assert!(fixture.syncs.is_empty());
    fixture.persisted();
    assert_eq!(fixture.assigned(first), "new");
    assert_eq!(fixture.assigned(second), "");
}

#[test]
fn a_failure_of_a_generation_that_has_ended_changes_nothing() {
    let (mut fixture, leader, _) = two();
    fixture.sync(&leader, &[(&leader.member_id, "old")]);
    fixture.join(request());
    fixture.causes.clear();
    fixture.persist_failed(ErrorCode::NotCoordinator);
    assert!(fixture.causes.is_empty());
}

#[test]
fn who_does_not_sync_in_time_is_removed() {
    let (mut fixture, leader, follower) = two();
    fixture.sync(&leader, &[(&leader.member_id, "a")]);
    fixture.persisted();
    fixture.causes.clear();
    fixture.live(&[&leader, &follower], REBALANCE_MS - 1);
    assert_eq!(fixture.state(), GroupState::Stable);
    fixture.pass(1);
    assert_eq!(fixture.causes, [RebalanceCause::SyncOverdue]);
    assert_eq!(
        fixture.heartbeat(&follower),
        Err(ErrorCode::UnknownMemberId)
    );
}

#[test]
fn a_leader_that_does_not_sync_in_time_is_removed() {
    let (mut fixture, leader, follower) = two();
    let sync = fixture.sync(&follower, &[]);
    fixture.live(&[&leader], REBALANCE_MS);
    assert_eq!(fixture.sync_refused(sync), ErrorCode::RebalanceInProgress);
    assert_eq!(fixture.heartbeat(&leader), Err(ErrorCode::UnknownMemberId));
    let again = fixture.join(known(&follower.member_id));
    let again = fixture.joined(again);
    assert_eq!(again.leader, again.member_id);
}

#[test]
fn when_all_have_synced_nobody_is_removed() {
    let (mut fixture, leader, follower) = two();
    fixture.settle(&[leader.clone(), follower.clone()]);
    fixture.live(&[&leader, &follower], 3 * REBALANCE_MS);
    assert_eq!(fixture.state(), GroupState::Stable);
}

#[test]
fn a_sync_of_another_generation_is_refused() {
    let (mut fixture, leader, _) = two();
    for generation in [-1, 0, 2] {
        let caller = fixture.sync_request(SyncRequest {
            generation,
            ..sync_of(&leader)
        });
        assert_eq!(fixture.sync_refused(caller), ErrorCode::IllegalGeneration);
    }
    let caller = fixture.sync_request(SyncRequest {
        member_id: text("nobody"),
        ..sync_of(&leader)
    });
    assert_eq!(fixture.sync_refused(caller), ErrorCode::UnknownMemberId);
}

#[test]
fn a_sync_that_knows_another_protocol_is_refused() {
    let (mut fixture, leader, _) = two();
    for request in [
        SyncRequest {
            protocol_type: Some(text("connect")),
            ..sync_of(&leader)
        },
        SyncRequest {
            protocol: Some(text("sticky")),
            ..sync_of(&leader)
        },
    ] {
        let caller = fixture.sync_request(request);
        assert_eq!(
            fixture.sync_refused(caller),
            ErrorCode::InconsistentGroupProtocol
        );
    }
    let caller = fixture.sync_request(sync_of(&leader));
    fixture.persisted();
    assert_eq!(fixture.assigned(caller), "");
}

#[test]
fn a_sync_during_a_rebalance_tells_to_join_again() {
    let (mut fixture, leader, follower) = two();
    fixture.join(JoinRequest {
        protocols: vec![protocol("range", "other")],
        ..known(&follower.member_id)
    });
    let caller = fixture.sync(&leader, &[]);
    assert_eq!(fixture.sync_refused(caller), ErrorCode::RebalanceInProgress);
}

#[test]
fn who_joins_but_has_no_generation_may_not_speak_for_it() {
    let (mut fixture, _) = Fixture::stable(vec![request()]);
    let caller = fixture.join(JoinRequest {
        takes_member_id: true,
        ..request()
    });
    let id = fixture
        .joins
        .remove(&caller)
        .unwrap()
        .unwrap_err()
        .member_id;
    fixture.join(known(&id));
    let now_ms = fixture.now_ms;
    let error = Err(ErrorCode::IllegalGeneration);
    assert_eq!(fixture.group.validate_commit(claim(&id, 1), now_ms), error);
    assert_eq!(fixture.group.on_heartbeat(claim(&id, 1), now_ms), error);
}

#[test]
fn assignments_without_end_are_refused() {
    let settings = ClassicSettings {
        assignment_bytes_max: 1_000,
        ..ClassicSettings::default()
    };
    let mut fixture = Fixture::of(ClassicGroup::new(settings));
    let joined = fixture.gather(vec![request()]);
    let id = joined[0].member_id.clone();
    let caller = fixture.sync_request(SyncRequest {
        assignments: vec![(id, Bytes::from(vec![0; 1_000]))],
        ..sync_of(&joined[0])
    });
    assert_eq!(fixture.sync_refused(caller), ErrorCode::UnknownServerError);
    assert!(fixture.persists.is_empty());
}
